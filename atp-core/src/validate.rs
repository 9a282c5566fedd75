//! Does an answer fit the question?

use std::{borrow::Cow, cmp::Ordering, collections::HashMap};

use crate::{
    constraint::{Decimal, Parts},
    json::{Kind, Token, pointer_step},
    question::{Action, Expects, Field, NumberRules, Options, Selections, TextRules},
    response::{RawJson, Response},
    response_type::{Binary, Data, File, ResponseType, Simple, Violation, Violations},
};

/// Judges `response_data` by the action that was asked: first what its type demands, then its
/// options, selections, lengths, pattern, fields and schema. `None` is data that is missing.
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
            let required: Vec<_> = fields.iter().filter(|field| field.required).collect();
            // Each name is looked at once, however many fields there are.
            let members = if required.is_empty() { HashMap::new() } else { data.members() };
            Violations::none_in(required.into_iter().filter_map(|field| missing(&data, &members, field)))
        }
        Expects::Json(schema) => {
            let indexed = Data::required(data)?;
            indexed.object()?;
            schema.as_ref().map_or(Ok(()), |schema| json_schema(schema, &indexed))
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

/// What is wrong about a required field of a form: it must be filled in.
fn missing(data: &Data<'_>, members: &HashMap<Cow<'_, [u8]>, Token>, field: &Field) -> Option<Violation> {
    let name = || format!("/{}", pointer_step(&field.name));
    let value = members.get(field.name.as_bytes()).copied();
    match value.map(|value| (value, data.kind(value))) {
        None => Some(Violation::new(name(), "is required", "nothing")),
        Some((value, Kind::Null)) => Some(data.violation(value, "is required")),
        Some((value, Kind::String(_))) if data.index.text(value).is_empty() => {
            Some(data.violation(value, "is required"))
        }
        Some(_) => None,
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
    let mut wrong: Vec<_> = unknown.take(Violations::MAX).collect();
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
    let number = Parts::of(data.number(0)?);
    let mut wrong = Vec::new();
    if let Some(min) = rules.min.as_ref().filter(|min| number.compare(&min.parts()) == Ordering::Less) {
        wrong.push(data.violation(0, format!("must be at least {min}")));
    }
    if let Some(max) = rules.max.as_ref().filter(|max| number.compare(&max.parts()) == Ordering::Greater) {
        wrong.push(data.violation(0, format!("must be at most {max}")));
    }
    let from = rules.min.as_ref().map_or_else(|| Parts::of("0"), Decimal::parts);
    if let Some(step) = rules.step.as_ref().filter(|step| !number.is_multiple(&step.parts(), &from)) {
        let from = rules.min.as_ref().map_or_else(String::new, |min| format!(", counted from {min}"));
        wrong.push(data.violation(0, format!("must be a whole multiple of {step}{from}")));
    }
    Violations::none_in(wrong)
}

fn select(data: &Data<'_>, options: &Options) -> Result<(), Violations> {
    let selected = data.selected()?;
    Violations::none_in(selected.iter().filter_map(|(at, value)| one_of(data, *at, value, options)))
}

#[cfg(feature = "json-schema")]
fn json_schema(schema: &serde_json::Value, data: &Data<'_>) -> Result<(), Violations> {
    use crate::constraint::{Schema, Verdict};

    let unjudged = |rule: String| Violations::from(Violation::new("", rule, "an answer"));
    Schema::with(schema, |schema| {
        let schema =
            schema.map_err(|error| unjudged(format!("cannot be judged: the action's schema {error}")))?;
        // What a validator sees must be what was said.
        data.check_names()?;
        let inexact = data.index.numbers().filter(|number| !is_exact_as_double(data.index.raw(*number)));
        let rule = "must be a number that a double holds exactly, for the action's schema to judge it";
        Violations::none_in(inexact.map(|number| data.violation(number, rule)))?;
        let instance =
            data.raw.parse().map_err(|_| unjudged("must be what a schema can judge".to_owned()))?;
        match schema.judge(&instance, data.raw.as_str().len()) {
            Verdict::Fits => Ok(()),
            Verdict::Unfit(details) => {
                Violations::none_in(details.into_iter().map(|(path, rule)| {
                    let rule = format!("must satisfy `{rule}` of the action's schema");
                    Violation::new(path, rule, "a value that does not")
                }))?;
                Err(unjudged("must satisfy the action's schema".to_owned()))
            }
            Verdict::TooCostly => {
                Err(unjudged("cannot be judged in bounded time and stack by the action's schema".to_owned()))
            }
        }
    })
}

/// Whether the double or the integer that `serde_json` makes of a number is still that number.
#[cfg(feature = "json-schema")]
fn is_exact_as_double(source: &str) -> bool {
    let is_short = source.len() < 16 && source.bytes().all(|byte| byte.is_ascii_digit());
    let printed = || serde_json::from_str::<serde_json::Number>(source).map(|number| number.to_string());
    is_short
        || printed()
            .is_ok_and(|printed| crate::constraint::normal(&printed) == crate::constraint::normal(source))
}

#[cfg(not(feature = "json-schema"))]
fn json_schema(_: &serde_json::Value, _: &Data<'_>) -> Result<(), Violations> {
    let rule = "cannot be judged: the schema needs the feature `json-schema` of atp-core";
    Err(Violation::new("", rule, "an answer").into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::constraint::Pattern;

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
            (r#"{"max": 18446744073709551616}"#, "18446744073709551900", false),
            (r#"{"max": 18446744073709551616}"#, "18446744073709551616", true),
            (r#"{"max": 18446744073709551616}"#, "18446744073709551616.1", false),
            (r#"{"min": -0.1000000000000000000001}"#, "-0.1000000000000000000002", false),
            (r#"{"step": 0.1000000000000000000001}"#, "0.2", false),
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
    fn limits_are_exact_or_refused() {
        let number = |constraints: &str| {
            let json =
                format!(r#"{{"id":"n","label":"N","response_type":"number","constraints":{constraints}}}"#);
            serde_json::from_str::<Action>(&json)
        };
        let json = r#"{"min":18446744073709551616,"max":1e30,"step":0.50}"#;
        let action = number(json).unwrap();
        assert!(action.check().is_ok());
        assert!(serde_json::to_string(&action).unwrap().contains(&format!("\"constraints\":{json}")));
        for (constraints, at) in [
            (r#"{"min": 18446744073709551617, "max": 18446744073709551616}"#, "/constraints"),
            (r#"{"min": 1e-30, "step": 1}"#, "/constraints/step"),
            (r#"{"step": 18446744073709551616.5}"#, "/constraints/step"),
        ] {
            assert_eq!(number(constraints).unwrap().check().unwrap_err().pointer(), at, "{constraints}");
        }
        for constraints in [r#"{"max": 1e9999999999999999}"#, r#"{"max": "1"}"#, "[]"] {
            assert!(number(constraints).is_err(), "{constraints}");
        }
        for (limit, count) in
            [("3", Some(3)), ("3.0", Some(3)), ("30e-1", Some(3)), ("1e2", Some(100)), ("null", None)]
        {
            let rules: TextRules = serde_json::from_str(&format!(r#"{{"max_length":{limit}}}"#)).unwrap();
            assert_eq!(rules.max_length, count, "{limit}");
        }
        for limit in
            ["-1", "1.5", "18446744073709551616", "18446744073709551615.5", "9007199254740992.5", r#""3""#]
        {
            assert!(
                serde_json::from_str::<TextRules>(&format!(r#"{{"max_length":{limit}}}"#)).is_err(),
                "{limit}"
            );
        }
    }

    #[test]
    fn a_required_field_is_filled_in() {
        let action = Action::form("f", "F", [Field::new("a", "A").required(), Field::new("b", "B")]);
        for (json, fits) in [
            (r#"{"a":"x"}"#, true),
            (r#"{"a":false,"b":null}"#, true),
            (r#"{"a":0,"b":""}"#, true),
            (r#"{"b":"x"}"#, false),
            (r#"{"a":null}"#, false),
            (r#"{"a":""}"#, false),
        ] {
            assert_eq!(validate(&action, Some(&data(json))).is_ok(), fits, "{json}");
        }
    }

    #[test]
    fn a_select_chooses_something() {
        let action = Action::select("s", "S", Options::new([("a", "A"), ("b", "B")]));
        for (json, fits) in [
            (r#""a""#, true),
            (r#"["a","b"]"#, true),
            ("[]", false),
            (r#"["c"]"#, false),
            (r#""""#, false),
            ("{}", false),
        ] {
            assert_eq!(validate(&action, Some(&data(json))).is_ok(), fits, "{json}");
        }
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
