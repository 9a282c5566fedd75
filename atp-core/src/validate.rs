//! Does an answer fit the question?

use std::cmp::Ordering;

use crate::{
    json::{Kind, pointer_step},
    notification::{Action, Expects, NumberRules, Options, Selections, TextRules},
    response::{RawJson, Response},
    response_type::{Binary, Data, File, MAX_TOLD, ResponseType, Simple, Violation, Violations},
};

/// Judges `response_data` by the action that was asked: first what its type demands, then its options, selections,
/// lengths, pattern, fields and schema. `None` is data that is missing.
///
/// ```
/// use atp_core::{Action, Options, RawJson, validate};
///
/// let delay = Action::choice("delay", "Delay", Options::new([("1h", "1 hour"), ("1d", "1 day")]));
/// assert!(validate(&delay, Some(&RawJson::new(r#""1h""#)?)).is_ok());
///
/// let error = validate(&delay, Some(&RawJson::new(r#""1 hour""#)?)).unwrap_err();
/// assert_eq!(
///     error.to_string(),
///     "`response_data` must be the value of one of the action's 2 options, found a string of 6 characters"
/// );
/// # Ok::<(), atp_core::Malformed>(())
/// ```
pub fn validate(action: &Action, data: Option<&RawJson>) -> Result<(), Violations> {
    match &action.expects {
        Expects::Simple => Simple::read(data),
        Expects::Binary(_) => Binary::read(data).map(drop),
        Expects::Choice(options) => choice(&Data::required(data)?, options),
        Expects::MultiChoice(options, selections) => {
            multi_choice(&Data::required(data)?, options, selections)
        }
        Expects::Text(rules) => text(&Data::required(data)?, rules),
        Expects::Number(rules) => number(&Data::required(data)?, rules),
        Expects::Select(options) => select(&Data::required(data)?, options),
        Expects::Form(fields) => {
            let data = Data::required(data)?;
            data.object()?;
            let missing = fields.iter().filter(|field| field.required && data.member(&field.name).is_none());
            let violation =
                |name: &str| Violation::new(format!("/{}", pointer_step(name)), "is required", "nothing");
            Violations::none_in(missing.map(|field| violation(&field.name)).collect())
        }
        Expects::Json(schema) => {
            let indexed = Data::required(data)?;
            indexed.object()?;
            match (schema, data) {
                (Some(schema), Some(data)) => json_schema(schema, data),
                _ => Ok(()),
            }
        }
        Expects::File(_) => File::read(data).map(drop),
        Expects::Unknown(name) => {
            let rule = format!("cannot be judged: `{name}` is no response type that this version knows");
            Err(Violation::new("", rule, "an answer").into())
        }
    }
}

impl Response {
    /// Whether this answers that action: the same id, and data that fits.
    pub fn fits(&self, action: &Action) -> Result<(), Violations> {
        if self.action_id != action.id {
            let rule = format!("is judged by the action `{}`", action.id);
            return Err(Violation::new("", rule, "the answer to another action").into());
        }
        validate(action, self.response_data.as_ref())
    }
}

fn choice(data: &Data<'_>, options: &Options) -> Result<(), Violations> {
    let value = data.string(0)?;
    one_of(data, 0, &value, options).map_or(Ok(()), |violation| Err(violation.into()))
}

fn one_of(data: &Data<'_>, token: usize, value: &str, options: &Options) -> Option<Violation> {
    let rule = || format!("must be the value of one of the action's {} options", options.0.len());
    (!options.contains(value)).then(|| data.violation(token, rule()))
}

fn multi_choice(data: &Data<'_>, options: &Options, selections: &Selections) -> Result<(), Violations> {
    let chosen = data.distinct_strings()?;
    let unknown = chosen.iter().filter_map(|(at, value)| one_of(data, *at, value, options));
    let mut wrong: Vec<_> = unknown.take(MAX_TOLD).collect();
    if options.0.is_empty() {
        wrong.push(data.violation(0, "cannot be judged: the action offers no options"));
    }
    let count = u64::try_from(chosen.len()).unwrap_or(u64::MAX);
    if let Some(min) = selections.min_selections.filter(|min| count < *min) {
        wrong.push(data.violation(0, format!("must have at least {min} elements")));
    }
    if let Some(max) = selections.max_selections.filter(|max| count > *max) {
        wrong.push(data.violation(0, format!("must have at most {max} elements")));
    }
    Violations::none_in(wrong)
}

