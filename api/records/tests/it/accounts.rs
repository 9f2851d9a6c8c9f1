//! Users and their keys.

use ledger::Micros;
use records::{Changed, Conflict, RecordsError, Scope, UserId};

use crate::cast::{kai, key, user, word};
use crate::stage::{Stage, on_each_database};

#[tokio::test(flavor = "multi_thread")]
async fn a_user_comes_with_accounts_credit_and_allowance_and_an_address_belongs_to_one() {
    on_each_database(async |stage: &Stage| {
        let records = stage.open().await;
        let users = records.users();
        let ada = users.create(user(&records, "Ada@example.com", 50, 10).await, None).await.unwrap();
        assert_eq!((ada.email.as_str(), ada.tier.as_str(), ada.cap), ("ada@example.com", "starter", kai(50)));
        let funds = users.funds(ada.id).await.unwrap();
        assert_eq!((funds.available, funds.held, funds.debt), (kai(10), Micros::ZERO, Micros::ZERO));
        let window = records.usage().window(ada.id).await.unwrap();
        assert_eq!((window.cap, window.used, window.remaining), (kai(50), Micros::ZERO, kai(50)));

        let again = users.create(user(&records, "aDA@example.com", 50, 10).await, None).await;
        assert!(matches!(again, Err(RecordsError::Conflict(Conflict::EmailTaken))), "{again:?}");
        let login = users.by_email("ADA@EXAMPLE.COM").await.unwrap().unwrap();
        assert_eq!((login.user.id, login.password.unwrap().0.as_str()), (ada.id, "$argon2id$hash"));
        assert!(users.by_email("nobody@example.com").await.unwrap().is_none());
        assert!(users.by_email("a\0b").await.unwrap().is_none());

        let bob = users.create(user(&records, "bob@example.com", 50, 0).await, None).await.unwrap();
        assert_eq!(users.page(None, 10).await.unwrap(), [ada.clone(), bob.clone()]);
        assert_eq!(users.page(Some(ada.id), 10).await.unwrap(), [bob]);
        assert!(matches!(users.funds(UserId(999)).await, Err(RecordsError::Conflict(Conflict::UnknownUser))));
        records.ledger().verify(None).await.unwrap();
        records.close().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_process_changes_is_seen_in_order_and_nothing_is_left_out() {
    on_each_database(async |stage: &Stage| {
        let (server, other) = (stage.open().await, stage.open().await);
        let ada = server.users().create(user(&server, "ada@example.com", 50, 10).await, None).await.unwrap();
        let mut keys = Vec::new();
        for number in 0..3 {
            keys.push(server.keys().create(key(&server, ada.id, number).await, None).await.unwrap());
        }
        let seen = server.keys().changes(0, 1000).await.unwrap();
        assert_eq!((seen.changed.len(), seen.version), (4, server.keys().version().await.unwrap()));

        other.keys().revoke(keys[1].id, None).await.unwrap();
        other.users().set_tier(ada.id, &word("pro"), kai(150)).await.unwrap();
        other.users().set_disabled(ada.id, true).await.unwrap();
        let first = server.keys().changes(seen.version, 1).await.unwrap();
        let rest = server.keys().changes(first.version, 1000).await.unwrap();
        let [Changed::Key(revoked)] = &first.changed[..] else { panic!("{first:?}") };
        assert!(revoked.key.revoked.is_some() && revoked.key.id == keys[1].id);
        let [Changed::User(user)] = &rest.changed[..] else { panic!("{rest:?}") };
        assert!(user.disabled.is_some() && user.tier == word("pro"));
        assert_eq!(server.keys().changes(rest.version, 1000).await.unwrap().changed, []);

        // Asked again, nothing changes.
        other.keys().revoke(keys[1].id, Some(ada.id)).await.unwrap();
        other.users().set_disabled(ada.id, true).await.unwrap();
        assert_eq!(server.keys().version().await.unwrap(), rest.version);
        let strange = other.keys().revoke(keys[0].id, Some(UserId(999))).await;
        assert!(matches!(strange, Err(RecordsError::Conflict(Conflict::UnknownKey))), "{strange:?}");
        let grants = server.keys().page(None, 1000).await.unwrap();
        assert_eq!(grants.len(), 3);
        assert!(grants.iter().all(|grant| grant.is_user_disabled && grant.tier == word("pro")));
        assert_eq!(grants[2].key.scope, Scope::Write);
        server.close().await;
        other.close().await;
    })
    .await;
}
