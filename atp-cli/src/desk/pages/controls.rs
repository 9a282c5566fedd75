//! With what a human answers: a control for each response type, and what it says as JSON.
//!
//! A form tells an option or a field by its place: a browser would alter a value in which a line
//! ends, and an empty one could not be told from none.

use std::collections::BTreeMap;

use atp_core::{Action, Choosable, Expects, Field, NumberRules, TextRules, Violation};
use maud::{Markup, html};
use serde_json::{
    Value, json,
    value::{RawValue, to_raw_value},
};

use super::layout::or;
use crate::limits::FILE;

/// What a human has filled in: each name with its values, in their order.
pub(super) type Entered = BTreeMap<String, Vec<String>>;

/// The first value of a name.
pub(super) fn first<'a>(entered: &'a Entered, name: &str) -> &'a str {
    entered.get(name).and_then(|values| values.first()).map_or("", String::as_str)
}

fn all<'a>(entered: &'a Entered, name: &str) -> &'a [String] {
    entered.get(name).map_or(&[], Vec::as_slice)
}

/// The data of an answer, as JSON text; why it is none, in words for whoever filled it in.
pub(super) fn data(action: &Action, entered: &Entered) -> Result<String, String> {
    let value = first(entered, "data");
    Ok(match &action.expects {
        Expects::Simple => "null".to_owned(),
        Expects::Binary(_) => match value {
            "true" | "false" => value.to_owned(),
            _ => return Err("Choose one of the two.".to_owned()),
        },
        Expects::Choice(options) => match *chosen(&options.0, entered)? {
            [] => return Err("Choose one.".to_owned()),
            [one, ..] => json!(one.value).to_string(),
        },
        Expects::Text(_) => json!(lines(value)).to_string(),
        Expects::MultiChoice(options, _) => json!(values(&chosen(&options.0, entered)?)).to_string(),
        Expects::Select(options) => match &*chosen(&options.0, entered)? {
            [] => return Err("Choose one, or some.".to_owned()),
            [one] => json!(one.value).to_string(),
            some => json!(values(some)).to_string(),
        },
        Expects::Number(_) => number(value)?.get().to_owned(),
        Expects::Form(fields) => form(fields, entered)?,
        Expects::Json(_) => {
            let parsed = serde_json::from_str::<&RawValue>(value);
            parsed.map_err(|error| format!("This is no JSON: {error}."))?;
            value.trim().to_owned()
        }
        Expects::File(_) => file(entered)?,
        _ => return Err("This kind of answer is not known here.".to_owned()),
    })
}

/// The options at the places that were chosen.
fn chosen<'a, T>(options: &'a [T], entered: &Entered) -> Result<Vec<&'a T>, String> {
    all(entered, "data").iter().map(|place| at(options, place)).collect()
}

fn at<'a, T>(options: &'a [T], place: &str) -> Result<&'a T, String> {
    let option = place.parse().ok().and_then(|place: usize| options.get(place));
    option.ok_or_else(|| "Choose of what is offered.".to_owned())
}

fn values<'a>(options: &[&'a Choosable]) -> Vec<&'a str> {
    options.iter().map(|option| &*option.value).collect()
}

/// A browser writes the end of a line as two characters.
fn lines(text: &str) -> String {
    text.replace("\r\n", "\n")
}

/// A number, digit for digit as it was written.
fn number(text: &str) -> Result<Box<RawValue>, String> {
    match RawValue::from_string(in_json(text.trim())) {
        Ok(raw) if raw.get().starts_with(|start: char| start == '-' || start.is_ascii_digit()) => Ok(raw),
        _ => Err("Write a number, such as 12 or -1.5.".to_owned()),
    }
}

/// A number as JSON writes it: to a browser `007`, `.5` and `5.` may be numbers too. What is none stays
/// none.
fn in_json(text: &str) -> String {
    let (sign, number) = text.strip_prefix('-').map_or(("", text), |number| ("-", number));
    let number = number.strip_suffix('.').filter(|whole| ends_in_a_digit(whole)).unwrap_or(number);
    let digits = number.trim_start_matches('0');
    let is_zero = digits.len() < number.len() || digits.starts_with('.');
    if is_zero && !digits.starts_with(|start: char| start.is_ascii_digit()) {
        format!("{sign}0{digits}")
    } else {
        format!("{sign}{digits}")
    }
}

