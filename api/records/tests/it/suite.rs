//! What holds on each database.

use std::time::Duration;

use futures_util::future::join_all;
use ledger::{AccountId, Event, Fault, Ledger, Limit, Micros, Refusal, State, Timestamp, TransferId, Void, Wrong};
use rand::{Rng, SeedableRng, rngs::SmallRng};
use records::{Records, RecordsError, VerifyError};
use tokio::time::{sleep, timeout};

use crate::stage::{BANK, REVENUE, Stage, USER, hold, on_each_database, opening, settle, transfer};

async fn available(records: &Records) -> u64 {
    records.ledger().balance(USER).await.unwrap().unwrap().balance.available().get()
}

/// How many of `count` holds of 1 that come at once are granted.
async fn granted(records: &[&Records], count: u128) -> usize {
    let ask = |id: u128| {
        let ledger = records[id as usize % records.len()].ledger().clone();
        tokio::spawn(async move { ledger.apply(vec![hold(1000 + id, 1)]).await })
    };
    let answers = join_all((0..count).map(ask)).await;
    let outcomes = answers.into_iter().map(|answer| answer.unwrap().unwrap()[0]);
    outcomes
        .filter(|outcome| match outcome {
            Ok(done) => !done.is_repeat,
            Err(refusal) => {
                assert_eq!(*refusal, Refusal::ExceedsCredits);
                false
            }
        })
        .count()
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_thousand_holds_at_once_against_money_for_a_hundred_a_hundred_are_granted() {
    on_each_database(async |stage: &Stage| {
        let records = stage.open().await;
        records.ledger().apply(opening(100)).await.unwrap();
        assert_eq!(granted(&[&records], 1000).await, 100);
        assert_eq!(available(&records).await, 0);
        let verified = records.ledger().verify(Some(&records.ledger().head().await.unwrap())).await.unwrap();
        // The opening, a hundred holds, and nine hundred ids that are spent.
        assert_eq!((verified.held, verified.head.sequence), (100, 1004));
        records.close().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_processes_on_one_database_grant_no_more_than_one() {
    on_each_database(async |stage: &Stage| {
        let (one, other) = (stage.open().await, stage.open().await);
        one.ledger().apply(opening(100)).await.unwrap();
        assert_eq!(granted(&[&one, &other], 400).await, 100);
        assert_eq!((available(&one).await, available(&other).await), (0, 0));
        one.ledger().verify(Some(&other.ledger().head().await.unwrap())).await.unwrap();
        one.close().await;
        other.close().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn processes_that_begin_at_once_on_an_empty_database_all_open_it() {
    on_each_database(async |stage: &Stage| {
        let begun = join_all((0..6).map(|_| tokio::spawn(stage.open()))).await;
        for records in begun.into_iter().map(Result::unwrap) {
            records.ledger().apply(opening(100)).await.unwrap();
            records.ledger().verify(None).await.unwrap();
            records.close().await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_answered_is_there_when_it_is_opened_again_and_happens_once() {
    on_each_database(async |stage: &Stage| {
        let records = stage.open().await;
        records.ledger().apply(opening(100)).await.unwrap();
        let charge = [hold(10, 80), settle(11, 10, 30)];
        for event in charge {
            assert!(records.ledger().apply(vec![event]).await.unwrap()[0].is_ok_and(|done| !done.is_repeat));
        }
        let head = records.ledger().head().await.unwrap();
        records.close().await;

        let records = stage.open().await;
        assert_eq!(records.ledger().head().await.unwrap(), head);
        assert_eq!(available(&records).await, 70);
        for event in charge {
            assert!(records.ledger().apply(vec![event]).await.unwrap()[0].is_ok_and(|done| done.is_repeat));
        }
        let state = async |id| records.ledger().transfer(TransferId(id)).await.unwrap().map(|record| record.state);
        assert_eq!(
            (state(10).await, state(11).await, state(12).await),
            (Some(State::Settled), Some(State::Final), None)
        );
        assert_eq!(records.ledger().verify(Some(&head)).await.unwrap().head, head);
        records.close().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_whose_time_is_over_is_freed_without_anybody_asking() {
    on_each_database(async |stage: &Stage| {
        let records = stage.open().await;
        records.ledger().apply(opening(100)).await.unwrap();
        records.ledger().apply(vec![hold(10, 80)]).await.unwrap();
        assert_eq!(available(&records).await, 20);
        stage.pass(60);
        // The writer says nothing when it does so: there is nothing to wait for but the balance.
        let freed = async {
            while available(&records).await != 100 {
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(Duration::from_secs(20), freed).await.unwrap();
        let late = records.ledger().apply(vec![settle(11, 10, 1)]).await.unwrap();
        assert_eq!(late, [Err(Refusal::PendingTransferExpired)]);
        records.ledger().verify(None).await.unwrap();
        records.close().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_changed_in_the_tables_is_found() {
    on_each_database(async |stage: &Stage| {
        let records = stage.open().await;
        records.ledger().apply(opening(100)).await.unwrap();
        let kept = records.ledger().head().await.unwrap();
        let check = async |change: &str, back: &str, is_found: fn(&VerifyError) -> bool| {
            stage.execute(change).await;
            let error = records.ledger().verify(Some(&kept)).await.unwrap_err();
            assert!(is_found(&error), "{change}: {error}");
            stage.execute(back).await;
            records.ledger().verify(Some(&kept)).await.unwrap();
        };
        check(
            "UPDATE ledger_accounts SET credits_posted = credits_posted + 1 WHERE credits_posted > 0",
            "UPDATE ledger_accounts SET credits_posted = credits_posted - 1 WHERE credits_posted > 0",
            |error| matches!(error, VerifyError::Account(USER)),
        )
        .await;
        check(
            "UPDATE ledger_journal SET sequence = 9 WHERE sequence = 2",
            "UPDATE ledger_journal SET sequence = 2 WHERE sequence = 9",
            |error| matches!(error, VerifyError::Journal(Fault { position: 2, why: Wrong::Number { found: 3 } })),
        )
        .await;
        check("UPDATE ledger_head SET sequence = 3", "UPDATE ledger_head SET sequence = 4", |error| {
            matches!(error, VerifyError::Head { found: 4, written: 3 })
        })
        .await;
        stage.execute("DELETE FROM ledger_journal WHERE sequence = 4").await;
        stage.execute("UPDATE ledger_head SET sequence = 3").await;
        let error = records.ledger().verify(Some(&kept)).await.unwrap_err();
        assert!(matches!(error, VerifyError::Journal(Fault { position: 4, why: Wrong::End })), "{error}");
        records.close().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_beyond_a_bound_are_refused_and_a_chain_is_all_or_nothing() {
    on_each_database(async |stage: &Stage| {
        let records = stage.open().await;
        records.ledger().apply(opening(100)).await.unwrap();
        let chain = vec![hold(10, 60), hold(11, 60)];
        let refused = [Err(Refusal::LinkedEventFailed), Err(Refusal::ExceedsCredits)];
        assert_eq!(records.ledger().apply(chain).await.unwrap(), refused);
        assert_eq!(available(&records).await, 100);
        assert_eq!(records.ledger().apply(Vec::new()).await.unwrap(), []);
        let error = records.ledger().apply(vec![hold(12, 1); 65]).await.unwrap_err();
        assert!(matches!(error, RecordsError::TooMany { max: 64, asked: 65, .. }), "{error}");
        assert!(records.ledger().journal(0, 1001).await.is_err());
        assert_eq!(records.ledger().journal(2, 2).await.unwrap().len(), 2);
        assert_eq!(records.ledger().balance(AccountId(99)).await.unwrap(), None);
        let ledger = records.ledger().clone();
        records.close().await;
        assert!(matches!(ledger.apply(vec![hold(13, 1)]).await, Err(RecordsError::Closed)));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_wait_when_it_is_closed_are_answered() {
    on_each_database(async |stage: &Stage| {
        let records = stage.open().await;
        records.ledger().apply(opening(1000)).await.unwrap();
        let waiting: Vec<_> = (0..100)
            .map(|id| {
                let ledger = records.ledger().clone();
                async move { ledger.apply(vec![hold(1000 + id, 1)]).await }
            })
            .collect();
        let (answers, ()) = tokio::join!(join_all(waiting), records.close());
        assert!(answers.iter().all(|answer| answer.as_ref().is_ok_and(|outcomes| outcomes[0].is_ok())));
    })
    .await;
}

/// Any events, in chains, from few ids.
fn chance(random: &mut SmallRng) -> Vec<Event> {
    let account = |random: &mut SmallRng| AccountId(random.random_range(1..5));
    let count = if random.random_bool(0.8) { 1 } else { random.random_range(2..5) };
    let event = |random: &mut SmallRng| {
        let (id, other) = (random.random_range(10..150), random.random_range(10..150));
        match random.random_range(0..10) {
            0 => Event::Void(Void { id: TransferId(id), hold: TransferId(other), reference: 0 }),
            1..4 => settle(id, other, random.random_range(0..40)),
            4 => Event::Expire(TransferId(other)),
            5 => opening(0)[1],
            n => {
                let kind = if n < 8 { ledger::Kind::Hold { timeout_s: 2 } } else { ledger::Kind::Post };
                transfer(id, account(random), account(random), random.random_range(0..60), kind)
            }
        }
    };
    (0..count).map(|_| event(random)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_decides_like_memory() {
    let seed = rand::rng().random();
    on_each_database(async |stage: &Stage| {
        let mut random = SmallRng::seed_from_u64(seed);
        let (mut records, mut memory) = (stage.open().await, Ledger::in_memory());
        let now = |seconds: u32| Timestamp::new(1_700_000_000_000_000_000).unwrap().after(seconds).unwrap();
        let mut first = opening(300);
        first.push(transfer(2, BANK, REVENUE, 50, ledger::Kind::Post));
        assert_eq!(records.ledger().apply(first.clone()).await.unwrap(), memory.apply(now(0), &first).unwrap());
        for round in 0..60 {
            // Asked at once, applied in order.
            let chains: Vec<_> = (0..random.random_range(1..20)).map(|_| chance(&mut random)).collect();
            let answers = join_all(chains.iter().map(|chain| records.ledger().apply(chain.clone()))).await;
            for (chain, answer) in chains.iter().zip(answers) {
                let want = memory.apply(now(0), chain).unwrap();
                assert_eq!(answer.unwrap(), want, "seed {seed}, round {round}: {chain:?}");
            }
            if round % 20 == 19 {
                records.close().await;
                records = stage.open().await;
            }
        }
        let head = records.ledger().head().await.unwrap();
        assert_eq!(head, memory.head(), "seed {seed}");
        let verified = records.ledger().verify(Some(&head)).await.unwrap();
        assert!(verified.accounts.iter().all(|state| memory.account(state.account.id) == Some(state)));
        assert!(verified.accounts.iter().any(|state| state.account.limit == Limit::DebitsMustNotExceedCredits));
        assert!(verified.posted().0 > u128::from(Micros::ZERO.get()));
        records.close().await;
    })
    .await;
}
