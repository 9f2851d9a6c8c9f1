//! Requests that share a commit.

use futures_util::future::join_all;
use records::{Conflict, Kept, NewKey, NewUser, RecordsError, Text, UserId};

use crate::{
    cast::{ada, attempt, kai, key, payer, request, user},
    stage::{Stage, on_each_database},
};

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_are_refused_do_not_hurt_those_beside_them() {
    on_each_database(async |stage: &Stage| {
        let records = stage.open().await;
        let user = ada(&records, 50, 40).await.id;
        let (keys, charges) = (records.keys(), records.charges());
        let mut asked = Vec::new();
        for number in 0..60_u8 {
            let mut new_key = key(&records, user, number / 2).await;
            if number % 2 == 1 {
                // The hash is taken: a bound of the table that no guard looks for.
                new_key.cap = Some(kai(7));
            }
            asked.push(new_key);
        }
        let made = join_all(asked.iter().map(|key| keys.create(key.clone(), None)));
        let holds = join_all(
            (0..60).map(|number| charges.hold(payer(user, None), request(format!("r{number}")), kai(1), 60, None)),
        );
        let (made, holds) = tokio::join!(made, holds);
        let is_taken = |made: &Result<_, RecordsError>| matches!(made, Err(RecordsError::Row { .. }));
        assert_eq!(
            (made.iter().filter(|made| made.is_ok()).count(), made.iter().filter(|made| is_taken(made)).count()),
            (30, 30)
        );
        assert_eq!(holds.iter().filter(|hold| hold.is_ok()).count(), 40);
        for (made, asked) in made.iter().zip(&asked).filter(|(made, _)| made.is_err()) {
            // Nothing of a refused request is there: no row, no account.
            assert_eq!(keys.by_id(asked.id).await.unwrap(), None, "{made:?}");
            let account = records::chart::key_allowance(asked.id);
            assert_eq!(records.ledger().balance(account).await.unwrap(), None);
        }
        let settled = join_all(holds.iter().flatten().map(|hold| charges.settle(hold, kai(1), attempt(1), None))).await;
        assert!(settled.iter().all(Result::is_ok));
        records.ledger().verify(None).await.unwrap();
        records.close().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_is_made_with_the_answer_that_is_kept_or_not_at_all() {
    on_each_database(async |stage: &Stage| {
        let records = stage.open().await;
        let kept = |name: u8| Kept {
            user: UserId(0),
            name: [name; 32],
            fingerprint: [7; 32],
            status: 201,
            answer: vec![1, 2, 3],
            created: stage.now(),
        };
        let new = async |email: String| user(&records, &email, 50, 1).await;
        records.users().create(new("a@example.com".into()).await, Some(kept(1))).await.unwrap();
        let taken = records.users().create(new("a@example.com".into()).await, Some(kept(2))).await;
        assert!(matches!(taken, Err(RecordsError::Conflict(Conflict::EmailTaken))), "{taken:?}");
        assert_eq!(records.kept().find(UserId(0), &[2; 32]).await.unwrap(), None);
        let answered = records.users().create(new("b@example.com".into()).await, Some(kept(1))).await;
        assert!(matches!(answered, Err(RecordsError::Conflict(Conflict::Kept))), "{answered:?}");
        assert!(records.users().by_email("b@example.com").await.unwrap().is_none());

        let first = records.users().by_email("a@example.com").await.unwrap().unwrap().user;
        let again = NewUser { id: first.id, ..new("A@example.com".into()).await };
        assert_eq!(records.users().create(again, None).await.unwrap(), first);

        // Of one request that comes many times at once, one makes the user.
        let mut asked = Vec::new();
        for number in 0..50 {
            asked.push(new(format!("c{number}@example.com")).await);
        }
        let users = records.users();
        let made = join_all(asked.into_iter().map(|user| users.create(user, Some(kept(3))))).await;
        assert_eq!(made.iter().filter(|made| made.is_ok()).count(), 1);
        assert_eq!(stage.count("users").await, 2);
        records.ledger().verify(None).await.unwrap();
        records.close().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_beyond_a_bound_is_refused_before_it_is_asked() {
    on_each_database(async |stage: &Stage| {
        let records = stage.open().await;
        let user = ada(&records, 50, 1).await.id;
        let cidrs = vec![Text::new("10.0.0.0/8").unwrap(); 33];
        let many = NewKey { cidrs, ..key(&records, user, 1).await };
        assert!(matches!(records.keys().create(many, None).await, Err(RecordsError::TooMany { max: 32, .. })));
        let dear = NewKey { cap: Some(records::AMOUNT_MAX), ..key(&records, user, 1).await };
        assert!(matches!(records.keys().create(dear, None).await, Err(RecordsError::TooMuch { .. })));
        let nobodys = records.keys().create(key(&records, UserId(99), 1).await, None).await;
        assert!(matches!(nobodys, Err(RecordsError::Conflict(Conflict::UnknownUser))), "{nobodys:?}");
        for number in 0..100 {
            records.keys().create(key(&records, user, number).await, None).await.unwrap();
        }
        let full = records.keys().create(key(&records, user, 100).await, None).await;
        assert!(matches!(full, Err(RecordsError::Conflict(Conflict::KeysFull))), "{full:?}");
        let first = records.keys().of_user(user, None, 1).await.unwrap()[0].id;
        // The same key again is the same key, and not one more.
        let again = NewKey { id: first, ..key(&records, user, 0).await };
        assert_eq!(records.keys().create(again, None).await.unwrap().id, first);
        records.keys().revoke(first, Some(user)).await.unwrap();
        records.keys().create(key(&records, user, 100).await, None).await.unwrap();
        assert_eq!(records.keys().of_user(user, Some(first), 1000).await.unwrap().len(), 100);
        assert!(records.keys().page(None, 1001).await.is_err());
        assert!(records.users().page(None, 501).await.is_err());
        let answer = vec![0; records::KEPT_BYTES_MAX + 1];
        let kept = Kept { user, name: [1; 32], fingerprint: [1; 32], status: 200, answer, created: stage.now() };
        assert!(matches!(records.kept().keep(kept).await, Err(RecordsError::TooMany { .. })));
        records.close().await;
    })
    .await;
}
