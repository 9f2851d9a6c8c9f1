//! Charges and their caps.

use std::time::Duration;

use futures_util::future::join_all;
use ledger::Micros;
use records::{
    Attempt, Conflict, Hold, HoldError, Kept, Payer, Records, RecordsError, SettleError, Settlement, UsageFilter,
    UserId, chart::REVENUE,
};

use crate::{
    cast::{ada, attempt, kai, key, micros, payer, request, user, word},
    stage::{Stage, on_each_database},
};

/// Which of `count` holds of one KAI that come at once are granted.
async fn holds(name: &str, records: &[&Records], payer: Payer, count: usize) -> Vec<Result<Hold, HoldError>> {
    let ask = |number: usize| {
        let (charges, name) = (records[number % records.len()].charges(), request(format!("{name}{number}")));
        tokio::spawn(async move { charges.hold(payer, name, kai(1), 60, None).await })
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

        let capped = holds("r", &[&records], payer(user, Some(key)), 1000).await;
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

#[tokio::test(flavor = "multi_thread")]
async fn balance_and_cap_bound_the_charges_of_two_processes() {
    on_each_database(async |stage: &Stage| {
        let (one, other) = (stage.open().await, stage.open().await);
        let rich = ada(&one, 30, 1000).await.id;
        let poor = one.users().create(user(&one, "bob@example.com", 500, 20).await, None).await.unwrap().id;
        let both = [&one, &other];
        let (capped, short) =
            tokio::join!(holds("rich", &both, payer(rich, None), 300), holds("poor", &both, payer(poor, None), 300),);
        let granted = |holds: &[Result<Hold, HoldError>]| holds.iter().filter(|hold| hold.is_ok()).count();
        assert_eq!((granted(&capped), granted(&short)), (30, 20));
        let is_cap = |error: &HoldError| matches!(error, HoldError::UsageCapReached(window) if window.cap == kai(30));
        assert!(capped.iter().filter_map(|hold| hold.as_ref().err()).all(is_cap));
        let is_short = |error: &HoldError| matches!(error, HoldError::InsufficientFunds { .. });
        assert!(short.iter().filter_map(|hold| hold.as_ref().err()).all(is_short));
        // A refusal is for good, also when there is money again.
        let refused = short.iter().position(Result::is_err).unwrap();
        one.gifts().credit(poor, kai(100), &request("gift-1"), None).await.unwrap();
        let again = other.charges().hold(payer(poor, None), request(format!("poor{refused}")), kai(1), 60, None).await;
        assert!(matches!(again, Err(HoldError::InsufficientFunds { available }) if available == kai(100)), "{again:?}");
        one.ledger().verify(None).await.unwrap();
        one.close().await;
        other.close().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_asked_again_is_answered_as_the_first_time_and_happens_once() {
    on_each_database(async |stage: &Stage| {
        let records = stage.open().await;
        let (user, charges) = (ada(&records, 60, 100).await.id, records.charges());
        let hold = charges.hold(payer(user, None), request("r"), kai(5), 60, None).await.unwrap();
        assert_eq!(charges.hold(payer(user, None), request("r"), kai(5), 60, None).await.unwrap(), hold);
        let different = charges.hold(payer(user, None), request("r"), kai(6), 60, None).await;
        assert!(matches!(different, Err(HoldError::Records(RecordsError::Conflict(Conflict::Different)))));

        charges.note(&hold, attempt(1)).await.unwrap();
        charges.note(&hold, attempt(1)).await.unwrap();
        let first = charges.settle(&hold, kai(7), attempt(2), None).await.unwrap();
        assert_eq!(first, Settlement { charged: kai(5), is_clamped: true, is_repeat: false });
        let again = charges.settle(&hold, kai(7), attempt(2), None).await.unwrap();
        assert_eq!(again, Settlement { charged: kai(5), is_clamped: true, is_repeat: true });
        let different = charges.settle(&hold, kai(7), attempt(3), None).await;
        assert!(matches!(different, Err(SettleError::Records(RecordsError::Conflict(Conflict::Different)))));
        let voided = charges.void(&hold, Some(attempt(4))).await;
        assert!(matches!(voided, Err(RecordsError::Conflict(Conflict::Different))), "{voided:?}");
        let rows = records.usage().of_request(&hold.request).await.unwrap();
        let costs: Vec<_> = rows.iter().map(|row| (row.attempt.number, row.cost)).collect();
        assert_eq!(costs, [(1, Micros::ZERO), (2, kai(5))]);
        assert_eq!(records.users().funds(user).await.unwrap().available, kai(95));
        records.ledger().verify(None).await.unwrap();
        records.close().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_voided_or_expired_charge_costs_nothing_and_leaves_the_row_of_its_attempt() {
    on_each_database(async |stage: &Stage| {
        let records = stage.open().await;
        let (user, charges) = (ada(&records, 60, 100).await.id, records.charges());
        let hold = async |name: &str| charges.hold(payer(user, None), request(name), kai(5), 60, None).await.unwrap();
        let (voided, bare, expired, left) = (hold("a").await, hold("b").await, hold("c").await, hold("d").await);
        charges.void(&voided, Some(attempt(1))).await.unwrap();
        charges.void(&voided, Some(attempt(1))).await.unwrap();
        charges.void(&bare, None).await.unwrap();
        charges.void(&bare, Some(attempt(1))).await.unwrap();
        let late = charges.settle(&bare, kai(1), attempt(2), None).await;
        assert!(matches!(late, Err(SettleError::Voided)), "{late:?}");
        stage.pass(61);
        let late = charges.settle(&expired, kai(1), attempt(1), None).await;
        assert!(matches!(late, Err(SettleError::Expired)), "{late:?}");
        let late = charges.settle(&expired, kai(1), attempt(1), None).await;
        assert!(matches!(late, Err(SettleError::Expired)), "{late:?}");
        charges.void(&left, Some(attempt(1))).await.unwrap();
        let rows = records.usage().page(user, &UsageFilter::default(), None, 100).await.unwrap();
        let mut rows: Vec<_> =
            rows.iter().map(|row| (row.request.as_str(), row.attempt.status.as_str(), row.cost)).collect();
        rows.sort_unstable();
        let free = Micros::ZERO;
        assert_eq!(rows, [("a", "ok", free), ("b", "ok", free), ("c", "expired", free), ("d", "ok", free)]);
        let verified = records.ledger().verify(None).await.unwrap();
        // Whoever sweeps first: nothing of it is charged.
        assert!(
            verified.accounts.iter().all(|state| state.account.id != REVENUE || state.balance.credits_posted == free)
        );
        records.close().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_is_kept_if_and_only_if_its_charge_is_made() {
    on_each_database(async |stage: &Stage| {
        let records = stage.open().await;
        let (user, charges) = (ada(&records, 60, 100).await.id, records.charges());
        let kept = |name: u8, answer: &str| Kept {
            user,
            name: [name; 32],
            fingerprint: [7; 32],
            status: 200,
            answer: answer.as_bytes().to_vec(),
            created: stage.now(),
        };
        let hold = charges.hold(payer(user, None), request("r"), kai(5), 60, None).await.unwrap();
        let other = charges.hold(payer(user, None), request("s"), kai(5), 60, None).await.unwrap();
        charges.settle(&hold, kai(1), attempt(1), Some(kept(1, "first"))).await.unwrap();
        assert_eq!(records.kept().find(user, &[1; 32]).await.unwrap(), Some(kept(1, "first")));
        assert_eq!(records.kept().find(UserId(0), &[1; 32]).await.unwrap(), None);

        // The same name for another charge: neither is done.
        let refused = charges.settle(&other, kai(2), attempt(1), Some(kept(1, "second"))).await;
        assert!(matches!(refused, Err(SettleError::Records(RecordsError::Conflict(Conflict::Kept)))), "{refused:?}");
        assert_eq!(records.usage().of_request(&other.request).await.unwrap(), []);
        assert_eq!(records.usage().window(user).await.unwrap().used, kai(1));
        assert_eq!(records.kept().find(user, &[1; 32]).await.unwrap(), Some(kept(1, "first")));
        // A charge that is refused: no answer is kept.
        charges.void(&other, None).await.unwrap();
        let refused = charges.settle(&other, kai(2), attempt(1), Some(kept(2, "third"))).await;
        assert!(matches!(refused, Err(SettleError::Voided)), "{refused:?}");
        assert_eq!(records.kept().find(user, &[2; 32]).await.unwrap(), None);

        // After a day the name is free again.
        stage.pass(24 * 60 * 60 + 1);
        assert_eq!(records.kept().find(user, &[1; 32]).await.unwrap(), None);
        records.kept().keep(kept(1, "next")).await.unwrap();
        assert_eq!(records.kept().find(user, &[1; 32]).await.unwrap(), Some(kept(1, "next")));
        let refused = records.kept().keep(kept(1, "again")).await;
        assert!(matches!(refused, Err(RecordsError::Conflict(Conflict::Kept))), "{refused:?}");
        stage.pass(24 * 60 * 60 + 1);
        records.kept().sweep().await.unwrap();
        assert_eq!(stage.count("idempotency").await, 0);
        records.close().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_charges_that_come_at_once_with_one_name_one_is_made_and_those_beside_it_are() {
    on_each_database(async |stage: &Stage| {
        let records = stage.open().await;
        let (user, charges) = (ada(&records, 1000, 1000).await.id, records.charges());
        for round in 0..5_u8 {
            let mut held = Vec::new();
            for number in 0..40 {
                let name = request(format!("r{round}-{number}"));
                held.push(charges.hold(payer(user, None), name, kai(1), 60, None).await.unwrap());
            }
            let settled = join_all(held.iter().enumerate().map(|(number, hold)| {
                // Half of them say the same name; the others say none.
                let kept = (number % 2 == 0).then(|| Kept {
                    user,
                    name: [round; 32],
                    fingerprint: [7; 32],
                    status: 200,
                    answer: vec![number as u8],
                    created: stage.now(),
                });
                charges.settle(hold, kai(1), attempt(1), kept)
            }));
            let settled = settled.await;
            let (named, free): (Vec<_>, Vec<_>) = settled.iter().enumerate().partition(|(number, _)| number % 2 == 0);
            assert!(free.iter().all(|(_, settled)| settled.is_ok()));
            let (made, refused): (Vec<_>, Vec<_>) = named.into_iter().partition(|(_, settled)| settled.is_ok());
            let is_kept =
                |error: &SettleError| matches!(error, SettleError::Records(RecordsError::Conflict(Conflict::Kept)));
            assert!(refused.iter().all(|(_, settled)| settled.as_ref().is_err_and(is_kept)), "{refused:?}");
            let [(number, _)] = made[..] else { unreachable!("{made:?}") };
            let kept = records.kept().find(user, &[round; 32]).await.unwrap().unwrap();
            assert_eq!(kept.answer, [number as u8]);
            assert_eq!(records.usage().window(user).await.unwrap().used, kai(21 * (u64::from(round) + 1)));
        }
        records.ledger().verify(None).await.unwrap();
        records.close().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_has_its_row_from_its_beginning_and_one_whose_end_nobody_tells_is_lost() {
    on_each_database(async |stage: &Stage| {
        let records = stage.open().await;
        let (user, charges) = (ada(&records, 60, 100).await.id, records.charges());
        let begin = async |name: &str, number| {
            charges.hold(payer(user, None), request(name), kai(5), 60, Some(attempt(number))).await
        };
        let rows = async |name: &str| -> Vec<_> {
            let rows = records.usage().of_request(&request(name)).await.unwrap();
            rows.into_iter().map(|row| (row.attempt.number, row.attempt.status, row.cost, row.created)).collect()
        };
        let (began, free) = (stage.now(), Micros::ZERO);
        let hold = begin("a", 1).await.unwrap();
        assert_eq!(begin("a", 1).await.unwrap(), hold);
        assert_eq!(rows("a").await, [(1, word("open"), free, began)]);
        charges.begin(&hold, attempt(2)).await.unwrap();
        charges.begin(&hold, attempt(2)).await.unwrap();
        stage.pass(1);
        charges.note(&hold, Attempt { status: word("reset"), ..attempt(1) }).await.unwrap();
        assert_eq!(rows("a").await, [(1, word("reset"), free, stage.now()), (2, word("open"), free, began)]);
        charges.settle(&hold, kai(3), attempt(2), None).await.unwrap();
        let ended = [(1, word("reset"), free, stage.now()), (2, word("ok"), kai(3), stage.now())];
        assert_eq!(rows("a").await, ended);
        // What has ended does not begin again.
        charges.begin(&hold, attempt(2)).await.unwrap();
        assert_eq!(rows("a").await, ended);

        let (lost, late) = (begin("b", 1).await.unwrap(), begin("c", 1).await.unwrap());
        let voided = begin("d", 1).await.unwrap();
        charges.void(&voided, Some(Attempt { status: word("reset"), ..attempt(1) })).await.unwrap();
        // Without the money nobody is asked, so that there is no row.
        let poor = charges.hold(payer(user, None), request("f"), kai(90), 60, Some(attempt(1))).await;
        assert!(matches!(poor, Err(HoldError::InsufficientFunds { .. } | HoldError::UsageCapReached(_))), "{poor:?}");
        assert_eq!(rows("f").await, []);
        stage.pass(61);
        let is_swept = async || stage.number("SELECT COUNT(*) FROM usage WHERE status = 'open'").await == 0;
        while !is_swept().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(rows("b").await, [(1, word("lost"), free, stage.now())]);
        assert_eq!(rows("d").await[0].1, word("reset"));
        // Who comes late all the same can still tell what happened, and is not paid.
        let settled = charges.settle(&late, kai(1), attempt(1), None).await;
        assert!(matches!(settled, Err(SettleError::Expired)), "{settled:?}");
        assert_eq!(rows("c").await, [(1, word("expired"), free, stage.now())]);
        charges.note(&lost, attempt(1)).await.unwrap();
        assert_eq!(rows("b").await, [(1, word("ok"), free, stage.now())]);
        assert_eq!(records.users().funds(user).await.unwrap().available, kai(97));
        records.ledger().verify(None).await.unwrap();
        records.close().await;
    })
    .await;
}
