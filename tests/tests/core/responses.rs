//! Does an answer's data fit the action? Judged for each of the 338 rows.

use atp_core::{Action, RawJson, validate};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::support::cases;

#[derive(Deserialize)]
struct Row {
    id: String,
    action: serde_json::Value,
    #[serde(default)]
    response_data_missing: bool,
    response_data: Box<RawValue>,
    response_data_json_b64: Option<serde_json::Value>,
    expect: String,
    reason: String,
}

impl Row {
    /// An action that cannot be read, and data that is not strict JSON, fit nothing.
    fn fits(&self) -> bool {
        let Ok(action) = serde_json::from_value::<Action>(self.action.clone()) else { return false };
        if self.response_data_missing {
            return validate(&action, None).is_ok();
        }
        let text = self.response_data_json_b64.as_ref().and_then(cases::base64);
        let text = text.unwrap_or_else(|| self.response_data.get().as_bytes().to_vec());
        RawJson::new(text).is_ok_and(|data| validate(&action, Some(&data)).is_ok())
    }
}

#[test]
fn response_rows_are_judged_as_the_protocol_says() {
    let (mut asserted, mut wrong, mut sides) = (0, Vec::new(), Vec::new());
    for row in cases::rows::<Row>("responses.jsonl") {
        let fits = row.fits();
        match row.expect.as_str() {
            "either" => sides.push(format!(
                "{} {}: {}",
                if fits { "fits" } else { "does not fit" },
                row.id,
                row.reason
            )),
            expect => {
                asserted += 1;
                if fits != (expect == "valid") {
                    wrong.push(format!("{} must be {expect}: {}", row.id, row.reason));
                }
            }
        }
    }
    println!(
        "responses.jsonl: {asserted} asserted; of the {} that are open we took:\n{}",
        sides.len(),
        sides.join("\n")
    );
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!((asserted, sides.len()), (251, 87));
}
