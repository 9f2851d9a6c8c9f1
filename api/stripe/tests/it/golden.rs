//! Requests byte for byte as Stripe's own library sends them.

use serde_json::Value;
use stripe::{CheckoutRequest, PaymentStatus, SessionStatus};

use crate::stage::{fake, key};

#[tokio::test]
async fn a_checkout_is_asked_for_in_the_bytes_of_the_official_library() {
    let golden: Value =
        serde_json::from_str(include_str!("vectors/stripe_checkout_requests_py_sdk_16.1.0.json")).unwrap();
    let golden = &golden["requests"][0];
    let (fake, client) = fake().await;
    let request = CheckoutRequest {
        usd_cents: 2500,
        product: "KAI credits",
        success_url: "https://example.com/success?session_id={CHECKOUT_SESSION_ID}",
        cancel_url: "https://example.com/cancel",
        client_reference_id: "acct_01J",
        customer_email: Some("jenny.rosen@example.com"),
        metadata: &[("account_id", "acct_01J"), ("kai_micros", "25000000")],
        payment_metadata: &[("account_id", "acct_01J")],
    };
    let session = client.create_session(&request, &key("topup-01J")).await.unwrap();

    let sent = fake.requests().pop().unwrap();
    assert_eq!(sent.method, golden["method"]);
    assert_eq!(sent.path, golden["path"]);
    assert_eq!(sent.body, golden["body"]);
    for name in ["Authorization", "Idempotency-Key", "Content-Type", "Stripe-Version"] {
        assert_eq!(sent.header(&name.to_lowercase()), golden["headers"][name].as_str(), "{name}");
    }
    assert!(sent.header("user-agent").unwrap().starts_with("kandle/"));

    assert_eq!((session.status, session.payment_status), (Some(SessionStatus::Open), PaymentStatus::Unpaid));
    assert_eq!(session.amount_total.unwrap().usd_micros(), Some(25_000_000));
    assert_eq!(session.client_reference_id.as_deref(), Some("acct_01J"));
    assert_eq!(session.metadata["kai_micros"], "25000000");
    assert_eq!(session.payment_intent, None);
    assert!(session.url.as_deref().unwrap().contains(&session.id) && !session.livemode && !session.is_paid());
    assert_eq!(session.expires_at - session.created, 86_400);
    assert_eq!(client.session(&session.id).await.unwrap(), session);
}

#[tokio::test]
async fn a_request_beyond_its_bounds_is_not_sent() {
    let (fake, client) = fake().await;
    let request = CheckoutRequest { usd_cents: 49, ..crate::stage::TEN };
    let error = client.create_session(&request, &key("small")).await.unwrap_err();
    assert!(error.is_terminal() && !error.is_ambiguous(), "{error:?}");
    for id in ["", "../events", "cs_1?x=y", "cs 1", &"x".repeat(256)] {
        assert!(client.session(id).await.unwrap_err().is_terminal(), "{id}");
        assert!(client.session_of_payment(id).await.unwrap_err().is_terminal(), "{id}");
        assert!(client.expire_session(id, &key("e")).await.unwrap_err().is_terminal(), "{id}");
    }
    assert!(fake.requests().is_empty());
}