fn ends_in_a_digit(text: &str) -> bool {
    text.ends_with(|end: char| end.is_ascii_digit())
}

fn form(fields: &[Field], entered: &Entered) -> Result<String, String> {
    let mut members = BTreeMap::new();
    for (nth, field) in fields.iter().enumerate() {
        let entered = first(entered, &field_at(nth));
        let value = match options(field) {
            None if is_check(field) => Value::from(entered == "true"),
            _ if entered.is_empty() => continue,
            None => Value::from(lines(entered)),
            Some(options) => value_of(at(options, entered)?).clone(),
        };
        let value = of_its_kind(&value, field).map_err(|error| format!("{}: {error}", name_of(field)))?;
        members.insert(&*field.name, value);
    }
    serde_json::to_string(&members).map_err(|error| error.to_string())
}

/// A value of a field's kind: an option may be written as a text, whatever kind it is of.
fn of_its_kind(value: &Value, field: &Field) -> Result<Box<RawValue>, String> {
    let raw = match (value.as_str(), field.kind.as_deref()) {
        (Some(text), Some("number" | "integer")) => return number(text),
        (Some(text @ ("true" | "false")), _) if is_check(field) => to_raw_value(&(text == "true")),
        _ => to_raw_value(value),
    };
    raw.map_err(|error| error.to_string())
}

/// Whether it is yes or no, unless it offers something else.
fn is_check(field: &Field) -> bool {
    matches!(field.kind.as_deref(), Some("boolean" | "checkbox"))
}

/// What a form calls a field.
fn field_at(nth: usize) -> String {
    format!("field.{nth}")
}

/// What a field offers, if it is to be chosen from.
fn options(field: &Field) -> Option<&[Value]> {
    field.other.get("options").and_then(Value::as_array).map(Vec::as_slice)
}

/// An option is a value, or has one beside its label.
fn value_of(option: &Value) -> &Value {
    option.get("value").unwrap_or(option)
}

fn file(entered: &Entered) -> Result<String, String> {
    let [name, kind, data, url] =
        ["file.name", "file.type", "file.data", "file.url"].map(|name| first(entered, name));
    if !data.is_empty() {
        let kind = if kind.is_empty() { "application/octet-stream" } else { kind };
        return Ok(json!({ "name": name, "content_type": kind, "data": data }).to_string());
    }
    if url.is_empty() {
        return Err("Choose a file, or give the address where it is.".to_owned());
    }
    let name = url.rsplit('/').next().filter(|name| !name.is_empty()).unwrap_or("file");
    Ok(json!({ "name": name, "url": url }).to_string())
}

fn name_of(field: &Field) -> &str {
    or(&field.label, or(&field.name, "A field without a name"))
}

/// What stands beside a control that was filled in wrongly.
pub(super) struct Faults<'a> {
    /// What is wrong with the whole.
    pub(super) whole: Option<&'a str>,
    pub(super) violations: Vec<&'a Violation>,
}

impl Faults<'_> {
    /// Those of a member, or of all that is not a member's.
    fn at(&self, pointer: &str) -> Vec<String> {
        let at = |violation: &&&Violation| violation.pointer() == pointer;
        self.violations.iter().filter(at).map(|violation| told(violation)).collect()
    }

    fn is_empty(&self) -> bool {
        self.whole.is_none() && self.violations.is_empty()
    }

    /// All of them that no field of a form has.
    fn rest(&self, fields: &[Field]) -> Vec<String> {
        let is_fields =
            |violation: &Violation| fields.iter().any(|field| pointer(field) == violation.pointer());
        let rest = self.violations.iter().filter(|violation| !is_fields(violation));
        self.whole.map(str::to_owned).into_iter().chain(rest.map(|violation| told(violation))).collect()
    }
}

fn pointer(field: &Field) -> String {
    format!("/{}", field.name.replace('~', "~0").replace('/', "~1"))
}

