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
    let from = rules.min.as_ref().map_or(Decimal::ZERO, limit);
    if let Some(step) = rules.step.as_ref().filter(|step| !number.is_multiple(&limit(step), &from)) {
        wrong.push(data.violation(0, format!("must be a whole multiple of {step}")));
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

/// A number as it is written: exact where a double is not.
#[derive(Clone, Copy, Debug)]
struct Decimal {
    /// `mantissa × 10^exponent`, if that fits.
    exact: Option<(i128, i32)>,
    nearest: f64,
}

impl Decimal {
    const ZERO: Self = Self { exact: Some((0, 0)), nearest: 0.0 };

    fn parse(source: &str) -> Self {
        Self { exact: Self::exact(source), nearest: source.parse().unwrap_or_default() }
    }

    fn exact(source: &str) -> Option<(i128, i32)> {
        let (digits, exponent) = source.split_once(['e', 'E']).unwrap_or((source, "0"));
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let fraction = fraction.trim_end_matches('0');
        let exponent: i32 = exponent.parse().ok()?;
        let mantissa = format!("{whole}{fraction}").parse().ok()?;
        Some((mantissa, exponent.checked_sub(i32::try_from(fraction.len()).ok()?)?))
    }

    /// Both as whole numbers of the same power of ten, if they fit.
    fn aligned(&self, other: &Self) -> Option<(i128, i128)> {
        let ((a, a_exponent), (b, b_exponent)) = (self.exact?, other.exact?);
        let common = a_exponent.min(b_exponent);
        let scale = |mantissa: i128, exponent: i32| {
            let power = u32::try_from(exponent.checked_sub(common)?).ok()?;
            if mantissa == 0 { Some(0) } else { mantissa.checked_mul(10_i128.checked_pow(power)?) }
        };
        Some((scale(a, a_exponent)?, scale(b, b_exponent)?))
    }

    fn compare(&self, other: &Self) -> Ordering {
        self.aligned(other).map_or_else(|| self.nearest.total_cmp(&other.nearest), |(a, b)| a.cmp(&b))
    }

    /// Whether this is `from` plus a whole number of steps. A step of 0 demands nothing.
    fn is_multiple(&self, step: &Self, from: &Self) -> bool {
        let exact = || {
            let (a, from_here) = self.aligned(from)?;
            let common = self.exact?.1.min(from.exact?.1);
            let distance = Self { exact: Some((a.checked_sub(from_here)?, common)), nearest: 0.0 };
            let (distance, step) = distance.aligned(step)?;
            Some(step == 0 || distance.checked_rem(step)? == 0)
        };
        exact().unwrap_or_else(|| {
            let steps = (self.nearest - from.nearest) / step.nearest;
            // A step of 0 demands nothing; a number beyond a double cannot be judged, and does not fit.
            step.nearest == 0.0 || (steps - steps.round()).abs() < 1e-9
        })
    }
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
