//! The names of members, compared by value, each decoded once.

use std::cmp::Ordering;

use super::{
    Index, Kind, Token,
    reader::{narrow, wide},
    strings::generalized,
};

/// The members of one object, by their names: what is escaped is decoded here, once.
///
/// It is made to be used for one object after another, so that its memory is that of the largest
/// one: 32 bytes a member, and at most the bytes of the names.
#[derive(Default)]
pub(crate) struct Names {
    pub(crate) list: Vec<Name>,
    /// The values of escaped names, one behind the other.
    decoded: Vec<u8>,
    /// A number a name, while it is asked whether one may be there twice.
    prints: Vec<u64>,
}

/// A member, ready to be sorted.
#[derive(Clone, Copy)]
pub(crate) struct Name {
    /// The first sixteen bytes of its name, zero-filled, so that most comparisons are one of
    /// numbers.
    head: u128,
    token: u32,
    /// Where its name is: in the text, or in what was decoded.
    start: u32,
    end: u32,
    is_decoded: bool,
}

impl Name {
    pub(crate) fn token(&self) -> Token {
        wide(self.token)
    }

    fn len(&self) -> u32 {
        self.end.saturating_sub(self.start)
    }
}

impl Names {
    /// Takes the members of an object, in the order of the text.
    pub(crate) fn fill(&mut self, index: &Index<'_>, object: Token) {
        self.list.clear();
        self.list.reserve(FEW);
        self.decoded.clear();
        for token in index.members(object) {
            let (span, decoded) = (index.span(token), self.decoded.len());
            let is_decoded = index.literal(token).is_none();
            let range = if is_decoded {
                generalized(index.inner(token), &mut self.decoded);
                decoded..self.decoded.len()
            } else {
                span.start + 1..span.end.saturating_sub(1)
            };
            let (start, end) = (narrow(range.start), narrow(range.end));
            let mut name = Name { head: 0, token: narrow(token), start, end, is_decoded };
            name.head = head(self.value(index, &name));
            self.list.push(name);
        }
    }

    /// The value of a name, as generalized UTF-8.
    pub(crate) fn value<'a>(&'a self, index: &Index<'a>, name: &Name) -> &'a [u8] {
        value(&self.decoded, index, name)
    }

    /// Sorts by the code points of the names, equal ones in no order: where a sender repeats a few,
    /// that is much faster.
    pub(crate) fn sort(&mut self, index: &Index<'_>) {
        let Self { list, decoded, .. } = self;
        list.sort_unstable_by(|a, b| compare(decoded, index, a, b));
    }

    /// The members, those that have one name together, in no order; they must have been sorted,
    /// unless all names differ.
    pub(crate) fn twins(&self, index: &Index<'_>) -> impl Iterator<Item = &[Name]> {
        self.list.chunk_by(|a, b| compare(&self.decoded, index, a, b).is_eq())
    }

    /// Whether two names of an object might be the same: by a number that equal names share, so
    /// that most objects need not be sorted to know that they are not. Says yes where a name is
    /// escaped.
    pub(crate) fn may_repeat(&mut self, index: &Index<'_>, object: Token) -> bool {
        let prints = &mut self.prints;
        prints.clear();
        prints.reserve(FEW);
        for name in index.members(object) {
            let Some(name) = index.literal(name) else { return true };
            prints.push(fingerprint(name));
        }
        if prints.len() > FEW {
            return may_have_twins(prints);
        }
        let mut rest = prints.as_slice();
        while let [first, others @ ..] = rest {
            if others.contains(first) {
                return true;
            }
            rest = others;
        }
        false
    }

    /// The name of the first member of an object that repeats the name of another.
    fn duplicate(&mut self, index: &Index<'_>, object: Token) -> Option<Token> {
        if !self.may_repeat(index, object) {
            return None;
        }
        self.fill(index, object);
        self.sort(index);
        let second = |twins: &[Name]| {
            let first = twins.iter().map(Name::token).min();
            twins.iter().map(Name::token).filter(|token| Some(*token) != first).min()
        };
        self.twins(index).filter_map(second).min()
    }
}

/// So many names most objects have at most: what is reserved at once, and compared each with each.
const FEW: usize = 16;

fn value<'a>(decoded: &'a [u8], index: &Index<'a>, name: &Name) -> &'a [u8] {
    let source = if name.is_decoded { decoded } else { index.text.as_bytes() };
    source.get(wide(name.start)..wide(name.end)).unwrap_or_default()
}

/// The order of two names by code point.
fn compare(decoded: &[u8], index: &Index<'_>, a: &Name, b: &Name) -> Ordering {
    a.head.cmp(&b.head).then_with(|| match (a.len(), b.len()) {
        // All of both is in the heads; the shorter one lacks the zeros of the other.
        (a @ ..=16, b @ ..=16) => a.cmp(&b),
        _ => value(decoded, index, a).cmp(value(decoded, index, b)),
    })
}

fn head(name: &[u8]) -> u128 {
    if let Some(head) = name.first_chunk::<16>() {
        return u128::from_be_bytes(*head);
    }
    let mut head = [0; 16];
    if let Some(start) = head.get_mut(..name.len()) {
        start.copy_from_slice(name);
    }
    u128::from_be_bytes(head)
}