fn told(violation: &Violation) -> String {
    let place = violation.pointer().trim_start_matches('/').replace('/', " › ");
    let place = if place.is_empty() { "It".to_owned() } else { place };
    format!("{place} {}; this is {}.", violation.rule(), violation.found())
}

/// The control of an action; `nth` keeps the ids of a page apart.
pub(super) fn control(action: &Action, nth: usize, entered: &Entered, faults: &Faults<'_>) -> Markup {
    let id = format!("a{nth}");
    let fields: &[Field] = if let Expects::Form(fields) = &action.expects { fields } else { &[] };
    let rest = faults.rest(fields);
    let told = format!("{id}-fault");
    let described = (!faults.is_empty()).then_some(&*told);
    let is_wrong = described.is_some();
    let value = first(entered, "data");
    html! {
        @match &action.expects {
            Expects::Binary(labels) => {
                fieldset aria-describedby=[described] {
                    legend { "Your answer" }
                    @let [yes, no] = [&labels.true_label, &labels.false_label].map(|label| label.as_deref().unwrap_or_default());
                    (radio(&id, 0, "true", or(yes, "Yes"), value, is_wrong))
                    (radio(&id, 1, "false", or(no, "No"), value, false))
                }
            }
            Expects::Choice(options) => {
                fieldset aria-describedby=[described] {
                    legend { "Choose one" }
                    @for (n, option) in options.0.iter().enumerate() {
                        (radio(&id, n, &n.to_string(), label_of(option), value, is_wrong && n == 0))
                    }
                }
            }
            Expects::MultiChoice(options, selections) => {
                fieldset aria-describedby=[described] {
                    legend { "Choose " (how_many(selections.min_selections, selections.max_selections)) }
                    @for (n, option) in options.0.iter().enumerate() { (check(&id, n, option, entered, is_wrong && n == 0)) }
                }
            }
            Expects::Select(options) => {
                fieldset aria-describedby=[described] {
                    legend { "Choose one, or some" }
                    @for (n, option) in options.0.iter().enumerate() { (check(&id, n, option, entered, is_wrong && n == 0)) }
                }
            }
            Expects::Text(rules) => (text(&id, rules, value, described)),
            Expects::Number(rules) => (number_control(&id, rules, value, described)),
            Expects::Form(fields) => {
                @for (n, field) in fields.iter().enumerate() { (field_control(&id, n, field, entered, faults)) }
            }
            Expects::Json(schema) => {
                label for=(id) { "Your answer, as JSON" }
                textarea id=(id) name="data" rows="8" spellcheck="false" aria-describedby=[described]
                    aria-invalid=[described.map(|_| "true")] autofocus[is_wrong] {
                    (if value.is_empty() { "{\n}" } else { value })
                }
                @if let Some(schema) = schema {
                    details { summary { "What it must look like" } pre { (pretty(schema)) } }
                }
            }
            Expects::File(_) => {
                label for=(id) { "A file" }
                input id=(id) type="file" data-file data-most=(FILE) aria-describedby=[described] autofocus[is_wrong];
                // A browser does not fill a choice of a file in again, so the page remembers it.
                @for name in ["file.name", "file.type", "file.data"] {
                    input type="hidden" name=(name) value=(first(entered, name));
                }
                @if !first(entered, "file.data").is_empty() {
                    p.hint { "Chosen is " bdi { (first(entered, "file.name")) } ", unless you choose another." }
                }
                label for={ (id) "-url" } { "or the address where it is" }
                input id={ (id) "-url" } name="file.url" type="url" placeholder="https://" value=(first(entered, "file.url"));
            }
            _ => {}
        }
        @if !rest.is_empty() {
            div.fault id=(told) role="alert" { @for fault in &rest { p { (fault) } } }
        }
    }
}

fn label_of(option: &Choosable) -> &str {
    or(&option.label, or(&option.value, "Nothing"))
}

