//! Numbers by chance, and JSON that is spelt by chance.

use serde_json::Value;

/// Xorshift.
pub(crate) struct Chance(u64);

impl Chance {
    /// Other numbers for each process and each of its connections: nothing is respelt twice alike.
    pub(crate) fn new(process: u32, connection: usize) -> Self {
        let connection = u64::try_from(connection + 1).expect("small");
        let mut chance = Self(0x9e37_79b9_7f4a_7c15 ^ (u64::from(process) << 32) ^ connection);
        for _ in 0..8 {
            chance.next();
        }
        chance
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub(crate) fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() >> 32).expect("32 bits") % end
    }

    pub(crate) fn pick<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }

    /// So many digits of a hexadecimal number.
    pub(crate) fn hex(&mut self, digits: usize) -> String {
        (0..digits).map(|_| char::from(*self.pick(b"0123456789abcdef"))).collect()
    }

    /// The same JSON in other bytes: other blanks, other escapes, members in another order.
    pub(crate) fn respell(&mut self, value: &Value) -> String {
        let mut text = " ".repeat(self.below(4096));
        self.value(value, &mut text);
        text
    }

    fn value(&mut self, value: &Value, text: &mut String) {
        match value {
            Value::Object(members) => {
                let mut members: Vec<_> = members.iter().collect();
                for nth in (1..members.len()).rev() {
                    members.swap(nth, self.below(nth + 1));
                }
                self.list('{', '}', &members, text, |chance, (name, value), text| {
                    chance.string(name, text);
                    text.push(':');
                    chance.value(value, text);
                });
            }
            Value::Array(values) => self.list('[', ']', values, text, Self::value),
            Value::String(string) => self.string(string, text),
            other => text.push_str(&other.to_string()),
        }
    }

    fn list<T>(
        &mut self,
        open: char,
        close: char,
        items: &[T],
        text: &mut String,
        print: impl Fn(&mut Self, &T, &mut String),
    ) {
        text.push(open);
        for (nth, item) in items.iter().enumerate() {
            if nth > 0 {
                text.push(',');
            }
            self.blanks(text);
            print(self, item, text);
            self.blanks(text);
        }
        text.push(close);
    }

    fn blanks(&mut self, text: &mut String) {
        for _ in 0..self.below(3) {
            text.push(char::from(*self.pick(b" \t\r\n")));
        }
    }

    fn string(&mut self, string: &str, text: &mut String) {
        text.push('"');
        for unit in string.encode_utf16() {
            let is_plain = (0x20..0x7f).contains(&unit) && unit != 0x22 && unit != 0x5c;
            match char::from_u32(unit.into()) {
                Some(plain) if is_plain && self.below(4) > 0 => text.push(plain),
                _ => text.push_str(&format!("\\u{unit:04x}")),
            }
        }
        text.push('"');
    }
}
