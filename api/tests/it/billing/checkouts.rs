//! Buying credits: the page, how it stands, and what is known when Stripe does not answer.

use records::Scope;
use serde_json::{Value, json};
use stripe_fake::{Action, Fault};

use super::{
    desk::{Desk, KAI, on_each_database, told},
    shop::{Shop, ask, begin, check, standing},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_balance_is_topped_up_by_a_page_and_a_signed_webhook() {
    on_each_database(async |desk: &Desk| {
        let shop = Shop::open().await;
        let server = shop.serve(desk).await;
        let ada = server.holder("ada@example.com", 0, 0, desk.now()).await;
        check(&server, &ada, 0, 0).await;
        let answer = ask(&server, &ada, 2500).send().await.unwrap();
        assert_eq!(answer.headers()["cache-control"], "no-store");
        let (status, begun) = told(answer).await;
        assert_eq!(status, 201);
        assert_eq!((&begun["amount_micros"], &begun["status"]), (&json!(25 * KAI), &json!("not_settled")));
        let (url, session) = (begun["checkout_url"].as_str().unwrap(), begun["session_id"].as_str().unwrap());
        assert!(url.starts_with("https://") && url.contains(session) && begun["expires_at"].is_string(), "{begun}");

        let asked = shop.fake.requests().into_iter().next().unwrap();
        for part in ["unit_amount]=2500", "customer_email=ada%40example.com", "client_reference_id=kandle-"] {
            assert!(asked.body.contains(part), "{}", asked.body);
        }
        for field in ["metadata[kandle_checkout]", "payment_intent_data[metadata][kandle_checkout]"] {
            assert!(asked.body.contains(field), "{}", asked.body);
        }
        assert!(asked.header("idempotency-key").is_some_and(|key| asked.body.contains(key)));

        let checkout = begun["checkout_id"].as_u64().unwrap();
        assert_eq!(standing(&server, &ada, checkout).await, (json!("not_settled"), json!("open")));
        let events = shop.act(session, Action::Pay);
        assert_eq!(shop.tell(&server, &events).await, [200]);
        check(&server, &ada, 2500, 0).await;
        assert_eq!(standing(&server, &ada, checkout).await, (json!("settled"), json!("credited")));
        let standing = server.json(&ada, &format!("/v1/billing/checkouts/{checkout}")).await;
        assert_eq!((&standing["amount_kai"], &standing["checkout_url"]), (&json!("25.00"), &Value::Null));
        server.close().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_comes_back_from_paying_need_not_wait_for_the_webhook() {
    on_each_database(async |desk: &Desk| {
        let shop = Shop::open().await;
        let server = shop.serve(desk).await;
        let ada = server.holder("ada@example.com", 0, 0, desk.now()).await;
        let (checkout, session) = begin(&server, &ada, 500).await;
        let told = shop.act(&session, Action::Pay);
        assert_eq!(standing(&server, &ada, checkout).await, (json!("settled"), json!("credited")));
        check(&server, &ada, 500, 0).await;
        assert_eq!(shop.tell(&server, &told).await, [200]);
        check(&server, &ada, 500, 0).await;

        let (later, session) = begin(&server, &ada, 700).await;
        shop.act(&session, Action::PayLater);
        assert_eq!(standing(&server, &ada, later).await, (json!("unknown"), json!("open")));
        shop.fake.spoil(2, Fault { status: 500, ..Fault::default() });
        assert_eq!(standing(&server, &ada, later).await, (json!("unknown"), json!("open")));
        let failed = shop.act(&session, Action::Fail);
        assert_eq!(shop.tell(&server, &failed).await, [200]);
        assert_eq!(standing(&server, &ada, later).await, (json!("not_settled"), json!("failed")));

        let (ended, session) = begin(&server, &ada, 900).await;
        shop.act(&session, Action::Expire);
        assert_eq!(standing(&server, &ada, ended).await, (json!("not_settled"), json!("expired")));
        check(&server, &ada, 500, 0).await;
        server.close().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_name_is_the_same_checkout_and_another_wish_is_refused() {
    on_each_database(async |desk: &Desk| {
        let shop = Shop::open().await;
        let server = shop.serve(desk).await;
        let ada = server.holder("ada@example.com", 0, 0, desk.now()).await;
        let named = |cents| ask(&server, &ada, cents).header("idempotency-key", "\"top-up-1\"").send();
        let (status, first) = told(named(2500).await.unwrap()).await;
        assert_eq!(status, 201);
        let again = named(2500).await.unwrap();
        assert_eq!(again.headers()["idempotency-replayed"], "true");
        assert_eq!(told(again).await, (201, first));
        let (status, body) = told(named(2600).await.unwrap()).await;
        assert_eq!((status, &body["error"]), (422, &json!("idempotency_key_reused")));
        assert_eq!(shop.pages_asked(), 1);
        server.close().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn when_stripe_breaks_off_the_checkout_is_unknown_and_not_begun_again() {
    on_each_database(async |desk: &Desk| {
        let shop = Shop::open().await;
        let server = shop.serve(desk).await;
        let ada = server.holder("ada@example.com", 0, 0, desk.now()).await;
        // The page is made, and nobody hears of it.
        shop.fake.spoil(2, Fault { status: 500, done: true, ..Fault::default() });
        let named = || ask(&server, &ada, 2500).header("idempotency-key", "top-up-1").send();
        let (status, begun) = told(named().await.unwrap()).await;
        assert_eq!((status, &begun["status"], &begun["checkout_url"]), (202, &json!("unknown"), &Value::Null));
        let checkout = begun["checkout_id"].as_u64().unwrap();
        assert_eq!(told(named().await.unwrap()).await, (202, begun));
        assert_eq!(standing(&server, &ada, checkout).await, (json!("unknown"), json!("begun")));

        desk.pass(61);
        server.reconcile(desk.now()).await;
        let standing = server.json(&ada, &format!("/v1/billing/checkouts/{checkout}")).await;
        assert_eq!((&standing["state"], &standing["status"]), (&json!("open"), &json!("not_settled")));
        let session = standing["session_id"].as_str().unwrap();
        assert!(standing["checkout_url"].as_str().unwrap().contains(session), "{standing}");
        let keys = shop.fake.requests();
        let mut keys: Vec<_> = keys.iter().filter_map(|asked| asked.header("idempotency-key")).collect();
        keys.dedup();
        assert_eq!(keys.len(), 1, "{keys:?}");
        let told = shop.act(session, Action::Pay);
        assert_eq!(shop.tell(&server, &told).await, [200]);
        check(&server, &ada, 2500, 0).await;
        server.close().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_stripe_refuses_or_never_heard_is_told_as_such_and_over() {
    on_each_database(async |desk: &Desk| {
        let shop = Shop::open().await;
        let server = shop.serve(desk).await;
        let ada = server.holder("ada@example.com", 0, 0, desk.now()).await;
        shop.fake.spoil(1, Fault { status: 400, ..Fault::default() });
        let (status, body) = told(ask(&server, &ada, 2500).send().await.unwrap()).await;
        assert_eq!((status, &body["error"]), (502, &json!("payments_refused")));
        shop.fake.spoil(2, Fault { status: 429, ..Fault::default() });
        let answer = ask(&server, &ada, 2500).send().await.unwrap();
        assert!(answer.headers().contains_key("retry-after"));
        let (status, body) = told(answer).await;
        assert_eq!((status, &body["error"]), (503, &json!("payments_unavailable")));
        let asked = shop.pages_asked();
        desk.pass(61);
        server.reconcile(desk.now()).await;
        assert_eq!(shop.pages_asked(), asked, "nothing is left to be asked again");
        server.close().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wish_beyond_its_bounds_a_weak_key_and_anothers_checkout_are_refused() {
    on_each_database(async |desk: &Desk| {
        let shop = Shop::open().await;
        let server = shop.serve(desk).await;
        let ada = server.holder("ada@example.com", 0, 0, desk.now()).await;
        for body in [
            json!({"amount_cents": 49}),
            json!({"amount_cents": 0}),
            json!({"amount_cents": -100}),
            json!({"amount_cents": 10_000_001}),
            json!({"amount_cents": u64::MAX}),
            json!({"amount_cents": 50.5}),
            json!({"amount_cents": "2500"}),
            json!({"amount_cents": null}),
            json!({"amount": 2500}),
        ] {
            let request = server.post("/v1/billing/stripe/checkout").bearer_auth(&ada.text).json(&body);
            let (status, told) = told(request.send().await.unwrap()).await;
            assert_eq!((status, &told["field"]), (400, &json!("amount_cents")), "{body}: {told}");
        }
        let plain = server.post("/v1/billing/stripe/checkout").bearer_auth(&ada.text).body("amount_cents=2500");
        assert_eq!(told(plain.send().await.unwrap()).await.0, 415);
        let large = server.post("/v1/billing/stripe/checkout").bearer_auth(&ada.text);
        let large = large.header("content-type", "application/json").body(" ".repeat(65 * 1024));
        assert_eq!(told(large.send().await.unwrap()).await.0, 413);
        let reader = server.key(ada.user, Scope::Read, None, desk.now()).await;
        let (status, body) = told(ask(&server, &reader, 2500).send().await.unwrap()).await;
        assert_eq!((status, &body["error"], &body["required"]), (403, &json!("insufficient_scope"), &json!("write")));
        let nobody = server.post("/v1/billing/stripe/checkout").json(&json!({"amount_cents": 2500}));
        assert_eq!(told(nobody.send().await.unwrap()).await.0, 401);
        assert_eq!(shop.pages_asked(), 0);

        for cents in [50, 10_000_000] {
            begin(&server, &ada, cents).await;
        }
        let (checkout, _) = begin(&server, &ada, 2500).await;
        let bob = server.holder("bob@example.com", 0, 0, desk.now()).await;
        for id in [checkout.to_string(), "0".to_owned(), "x".to_owned(), u64::MAX.to_string(), "-1".to_owned()] {
            let answer = server.get(&bob, &format!("/v1/billing/checkouts/{id}")).send().await.unwrap();
            let (status, body) = told(answer).await;
            assert_eq!((status, &body["error"]), (404, &json!("unknown_checkout")), "{id}");
        }
        for page in ["done", "cancelled"] {
            let page =
                server.get_as_nobody(&format!("/v1/billing/stripe/{page}?session_id=<script>")).send().await.unwrap();
            assert!(page.headers()["content-type"].to_str().unwrap().starts_with("text/html"));
            assert!(!page.text().await.unwrap().contains("script"));
        }
        server.close().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_cards_says_so() {
    on_each_database(async |desk: &Desk| {
        let server = desk.open().await;
        let ada = server.holder("ada@example.com", 0, 0, desk.now()).await;
        for request in [ask(&server, &ada, 2500), server.post("/v1/billing/stripe/webhook").body("{}")] {
            let (status, body) = told(request.send().await.unwrap()).await;
            assert_eq!((status, &body["error"]), (503, &json!("payments_disabled")));
        }
        server.reconcile(desk.now()).await;
        server.close().await;
    })
    .await;
}