fn radio(id: &str, nth: usize, value: &str, label: &str, chosen: &str, is_looked_at: bool) -> Markup {
    html! {
        div.option {
            input id={ (id) "-" (nth) } type="radio" name="data" value=(value) checked[value == chosen] required
                autofocus[is_looked_at];
            label for={ (id) "-" (nth) } { bdi { (label) } }
        }
    }
}

fn check(id: &str, nth: usize, option: &Choosable, entered: &Entered, is_looked_at: bool) -> Markup {
    let place = nth.to_string();
    html! {
        div.option {
            input id={ (id) "-" (nth) } type="checkbox" name="data" value=(place)
                checked[all(entered, "data").contains(&place)] autofocus[is_looked_at];
            label for={ (id) "-" (nth) } { bdi { (label_of(option)) } }
        }
    }
}

fn how_many(least: Option<u64>, most: Option<u64>) -> String {
    match (least.filter(|least| *least > 0), most) {
        (Some(least), Some(most)) if least == most => format!("{least}"),
        (Some(least), Some(most)) => format!("{least} to {most}"),
        (Some(least), None) => format!("at least {least}"),
        (None, Some(most)) => format!("at most {most}"),
        (None, None) => "any number".to_owned(),
    }
}

fn text(id: &str, rules: &TextRules, value: &str, described: Option<&str>) -> Markup {
    let most = rules.max_length.unwrap_or(10_000).min(10_000);
    html! {
        label for=(id) { "Your answer" }
        // A browser counts in other units, so the desk judges the length.
        textarea id=(id) name="data" rows="4" placeholder=[&rules.placeholder] aria-describedby=[described]
            aria-invalid=[described.map(|_| "true")] autofocus[described.is_some()]
            required[rules.min_length.is_some_and(|least| least > 0)] { (value) }
        p.hint {
            @if let Some(least) = rules.min_length { "At least " (least) " characters. " }
            "At most " (most) " characters."
            @if rules.pattern.is_some() { " It must have a certain form." }
        }
    }
}

fn number_control(id: &str, rules: &NumberRules, value: &str, described: Option<&str>) -> Markup {
    let text = |limit: &Option<atp_core::Decimal>| limit.as_ref().map(ToString::to_string);
    let (least, most, step) = (text(&rules.min), text(&rules.max), text(&rules.step));
    html! {
        label for=(id) { "A number" }
        input id=(id) name="data" type="number" required min=[&least] max=[&most]
            step=(step.as_deref().filter(|step| *step != "0").unwrap_or("any")) value=(value)
            aria-describedby=[described] aria-invalid=[described.map(|_| "true")] autofocus[described.is_some()];
        p.hint {
            @if let Some(least) = &least { "At least " (least) ". " }
            @if let Some(most) = &most { "At most " (most) ". " }
            @if let Some(step) = &step { "In steps of " (step) "." }
        }
    }
}

fn field_control(id: &str, nth: usize, field: &Field, entered: &Entered, faults: &Faults<'_>) -> Markup {
    let (id, name) = (format!("{id}-{nth}"), field_at(nth));
    let value = first(entered, &name);
    let wrong = faults.at(&pointer(field));
    let told = format!("{id}-fault");
    let described = (!wrong.is_empty()).then_some(&*told);
    let invalid = described.map(|_| "true");
    let options = options(field);
    let is_box = options.is_none() && is_check(field);
    html! {
        @if !is_box {
            label for=(id) { bdi { (name_of(field)) } @if field.required { " (needed)" } }
        }
        @match (field.kind.as_deref(), options) {
            (_, Some(options)) => {
                select id=(id) name=(name) required[field.required] aria-describedby=[described] aria-invalid=[invalid]
                    autofocus[invalid.is_some()] {
                    option value="" { "–" }
                    @for (place, option) in options.iter().enumerate() {
                        @let text = value_of(option).as_str().map_or_else(|| value_of(option).to_string(), str::to_owned);
                        option value=(place) selected[place.to_string() == value] {
                            (or(option.get("label").and_then(Value::as_str).unwrap_or_default(), or(&text, "Nothing")))
                        }
                    }
                }
            }
            (Some("boolean" | "checkbox"), _) => {
                div.option {
                    input id=(id) name=(name) type="checkbox" value="true" checked[value == "true"]
                        aria-describedby=[described] aria-invalid=[invalid] autofocus[invalid.is_some()];
                    label for=(id) { bdi { (name_of(field)) } }
                }
            }
            (Some("textarea" | "multiline"), _) => {
                textarea id=(id) name=(name) rows="4" required[field.required] aria-describedby=[described]
                    aria-invalid=[invalid] autofocus[invalid.is_some()] { (value) }
            }
            (kind, _) => {
                input id=(id) name=(name) type=(input_type(kind)) step=[(input_type(kind) == "number").then_some("any")]
                    value=(value) required[field.required] aria-describedby=[described] aria-invalid=[invalid]
                    autofocus[invalid.is_some()];
            }
        }
        @if !wrong.is_empty() {
            div.fault id=(told) role="alert" { @for fault in &wrong { p { (fault) } } }
        }
    }
}

