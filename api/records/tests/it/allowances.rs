//! The cap of 30 days, as days pass and tiers change.

use futures_util::future::join_all;
use ledger::Micros;
use records::{HoldError, Records, UserId};

use crate::{
    cast::{ada, attempt, kai, payer, request, word},
    stage::{Stage, on_each_database},
};

const DAY: u64 = 24 * 60 * 60;

async fn spend(records: &Records, user: UserId, name: &str, amount: u64) -> Result<(), HoldError> {
    let hold = records.charges().hold(payer(user, None), request(name), kai(amount), 60, None).await?;
    records.charges().settle(&hold, kai(amount), attempt(1), None).await.unwrap();
    Ok(())
}

/// How much can be spent: by what a hold is granted for, not by what is told.
async fn room(records: &Records, user: UserId, name: &str) -> u64 {
    let mut most = 0;
    for (try_, amount) in (1..=100).rev().enumerate() {
        match records.charges().hold(payer(user, None), request(format!("{name}{try_}")), kai(amount), 60, None).await {
            Ok(hold) => {
                records.charges().void(&hold, None).await.unwrap();
                most = amount;
                break;
            }
            Err(error) => assert!(matches!(error, HoldError::UsageCapReached(_)), "{error}"),
        }
    }
    let told = records.usage().window(user).await.unwrap();
    assert_eq!((told.remaining, told.held), (kai(most), Micros::ZERO), "{name}: {told:?}");
    most
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_spent_counts_on_its_day_and_twenty_nine_more() {
    on_each_database(async |stage: &Stage| {
        let records = stage.open().await;
        let user = ada(&records, 20, 1000).await.id;
        // An hour before and an hour behind a midnight: two days.
        stage.pass(6400 - 3600);
        spend(&records, user, "a", 7).await.unwrap();
        stage.pass(7200);
        spend(&records, user, "b", 5).await.unwrap();
        assert_eq!(room(&records, user, "c").await, 8);
        stage.pass(28 * DAY);
        assert_eq!(room(&records, user, "d").await, 8);
        stage.pass(DAY);
        assert_eq!(room(&records, user, "e").await, 15);
        spend(&records, user, "f", 15).await.unwrap();
        assert_eq!(room(&records, user, "g").await, 0);
        stage.pass(DAY);
        assert_eq!(room(&records, user, "h").await, 5);
        stage.pass(100 * DAY);
        assert_eq!(room(&records, user, "i").await, 20);
        let window = records.usage().window(user).await.unwrap();
        assert_eq!((window.cap, window.used), (kai(20), Micros::ZERO));
        records.ledger().verify(None).await.unwrap();
        records.close().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_day_that_two_processes_begin_at_once_gives_its_allowance_once() {
    on_each_database(async |stage: &Stage| {
        let (one, other) = (stage.open().await, stage.open().await);
        let user = ada(&one, 20, 1000).await.id;
        spend(&one, user, "a", 20).await.unwrap();
        for round in 1..=3 {
            stage.pass(31 * DAY);
            let ask = |number: usize| {
                let charges = [&one, &other][number % 2].charges();
                let name = request(format!("r{round}-{number}"));
                tokio::spawn(async move {
                    let hold = charges.hold(payer(user, None), name, kai(1), 60, None).await.ok()?;
                    charges.settle(&hold, kai(1), attempt(1), None).await.ok()
                })
            };
            let granted = join_all((0..100).map(ask)).await.into_iter().filter(|hold| hold.as_ref().unwrap().is_some());
            assert_eq!(granted.count(), 20, "round {round}");
            assert_eq!(one.usage().window(user).await.unwrap().used, kai(20));
        }
        one.ledger().verify(None).await.unwrap();
        one.close().await;
        other.close().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tier_counts_at_once_and_takes_back_what_is_not_held() {
    on_each_database(async |stage: &Stage| {
        let records = stage.open().await;
        let user = ada(&records, 20, 1000).await.id;
        spend(&records, user, "a", 5).await.unwrap();
        let set = async |tier: &str, cap: u64| records.users().set_tier(user, &word(tier), kai(cap)).await.unwrap();
        assert_eq!(set("pro", 50).await.cap, kai(50));
        assert_eq!(room(&records, user, "b").await, 45);
        set("starter", 20).await;
        assert_eq!(room(&records, user, "c").await, 15);
        set("free", 3).await;
        assert_eq!(room(&records, user, "d").await, 0);
        set("pro", 50).await;
        assert_eq!(room(&records, user, "e").await, 45);

        // 40 of 45 are held: only 5 can be taken back now, the rest with the next day.
        let hold =
            records.charges().hold(payer(user, None), request("f"), kai(40), 3 * DAY as u32, None).await.unwrap();
        set("free", 10).await;
        let refused = records.charges().hold(payer(user, None), request("g"), kai(1), 60, None).await;
        assert!(matches!(refused, Err(HoldError::UsageCapReached(_))), "{refused:?}");
        records.charges().void(&hold, None).await.unwrap();
        stage.pass(DAY);
        assert_eq!(room(&records, user, "h").await, 5);

        // The configuration says another cap for the tier.
        records.users().set_tier_cap(&word("free"), kai(12)).await.unwrap();
        assert_eq!(records.users().by_id(user).await.unwrap().unwrap().cap, kai(12));
        assert_eq!(room(&records, user, "i").await, 7);
        records.ledger().verify(None).await.unwrap();
        records.close().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tiers_that_change_under_charges_leave_what_the_last_one_allows() {
    on_each_database(async |stage: &Stage| {
        let (one, other) = (stage.open().await, stage.open().await);
        let user = ada(&one, 50, 1000).await.id;
        let changes = async {
            for round in 0..20 {
                let (tier, cap) = if round % 2 == 0 { ("pro", 90) } else { ("starter", 50) };
                other.users().set_tier(user, &word(tier), kai(cap)).await.unwrap();
            }
        };
        let charges = async {
            for number in 0..40 {
                spend(&one, user, &format!("a{number}"), 1).await.unwrap();
            }
        };
        tokio::join!(changes, charges);
        assert_eq!(room(&one, user, "b").await, 10);
        one.ledger().verify(None).await.unwrap();
        one.close().await;
        other.close().await;
    })
    .await;
}