fn text(data: &Data<'_>, rules: &TextRules) -> Result<(), Violations> {
    let text = data.short_text(0)?;
    let count = u64::try_from(text.chars().count()).unwrap_or(u64::MAX);
    let mut wrong = Vec::new();
    if let Some(min) = rules.min_length.filter(|min| count < *min) {
        wrong.push(data.violation(0, format!("must have at least {min} characters")));
    }
    if let Some(max) = rules.max_length.filter(|max| count > *max) {
        wrong.push(data.violation(0, format!("must have at most {max} characters")));
    }
    if rules.pattern.as_ref().is_some_and(|pattern| !pattern.is_found_in(&text)) {
        wrong.push(data.violation(0, "must match the action's pattern"));
    }
    Violations::none_in(wrong)
}

fn number(data: &Data<'_>, rules: &NumberRules) -> Result<(), Violations> {
    let number = Decimal::parse(data.number(0)?);
    let limit = |limit: &serde_json::Number| Decimal::parse(&limit.to_string());
    let mut wrong = Vec::new();
    if let Some(min) = rules.min.as_ref().filter(|min| number.compare(&limit(min)) == Ordering::Less) {
        wrong.push(data.violation(0, format!("must be at least {min}")));
    }
    if let Some(max) = rules.max.as_ref().filter(|max| number.compare(&limit(max)) == Ordering::Greater) {
        wrong.push(data.violation(0, format!("must be at most {max}")));
    }
    let from = rules.min.as_ref().map_or_else(|| Decimal::parse("0"), limit);
    if let Some(step) = rules.step.as_ref().filter(|step| !number.is_multiple(&limit(step), &from)) {
        let from = rules.min.as_ref().map_or_else(String::new, |min| format!(", counted from {min}"));
        wrong.push(data.violation(0, format!("must be a whole multiple of {step}{from}")));
    }
    Violations::none_in(wrong)
}

fn select(data: &Data<'_>, options: &Options) -> Result<(), Violations> {
    match data.kind(0) {
        Kind::Array => multi_choice(data, options, &Selections::any()),
        Kind::String(_) => choice(data, options),
        _ => Err(data.violation(0, "must be the value of an option, or an array of values").into()),
    }
}

#[cfg(feature = "json-schema")]
fn json_schema(schema: &serde_json::Value, data: &RawJson) -> Result<(), Violations> {
    let unjudged = |rule: String| Violations::from(Violation::new("", rule, "an answer"));
    let validator = crate::notification::schema_validator(schema)
        .map_err(|error| unjudged(format!("cannot be judged: the action's schema {error}")))?;
    let instance =
        data.parse().map_err(|_| unjudged("must hold numbers that a double can hold".to_owned()))?;
    // The message of the validator quotes the value; the keyword says which rule it was.
    let violation = |error: jsonschema::ValidationError<'_>| {
        let rule = format!("must satisfy `{}` of the action's schema", error.schema_path());
        Violation::new(error.instance_path().to_string(), rule, "a value that does not")
    };
    Violations::none_in(validator.iter_errors(&instance).take(MAX_TOLD).map(violation).collect())
}

#[cfg(not(feature = "json-schema"))]
fn json_schema(schema: &serde_json::Value, _: &RawJson) -> Result<(), Violations> {
    match crate::notification::schema_validator(schema) {
        Ok(never) => match never {},
        Err(error) => {
            Err(Violation::new("", format!("cannot be judged: the schema {error}"), "an answer").into())
        }
    }
}

/// A number as it is written, exact however long: `0.<digits> × 10^exponent`, without zeros at either end of the digits.
struct Decimal {
    is_negative: bool,
    /// ASCII digits; none for zero.
    digits: Vec<u8>,
    exponent: i64,
}

