//! Clients that leave: what was generated is paid, and nothing is left held.

use std::{sync::Arc, time::Duration};

use llm::OnDisconnect;
use scripted::{Reply, Step, Upstream, answer, chunk, done, finish, usage};
use serde_json::{Value, json};
use tokio::sync::Notify;

use super::stage::{FEE, INPUT_ESTIMATE, INPUT_MAX, Menu, Streamed, funds, read_until, request, rows};
use crate::billing::desk::{Desk, KAI, on_each_database};

/// Each of four characters: a token by estimate.
const PIECES: usize = 6;

fn piece(at: usize) -> Step {
    chunk(&format!("p{at:02} "))
}

fn stream() -> Value {
    request("cheap", &json!({"stream": true, "max_tokens": 50}))
}

fn pieces_in(text: &str) -> usize {
    text.matches("\"content\":\"p").count()
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_provider_stops_a_client_that_leaves_pays_for_what_was_generated_by_then() {
    on_each_database(async |desk: &Desk| {
        for left_after in 1..=PIECES {
            let steps: Vec<_> = (0..left_after).map(piece).chain([Step::Stall]).collect();
            let upstream = Upstream::new(move |_| Reply::Stream(steps.clone())).await;
            let server = Menu::default().open(desk, &upstream, &upstream).await;
            let ada = server.holder(&format!("a{left_after}@example.com"), 0, KAI, desk.now()).await;
            let response = server.post_as(&ada, "/v1/chat/completions", &stream()).send().await.unwrap();
            read_until(response, |text| pieces_in(text) == left_after).await;
            upstream.hung_up(1).await;
            let row = rows(&server, &ada, 1).await.remove(0);
            let cost = INPUT_ESTIMATE + 2 * left_after as u64 + FEE;
            assert_eq!((row.cost.get(), row.attempt.tokens_out), (cost, left_after as u64));
            assert_eq!((row.attempt.status.as_str(), row.attempt.source.as_str()), ("cancelled", "estimated"));
            assert_eq!(funds(&server, &ada).await, (KAI - cost, 0));
            server.close().await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_provider_bills_all_a_client_that_leaves_pays_what_it_counts() {
    on_each_database(async |desk: &Desk| {
        for left_after in 1..=PIECES {
            let go_on = Arc::new(Notify::new());
            let wait = Step::Wait(Arc::clone(&go_on));
            let rest = (left_after..PIECES).map(piece).chain([finish("stop"), usage(20, 33), done()]);
            let steps: Vec<_> = (0..left_after).map(piece).chain([wait]).chain(rest).collect();
            let upstream = Upstream::new(move |_| Reply::Stream(steps.clone())).await;
            let menu = Menu { policy: OnDisconnect::Drain, ..Menu::default() };
            let server = menu.open(desk, &upstream, &upstream).await;
            let ada = server.holder(&format!("b{left_after}@example.com"), 0, KAI, desk.now()).await;
            let response = server.post_as(&ada, "/v1/chat/completions", &stream()).send().await.unwrap();
            read_until(response, |text| pieces_in(text) == left_after).await;
            go_on.notify_one();
            let row = rows(&server, &ada, 1).await.remove(0);
            let cost = 20 + 2 * 33 + FEE;
            assert_eq!((row.cost.get(), row.attempt.status.as_str()), (cost, "ok"));
            assert_eq!((row.attempt.source.as_str(), funds(&server, &ada).await), ("upstream", (KAI - cost, 0)));
            server.close().await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_ends_in_time_and_pays_what_came_until_then() {
    on_each_database(async |desk: &Desk| {
        let upstream = Upstream::new(|_| Reply::Stream(vec![piece(0), piece(1), Step::Stall])).await;
        let drain = Duration::from_millis(50);
        let menu = Menu { policy: OnDisconnect::Drain, drain, ..Menu::default() };
        let server = menu.open(desk, &upstream, &upstream).await;
        let ada = server.holder("ada@example.com", 0, KAI, desk.now()).await;
        let response = server.post_as(&ada, "/v1/chat/completions", &stream()).send().await.unwrap();
        read_until(response, |text| pieces_in(text) == 1).await;
        upstream.hung_up(1).await;
        assert_eq!(rows(&server, &ada, 1).await[0].cost.get(), INPUT_ESTIMATE + 2 * 2 + FEE);
        server.close().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_before_the_first_token_pays_for_it_all_the_same() {
    on_each_database(async |desk: &Desk| {
        for is_stream in [true, false] {
            let (asked, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
            let (heard, wait) = (Arc::clone(&asked), Step::Wait(Arc::clone(&go_on)));
            let upstream = Upstream::new(move |_| {
                heard.notify_one();
                Reply::Stream(vec![wait.clone(), piece(0), Step::Stall])
            })
            .await;
            let server = Menu::default().open(desk, &upstream, &upstream).await;
            let ada = server.holder(&format!("c{is_stream}@example.com"), 0, KAI, desk.now()).await;
            let request =
                server.post_as(&ada, "/v1/chat/completions", &request("cheap", &json!({"stream": is_stream})));
            let client = tokio::spawn(request.send());
            asked.notified().await;
            client.abort();
            assert!(client.await.is_err());
            if is_stream {
                go_on.notify_one();
                let cost = INPUT_ESTIMATE + 2 + FEE;
                assert_eq!(rows(&server, &ada, 1).await[0].cost.get(), cost);
                assert_eq!(funds(&server, &ada).await, (KAI - cost, 0));
            } else {
                // It is still being answered: what is held stays held.
                assert_eq!(funds(&server, &ada).await.0, KAI - INPUT_MAX - 2 * 1000 - FEE);
            }
            server.close().await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_provider_breaks_off_is_told_as_an_error_and_paid_as_far_as_it_went() {
    on_each_database(async |desk: &Desk| {
        let upstream = Upstream::new(|_| Reply::Stream(vec![piece(0), piece(1), Step::Cut])).await;
        let server = Menu::default().open(desk, &upstream, &upstream).await;
        let ada = server.holder("ada@example.com", 0, KAI, desk.now()).await;
        let response = server.post_as(&ada, "/v1/chat/completions", &stream()).send().await.unwrap();
        let streamed = Streamed::read(response).await;
        assert!(!streamed.is_done && streamed.text() == "p00 p01 ", "{streamed:?}");
        let error = &streamed.chunks.last().unwrap()["error"];
        assert_eq!(
            (&error["code"], &error["reason"]),
            (&json!("provider_error"), &json!("stream_cut")),
            "{streamed:?}"
        );
        assert_eq!(rows(&server, &ada, 1).await[0].cost.get(), INPUT_ESTIMATE + 4 + FEE);
        server.close().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_ends_pays_what_is_under_way() {
    on_each_database(async |desk: &Desk| {
        let upstream = Upstream::new(|_| Reply::Stream(vec![piece(0), Step::Stall])).await;
        let server = Menu::default().open(desk, &upstream, &upstream).await;
        let ada = server.holder("ada@example.com", 0, KAI, desk.now()).await;
        let response = server.post_as(&ada, "/v1/chat/completions", &stream()).send().await.unwrap();
        server.accounts.close().await;
        assert_eq!(rows(&server, &ada, 1).await[0].cost.get(), INPUT_ESTIMATE + 2 + FEE);
        let streamed = Streamed::read(response).await;
        assert_eq!(
            (streamed.is_done, &streamed.chunks.last().unwrap()["error"]["code"]),
            (false, &json!("no_provider_available"))
        );
        let late = server.post_as(&ada, "/v1/chat/completions", &stream()).send().await.unwrap();
        assert_eq!(late.status(), 503);
        server.close().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_takes_nothing_holds_the_provider_back_and_gets_all_of_it_later() {
    const PIECES: usize = 1600;
    on_each_database(async |desk: &Desk| {
        // More than all sockets on the way can take, and 64 of them wait here.
        let text = "x".repeat(32 * 1024);
        let upstream = Upstream::new(move |_| answer(&vec![text.as_str(); PIECES], 20, 7)).await;
        let server = Menu::default().open(desk, &upstream, &upstream).await;
        let ada = server.holder("ada@example.com", 0, KAI, desk.now()).await;
        let response = server.post_as(&ada, "/v1/chat/completions", &stream()).send().await.unwrap();
        let mut sent = 0;
        loop {
            // A silence that nobody ends.
            tokio::time::sleep(Duration::from_millis(500)).await;
            if std::mem::replace(&mut sent, upstream.sent()) == upstream.sent() && sent > 0 {
                break;
            }
        }
        assert!(sent < PIECES, "{sent} pieces were read for a client that took none");
        let streamed = Streamed::read(response).await;
        assert!(streamed.is_done && streamed.text().len() == PIECES * 32 * 1024);
        assert_eq!(rows(&server, &ada, 1).await[0].attempt.status.as_str(), "ok");
        server.close().await;
    })
    .await;
}
