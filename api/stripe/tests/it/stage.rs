//! What most tests begin with: a fake, a client of it, a receiver of webhooks.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    body::Bytes,
    http::{HeaderMap, StatusCode},
};
use stripe::{CheckoutRequest, IdempotencyKey, RetryPolicy, StripeClient};
use stripe_fake::Fake;

pub(crate) const KEY: &str = "sk_test_xxx";
pub(crate) const LOOPBACK: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);
pub(crate) const POLICY: RetryPolicy =
    RetryPolicy { timeout: Duration::from_secs(10), attempts: 3, first_wait: Duration::from_millis(1) };

pub(crate) const TEN: CheckoutRequest<'_> = CheckoutRequest {
    usd_cents: 1000,
    product: "KAI credits",
    success_url: "https://example.com/ok?session_id={CHECKOUT_SESSION_ID}",
    cancel_url: "https://example.com/cancel",
    client_reference_id: "user-1",
    customer_email: None,
    metadata: &[("user_id", "1"), ("kai_micros", "10000000")],
    payment_metadata: &[("user_id", "1")],
};

pub(crate) async fn fake() -> (Fake, StripeClient) {
    let fake = Fake::start(LOOPBACK, KEY).await.unwrap();
    let client = StripeClient::new(fake.base(), KEY, POLICY).unwrap();
    (fake, client)
}

pub(crate) fn key(text: &str) -> IdempotencyKey {
    IdempotencyKey::new(text).unwrap()
}

/// The signature and the body.
pub(crate) type Webhook = (String, Vec<u8>);

/// An endpoint that keeps what it gets.
pub(crate) struct Receiver {
    pub(crate) url: String,
    got: Arc<Mutex<Vec<Webhook>>>,
}

impl Receiver {
    pub(crate) async fn start() -> Self {
        let got: Arc<Mutex<Vec<Webhook>>> = Arc::default();
        let kept = Arc::clone(&got);
        let take = move |headers: HeaderMap, body: Bytes| async move {
            let signature = headers.get("stripe-signature").unwrap().to_str().unwrap().to_owned();
            kept.lock().unwrap().push((signature, body.to_vec()));
            StatusCode::OK
        };
        let listener = tokio::net::TcpListener::bind(LOOPBACK).await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, Router::new().fallback(take)).await });
        Self { url, got }
    }

    pub(crate) fn got(&self) -> Vec<Webhook> {
        self.got.lock().unwrap().clone()
    }
}