impl Decimal {
    fn parse(source: &str) -> Self {
        let (is_negative, source) = source.strip_prefix('-').map_or((false, source), |rest| (true, rest));
        let (decimal, exponent) = source.split_once(['e', 'E']).unwrap_or((source, "0"));
        let (whole, fraction) = decimal.split_once('.').unwrap_or((decimal, ""));
        let mut digits = [whole, fraction].concat().into_bytes();
        while digits.last() == Some(&b'0') {
            digits.pop();
        }
        let zeros = digits.iter().take_while(|digit| **digit == b'0').count();
        digits.drain(..zeros);
        // An exponent beyond 18 digits is farther than any number of a question.
        let far = if exponent.starts_with('-') { i64::MIN / 2 } else { i64::MAX / 2 };
        let exponent = exponent.parse().unwrap_or(far).clamp(i64::MIN / 2, i64::MAX / 2);
        let exponent = if digits.is_empty() { 0 } else { exponent + length(whole.len()) - length(zeros) };
        Self { is_negative, digits, exponent }
    }

    fn is_zero(&self) -> bool {
        self.digits.is_empty()
    }

    fn compare(&self, other: &Self) -> Ordering {
        let sign = |number: &Self| match number {
            number if number.is_zero() => 0,
            number if number.is_negative => -1,
            _ => 1,
        };
        let magnitude = || self.exponent.cmp(&other.exponent).then_with(|| self.digits.cmp(&other.digits));
        match sign(self).cmp(&sign(other)) {
            Ordering::Equal if self.is_negative => magnitude().reverse(),
            Ordering::Equal => magnitude(),
            different => different,
        }
    }

    /// The power of ten of the last digit.
    fn last_place(&self) -> i64 {
        self.exponent - length(self.digits.len())
    }

    /// Whether this is `from` plus a whole number of steps. A step of 0 demands nothing; one that is more than 2^64 units of
    /// the last place of `from` is not judged, and nothing fits it.
    fn is_multiple(&self, step: &Self, from: &Self) -> bool {
        if step.is_zero() {
            return true;
        }
        let unit = if from.is_zero() { step.last_place() } else { step.last_place().min(from.last_place()) };
        let Some(modulus) = step.in_units(unit).filter(|_| self.is_zero() || self.last_place() >= unit)
        else {
            return false;
        };
        self.remainder(unit, modulus) == from.remainder(unit, modulus)
    }

    /// The magnitude as a whole number of `10^unit`, if it is one below 2^64.
    fn in_units(&self, unit: i64) -> Option<u64> {
        let digits = std::str::from_utf8(&self.digits).ok()?.parse::<u64>().ok()?;
        let power = u32::try_from(self.last_place() - unit).ok()?;
        digits.checked_mul(10_u64.checked_pow(power)?)
    }

    /// This in units of `10^unit`, which must not be above its last place, modulo `modulus`: from 0 up.
    fn remainder(&self, unit: i64, modulus: u64) -> u64 {
        let modulus = u128::from(modulus);
        let (mut power, mut base) = (1 % modulus, 10 % modulus);
        let mut places = if self.is_zero() { 0 } else { self.last_place().abs_diff(unit) };
        while places > 0 {
            if places & 1 == 1 {
                power = power * base % modulus;
            }
            base = base * base % modulus;
            places >>= 1;
        }
        let digits = self.digits.iter();
        let value = digits.fold(0, |value, digit| (value * 10 + u128::from(digit - b'0')) % modulus);
        let value = value * power % modulus;
        let value = if self.is_negative && value > 0 { modulus - value } else { value };
        // Below a modulus of 64 bits.
        u64::try_from(value).unwrap_or_default()
    }
}

