//! Charges and their caps.

use futures_util::future::join_all;
use ledger::Micros;
use records::{Hold, HoldError, Payer, Records};

use crate::cast::{ada, attempt, kai, key, micros, payer, request};
use crate::stage::{Stage, on_each_database};

/// Which of `count` holds of one KAI that come at once are granted.
async fn holds(records: &[&Records], payer: Payer, count: usize) -> Vec<Result<Hold, HoldError>> {
    let ask = |number: usize| {
        let charges = records[number % records.len()].charges();
        tokio::spawn(async move { charges.hold(payer, request(format!("r{number}")), kai(1), 60).await })
    };
    join_all((0..count).map(ask)).await.into_iter().map(Result::unwrap).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_thousand_charges_at_once_no_more_are_granted_than_the_smallest_bound_allows() {
    on_each_database(async |stage: &Stage| {
        let records = stage.open().await;
        let user = ada(&records, 60, 100).await.id;
        let mut new_key = key(&records, user, 1).await;
        new_key.cap = Some(kai(40));
        let key = records.keys().create(new_key, None).await.unwrap().id;

        let capped = holds(&[&records], payer(user, Some(key)), 1000).await;
        assert_eq!(capped.iter().filter(|hold| hold.is_ok()).count(), 40);
        let is_key =
            |error: &HoldError| matches!(error, HoldError::KeyCapReached { remaining } if *remaining == micros(0));
        assert!(capped.iter().filter_map(|hold| hold.as_ref().err()).all(is_key));
        let window = records.usage().window(user).await.unwrap();
        assert_eq!((window.held, window.remaining), (kai(40), kai(20)));
        for hold in capped.into_iter().flatten() {
            let settled = records.charges().settle(&hold, kai(1), attempt(1), None).await.unwrap();
            assert_eq!((settled.charged, settled.is_clamped, settled.is_repeat), (kai(1), false, false));
        }
        let window = records.usage().window(user).await.unwrap();
        assert_eq!((window.used, window.held, window.remaining), (kai(40), Micros::ZERO, kai(20)));
        records.ledger().verify(None).await.unwrap();
        records.close().await;
    })
    .await;
}
