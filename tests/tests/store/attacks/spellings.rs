//! A captured delivery, spelt otherwise so that its signature still fits.

use actix_web::web::Bytes;
use atp_actix::{Scheme, store::Store, test::SignedAnswer};
use chrono::TimeDelta;

use super::assert_forgotten;
use crate::support::{
    asked::{Clock, answer, approve, record},
    audit::{kept, refused},
    databases::on_every_store,
    mounted::{Mounted, count, counting, redrive, runs, webhook, webhook_by},
};

on_every_store!(
    erased_words_do_not_come_back_as_a_raw_spelling_of_a_timestamped_delivery,
    erased_words_do_not_come_back_with_a_repeated_member,
    a_respelled_delivery_does_not_take_the_place_of_the_good_one,
    alternating_spellings_take_no_turn_to_write,
);

fn header(parts: &[(String, String)], name: &str) -> String {
    parts.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.clone()).expect("a header")
}

/// A captured timestamped delivery, as one that is signed raw.
fn as_raw(sent: &SignedAnswer) -> SignedAnswer {
    let (headers, body) = sent.to_parts();
    let signature = header(&headers, "x-atp-signature");
    let (t, v1) = signature.split_once(",v1=").expect("both");
    let t = t.strip_prefix("t=").expect("t");
    let body = [t.as_bytes(), b".", &body].concat();
    sent.clone().body(Bytes::from(body)).signature(v1)
}

/// A captured canonical delivery, with a member twice: the same canonical text.
fn doubled(sent: &SignedAnswer) -> SignedAnswer {
    let (headers, body) = sent.to_parts();
    let signature = header(&headers, "x-atp-signature");
    let body = [br#"{"action_id":0,"#, &body[1..]].concat();
    sent.clone().body(Bytes::from(body)).signature(signature)
}

async fn erased_words_do_not_come_back_as_a_raw_spelling_of_a_timestamped_delivery(store: impl Store) {
    let app = Mounted::new(webhook(&store).otherwise(counting(&runs()))).await;
    record(&store, "n-1").await;
    let sent = answer("n-1", "reject", "whisper");
    app.expect(&sent, 200, "run 1").await;
    store.erase("default", "n-1").await.expect("erased");
    println!("{:?}", app.send(&as_raw(&sent)).await);
    assert_forgotten(&store).await;
}

async fn erased_words_do_not_come_back_with_a_repeated_member(store: impl Store) {
    let app = Mounted::new(webhook(&store).otherwise(counting(&runs()))).await;
    record(&store, "n-1").await;
    let sent = answer("n-1", "reject", "whisper").scheme(Scheme::PythonCanonical);
    app.expect(&sent, 200, "run 1").await;
    store.erase("default", "n-1").await.expect("erased");
    println!("{:?}", app.send(&doubled(&sent)).await);
    assert_forgotten(&store).await;
}

async fn a_respelled_delivery_does_not_take_the_place_of_the_good_one(store: impl Store) {
    let runs = runs();
    let app = Mounted::new(webhook(&store).otherwise(counting(&runs))).await;
    let sent = answer("n-1", "reject", "no").scheme(Scheme::PythonCanonical);
    // Whoever saw the first one is faster than the second, and the question is recorded too late.
    println!("{:?}", app.send(&doubled(&sent)).await);
    println!("{:?}", app.send(&sent).await);
    record(&store, "n-1").await;
    let refused = refused(&store).await;
    let mut statuses = Vec::new();
    for refused in &refused {
        statuses.push(app.redrive(redrive(&store, refused.id).await).await);
    }
    assert_eq!(count(&runs), 1, "{statuses:?} {:?}", kept(&store).await);
}

async fn alternating_spellings_take_no_turn_to_write(store: impl Store) {
    let app = Mounted::new(webhook(&store).otherwise(counting(&runs()))).await;
    let sent = answer("n-1", "reject", "no").scheme(Scheme::PythonCanonical);
    let mut verdicts = Vec::new();
    for _ in 0..3 {
        app.send(&doubled(&sent)).await;
        verdicts.extend(kept(&store).await.first().copied());
        app.send(&sent).await;
        verdicts.extend(kept(&store).await.first().copied());
    }
    verdicts.dedup();
    assert!(verdicts.len() <= 2, "each replay wrote: {verdicts:?}");
}

#[actix_web::test]
async fn what_is_respelled_to_be_no_answer_is_not_kept() {
    let clock = Clock::new();
    let store = atp_actix::store::MemoryStore::new();
    let app = Mounted::new(webhook_by(&clock, &store).otherwise(counting(&runs()))).await;
    let python = answer("n-1", "reject", "no").scheme(Scheme::PythonCanonical);
    let timestamped = approve("n-1");
    let (python, raw) = (doubled(&python), as_raw(&timestamped));
    clock.ahead(TimeDelta::days(1000));
    let statuses = [app.send(&python).await.0, app.send(&raw).await.0];
    assert_eq!((statuses, kept(&store).await.len()), ([400, 401], 0));
}