fn length(len: usize) -> i64 {
    i64::try_from(len).unwrap_or(i64::MAX / 4)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notification::{Field, Pattern};

    fn data(json: &str) -> RawJson {
        RawJson::new(json.to_owned()).unwrap()
    }

    #[test]
    fn numbers_are_compared_as_they_are_written() {
        let rules = |json: &str| Action::number("n", "N", serde_json::from_str(json).unwrap());
        for (constraints, number, fits) in [
            (r#"{"max": 9007199254740992}"#, "9007199254740993", false),
            (r#"{"max": 9007199254740992}"#, "9007199254740992", true),
            (r#"{"min": 0}"#, "-0", true),
            (r#"{"min": 0}"#, "-1e-400", false),
            (r#"{"min": 0, "max": 10}"#, "1e1", true),
            (r#"{"max": 10}"#, "1e400", false),
            (r#"{"step": 0.1}"#, "0.3", true),
            (r#"{"step": 0.1}"#, "0.35", false),
            (r#"{"min": 0.05, "step": 0.1}"#, "0.35", true),
            (r#"{"step": 0}"#, "0.35", true),
            ("{}", "123456789012345678901234567890123456789012345678901234567890", true),
            (r#"{"max": 1e300}"#, "123456789012345678901234567890123456789012345678901234567890", true),
            (r#"{"max": 9007199254740992}"#, "9007199254740992.00000000000000000000000000000000001", false),
            (r#"{"min": 0}"#, "-0e99999999999999999999", true),
            (r#"{"max": 10}"#, "1e-99999999999999999999", true),
            (r#"{"max": 10}"#, "1e99999999999999999999", false),
            (r#"{"min": -10}"#, "-1e99999999999999999999", false),
            (r#"{"min": -10, "max": -1}"#, "-1.0e+0", true),
            (
                r#"{"step": 7}"#,
                "7000000000000000000000000000000000000000000000000000000000000000000000",
                true,
            ),
            (
                r#"{"step": 7}"#,
                "7000000000000000000000000000000000000000000000000000000000000000000001",
                false,
            ),
            (r#"{"step": 1}"#, "1e99999999999999999999", true),
            (r#"{"step": 1}"#, "1e-99999999999999999999", false),
            (r#"{"step": 5e-324}"#, "5e-324", true),
            (r#"{"step": 0.25, "min": -1}"#, "-0.75", true),
            (r#"{"step": 3, "min": -1}"#, "5", true),
            (r#"{"step": 3, "min": -1}"#, "6", false),
        ] {
            assert_eq!(
                validate(&rules(constraints), Some(&data(number))).is_ok(),
                fits,
                "{constraints} {number}"
            );
        }
    }

    #[test]
    fn all_that_is_wrong_is_told_and_no_value_is() {
        let options = Options::new([("a", "A"), ("b", "B")]);
        let action = Action::multi_choice("m", "M", options, Selections::any().max(2));
        let error = validate(&action, Some(&data(r#"["a","secret","b"]"#))).unwrap_err().to_string();
        assert_eq!(
            error,
            "`response_data/1` must be the value of one of the action's 2 options, found a string of 6 characters; \
             `response_data` must have at most 2 elements, found an array of 3 elements"
        );
        let action =
            Action::form("f", "F", [Field::new("x/y", "X").required(), Field::new("z", "Z").required()]);
        let error = validate(&action, Some(&data("{}"))).unwrap_err().to_string();
        assert_eq!(
            error,
            "`response_data/x~1y` is required, found nothing; `response_data/z` is required, found nothing"
        );
        let rules = TextRules::new().min_length(9).pattern(Pattern::new("^[0-9]+$").unwrap());
        let error = validate(&Action::text("t", "T", rules), Some(&data(r#""secret""#))).unwrap_err();
        assert_eq!(error.iter().count(), 2);
        assert!(!error.to_string().contains("secret"));
    }

    #[test]
    fn a_pattern_from_elsewhere_that_does_not_compile_is_skipped() {
        let action: Action = serde_json::from_str(
            r#"{"id":"t","label":"T","response_type":"text","constraints":{"pattern":"^(?!admin).*$"}}"#,
        )
        .unwrap();
        assert!(validate(&action, Some(&data(r#""admin""#))).is_ok());
        assert!(Pattern::new("^(?!admin).*$").is_err());
        assert!(action.check().unwrap_err().to_string().contains("/constraints/pattern"));
    }
}
