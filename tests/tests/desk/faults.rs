//! Whatever a desk does to its deliveries: each decision takes effect once, and the two records agree.
//!
//! A few questions for each fault and scheme unless `ATP_DESK` says how many.

use std::{env, time::Duration};

use atp_actix::{atp_core::Scheme, store::Store as _};
use atp_cli::desk::{Desk, Fault};

use super::{OTHER_SECRET, Routed, Service, story, until};
use crate::support::{
    asked::record,
    databases::{PostgresDatabase, SqliteDatabase},
    orders::Transactional,
};

#[actix_web::test]
async fn each_decision_takes_effect_once_whatever_goes_wrong_on_sqlite() {
    each_decision_takes_effect_once(SqliteDatabase::new().await).await;
}

#[actix_web::test]
async fn each_decision_takes_effect_once_whatever_goes_wrong_on_postgres() {
    if let Some(database) = PostgresDatabase::new().await {
        each_decision_takes_effect_once(database).await;
    }
}

async fn each_decision_takes_effect_once<D: Transactional<Store: Routed>>(database: D) {
    let each: usize = env::var("ATP_DESK").map_or(2, |text| text.parse().expect("a number of questions"));
    let desk = Desk::new().unpaced().answer_within(Duration::from_millis(700)).attempts(60);
    let desk = desk.backoff(Duration::from_millis(20), Duration::from_millis(300));
    let desk = desk.start().await.expect("a desk");
    let service = Service::start(&desk, database).await;
    let store = service.database.store().routed();
    let rotations = (0..100_000).map(|nth| if nth % 2 == 0 { OTHER_SECRET } else { atp_tests::SECRET });
    desk.set_next_secrets(&service.registered.service_id, rotations.map(str::to_owned));
    let mut ids = Vec::new();
    for scheme in Scheme::ALL {
        desk.set_scheme(&service.registered.service_id, scheme).await.expect("a scheme");
        for fault in Fault::ALL {
            let fault = if matches!(fault, Fault::Delay(_)) {
                Fault::Delay(Duration::from_millis(30))
            } else {
                fault
            };
            let here: Vec<String> = (0..each).map(|nth| format!("{}-{fault}-{nth}", scheme.name())).collect();
            for id in &here {
                record(&store, id).await;
            }
            for id in &here {
                until(&format!("{id} is asked"), async || story(&desk, id).await["status"].is_string()).await;
            }
            // Time and again the same goes wrong, and then nothing.
            desk.faults(|faults| faults.next(fault, each + each.div_ceil(2)));
            for id in &here {
                desk.answer(id, "approve", &()).await.expect("an answer");
            }
            for id in &here {
                until(&format!("{id} is taken"), async || {
                    story(&desk, id).await["deliveries"][0]["outcome"] == "taken"
                })
                .await;
            }
            desk.faults(|faults| faults.clear());
            ids.extend(here);
        }
    }
    ids.sort();
    let mut effects = service.database.effects().await;
    effects.sort();
    assert_eq!(effects, ids, "each had its effect, once");
    until("every event is out", async || service.told() == ids).await;
    for id in &ids {
        let known = store.find("default", id, None).await.expect("a store");
        assert!(known.decision.is_some(), "{id}: the service's record");
        let story = story(&desk, id).await;
        assert_eq!((&story["action_id"], &story["status"]), (&"approve".into(), &"completed".into()), "{id}");
    }
    println!(
        "{}: {} questions under {} faults in 4 schemes, {} effects, {} events",
        service.database.name(),
        ids.len(),
        Fault::ALL.len(),
        effects.len(),
        service.told().len()
    );
    desk.stop().await;
}