fn input_type(kind: Option<&str>) -> &'static str {
    match kind {
        Some("email") => "email",
        Some("url" | "uri") => "url",
        Some("number" | "integer") => "number",
        Some("date") => "date",
        Some("tel") => "tel",
        Some("password") => "password",
        _ => "text",
    }
}

fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use atp_core::{Options, RawJson, Selections, validate};

    use super::*;

    fn entered(pairs: &[(&str, &str)]) -> Entered {
        let mut entered = Entered::new();
        for (name, value) in pairs {
            entered.entry((*name).to_owned()).or_default().push((*value).to_owned());
        }
        entered
    }

    const FORM: &[(&str, &str)] = &[
        ("field.0", "Ada\r\nL"),
        ("field.1", "1.50"),
        ("field.2", "true"),
        ("field.3", ""),
        ("field.4", "1"),
        ("field.5", "0"),
    ];
    const FILE: &[(&str, &str)] =
        &[("file.name", "a.txt"), ("file.type", "text/plain"), ("file.data", "aGk=")];

    /// An action, what is filled in, and what comes of it.
    type Row = (Action, &'static [(&'static str, &'static str)], &'static str);

    #[test]
    fn what_is_filled_in_fits_the_action_as_json() {
        let ab = || Options::new([("a", "A"), ("b\r\n", "B"), ("", "None")]);
        let mut seats = Field::new("seats", "Seats");
        seats.other.insert("options".to_owned(), json!([1, { "value": 2, "label": "Two" }]));
        let mut days = Field::new("days", "Days").kind("number");
        days.other.insert("options".to_owned(), json!(["7", "14"]));
        let offers = |name: &str, kind: &str, options: Value| {
            let mut field = Field::new(name, name).kind(kind);
            field.other.insert("options".to_owned(), options);
            field
        };
        let checks = vec![
            offers("how", "checkbox", json!(["email", "sms"])),
            offers(
                "ok",
                "boolean",
                json!([{ "value": "yes", "label": "Yes" }, { "value": "no", "label": "No" }]),
            ),
            offers("sure", "boolean", json!(["true", "false"])),
            offers("left", "checkbox", json!(["a"])),
        ];
        let fields = vec![
            Field::new("name", "Name").required(),
            Field::new("n", "N").kind("number"),
            Field::new("yes", "Yes").kind("boolean"),
            Field::new("left", "Left out"),
            seats,
            days,
        ];
        let table: Vec<Row> = vec![
            (Action::simple("x", "X"), &[], "null"),
            (Action::binary("x", "X", "Yes", "No"), &[("data", "false")], "false"),
            (Action::choice("x", "X", ab()), &[("data", "1")], r#""b\r\n""#),
            (Action::choice("x", "X", ab()), &[("data", "2")], r#""""#),
            (
                Action::multi_choice("x", "X", ab(), Selections::any()),
                &[("data", "0"), ("data", "2")],
                r#"["a",""]"#,
            ),
            (Action::multi_choice("x", "X", ab(), Selections::any()), &[], "[]"),
            (Action::text("x", "X", TextRules::new()), &[("data", "a\r\nb \"c\"")], r#""a\nb \"c\"""#),
            (
                Action::number("x", "X", NumberRules::new()),
                &[("data", " 9007199254740993 ")],
                "9007199254740993",
            ),
            (Action::select("x", "X", ab()), &[("data", "0")], r#""a""#),
            (Action::select("x", "X", ab()), &[("data", "0"), ("data", "1")], r#"["a","b\r\n"]"#),
            (
                Action::form("x", "X", fields),
                FORM,
                r#"{"days":7,"n":1.50,"name":"Ada\nL","seats":2,"yes":true}"#,
            ),
            (
                Action::form("x", "X", checks),
                &[("field.0", "0"), ("field.1", "1"), ("field.2", "1"), ("field.3", "")],
                r#"{"how":"email","ok":"no","sure":false}"#,
            ),
            (
                Action::form("x", "X", [Field::new("n", "N").kind("number")]),
                &[("field.0", "123456789012345678901234567890")],
                r#"{"n":123456789012345678901234567890}"#,
            ),
            (Action::json("x", "X"), &[("data", "{\"a\": 1.0}")], r#"{"a": 1.0}"#),
            (Action::file("x", "X"), FILE, r#"{"content_type":"text/plain","data":"aGk=","name":"a.txt"}"#),
            (
                Action::file("x", "X"),
                &[("file.url", "https://a.example/b.pdf")],
                r#"{"name":"b.pdf","url":"https://a.example/b.pdf"}"#,
            ),
        ];
        for (action, pairs, expected) in table {
            let data = data(&action, &entered(pairs)).unwrap();
            assert_eq!(data, expected, "{action:?}");
            validate(&action, Some(&RawJson::new(data).unwrap())).unwrap();
        }
    }

    #[test]
    fn a_number_is_taken_as_a_browser_writes_it() {
        for (text, expected) in [
            ("12", Some("12")),
            ("007", Some("7")),
            ("-007.50", Some("-7.50")),
            (".5", Some("0.5")),
            ("-.5", Some("-0.5")),
            ("5.", Some("5")),
            ("0", Some("0")),
            ("-000", Some("-0")),
            ("0.10", Some("0.10")),
            ("00e1", Some("0e1")),
            ("1E+2", Some("1E+2")),
            ("", None),
            ("-", None),
            (".", None),
            ("e5", None),
            ("+-5", None),
            ("0x1", None),
            ("--1", None),
            ("1 2", None),
            ("null", None),
        ] {
            let found = number(text).ok();
            assert_eq!(found.as_deref().map(RawValue::get), expected, "{text}");
        }
    }

    #[test]
    fn what_has_no_label_to_be_seen_has_another() {
        let action = Action::binary("x", "X", "", " \u{200b}");
        let control = control(&action, 0, &Entered::new(), &Faults { whole: None, violations: Vec::new() });
        for label in ["<bdi>Yes</bdi>", "<bdi>No</bdi>"] {
            assert!(control.0.contains(label), "{}", control.0);
        }
    }

    #[test]
    fn what_is_not_filled_in_is_asked_for_in_words() {
        let ab = || Options::new([("a", "A"), ("b", "B")]);
        let table: [Row; 9] = [
            (Action::binary("x", "X", "Yes", "No"), &[], "Choose one of the two"),
            (Action::choice("x", "X", ab()), &[], "Choose one"),
            (Action::select("x", "X", ab()), &[], "Choose one, or some"),
            (Action::choice("x", "X", ab()), &[("data", "2")], "Choose of what is offered"),
            (Action::select("x", "X", ab()), &[("data", "a")], "Choose of what is offered"),
            (Action::number("x", "X", NumberRules::new()), &[("data", "twelve")], "Write a number"),
            (Action::number("x", "X", NumberRules::new()), &[("data", "\"1\"")], "Write a number"),
            (Action::json("x", "X"), &[("data", "{")], "This is no JSON"),
            (Action::file("x", "X"), &[], "Choose a file"),
        ];
        for (action, pairs, expected) in table {
            let error = data(&action, &entered(pairs)).unwrap_err();
            assert!(error.contains(expected), "{action:?}: {error}");
        }
    }
}
