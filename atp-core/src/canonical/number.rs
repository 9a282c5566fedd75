//! Numbers as doubles, and the digits of doubles.

/// The nearest double to a number's source.
///
/// Not by the standard library, which takes fifty times as long where many digits lie between two
/// doubles, as a stranger can arrange, and which stops counting an exponent at five digits. Zeros
/// that make up for a larger one are counted here.
pub(super) fn double(source: &str) -> f64 {
    if source.len() < 1000 {
        return nearest(source);
    }
    let (sign, source) = source.split_at_checked(usize::from(source.starts_with('-'))).unwrap_or_default();
    let (decimal, exponent) = source.split_once(['e', 'E']).unwrap_or((source, "0"));
    let (whole, fraction) = decimal.split_once('.').unwrap_or((decimal, ""));
    let digits = [whole, fraction].concat();
    let significant = digits.trim_start_matches('0');
    let place = |len: usize| i64::try_from(len).unwrap_or(i64::MAX);
    let shift = place(whole.len()) - place(digits.len() - significant.len());
    let far = if exponent.starts_with('-') { i64::MIN } else { i64::MAX };
    let exponent = exponent.parse().unwrap_or(far).saturating_add(shift).clamp(-9999, 9999);
    nearest(&format!("{sign}0.{significant}e{exponent}"))
}

/// Of a number in the form of JSON, which is a number there too.
fn nearest(source: &str) -> f64 {
    lexical_parse_float::FromLexical::from_lexical(source.as_bytes()).unwrap_or_default()
}

/// A decimal number between 0 and the largest double, without its sign: 1.25e-7 is the digits 125
/// and the exponent -7.
pub(super) struct Decimal {
    digits: [u8; Self::MOST],
    /// How many of them there are.
    len: usize,
    /// The power of ten of the first.
    pub(super) exponent: i32,
}

impl Decimal {
    /// As many digits as any double needs.
    const MOST: usize = 17;

    /// The shortest digits that read back as the same double, without zeros at either end; one zero
    /// for zero.
    ///
    /// Of two that are equally near, the even one, as in CPython and V8; the standard library takes
    /// the upper one.
    pub(super) fn shortest(value: f64) -> Self {
        let mut buffer = zmij::Buffer::new();
        let text = buffer.format_finite(value.abs());
        let (decimal, exponent) = text.split_once('e').unwrap_or((text, "0"));
        let mut shortest =
            Self { digits: [b'0'; Self::MOST], len: 0, exponent: exponent.parse().unwrap_or_default() };
        // The exponent is that of the digit before the point, and grows with each one more.
        let (mut is_whole, mut zeros, mut before) = (true, 0, -1);
        for byte in decimal.bytes() {
            match byte {
                b'.' => is_whole = false,
                b'0' if shortest.len == 0 => before -= i32::from(!is_whole),
                b'0' => {
                    before += i32::from(is_whole);
                    zeros += 1;
                }
                digit => {
                    before += i32::from(is_whole);
                    shortest.len += zeros;
                    zeros = 0;
                    shortest.push(digit);
                }
            }
        }
        shortest.exponent += before;
        if shortest.len == 0 { Self { len: 1, exponent: 0, ..shortest } } else { shortest }
    }

    fn push(&mut self, digit: u8) {
        if let Some(place) = self.digits.get_mut(self.len) {
            *place = digit;
            self.len += 1;
        }
    }

    pub(super) fn digits(&self) -> &str {
        let digits = self.digits.get(..self.len).unwrap_or_default();
        std::str::from_utf8(digits).unwrap_or_default()
    }

    /// Whether nothing stands behind the point.
    pub(super) fn is_integer(&self) -> bool {
        usize::try_from(self.exponent + 1).is_ok_and(|whole| whole >= self.len)
    }

    /// Appends the digits with the point where the exponent says: within, after zeros, or behind
    /// zeros.
    pub(super) fn positional(&self, out: &mut String) {
        let digits = self.digits();
        let Ok(whole) = usize::try_from(self.exponent + 1) else {
            out.push_str("0.");
            push_zeros(usize::try_from(-self.exponent - 1).unwrap_or_default(), out);
            out.push_str(digits);
            return;
        };
        match digits.split_at_checked(whole) {
            Some((_, "")) => out.push_str(digits),
            Some(("", fraction)) => {
                out.push_str("0.");
                out.push_str(fraction);
            }
            Some((whole, fraction)) => {
                out.push_str(whole);
                out.push('.');
                out.push_str(fraction);
            }
            None => {
                out.push_str(digits);
                push_zeros(whole - digits.len(), out);
            }
        }
    }

    /// Appends the digits in exponent form, the exponent with its sign and at least `width` digits.
    pub(super) fn exponential(&self, width: usize, out: &mut String) {
        let (first, rest) = self.digits().split_at_checked(1).unwrap_or_default();
        out.push_str(first);
        if !rest.is_empty() {
            out.push('.');
            out.push_str(rest);
        }
        out.push_str(if self.exponent < 0 { "e-" } else { "e+" });
        let exponent = self.exponent.unsigned_abs();
        let digit = |unit: u32| char::from_digit(exponent / unit % 10, 10).unwrap_or('0');
        if exponent >= 100 {
            out.push(digit(100));
        }
        if exponent >= 10 || width > 1 {
            out.push(digit(10));
        }
        out.push(digit(1));
    }
}

/// At most twenty: beyond that both languages turn to exponents.
fn push_zeros(count: usize, out: &mut String) {
    const MOST: &str = "00000000000000000000";
    out.push_str(MOST.get(..count).unwrap_or(MOST));
}
