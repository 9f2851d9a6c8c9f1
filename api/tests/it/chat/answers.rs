//! What a client gets for its money.

use std::{sync::Arc, time::Duration};

use scripted::{Reply, Step, Upstream, answer, chunk, done, error, finish, usage};
use serde_json::{Value, json};
use tokio::sync::Notify;

use super::stage::{FEE, Menu, Streamed, funds, read_until, request, rows, whole};
use crate::billing::desk::{Desk, KAI, on_each_database, told};

const COST: u64 = 20 + 2 * 7 + FEE;

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_answer_is_paid_by_its_real_tokens_and_says_so() {
    on_each_database(async |desk: &Desk| {
        let upstream = Upstream::new(|_| whole("up it goes", 20, 7)).await;
        let server = Menu::default().open(desk, &upstream, &upstream).await;
        let ada = server.holder("ada@example.com", 0, KAI, desk.now()).await;
        let asked = request("kai-fast", &json!({"max_tokens": 50, "reasoning": false}));
        let response = server.post_as(&ada, "/v1/chat/completions", &asked).send().await.unwrap();
        let header = |name: &str| response.headers()[name].to_str().unwrap().to_owned();
        assert_eq!((header("x-kai-cost-micros"), header("x-kai-model")), (COST.to_string(), "cheap".to_owned()));
        assert_eq!(header("x-kai-balance-micros"), (KAI - COST).to_string());
        assert!(response.headers().contains_key("x-request-id"));
        let (status, body) = told(response).await;
        assert_eq!((status, &body["object"], &body["model"]), (200, &json!("chat.completion"), &json!("kai-fast")));
        let choice = &body["choices"][0];
        assert_eq!(choice["message"], json!({"role": "assistant", "content": "up it goes", "refusal": null}));
        assert_eq!((&choice["finish_reason"], choice.get("logprobs")), (&json!("stop"), Some(&Value::Null)));
        assert_eq!((&body["usage"]["total_tokens"], &body["usage"]["cost_micros"]), (&json!(27), &json!(COST)));
        assert_eq!(funds(&server, &ada).await, (KAI - COST, 0));

        let row = rows(&server, &ada, 1).await.remove(0);
        assert_eq!(json!(row.request.as_str()), body["id"], "the answer's id finds its row");
        let attempt = &row.attempt;
        assert_eq!((row.cost.get(), attempt.tokens_in, attempt.tokens_out), (COST, 20, 7));
        assert_eq!((attempt.status.as_str(), attempt.source.as_str()), ("ok", "upstream"));
        assert_eq!((attempt.provider.as_str(), attempt.model.as_str()), ("anthropic", "kai-fast"));
        assert!(attempt.raw.as_ref().unwrap().as_str().contains("prompt_tokens"));
        let seen = upstream.seen().remove(0);
        assert_eq!((&seen.body["max_tokens"], &seen.body["model"]), (&json!(50), &json!("cheap-upstream")));
        assert!(seen.head.contains("Bearer sk-ours-anthropic"));
        server.close().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_ends_with_what_it_used_and_cost_and_is_paid_before_it_is_done() {
    on_each_database(async |desk: &Desk| {
        let upstream = Upstream::new(|_| answer(&["up", " it", " goes"], 20, 7)).await;
        let server = Menu::default().open(desk, &upstream, &upstream).await;
        let ada = server.holder("ada@example.com", 0, KAI, desk.now()).await;
        for has_usage in [true, false] {
            let asked = request("kai-fast", &json!({"stream": true, "stream_options": {"include_usage": has_usage}}));
            let response = server.post_as(&ada, "/v1/chat/completions", &asked).send().await.unwrap();
            assert_eq!(response.headers()["x-kai-provider"], "anthropic");
            let streamed = Streamed::read(response).await;
            assert!(streamed.is_done && streamed.text() == "up it goes", "{streamed:?}");
            assert_eq!(streamed.chunks[0]["choices"][0]["delta"]["role"], "assistant");
            let last = streamed.chunks.last().unwrap();
            if has_usage {
                assert_eq!((&last["choices"], &last["usage"]["cost_micros"]), (&json!([]), &json!(COST)));
                assert!(streamed.chunks.iter().rev().skip(1).all(|chunk| chunk.get("usage") == Some(&Value::Null)));
            } else {
                assert_eq!(last["choices"][0]["finish_reason"], "stop");
            }
        }
        assert_eq!(funds(&server, &ada).await, (KAI - 2 * COST, 0));
        assert_eq!(rows(&server, &ada, 2).await[0].cost.get(), COST);
        // The audit has the cost as well, which its head could not tell.
        let audit = server.records.audit();
        let costs = loop {
            let page = audit.page(ada.user, None, None, 10).await.unwrap();
            if page.len() == 2 {
                break page.iter().map(|row| row.audit.cost.get()).collect::<Vec<_>>();
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        };
        assert_eq!(costs, [COST, COST]);
        server.close().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stand_in_is_paid_at_its_own_price_and_failed_attempts_have_rows_without_cost() {
    on_each_database(async |desk: &Desk| {
        let down = Upstream::new(|_| Reply::Status(500, "", error("down", "server_error"))).await;
        let up = Upstream::new(|_| whole("ok", 20, 7)).await;
        let server = Menu::default().open(desk, &down, &up).await;
        let ada = server.holder("ada@example.com", 0, KAI, desk.now()).await;
        let asked = request("kai-fast", &json!({"max_tokens": 50}));
        let response = server.post_as(&ada, "/v1/chat/completions", &asked).send().await.unwrap();
        assert_eq!((response.status().as_u16(), &response.headers()["x-kai-model"]), (200, &"dear".parse().unwrap()));
        let rows = rows(&server, &ada, 3).await;
        let told: Vec<_> = rows
            .iter()
            .map(|row| {
                (row.attempt.number, row.attempt.status.as_str(), row.attempt.upstream_model.as_str(), row.cost.get())
            })
            .collect();
        let dear = 10 * (20 + 2 * 7) + FEE;
        assert_eq!(
            told,
            [
                (1, "provider_error", "cheap-upstream", 0),
                (2, "provider_error", "cheap-upstream", 0),
                (3, "ok", "dear-upstream", dear)
            ]
        );
        assert_eq!(funds(&server, &ada).await, (KAI - dear, 0));

        // Where everybody fails, nobody is paid.
        let server2 = Menu::default().open(desk, &down, &down).await;
        let response = server2.post_as(&ada, "/v1/chat/completions", &asked).send().await.unwrap();
        assert_eq!(response.status(), 502);
        assert_eq!(funds(&server2, &ada).await, (KAI - dear, 0));
        super::stage::rows(&server2, &ada, 7).await;
        server2.close().await;
        server.close().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_thinks_for_long_keeps_its_stream_alive_also_before_the_first_token() {
    let desk = Desk::sqlite();
    let go_on = Arc::new(Notify::new());
    let wait = Arc::clone(&go_on);
    let upstream = Upstream::new(move |seen| {
        let late = match seen.body["model"].as_str() {
            Some("cheap-upstream") => vec![chunk("at last"), finish("stop"), usage(20, 7), done()],
            _ => vec![Step::Cut],
        };
        // Whoever asks again has waited long enough.
        let wait = (seen.number < 2).then(|| Step::Wait(Arc::clone(&wait)));
        Reply::Stream(wait.into_iter().chain(late).collect())
    })
    .await;
    let server = Menu::default().open(&desk, &upstream, &upstream).await;
    let ada = server.holder("ada@example.com", 0, KAI, desk.now()).await;
    let ask = async |model: &str| {
        let asked = request(model, &json!({"stream": true}));
        let response = server.post_as(&ada, "/v1/chat/completions", &asked).send().await.unwrap();
        assert_eq!(response.status(), 200);
        read_until(response, |text| {
            if text.contains(": keep-alive") {
                go_on.notify_one();
            }
            text.contains("[DONE]") || text.contains("\"error\"")
        })
        .await
    };
    let (answered, failed) = tokio::join!(ask("cheap"), ask("dear"));
    let answered = answered.trim_start_matches(": keep-alive\n\n");
    assert_eq!(Streamed::parse(answered).text(), "at last");
    let failed = Streamed::parse(&failed);
    assert_eq!((failed.is_done, &failed.chunks[0]["error"]["code"]), (false, &json!("provider_error")), "{failed:?}");
    assert_eq!(funds(&server, &ada).await, (KAI - COST, 0));
    server.close().await;
}
