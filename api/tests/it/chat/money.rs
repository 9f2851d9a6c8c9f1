//! Nobody spends what is not there, whatever comes at once.

use futures_util::future::join_all;
use scripted::Upstream;
use serde_json::json;

use super::stage::{FEE, INPUT_MAX, Menu, funds, request, rows, whole};
use crate::billing::desk::{Desk, KAI, on_each_database, told};

/// What a call of `cheap` with five tokens of answer holds, and costs if the provider counts as we estimate.
const EACH: u64 = INPUT_MAX + 2 * 5 + FEE;

#[tokio::test(flavor = "multi_thread")]
async fn of_500_calls_at_once_as_many_are_made_as_there_is_money_for() {
    on_each_database(async |desk: &Desk| {
        let upstream = Upstream::new(|_| whole("12345", INPUT_MAX, 5)).await;
        let server = Menu::default().open(desk, &upstream, &upstream).await;
        let ada = server.holder("ada@example.com", 0, 50 * EACH, desk.now()).await;
        let asked = request("cheap", &json!({"max_tokens": 5}));
        let calls = (0..500).map(|_| server.post_as(&ada, "/v1/chat/completions", &asked).send());
        let answers = join_all(calls).await;
        let with = |status: u16| answers.iter().filter(|answer| answer.as_ref().unwrap().status() == status).count();
        assert_eq!((with(200), with(402)), (50, 450));
        assert_eq!((upstream.seen().len(), funds(&server, &ada).await), (50, (0, 0)));
        let rows = rows(&server, &ada, 50).await;
        assert!(rows.iter().all(|row| row.cost.get() == EACH));
        server.close().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_poor_caller_gets_a_shorter_answer_and_is_told_so() {
    on_each_database(async |desk: &Desk| {
        let upstream = Upstream::new(|_| whole("ok", INPUT_MAX, 5)).await;
        let server = Menu::default().open(desk, &upstream, &upstream).await;
        let asked = request("kai-fast", &json!({"max_tokens": 100}));
        let worst = INPUT_MAX + 2 * 40 + FEE;
        // For want of balance, of the cap of 30 days, of the cap of the key, and by the caller's own will.
        let poor = server.holder("poor@example.com", 0, worst, desk.now()).await;
        let capped = server.holder("capped@example.com", worst, KAI, desk.now()).await;
        let rich = server.holder("rich@example.com", 0, KAI, desk.now()).await;
        let bound = server.key(rich.user, records::Scope::Write, Some(worst), desk.now()).await;
        for (at, holder) in [&poor, &capped, &bound, &rich].into_iter().enumerate() {
            let call = server.post_as(holder, "/v1/chat/completions", &asked);
            let call = if at == 3 { call.header("x-max-cost-micros", worst) } else { call };
            let response = call.send().await.unwrap();
            assert_eq!(
                (response.status().as_u16(), &response.headers()["x-kai-output-tokens-max"]),
                (200, &"40".parse().unwrap())
            );
            assert_eq!(upstream.seen()[at].body["max_tokens"], 40);
        }
        // What is left is not even enough for a short answer.
        let left = worst - EACH;
        for (holder, status, code, member) in [
            (&poor, 402, "insufficient_funds", "available_micros"),
            (&capped, 429, "usage_cap_reached", "remaining_micros"),
            (&bound, 402, "key_cap_reached", "remaining_micros"),
        ] {
            let asked = request(
                "cheap",
                &json!({"max_tokens": 100, "messages": [{"role": "user", "content": "x".repeat(300)}]}),
            );
            let response = server.post_as(holder, "/v1/chat/completions", &asked).send().await.unwrap();
            assert_eq!(response.headers()["x-should-retry"], "false");
            let (got, body) = told(response).await;
            assert_eq!(
                (got, &body["error"]["code"], &body["error"][member]),
                (status, &json!(code), &json!(left)),
                "{body}"
            );
        }
        assert_eq!(upstream.seen().len(), 4);
        server.close().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_asked_for_less_than_a_short_answer_is_refused_by_name() {
    on_each_database(async |desk: &Desk| {
        let upstream = Upstream::new(|_| whole("ok", 1, 1)).await;
        let server = Menu::default().open(desk, &upstream, &upstream).await;
        let ada = server.holder("ada@example.com", 0, KAI, desk.now()).await;
        for cost_max in [json!(40), json!(-1), json!("1"), json!(1.5)] {
            let asked = request("cheap", &json!({"max_cost_micros": cost_max}));
            let (status, body) = told(server.post_as(&ada, "/v1/chat/completions", &asked).send().await.unwrap()).await;
            assert_eq!((status, &body["error"]["param"]), (400, &json!("max_cost_micros")), "{body}");
        }
        assert_eq!((upstream.seen().len(), funds(&server, &ada).await), (0, (KAI, 0)));
        server.close().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_counts_more_than_was_held_gets_no_more_than_that() {
    on_each_database(async |desk: &Desk| {
        let upstream = Upstream::new(|_| whole("ok", 1_000_000, 1_000_000)).await;
        let server = Menu::default().open(desk, &upstream, &upstream).await;
        let ada = server.holder("ada@example.com", 0, KAI, desk.now()).await;
        let asked = json!({"prompt": "x".repeat(36), "model": "cheap", "max_tokens": 5});
        let (_, body) = told(server.post_as(&ada, "/v1/ai/chat", &asked).send().await.unwrap()).await;
        assert_eq!((&body["cost_micros"], funds(&server, &ada).await), (&json!(EACH), (KAI - EACH, 0)));
        let parts = &body["breakdown"];
        let sum: u64 =
            ["input_micros", "output_micros", "fee_micros"].iter().map(|part| parts[part].as_u64().unwrap()).sum();
        assert_eq!(sum, EACH, "{parts}");
        server.close().await;
    })
    .await;
}
