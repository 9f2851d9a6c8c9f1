//! A request that comes again with its Idempotency-Key: one answer, paid once, streams included.

use std::sync::Arc;

use scripted::{Reply, Step, Upstream, answer, chunk, done, finish, usage};
use serde_json::{Value, json};
use tokio::sync::Notify;

use super::stage::{FEE, Menu, Streamed, funds, read_until, request, rows, whole};
use crate::billing::desk::{Desk, Holder, KAI, Server, on_each_database, told};

const PATH: &str = "/v1/chat/completions";

fn named(server: &Server, ada: &Holder, path: &str, body: &Value) -> reqwest::RequestBuilder {
    server.post_as(ada, path, body).header("idempotency-key", "\"of-ada-1\"")
}

#[tokio::test(flavor = "multi_thread")]
async fn each_route_gives_the_answer_that_it_gave_and_takes_no_more_money() {
    on_each_database(async |desk: &Desk| {
        let upstream = Upstream::new(|seen| whole(&format!("answer {}", seen.number), 20, 7)).await;
        let server = Menu::default().open(desk, &upstream, &upstream).await;
        let prompt = json!({"prompt": "hello"});
        let asked = [(PATH, request("cheap", &json!({}))), ("/v1/ai/chat", prompt.clone()), ("/v1/llm", prompt)];
        for (at, (path, body)) in asked.into_iter().enumerate() {
            let ada = server.holder(&format!("a{at}@example.com"), 0, KAI, desk.now()).await;
            let first = named(&server, &ada, path, &body).send().await.unwrap();
            assert!(!first.headers().contains_key("idempotency-replayed"));
            let first = told(first).await;
            assert_eq!(first.0, 200, "{path}: {}", first.1);
            let before = funds(&server, &ada).await;
            let again = named(&server, &ada, path, &body).send().await.unwrap();
            assert_eq!(again.headers()["idempotency-replayed"], "true");
            assert_eq!(told(again).await, first);
            let other = named(&server, &ada, path, &json!({"prompt": "other", "model": "cheap", "messages": []}));
            assert_eq!(other.send().await.unwrap().status(), 422);
            assert_eq!((upstream.seen().len(), funds(&server, &ada).await), (at + 1, before));
            rows(&server, &ada, 1).await;
        }
        server.close().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_comes_again_with_its_text_its_calls_and_its_cost() {
    on_each_database(async |desk: &Desk| {
        let call =
            json!([{"index": 0, "id": "c1", "type": "function", "function": {"name": "candles", "arguments": "{}"}}]);
        let called =
            json!({"id": "u", "choices": [{"index": 0, "delta": {"tool_calls": call}, "finish_reason": null}]});
        let steps = [chunk("wait"), scripted::data(&called), finish("tool_calls"), usage(20, 7), done()];
        let upstream = Upstream::new(move |_| Reply::Stream(steps.to_vec())).await;
        let server = Menu::default().open(desk, &upstream, &upstream).await;
        let ada = server.holder("ada@example.com", 0, KAI, desk.now()).await;
        let asked = request("cheap", &json!({"stream": true, "stream_options": {"include_usage": true}}));
        let first = Streamed::read(named(&server, &ada, PATH, &asked).send().await.unwrap()).await;
        let again = named(&server, &ada, PATH, &asked).send().await.unwrap();
        assert_eq!(again.headers()["idempotency-replayed"], "true");
        let again = Streamed::read(again).await;
        assert!(first.is_done && again.is_done);
        assert_eq!((again.text(), again.chunks.last()), (first.text(), first.chunks.last()));
        let calls = |streamed: &Streamed| {
            let call = |chunk: &Value| chunk.pointer("/choices/0/delta/tool_calls/0/function").cloned();
            streamed.chunks.iter().find_map(call)
        };
        assert_eq!(calls(&again), calls(&first));
        let finished = |streamed: &Streamed| {
            streamed.chunks.iter().any(|chunk| chunk["choices"][0]["finish_reason"] == "tool_calls")
        };
        assert!(finished(&first) && finished(&again));
        assert_eq!((upstream.seen().len(), funds(&server, &ada).await), (1, (KAI - 20 - 14 - FEE, 0)));
        server.close().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_lost_its_stream_finds_all_of_it_under_its_name() {
    on_each_database(async |desk: &Desk| {
        let go_on = Arc::new(Notify::new());
        let steps = [chunk("one"), Step::Wait(Arc::clone(&go_on)), chunk(" two"), finish("stop"), usage(20, 7), done()];
        let upstream = Upstream::new(move |_| Reply::Stream(steps.to_vec())).await;
        // The provider would stop, but somebody may come for the rest.
        let server = Menu::default().open(desk, &upstream, &upstream).await;
        let ada = server.holder("ada@example.com", 0, KAI, desk.now()).await;
        let asked = request("cheap", &json!({"stream": true}));
        let response = named(&server, &ada, PATH, &asked).send().await.unwrap();
        read_until(response, |text| text.contains("one")).await;
        let meanwhile = named(&server, &ada, PATH, &asked).send().await.unwrap();
        assert_eq!(meanwhile.status(), 409);
        go_on.notify_one();
        rows(&server, &ada, 1).await;
        // The row is there a moment before the name is free.
        let again = loop {
            let again = named(&server, &ada, PATH, &asked).send().await.unwrap();
            if again.status() != 409 {
                break Streamed::read(again).await;
            }
        };
        assert!(again.is_done && again.text() == "one two", "{again:?}");
        assert_eq!(upstream.seen().len(), 1);
        server.close().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_broke_comes_again_as_it_broke() {
    on_each_database(async |desk: &Desk| {
        let upstream = Upstream::new(|_| Reply::Stream(vec![chunk("one"), Step::Cut])).await;
        let server = Menu::default().open(desk, &upstream, &upstream).await;
        let ada = server.holder("ada@example.com", 0, KAI, desk.now()).await;
        let asked = request("cheap", &json!({"stream": true}));
        let first = Streamed::read(named(&server, &ada, PATH, &asked).send().await.unwrap()).await;
        let again = Streamed::read(named(&server, &ada, PATH, &asked).send().await.unwrap()).await;
        assert!(!first.is_done && !again.is_done);
        assert_eq!((again.text(), again.chunks.last()), ("one".to_owned(), first.chunks.last()));
        assert!(again.chunks.iter().all(|chunk| chunk["choices"][0]["finish_reason"].is_null()), "{again:?}");
        rows(&server, &ada, 1).await;
        server.close().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_not_answered_is_not_kept() {
    on_each_database(async |desk: &Desk| {
        let upstream = Upstream::new(|seen| match seen.number {
            0 | 1 => Reply::Status(500, "", scripted::error("down", "server_error")),
            _ => answer(&["up"], 20, 7),
        })
        .await;
        let server = Menu::default().open(desk, &upstream, &upstream).await;
        let ada = server.holder("ada@example.com", 0, KAI, desk.now()).await;
        let asked = request("cheap", &json!({"stream": true}));
        assert_eq!(named(&server, &ada, PATH, &asked).send().await.unwrap().status(), 502);
        let again = Streamed::read(named(&server, &ada, PATH, &asked).send().await.unwrap()).await;
        assert!(again.is_done && again.text() == "up");
        server.close().await;
    })
    .await;
}
