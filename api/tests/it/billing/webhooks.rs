//! Webhooks: twice, late, in any order, all at once, by whoever is not Stripe.

use rand::{SeedableRng, rngs::SmallRng, seq::SliceRandom};
use records::chart;
use serde_json::json;
use stripe_fake::{Action, Delivery};

use super::{
    desk::{Desk, on_each_database, told},
    shop::{SECRET, Shop, begin, check, standing},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_is_credited_once_however_often_it_is_told_to_whom() {
    on_each_database(async |desk: &Desk| {
        let shop = Shop::open().await;
        // Two servers on one database, as behind a balancer.
        let (one, other) = (shop.serve(desk).await, shop.serve(desk).await);
        let ada = one.holder("ada@example.com", 0, 0, desk.now()).await;
        other.follow().await;
        let (_, session) = begin(&one, &ada, 2500).await;
        let told = shop.act(&session, Action::Pay);
        let twenty = vec![told[0].clone(); 20];
        let (here, there) = (shop.delivery(&one, &twenty), shop.delivery(&other, &twenty));
        let (here, there) = (Delivery { raced: true, ..here }, Delivery { raced: true, ..there });
        let (here, there) = tokio::join!(shop.fake.deliver(&here), shop.fake.deliver(&there));
        assert!(here.unwrap().iter().chain(&there.unwrap()).all(|status| *status == 200));
        check(&one, &ada, 2500, 0).await;
        // In order as well, and signed anew much later.
        desk.pass(3 * 24 * 3600);
        let late = desk.now().nanos() / 1_000_000_000;
        let late = Delivery { signed_at: Some(late), ..shop.delivery(&other, &twenty) };
        assert_eq!(shop.fake.deliver(&late).await.unwrap(), [200; 20]);
        check(&other, &ada, 2500, 0).await;
        one.close().await;
        other.close().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_payment_is_credited_when_it_comes_in_any_order_of_the_telling() {
    on_each_database(async |desk: &Desk| {
        let shop = Shop::open().await;
        let server = shop.serve(desk).await;
        let ada = server.holder("ada@example.com", 0, 0, desk.now()).await;
        let (checkout, session) = begin(&server, &ada, 1000).await;
        let later = shop.act(&session, Action::PayLater);
        assert_eq!(shop.tell(&server, &later).await, [200]);
        check(&server, &ada, 0, 0).await;
        assert_eq!(standing(&server, &ada, checkout).await.0, json!("unknown"));
        let came = shop.act(&session, Action::Arrive);
        assert_eq!(shop.tell(&server, &came).await, [200]);
        check(&server, &ada, 1000, 0).await;

        let (_, session) = begin(&server, &ada, 1000).await;
        let mut events = shop.act(&session, Action::PayLater);
        events.extend(shop.act(&session, Action::Arrive));
        events.reverse();
        assert_eq!(shop.tell(&server, &events).await, [200, 200]);
        check(&server, &ada, 2000, 0).await;
        server.close().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_payments_told_in_any_order_all_at_once_add_up() {
    let seed = rand::random();
    on_each_database(async |desk: &Desk| {
        let shop = Shop::open().await;
        let server = shop.serve(desk).await;
        let ada = server.holder("ada@example.com", 0, 0, desk.now()).await;
        let mut events = Vec::new();
        let mut sum = 0;
        for number in 0..12 {
            let cents = 100 + number;
            let (_, session) = begin(&server, &ada, cents).await;
            match number % 3 {
                0 => events.extend(shop.act(&session, Action::Expire)),
                1 => {
                    events.extend(shop.act(&session, Action::PayLater));
                    events.extend(shop.act(&session, Action::Arrive));
                    sum += cents;
                }
                _ => {
                    events.extend(shop.act(&session, Action::Pay));
                    sum += cents;
                }
            }
        }
        let mut told = [events.clone(), events].concat();
        told.shuffle(&mut SmallRng::seed_from_u64(seed));
        let delivery = Delivery { raced: true, ..shop.delivery(&server, &told) };
        assert!(shop.fake.deliver(&delivery).await.unwrap().iter().all(|status| *status == 200), "seed {seed}");
        check(&server, &ada, sum, 0).await;
        server.close().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_but_stripe_is_believed() {
    on_each_database(async |desk: &Desk| {
        let shop = Shop::open().await;
        let server = shop.serve(desk).await;
        let ada = server.holder("ada@example.com", 0, 0, desk.now()).await;
        let (_, session) = begin(&server, &ada, 2500).await;
        let told_of = shop.act(&session, Action::Pay);
        let delivery = shop.delivery(&server, &told_of);
        let now = desk.now().nanos() / 1_000_000_000;
        for forged in [
            Delivery { secret: "whsec_of_somebody_else".to_owned(), ..delivery.clone() },
            // Replayed, or by a clock that is wrong.
            Delivery { signed_at: Some(now - 301), ..delivery.clone() },
            Delivery { signed_at: Some(now + 301), ..delivery.clone() },
        ] {
            assert_eq!(shop.fake.deliver(&forged).await.unwrap(), [400]);
        }
        for (header, body) in [
            (None, "{}".to_owned()),
            (Some(format!("t={now}")), "{}".to_owned()),
            (Some(format!("t={now},v1={}", "0".repeat(64))), "{}".to_owned()),
            (Some(format!("t={now},v0={}", "0".repeat(64))), "{}".to_owned()),
        ] {
            let request = server.post("/v1/billing/stripe/webhook").body(body);
            let request = header.iter().fold(request, |request, header| request.header("stripe-signature", header));
            let (status, body) = told(request.send().await.unwrap()).await;
            assert_eq!((status, &body["error"]), (400, &json!("invalid_signature")));
        }
        let large = server.post("/v1/billing/stripe/webhook").body(vec![b' '; (512 << 10) + 1]).send().await.unwrap();
        assert_eq!(told(large).await.0, 413);
        check(&server, &ada, 0, 0).await;
        let ours = server.records.ledger().balance(chart::STRIPE).await.unwrap();
        assert_eq!(ours.map_or(0, |stripe| stripe.balance.debits_posted.get()), 0);
        assert_eq!(shop.tell(&server, &told_of).await, [200]);
        check(&server, &ada, 2500, 0).await;
        server.close().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn signed_but_unreadable_foreign_or_unknown_events_move_nothing() {
    on_each_database(async |desk: &Desk| {
        let shop = Shop::open().await;
        let server = shop.serve(desk).await;
        let ada = server.holder("ada@example.com", 0, 0, desk.now()).await;
        let (checkout, session) = begin(&server, &ada, 2500).await;
        let reference = shop.fake.requests()[0].header("idempotency-key").unwrap().to_owned();
        let object = |id: &str, changes: serde_json::Value| {
            let mut object = json!({"id": session, "object": "checkout.session", "mode": "payment", "status": "complete",
                "payment_status": "paid", "amount_total": 2500, "currency": "usd", "client_reference_id": reference,
                "payment_intent": "pi_1", "metadata": {}, "livemode": false, "created": 1, "expires_at": 2, "url": null});
            for (name, value) in changes.as_object().unwrap() {
                object[name] = value.clone();
            }
            json!({"id": id, "type": "checkout.session.completed", "created": 1, "livemode": false,
                "data": {"object": object}})
        };
        let other = reference.replace("kandle-", "kandle-9");
        let cases = [
            (json!({"id": "evt_1"}), 400, "invalid_event"),
            (json!({"id": "evt_2", "type": "checkout.session.completed", "created": 1, "livemode": false,
                "data": {"object": {"id": "cs_1"}}}), 400, "invalid_event"),
            (json!({"id": "evt_3", "type": "customer.created", "created": 1, "livemode": false,
                "data": {"object": {}}}), 200, ""),
            (object("evt_4", json!({"client_reference_id": null})), 200, ""),
            (object("evt_5", json!({"client_reference_id": "somebody-elses-7"})), 200, ""),
            (object("evt_6", json!({"client_reference_id": other})), 200, ""),
            (object("evt_7", json!({"client_reference_id": format!("{reference}0")})), 200, ""),
            (object("evt_8", json!({"amount_total": 2501})), 422, "payment_mismatch"),
            (object("evt_9", json!({"currency": "jpy"})), 422, "payment_mismatch"),
            (object("evt_10", json!({"amount_total": null})), 422, "payment_mismatch"),
            (object("evt_11", json!({"mode": "subscription"})), 422, "payment_mismatch"),
            (object("evt_12", json!({"payment_status": "unpaid"})), 200, ""),
            (object("evt_13", json!({"payment_status": "no_payment_required"})), 200, ""),
            (object("evt_14", json!({"livemode": true})), 400, "wrong_mode"),
            ({
                let mut event = object("evt_15", json!({}));
                event["livemode"] = json!(true);
                event
            }, 400, "wrong_mode"),
        ];
        for (event, status, code) in cases {
            let answer = server.post_signed(SECRET, &event, desk.now()).await;
            let (got, body) = told(answer).await;
            assert_eq!((got, body["error"].as_str().unwrap_or_default()), (status, code), "{event}");
            check(&server, &ada, 0, 0).await;
        }
        assert_eq!(told(server.post_signed(SECRET, &object("evt_16", json!({})), desk.now()).await).await.0, 200);
        check(&server, &ada, 2500, 0).await;
        assert_eq!(standing(&server, &ada, checkout).await.0, json!("settled"));
        server.close().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_written_is_not_taken_and_told_again() {
    on_each_database(async |desk: &Desk| {
        let shop = Shop::open().await;
        let (one, other) = (shop.serve(desk).await, shop.serve(desk).await);
        let ada = other.holder("ada@example.com", 0, 0, desk.now()).await;
        let (_, session) = begin(&other, &ada, 2500).await;
        let events = shop.act(&session, Action::Pay);
        one.records.close().await;
        assert_eq!(shop.tell(&one, &events).await, [503]);
        check(&other, &ada, 0, 0).await;
        assert_eq!(shop.tell(&other, &events).await, [200]);
        check(&other, &ada, 2500, 0).await;
        other.close().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_with_a_live_key_takes_no_test_money() {
    on_each_database(async |desk: &Desk| {
        let shop = Shop::with_key("sk_live_of_these_tests").await;
        let server = shop.serve(desk).await;
        let ada = server.holder("ada@example.com", 0, 0, desk.now()).await;
        let (checkout, session) = begin(&server, &ada, 2500).await;
        // The fake's money is never real.
        let events = shop.act(&session, Action::Pay);
        assert_eq!(shop.tell(&server, &events).await, [400]);
        server.reconcile(desk.now()).await;
        assert_eq!(standing(&server, &ada, checkout).await, (json!("unknown"), json!("open")));
        check(&server, &ada, 0, 0).await;
        server.close().await;
    })
    .await;
}
