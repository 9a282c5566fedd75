//! No signed body panics: in every scheme, as every response type, against every action.
#![no_main]

use atp_core::{
    Action, Binary, Choice, Field, File, Form, Json, MultiChoice, Number, NumberRules, Options, RawJson, ResponseType,
    Scheme, Secret, Select, Selections, Signature, Simple, Text, TextRules, UserDecision, Verifier, validate,
};
use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};

fuzz_target!(|body: &[u8]| {
    let verifier = Verifier::new(Secret::new("0123456789abcdef").expect("a secret")).without_payload_time();
    for scheme in Scheme::ALL {
        let Ok(signature) = verifier.sign(scheme, body) else { continue };
        let headers = [(Signature::HEADER, signature.to_string())];
        let verdict = verifier.verify(headers.clone(), body.to_vec());
        if is_of_timestamped_form(body) && scheme != Scheme::Timestamped {
            continue;
        }
        let verified = verdict.expect("what was signed verifies");
        if let Ok(answer) = verified.decode() {
            let event = UserDecision::new(&answer, verifier.now());
            serde_json::to_string(&event).expect("an answer is an event");
            read(answer.response_data.as_ref());
        }
        let forged = Verifier::new(Secret::new("another secret of ours").expect("a secret"));
        assert!(!forged.explain(headers, body.to_vec()).is_empty());
    }
    if let Ok(data) = RawJson::new(body.to_vec()) {
        read(Some(&data));
    }
});

/// A bare digest over what the timestamped scheme signs is refused, and no answer begins like that.
fn is_of_timestamped_form(text: &[u8]) -> bool {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    digits > 0 && text.get(digits) == Some(&b'.')
}

fn read(data: Option<&RawJson>) {
    let _ = (Simple::read(data), Binary::read(data), Text::read(data), File::read(data));
    let _ = (Choice::<String>::read(data), MultiChoice::<String>::read(data), Select::<String>::read(data));
    let _ = (Number::<f64>::read(data), Number::<u64>::read(data), Json::<Value>::read(data));
    let _ = Form::<std::collections::BTreeMap<String, u8>>::read(data);
    let options = || Options::new([("a", "A"), ("b", "B")]);
    let schema = json!({ "type": "object", "required": ["a"], "properties": { "a": { "type": "integer" } } });
    for action in [
        Action::simple("i", "L"),
        Action::choice("i", "L", options()),
        Action::multi_choice("i", "L", options(), Selections::any().min(1).max(1)),
        Action::select("i", "L", options()),
        Action::text("i", "L", TextRules::new().min_length(2).max_length(5)),
        Action::number("i", "L", NumberRules::new().min(1).max(9).step(2)),
        Action::form("i", "L", [Field::new("a/b", "L").required()]),
        Action::json_schema("i", "L", schema),
        Action::file("i", "L"),
    ] {
        if let Err(violations) = validate(&action, data) {
            assert!(violations.iter().count() > 0 && !violations.to_string().is_empty());
        }
    }
}
