//! A fake of Stripe, and servers that take cards through it.

use std::{net::Ipv4Addr, time::Duration};

use api::billing::Cards;
use records::chart;
use reqwest::RequestBuilder;
use serde_json::{Value, json};
use stripe::{Endpoint, RetryPolicy, StripeClient, TOLERANCE_SECONDS};
use stripe_fake::{Action, Delivery, Fake};

use super::desk::{Desk, Holder, Server, told};

pub(crate) const SECRET: &str = "whsec_of_these_tests";
const KEY: &str = "sk_test_of_these_tests";

/// See the module.
pub(crate) struct Shop {
    pub(crate) fake: Fake,
    key: &'static str,
}

impl Shop {
    pub(crate) async fn open() -> Self {
        Self::with_key(KEY).await
    }

    pub(crate) async fn with_key(key: &'static str) -> Self {
        Self { fake: Fake::start((Ipv4Addr::LOCALHOST, 0).into(), key).await.unwrap(), key }
    }

    /// Starts a server that takes cards.
    pub(crate) async fn serve(&self, desk: &Desk) -> Server {
        let cards = self.cards();
        desk.open_with(|accounts| accounts.with_cards(cards)).await
    }

    pub(crate) fn cards(&self) -> Cards {
        let wait = Duration::from_millis(5);
        let retry = RetryPolicy { timeout: Duration::from_secs(5), attempts: 2, first_wait: wait };
        Cards {
            client: StripeClient::new(self.fake.base(), self.key, retry).unwrap(),
            endpoint: Endpoint::new(&[SECRET], TOLERANCE_SECONDS),
            success_url: "https://kandle.example/done?session_id={CHECKOUT_SESSION_ID}".to_owned(),
            cancel_url: "https://kandle.example/cancelled".to_owned(),
        }
    }

    /// What a session does next; the ids of the events that tell of it.
    pub(crate) fn act(&self, session: &str, action: Action) -> Vec<String> {
        self.fake.act(session, action).unwrap()
    }

    /// Sends events, one after the other, and gives the statuses.
    pub(crate) async fn tell(&self, server: &Server, events: &[String]) -> Vec<u16> {
        self.fake.deliver(&self.delivery(server, events)).await.unwrap()
    }

    pub(crate) fn delivery(&self, server: &Server, events: &[String]) -> Delivery {
        let url = format!("{}/v1/billing/stripe/webhook", server.url);
        Delivery { url, secret: SECRET.to_owned(), events: events.to_vec(), ..Delivery::default() }
    }

    /// How many pages were asked for.
    pub(crate) fn pages_asked(&self) -> usize {
        let is_one = |path: &str| path == "/v1/checkout/sessions";
        self.fake.requests().iter().filter(|asked| asked.method == "POST" && is_one(&asked.path)).count()
    }
}

/// Asks for a checkout.
pub(crate) fn ask(server: &Server, holder: &Holder, cents: u64) -> RequestBuilder {
    let request = server.post("/v1/billing/stripe/checkout").bearer_auth(&holder.text);
    request.json(&json!({ "amount_cents": cents }))
}

/// Begins a checkout, and gives its number and its session.
pub(crate) async fn begin(server: &Server, holder: &Holder, cents: u64) -> (u64, String) {
    let (status, begun) = told(ask(server, holder, cents).send().await.unwrap()).await;
    assert_eq!(status, 201, "{begun}");
    (begun["checkout_id"].as_u64().unwrap(), begun["session_id"].as_str().unwrap().to_owned())
}

/// How a checkout stands: its status and its state.
pub(crate) async fn standing(server: &Server, holder: &Holder, checkout: u64) -> (Value, Value) {
    let standing = server.json(holder, &format!("/v1/billing/checkouts/{checkout}")).await;
    (standing["status"].clone(), standing["state"].clone())
}

/// Checks what a user has and owes, in cents, and that it is what came in through Stripe and stayed, for nobody gave or took
/// anything else.
pub(crate) async fn check(server: &Server, holder: &Holder, has_cents: u64, owes_cents: u64) {
    let balance = server.json(holder, "/v1/billing/balance").await;
    let told = [balance["balance_micros"].as_u64(), balance["owed_micros"].as_u64()];
    assert_eq!(told, [Some(has_cents * 10_000), Some(owes_cents * 10_000)], "{balance}");
    let stripe = server.records.ledger().balance(chart::STRIPE).await.unwrap();
    let came =
        stripe.map_or((0, 0), |stripe| (stripe.balance.debits_posted.get(), stripe.balance.credits_posted.get()));
    assert_eq!(came.0 + owes_cents * 10_000, came.1 + has_cents * 10_000, "what came, and what stayed");
}
