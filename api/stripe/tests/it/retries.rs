//! Asking again: what is done once however the answers are lost, and what is known when patience is over.

use std::{collections::HashSet, time::Duration};

use stripe::{CheckoutRequest, RetryPolicy, Session, StripeClient, StripeError};
use stripe_fake::{Fake, Fault};

use crate::stage::{KEY, POLICY, TEN, fake, key};

async fn sessions_made(fake: &Fake) -> usize {
    let list = reqwest::Client::builder().no_proxy().build().unwrap();
    let request = list.get(format!("{}/v1/checkout/sessions?limit=100", fake.base())).bearer_auth(KEY);
    let body = request.header("stripe-version", stripe::API_VERSION).send().await.unwrap().text().await.unwrap();
    let list: serde_json::Value = serde_json::from_str(&body).unwrap();
    list["data"].as_array().unwrap().len()
}

fn broken(status: u16, done: bool) -> Fault {
    Fault { status, done, ..Fault::default() }
}

#[tokio::test]
async fn whatever_is_lost_on_the_way_one_session_is_made() {
    let (fake, client) = fake().await;
    let faults = [
        broken(0, true),
        broken(0, false),
        broken(500, true),
        broken(502, false),
        broken(503, true),
        broken(409, true),
        broken(429, false),
    ];
    for (nth, fault) in faults.into_iter().enumerate() {
        let before = fake.requests().len();
        fake.spoil(2, fault);
        let session = client.create_session(&TEN, &key(&format!("order-{nth}"))).await.unwrap();
        assert_eq!(client.session(&session.id).await.unwrap(), session, "{fault:?}");
        assert_eq!(sessions_made(&fake).await, nth + 1, "{fault:?}");
        let sent = &fake.requests()[before..before + 3];
        let keys: HashSet<_> =
            sent.iter().map(|request| (request.header("idempotency-key").unwrap(), &request.body)).collect();
        assert_eq!(keys.len(), 1, "the same key and the same bytes each time");
    }
}

#[tokio::test]
async fn without_an_answer_the_outcome_is_unknown_until_the_same_key_is_asked_again() {
    let (fake, client) = fake().await;
    for (nth, fault) in [broken(0, true), broken(504, true), broken(409, true)].into_iter().enumerate() {
        let key = key(&format!("lost-{nth}"));
        fake.spoil(3, fault);
        let error = client.create_session(&TEN, &key).await.unwrap_err();
        assert!(matches!(error, StripeError::Unanswered { .. }), "{error:?}");
        assert!(error.is_ambiguous() && !error.is_terminal());
        assert_eq!(sessions_made(&fake).await, nth + 1, "it was made all the same");
        let found = client.create_session(&TEN, &key).await.unwrap();
        assert_eq!((sessions_made(&fake).await, found.is_paid()), (nth + 1, false), "and is found, not made again");
    }
}

#[tokio::test]
async fn a_slow_answer_is_given_up_and_asked_for_again() {
    let (fake, _) = fake().await;
    let hasty = RetryPolicy { timeout: Duration::from_secs(1), ..POLICY };
    let client = StripeClient::new(fake.base(), KEY, hasty).unwrap();
    fake.spoil(1, Fault { status: 200, delay: Duration::from_secs(60), ..Fault::default() });
    client.create_session(&TEN, &key("slow")).await.unwrap();
    assert_eq!((fake.requests().len(), sessions_made(&fake).await), (2, 1));
}

#[tokio::test]
async fn what_was_never_done_is_not_ambiguous_and_what_may_have_been_done_stays_so() {
    let (fake, client) = fake().await;
    fake.spoil(3, broken(429, false));
    let error = client.create_session(&TEN, &key("limited")).await.unwrap_err();
    assert!(matches!(error, StripeError::Limited) && !error.is_ambiguous() && !error.is_terminal(), "{error:?}");

    fake.spoil(1, broken(0, true));
    fake.spoil(2, broken(429, false));
    let error = client.create_session(&TEN, &key("first-lost")).await.unwrap_err();
    assert!(error.is_ambiguous(), "the first attempt may have made it: {error:?}");

    let closed = std::net::TcpListener::bind(crate::stage::LOOPBACK).unwrap().local_addr().unwrap();
    let client = StripeClient::new(&format!("http://{closed}"), KEY, POLICY).unwrap();
    let error = client.create_session(&TEN, &key("nobody")).await.unwrap_err();
    assert!(matches!(error, StripeError::Unreachable(_)) && !error.is_ambiguous() && !error.is_terminal(), "{error:?}");
}

#[tokio::test]
async fn stripe_can_ask_for_patience() {
    let (fake, client) = fake().await;
    fake.spoil(1, Fault { status: 429, retry_after: Some(1), ..Fault::default() });
    let start = std::time::Instant::now();
    client.create_session(&TEN, &key("patient")).await.unwrap();
    assert!(start.elapsed() >= Duration::from_secs(1), "{:?}", start.elapsed());
}

#[tokio::test]
async fn a_refusal_is_not_asked_again_and_says_why() {
    let (fake, client) = fake().await;
    let refused = |error: StripeError| {
        assert!(error.is_terminal() && !error.is_ambiguous(), "{error:?}");
        let StripeError::Refused { status, kind, code, .. } = error else { panic!("{error:?}") };
        (status, kind, code)
    };
    let words = |kind: &str, code: &str| (kind.to_owned(), code.to_owned());
    let check = |result: Result<Session, StripeError>, status, (kind, code)| {
        assert_eq!(refused(result.unwrap_err()), (status, kind, code));
    };
    let missing = client.session("cs_test_nothing").await;
    check(missing, 404, words("invalid_request_error", "resource_missing"));

    client.create_session(&TEN, &key("once")).await.unwrap();
    let other = CheckoutRequest { usd_cents: 2000, ..TEN };
    check(client.create_session(&other, &key("once")).await, 400, words("idempotency_error", ""));

    let stranger = StripeClient::new(fake.base(), "sk_test_stranger", POLICY).unwrap();
    check(stranger.create_session(&TEN, &key("theirs")).await, 401, words("invalid_request_error", ""));
    assert_eq!(fake.requests().len(), 4, "each was asked once");
}
