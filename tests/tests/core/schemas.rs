//! `json` answers are judged by the schema of their action exactly, and in bounded time, memory and
//! stack.

use std::{sync::mpsc, thread, time::Duration};

use atp_actix::atp_core::{Action, Pattern, RawJson, TextRules, validate};
use serde_json::{Map, Value, json};

/// What a judgement may allocate at once: so much, and so much for each byte of the answer.
const BYTES: u64 = 8 << 20;
const BYTES_A_BYTE: u64 = 64;
/// Far longer than any judgement takes; what is not bounded takes longer than anybody waits.
const PATIENCE: Duration = Duration::from_secs(120);

fn action(schema: &Value) -> Action {
    Action::json_schema("j", "J", schema.clone())
}

fn fits(schema: &Value, data: &str) -> bool {
    let data = RawJson::new(data.to_owned()).expect("JSON");
    validate(&action(schema), Some(&data)).is_ok()
}

fn told(schema: &Value, data: &str) -> String {
    let data = RawJson::new(data.to_owned()).expect("JSON");
    validate(&action(schema), Some(&data)).expect_err("a misfit").to_string()
}

fn nested(depth: usize) -> String {
    format!("{}1{}", r#"{"a":"#.repeat(depth), "}".repeat(depth))
}

fn list(elements: impl IntoIterator<Item = String>) -> String {
    format!(r#"{{"l":[{}]}}"#, elements.into_iter().collect::<Vec<_>>().join(","))
}

/// A schema that goes down by two branches, each of which fails at the end.
fn twofold(keyword: &str) -> Value {
    let branch = |missing: &str| json!({"type": "object", "properties": {"a": {"$ref": "#/$defs/n"}}, "required": ["a", missing]});
    json!({"$defs": {"n": {keyword: [branch("x"), branch("y")]}}, "$ref": "#/$defs/n"})
}

#[test]
fn no_answer_stretches_time_memory_or_stack() {
    let of_list = |schema: Value| json!({"properties": {"l": schema}});
    // Each level of the answer goes through sixty schemas within each other.
    let in_place = (0..60).fold(
        json!({"properties": {"a": {"$ref": "#/$defs/n"}}}),
        |inner, _| json!({"anyOf": [inner, false]}),
    );
    let again = json!({"$ref": "#/$defs/n"});
    let words = |len: usize| format!(r#"{{"l":"{}"}}"#, "abbaababbab".repeat(len / 11));
    let arrays = (0..4000).map(|nth| {
        let bits = (0..14).map(|bit| if nth >> bit & 1 == 1 { "[]" } else { "[[]]" });
        format!("[{}]", bits.collect::<Vec<_>>().join(","))
    });
    let options: Vec<_> = (0..5000).map(|nth| json!({"k": nth, "v": [1, 2, 3]})).collect();
    let slow: Vec<_> =
        (0..40).map(|nth| json!({"not": {"pattern": format!("(a|b)*a(a|b){{{}}}c", 900 + nth)}})).collect();
    let cases = [
        ("two branches, 16 deep", twofold("anyOf"), nested(16), false),
        ("two branches, 10 deep", twofold("anyOf"), nested(10), false),
        ("two branches, 300 bytes", twofold("anyOf"), nested(50), false),
        ("two branches, 120 deep", twofold("anyOf"), nested(120), false),
        ("one of two, 120 deep", twofold("oneOf"), nested(120), false),
        ("all of two, 120 deep", twofold("allOf"), nested(120), false),
        (
            "nots, 120 deep",
            json!({"$defs": {"n": {"not": {"properties": {"a": {"allOf": [again, again, again]}}, "required": ["a"]}}},
                "$ref": "#/$defs/n"}),
            nested(119),
            true,
        ),
        (
            "unevaluated, 120 deep",
            json!({"$defs": {"n": {"type": "object", "anyOf": [{"properties": {"a": again}}, {"properties": {"b": again}}],
                "unevaluatedProperties": false}}, "$ref": "#/$defs/n"}),
            nested(120),
            false,
        ),
        (
            "more stack than there is",
            json!({"$defs": {"n": in_place}, "$ref": "#/$defs/n"}),
            nested(120),
            false,
        ),
        (
            "long paths",
            json!({"additionalProperties": {"items": {"type": "string"}}}),
            format!(r#"{{"{}":[{}]}}"#, "n".repeat(200_000), vec!["1"; 25_000].join(",")),
            false,
        ),
        (
            "long lists of errors",
            of_list(json!({"items": {"type": "string"}})),
            list(vec!["1".to_owned(); 100_000]),
            false,
        ),
        (
            "many options",
            of_list(json!({"items": {"enum": options}})),
            list(vec!["{}".to_owned(); 60_000]),
            false,
        ),
        (
            "unique numbers",
            of_list(json!({"uniqueItems": true})),
            list((0..30_000).map(|nth| nth.to_string())),
            true,
        ),
        ("unique arrays that look alike", of_list(json!({"uniqueItems": true})), list(arrays), true),
        (
            "none of many",
            of_list(json!({"contains": {"const": 2}})),
            list(vec!["1".to_owned(); 100_000]),
            false,
        ),
        (
            "a pattern that could go back",
            of_list(json!({"pattern": "^(([ab])+.)+[A-Z]$"})),
            words(200_000),
            false,
        ),
        ("patterns of many states", of_list(json!({"allOf": slow})), words(200_000), false),
        (
            "large fractions",
            of_list(json!({"items": {"multipleOf": 1.1e-300}})),
            list(vec!["1.1e300".to_owned(); 20_000]),
            true,
        ),
    ];
    for (case, schema, data, expected) in cases {
        let (done, judged) = mpsc::channel();
        // A thread of the usual two MiB.
        thread::spawn(move || {
            let (action, data) = (action(&schema), RawJson::new(data).expect("JSON"));
            action.check().expect("a schema that can be judged by");
            let mut result = Ok(());
            let used = allocation_counter::measure(|| result = validate(&action, Some(&data)));
            done.send((result, used.bytes_max, data.as_str().len())).expect("somebody waits");
        });
        let (result, bytes, len) =
            judged.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("{case}: not judged"));
        assert_eq!(
            result.is_ok(),
            expected,
            "{case}: {:.200}",
            result.map_or_else(|told| told.to_string(), |()| String::new())
        );
        let allowed = BYTES + BYTES_A_BYTE * u64::try_from(len).expect("a length");
        assert!(bytes <= allowed, "{case}: {bytes} bytes for {len}");
    }
}

#[test]
fn a_schema_without_bounds_is_refused_when_the_question_is_made() {
    let twice = |nth: usize| json!({"allOf": [{"$ref": format!("#/$defs/{}", nth + 1)}, {"$ref": format!("#/$defs/{}", nth + 1)}]});
    let mut doubling: Map<_, _> = (0..20).map(|nth| (nth.to_string(), twice(nth))).collect();
    doubling.insert("20".to_owned(), json!({"type": "object"}));
    let cycle = json!({"$defs": {"a": {"anyOf": [{"$ref": "#/$defs/b"}, true]}, "b": {"not": {"$ref": "#/$defs/a"}}}});
    for (schema, pointer, error) in [
        (
            json!({"$ref": "#/$defs/0", "$defs": doubling}),
            "/$defs/8",
            "applies more than 10000 schemas to one value",
        ),
        (cycle, "/$defs/a", "applies itself to the same value without end"),
        (json!({"$ref": "#"}), "", "applies itself to the same value without end"),
        (
            json!({"$dynamicAnchor": "n", "items": {"$dynamicRef": "#n"}}),
            "/items/$dynamicRef",
            "is refused for `$dynamicRef`",
        ),
        (json!({"$ref": "https://example.com/schema"}), "/$ref", "only what is in it can be referred to"),
        (json!({"$ref": "#/$defs/none"}), "", "where there is nothing"),
        (json!({"$ref": "#none"}), "", "which is no anchor"),
        (
            json!({"$defs": {"a": {"$id": "https://example.com/a"}}}),
            "/$defs/a/$id",
            "with an `$id` within it",
        ),
        (
            json!({"properties": {"a": {"pattern": "(?=a)"}}}),
            "/properties/a/pattern",
            "has a pattern that is no regular expression",
        ),
        (
            json!({"patternProperties": {r"\p{L}{1,1000}": true}}),
            r"/patternProperties/\p{L}{1,1000}",
            "has a pattern that takes more than 8 MiB",
        ),
        (json!({"type": "thing"}), "/type", "is no JSON Schema"),
    ] {
        let refusal = action(&schema).check().expect_err("a refusal");
        let told = refusal.to_string();
        assert!(told.contains(error) && !told.contains('\n'), "{schema}: {told}");
        assert_eq!(refusal.pointer(), format!("/schema{pointer}"), "{schema}: {told}");
        // One from elsewhere fits nothing rather than anything.
        assert!(!fits(&schema, "{}"), "{schema}");
    }
}

#[test]
fn schemas_that_refer_to_themselves_are_judged() {
    let tree = json!({"$id": "https://example.com/tree", "$ref": "#node", "$defs": {"node": {"$anchor": "node", "type": "object",
        "properties": {"name": {"type": "string"}, "children": {"type": "array", "items": {"$ref": "#/$defs/node"}}},
        "required": ["name"]}}});
    assert!(action(&tree).check().is_ok(), "{:?}", action(&tree).check());
    assert!(fits(&tree, r#"{"name":"a","children":[{"name":"b"},{"name":"c","children":[]}]}"#));
    assert_eq!(
        told(&tree, r#"{"name":"a","children":[{"name":"b"},{"name":7}]}"#),
        "`response_data/children/1/name` must satisfy `/$defs/node/properties/name/type` of the action's schema, \
         found a value that does not"
    );
}

#[test]
fn what_is_judged_is_what_was_said() {
    let integer = json!({"properties": {"n": {"type": "integer", "maximum": 9_007_199_254_740_992_i64}}});
    for (data, expected) in [
        (r#"{"n":9007199254740992}"#, true),
        (r#"{"n":9007199254740993}"#, false),
        (r#"{"n":9007199254740992.5}"#, false),
        (r#"{"n":1.0}"#, true),
        (r#"{"n":-0}"#, true),
        (r#"{"n":1.00000000000000000000001}"#, false),
        (r#"{"n":18446744073709551617}"#, false),
        (r#"{"n":1e400}"#, false),
        (r#"{"x":0.1,"y":1e300,"z":18446744073709551615}"#, true),
        (r#"{"x":{"\ud800":1,"\ud801":2}}"#, false),
        (r#"{"x":{"\ud800":1}}"#, true),
    ] {
        assert_eq!(fits(&integer, data), expected, "{data}");
    }
    let said = told(&integer, r#"{"n":9007199254740992.5}"#);
    assert!(said.starts_with("`response_data/n` must be a number that a double holds exactly"), "{said}");
    let tenths = json!({"properties": {"n": {"multipleOf": 0.1}}});
    assert!(fits(&tenths, r#"{"n":0.3}"#) && !fits(&tenths, r#"{"n":0.35}"#));
    let unique = json!({"properties": {"l": {"uniqueItems": true}}});
    for (data, expected) in [
        (r#"{"l":[1,1.0]}"#, false),
        (r#"{"l":[{"a":1,"b":[2]},{"b":[2.0],"a":1}]}"#, false),
        (r#"{"l":["1",1,[1],[[1]],{"1":1},null,false,true,"",[],{}]}"#, true),
        (r#"{"l":[["a,b"],["a","b"]]}"#, true),
    ] {
        assert_eq!(fits(&unique, data), expected, "{data}");
    }
}

#[test]
fn a_pattern_means_the_same_in_a_text_and_in_a_schema() {
    for (pattern, text) in [
        (r"^\d+$", "12"),
        (r"^\d+$", "１２"),
        (r"^\w+$", "é"),
        (r"\bb", "éb"),
        (r"\Bb", "éb"),
        (r"^[\d.]+$", "1.2"),
        (r"^[^\w]$", "é"),
        (r"^[\D]$", "１"),
        (r"^\s$", "\u{feff}"),
        (r"^\s$", "\u{85}"),
        (r"^.$", "\u{2028}"),
        (r"^.{1,3}$", "😀😀"),
        (r"^\p{L}{2,3}$", "éé"),
        (r"^[a-z]{2,}$", "ab"),
    ] {
        let rules = TextRules::new().pattern(Pattern::new(pattern).expect("a pattern"));
        let value = RawJson::new(serde_json::to_vec(text).expect("JSON")).expect("JSON");
        let in_text = validate(&Action::text("t", "T", rules), Some(&value)).is_ok();
        let data = serde_json::to_string(&json!({"t": text})).expect("JSON");
        assert_eq!(
            fits(&json!({"properties": {"t": {"pattern": pattern}}}), &data),
            in_text,
            "{pattern} {text:?}"
        );
        let named = serde_json::to_string(&json!({text: 1})).expect("JSON");
        let by_name = json!({"patternProperties": {pattern: {"type": "string"}}});
        assert_eq!(!fits(&by_name, &named), in_text, "{pattern} {text:?} as a name");
    }
}
