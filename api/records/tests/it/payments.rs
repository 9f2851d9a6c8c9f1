//! Payments, whatever is duplicated, reordered or raced.

use futures_util::future::join_all;
use ledger::{Micros, Timestamp};
use rand::{Rng, SeedableRng, rngs::SmallRng, seq::SliceRandom};
use records::{
    CheckoutState, Conflict, Dispute, Kept, Paid, Records, RecordsError, StripeEvent, Text, Token, Told, UserId,
};

use crate::{
    cast::{ada, kai, request},
    stage::{Stage, on_each_database},
};

fn token(text: impl Into<String>) -> Token {
    Token::new(text).unwrap()
}

fn event(id: &str) -> StripeEvent {
    StripeEvent { id: token(id), kind: Text::new("checkout.session.completed").unwrap() }
}

fn paid(user: UserId, session: &str, micros: Micros) -> Paid {
    Paid { user, micros, session: token(session), checkout: None, payment: Some(token("pi_1")) }
}

/// What a user has, less what the user owes.
async fn net(records: &Records, user: UserId) -> (u64, u64) {
    let funds = records.users().funds(user).await.unwrap();
    (funds.available.get() / 1_000_000, funds.debt.get() / 1_000_000)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkout_is_opened_paid_and_credited_once_in_any_order() {
    on_each_database(async |stage: &Stage| {
        let records = stage.open().await;
        let (user, payments) = (ada(&records, 50, 0).await.id, records.payments());
        let url = Text::new("https://checkout.example/1").unwrap();
        for (round, is_early) in [(1, false), (2, true)] {
            let session = format!("cs_{round}");
            let checkout = payments.begin(user, kai(25)).await.unwrap();
            assert_eq!(payments.checkout(checkout.id).await.unwrap(), Some(checkout.clone()));
            let kept = Kept {
                user,
                name: [round; 32],
                fingerprint: [1; 32],
                status: 200,
                answer: vec![1],
                created: stage.now(),
            };
            let told = Paid { checkout: Some(checkout.id), ..paid(user, &session, kai(25)) };
            // The webhook can be quicker than the answer.
            if is_early {
                assert_eq!(payments.credit(&told, Some(&event(&session))).await.unwrap(), Told::Now);
            }
            payments.opened(checkout.id, &token(&session), &url, Some(kept.clone())).await.unwrap();
            assert_eq!(records.kept().find(user, &[round; 32]).await.unwrap(), Some(kept));
            let asked = (0..30).map(|number| {
                let (payments, told, event) =
                    (payments.clone(), told.clone(), event(&format!("{session}-{}", number % 5)));
                tokio::spawn(async move { payments.credit(&told, Some(&event)).await.unwrap() })
            });
            let told = join_all(asked).await.into_iter().filter(|told| *told.as_ref().unwrap() == Told::Now);
            assert_eq!(told.count(), usize::from(!is_early));
            let checkout = payments.by_session(&token(&session)).await.unwrap().unwrap();
            assert_eq!((checkout.state, checkout.url.as_ref()), (CheckoutState::Credited, Some(&url)));
            payments.end(&token(&session), CheckoutState::Expired, None).await.unwrap();
            assert_eq!(payments.checkout(checkout.id).await.unwrap().unwrap().state, CheckoutState::Credited);
            assert_eq!(net(&records, user).await, (25 * u64::from(round), 0));
        }
        let different = payments.credit(&paid(user, "cs_1", kai(26)), None).await;
        assert!(matches!(different, Err(RecordsError::Conflict(Conflict::Different))), "{different:?}");
        let nobody = payments.credit(&paid(UserId(99), "cs_9", kai(1)), None).await;
        assert!(matches!(nobody, Err(RecordsError::Conflict(Conflict::UnknownUser))), "{nobody:?}");

        let nobody = payments.begin(UserId(99), kai(1)).await;
        assert!(matches!(nobody, Err(RecordsError::Conflict(Conflict::UnknownUser))), "{nobody:?}");
        let left = payments.begin(user, kai(1)).await.unwrap();
        let late = payments.begin(user, kai(1)).await.unwrap();
        payments.opened(late.id, &token("cs_3"), &url, None).await.unwrap();
        stage.pass(60);
        let unfinished = payments.unfinished(stage.now(), 0, 10).await.unwrap();
        assert_eq!(unfinished.iter().map(|checkout| checkout.id).collect::<Vec<_>>(), [left.id, late.id]);
        assert_eq!(payments.end(&token("cs_3"), CheckoutState::Failed, Some(&event("e"))).await.unwrap(), Told::Now);
        assert_eq!(
            payments.end(&token("cs_3"), CheckoutState::Expired, Some(&event("e"))).await.unwrap(),
            Told::Before
        );
        assert_eq!(payments.unfinished(stage.now(), left.id, 10).await.unwrap(), []);
        assert_eq!(payments.checkout(late.id).await.unwrap().unwrap().state, CheckoutState::Failed);
        payments.set_listed_until(100).await.unwrap();
        payments.set_listed_until(50).await.unwrap();
        assert_eq!(payments.listed_until().await.unwrap(), 100);
        records.ledger().verify(None).await.unwrap();
        records.close().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_taken_back_beyond_the_balance_is_owed_and_the_next_payment_pays_it() {
    on_each_database(async |stage: &Stage| {
        let records = stage.open().await;
        let (user, payments) = (ada(&records, 50, 0).await.id, records.payments());
        payments.credit(&paid(user, "cs_1", kai(25)), None).await.unwrap();
        assert!(records.gifts().debit(user, kai(20), &request("w"), None).await.unwrap());
        let refund = async |total| payments.refund(user, &token("pi_1"), kai(total), None).await.unwrap();
        assert_eq!(refund(3).await, Told::Now);
        assert_eq!((refund(3).await, refund(2).await), (Told::Before, Told::Before));
        assert_eq!(net(&records, user).await, (2, 0));
        assert_eq!(refund(10).await, Told::Now);
        assert_eq!(net(&records, user).await, (0, 5));
        payments.credit(&paid(user, "cs_2", kai(4)), None).await.unwrap();
        assert_eq!(net(&records, user).await, (0, 1));
        records.gifts().credit(user, kai(4), &request("g"), None).await.unwrap();
        assert_eq!(net(&records, user).await, (3, 0));

        let dispute = async |what| payments.dispute(user, &token("dp_1"), kai(15), what, None).await.unwrap();
        assert_eq!(dispute(Dispute::Withdrawn).await, Told::Now);
        assert_eq!(dispute(Dispute::Withdrawn).await, Told::Before);
        assert_eq!(net(&records, user).await, (0, 12));
        assert_eq!(dispute(Dispute::Reinstated).await, Told::Now);
        assert_eq!(net(&records, user).await, (3, 0));
        let strange = payments.refund(UserId(99), &token("pi_1"), kai(20), None).await;
        assert!(matches!(strange, Err(RecordsError::Conflict(Conflict::Different))), "{strange:?}");
        let statements = records.statements();
        let lines = statements.page(user, Timestamp::ZERO, Timestamp::MAX, 0, 100).await.unwrap().lines;
        assert_eq!(lines.last().map(|line| line.after), Some(3_000_000));
        // What pays a debt moves nothing on a statement.
        assert_eq!(lines.len(), 8);
        records.ledger().verify(None).await.unwrap();
        records.close().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_story_told_in_any_order_and_often_ends_the_same() {
    let seed = rand::rng().random();
    on_each_database(async |stage: &Stage| {
        let mut random = SmallRng::seed_from_u64(seed);
        let (one, other) = (stage.open().await, stage.open().await);
        let user = ada(&one, 50, 0).await.id;
        for round in 0..10_u64 {
            // Three totals of one refund, a dispute and its end, and the payment itself, each told three times.
            let mut story: Vec<_> = (0..18).map(|number| number % 6).collect();
            story.shuffle(&mut random);
            let told = story.into_iter().enumerate().map(|(place, what)| {
                let payments = [&one, &other][place % 2].payments();
                tokio::spawn(async move {
                    let (payment, dispute) = (token(format!("pi_{round}")), token(format!("dp_{round}")));
                    let event = event(&format!("ev_{round}_{what}_{}", place % 4));
                    let event = Some(&event);
                    match what {
                        0..=2 => payments.refund(user, &payment, kai(what + 1), event).await,
                        3 => payments.dispute(user, &dispute, kai(9), Dispute::Withdrawn, event).await,
                        4 => payments.dispute(user, &dispute, kai(9), Dispute::Reinstated, event).await,
                        _ => payments.credit(&paid(user, &format!("cs_{round}"), kai(25)), event).await,
                    }
                    .unwrap()
                })
            });
            assert!(join_all(told).await.iter().all(Result::is_ok), "seed {seed}, round {round}");
            // 25 paid, 3 refunded, 9 taken and given again.
            assert_eq!(net(&one, user).await, (22 * (round + 1), 0), "seed {seed}, round {round}");
        }
        one.ledger().verify(None).await.unwrap();
        one.close().await;
        other.close().await;
    })
    .await;
}