/// Whether a number may be there twice, by a table of which half stays free. Where too many numbers
/// want one place, as a sender could arrange, it says yes rather than search.
fn may_have_twins(numbers: &[u64]) -> bool {
    const FREE: u64 = 0;
    const STEPS: usize = 32;
    let size = (numbers.len() * 2).next_power_of_two();
    let mut table = vec![FREE; size + STEPS];
    numbers.iter().any(|&number| {
        let start = usize::try_from(number >> (u64::BITS - size.trailing_zeros())).unwrap_or_default();
        let mut places = table.get_mut(start..).unwrap_or_default().iter_mut().take(STEPS);
        match places.find(|place| **place == FREE || **place == number) {
            Some(place) if *place == FREE => {
                *place = number;
                number == FREE
            }
            _ => true,
        }
    })
}

/// A number that equal names share and others seldom do.
fn fingerprint(name: &[u8]) -> u64 {
    let print = match (name.first_chunk::<8>(), name.last_chunk::<8>()) {
        (Some(first), Some(last)) => u64::from_le_bytes(*first).rotate_left(29) ^ u64::from_le_bytes(*last),
        _ => name.iter().fold(1, |print, byte| print << 8 | u64::from(*byte)),
    };
    print.wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

impl Index<'_> {
    /// The name of the first member that repeats the name of another, in the order in which objects
    /// start.
    pub(crate) fn duplicate(&self) -> Option<Token> {
        let mut names = Names::default();
        (0..self.entries.len())
            .filter(|&token| self.kind(token) == Kind::Object)
            .find_map(|object| names.duplicate(self, object))
    }
}

#[cfg(test)]
mod tests {
    use super::super::strings::DECODED;
    use super::*;

    /// Members with an escape in each name, that share what is compared first, and values that say
    /// where they stand.
    fn escaped_names(count: usize, different: usize) -> String {
        let member = |nth: usize| format!(r#""aaaaaaaaaaaaaaaa\n{:03}":{nth}"#, nth * 7919 % different);
        let members: Vec<String> = (0..count).map(member).collect();
        format!("{{{}}}", members.join(","))
    }

    #[test]
    fn each_name_is_decoded_at_most_once_in_a_sort() {
        for (count, different) in [(1, 1), (2, 2), (500, 500), (500, 20), (1000, 1)] {
            let text = escaped_names(count, different);
            let index = Index::of_str(&text).unwrap();
            let decoded = |step: &dyn Fn()| {
                DECODED.set(0);
                step();
                DECODED.get()
            };
            let mut counts = vec![decoded(&|| assert_eq!(index.duplicate().is_some(), different < count))];
            for print in [crate::canonical::python, crate::canonical::node] {
                counts.push(decoded(&|| drop(print(text.as_bytes()).unwrap())));
            }
            assert!(counts.iter().all(|decoded| *decoded <= count), "{counts:?} for {count} of {different}");
        }
    }

    #[test]
    fn of_many_equal_names_the_right_ones_are_found() {
        let (count, different) = (400, 41);
        let text = escaped_names(count, different);
        let index = Index::of_str(&text).unwrap();
        let repeated = index.duplicate().map(|name| index.raw(name + 1));
        assert_eq!(repeated, Some("41"));
        let last = |name: usize| (0..count).rev().find(|nth| nth * 7919 % different == name).unwrap();
        let printed = |names: &mut dyn Iterator<Item = usize>, comma: &str, colon: &str| {
            let member = |name: usize| format!(r#""aaaaaaaaaaaaaaaa\n{name:03}"{colon}{}"#, last(name));
            let members: Vec<String> = names.map(member).collect();
            format!("{{{}}}", members.join(comma))
        };
        let sorted = printed(&mut (0..different), ", ", ": ");
        assert_eq!(crate::canonical::python(text.as_bytes()).unwrap(), sorted);
        let placed = printed(&mut (0..different).map(|nth| nth * 7919 % different), ",", ":");
        assert_eq!(crate::canonical::node(text.as_bytes()).unwrap(), placed);
    }

    #[test]
    fn names_are_compared_by_value_and_ordered_by_code_point() {
        for (text, duplicate) in [
            (r#"{"a":1,"b":2,"A":3}"#, None),
            (r#"{"a":1,"b":{"c":1,"\u0063":2},"a":1}"#, Some("/a")),
            (r#"{"b":{"c":1,"\u0063":2}}"#, Some("/b/c")),
            (r#"{"\ud83d\ude00":1,"😀":2}"#, Some("/😀")),
            (r#"{"\ud83d":1,"\ud83e":2}"#, None),
            (r#"{"a":1,"a\u0000":2}"#, None),
        ] {
            let index = Index::of(text.as_bytes()).unwrap();
            let pointer = index.duplicate().map(|name| index.pointer(name + 1));
            assert_eq!(pointer.as_deref(), duplicate, "{text}");
        }
        let index = Index::of(r#"{"\ue000":1,"\ud800":2,"😀":3,"｡":4}"#.as_bytes()).unwrap();
        let mut names = Names::default();
        names.fill(&index, 0);
        names.sort(&index);
        let order: Vec<_> = names.list.iter().map(|name| index.raw(name.token() + 1)).collect();
        assert_eq!(order, ["2", "1", "4", "3"]);
    }
}
