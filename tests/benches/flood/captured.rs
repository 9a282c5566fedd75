//! What somebody who has once seen deliveries knows: their signatures and bodies, and no secret.

use std::{fs, path::Path};

use atp_actix::{
    Scheme,
    test::{Sender, SignedAnswer},
};
use atp_tests::{PATH, SECRET};
use chrono::{TimeDelta, Utc};

use crate::{
    database::Database,
    honest,
    http::{self, Connection},
};

pub(crate) struct Delivery {
    pub(crate) signature: String,
    pub(crate) body: Vec<u8>,
}

/// Deliveries that the service has answered.
pub(crate) struct Captured {
    /// It was handled.
    pub(crate) good: Delivery,
    /// These were refused: for another answer that stands, for a deadline, and for data that does
    /// not fit.
    pub(crate) refused: [Delivery; 3],
    /// Signed, and no answer.
    pub(crate) malformed: Delivery,
    /// Bare digests of a text that CPython prints: another answer, and no answer.
    pub(crate) respelt: [Delivery; 2],
}

impl Captured {
    /// How many of them are refused: rows that stay, however often they come.
    pub(crate) const REFUSED: i64 = 6;
    /// How many of them are handled.
    pub(crate) const HANDLED: i64 = 2;
    /// How many rows of the audit they make at most: a refused answer that came while there was
    /// none yet has no other.
    pub(crate) const NOTED: i64 = 16;

    /// Delivers each of them for the first time, and leaves what was seen of them in this folder.
    pub(crate) async fn make(database: &Database, address: &str) {
        // A question is asked before its deadline; its answer is signed a little ahead, as by a clock that
        // differs.
        let deadline = Utc::now() + TimeDelta::seconds(30);
        let questions = ["good", "standing", "unfit"].map(|id| honest::question(id, None));
        database.record(questions).await;
        database.record([honest::question("late", Some(deadline))]).await;
        let answer = |id: &str, action: &str| Sender::new(SECRET).answer(id, action, ());
        let python = |answer: SignedAnswer| answer.scheme(Scheme::PythonCanonical);
        let no_answer = |text: &'static str| answer("none", "none").body(text);
        let deliveries = [
            ("good", 200, answer("good", "approve")),
            ("standing", 200, answer("standing", "approve")),
            ("refused-0", 409, answer("standing", "reject")),
            ("refused-1", 409, answer("late", "approve").at(deadline + TimeDelta::seconds(30))),
            ("refused-2", 400, Sender::new(SECRET).answer("unfit", "approve", ["no", "simple", "answer"])),
            ("malformed", 400, no_answer(r#"{"hello":"world"}"#)),
            ("respelt-0", 409, python(answer("standing", "reject").member("why", "it was seen"))),
            ("respelt-1", 400, python(no_answer(r#"{"some": "text", "more": ["a", "list"], "none": null}"#))),
        ];
        let mut connection = Connection::open(address).await.expect("a server");
        for (name, status, delivery) in deliveries {
            let (headers, body) = delivery.to_parts();
            let (_, signature) =
                headers.iter().find(|(name, _)| name == "x-atp-signature").expect("it is signed");
            let request = http::post(PATH, &format!("x-atp-signature: {signature}\r\n"), &body);
            let reply = connection.exchange(&request).await.expect("a reply");
            assert_eq!(reply.status, status, "{name}");
            let seen = [signature.as_bytes(), b"\n", &body[..]].concat();
            fs::write(database.folder().join(name), seen).expect("a file");
        }
    }

    /// What was left in a folder.
    pub(crate) fn read(folder: &Path) -> Self {
        let read = |name: &str| {
            let seen = fs::read(folder.join(name)).expect("a file");
            let end = seen.iter().position(|byte| *byte == b'\n').expect("two parts");
            let signature = String::from_utf8(seen[..end].to_vec()).expect("ASCII");
            Delivery { signature, body: seen[end + 1..].to_vec() }
        };
        Self {
            good: read("good"),
            refused: [read("refused-0"), read("refused-1"), read("refused-2")],
            malformed: read("malformed"),
            respelt: [read("respelt-0"), read("respelt-1")],
        }
    }
}
