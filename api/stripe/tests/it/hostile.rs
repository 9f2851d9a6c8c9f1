//! Servers that are not Stripe, or not well: what they send is bounded, goes nowhere and shows no secret.

use std::time::Duration;

use stripe::{EventsQuery, RetryPolicy, StripeClient, StripeError};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use crate::stage::{KEY, LOOPBACK, POLICY, TEN, key};

/// A server that answers each connection's first request with these bytes, the last of them for ever.
async fn server(answer: Vec<u8>, endless: bool) -> String {
    let listener = TcpListener::bind(LOOPBACK).await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let answer = answer.clone();
            tokio::spawn(async move {
                let mut asked = [0; 4096];
                let _ = socket.read(&mut asked).await;
                let _ = socket.write_all(&answer).await;
                while endless && socket.write_all(&[b' '; 65_536]).await.is_ok() {}
            });
        }
    });
    base
}

fn http(status: &str, headers: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status}\r\n{headers}content-length: {}\r\nconnection: close\r\n\r\n{body}", body.len())
        .into_bytes()
}

async fn asked(base: &str) -> StripeError {
    let client = StripeClient::new(base, KEY, RetryPolicy { attempts: 2, ..POLICY }).unwrap();
    client.create_session(&TEN, &key("order")).await.unwrap_err()
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let elsewhere = TcpListener::bind(LOOPBACK).await.unwrap();
    let location = format!("location: http://{}/\r\n", elsewhere.local_addr().unwrap());
    for status in ["301 Moved", "302 Found", "307 Temporary Redirect", "308 Permanent Redirect"] {
        let error = asked(&server(http(status, &location, ""), false).await).await;
        assert!(matches!(error, StripeError::Refused { status: 301..=308, .. }), "{error:?}");
    }
    let nobody = tokio::time::timeout(Duration::from_millis(50), elsewhere.accept()).await;
    assert!(nobody.is_err(), "the secret went elsewhere");
}

#[tokio::test]
async fn an_answer_that_cannot_be_read_leaves_the_outcome_unknown() {
    for body in ["", "{}", "<html>", "{\"id\":\"cs_1\",\"payment_status\":\"paid\"}"] {
        let error = asked(&server(http("200 OK", "", body), false).await).await;
        assert!(matches!(error, StripeError::Unreadable { .. }) && error.is_ambiguous(), "{body}: {error:?}");
    }
    let cut = b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{".to_vec();
    let error = asked(&server(cut, false).await).await;
    assert!(matches!(error, StripeError::Unanswered { .. }), "{error:?}");
    let error = asked(&server(b"SSH-2.0-hello\r\n".to_vec(), false).await).await;
    assert!(matches!(error, StripeError::Unanswered { .. }), "{error:?}");
}

#[tokio::test]
async fn an_answer_without_end_is_given_up() {
    let head = b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n".to_vec();
    let error = asked(&server(head, true).await).await;
    assert!(matches!(error, StripeError::Unreadable { .. }) && error.is_ambiguous(), "{error:?}");
}

#[tokio::test]
async fn no_error_shows_the_secret_or_more_than_a_few_words() {
    let words = "x".repeat(100_000);
    let body = format!(
        r#"{{"error":{{"type":"{KEY}","code":"{KEY}","param":"{KEY}\u0000\n","message":"Invalid API Key provided: {KEY} {words}"}}}}"#
    );
    let headers = format!("request-id: {KEY}\r\n");
    for status in ["400 Bad Request", "401 Unauthorized", "403 Forbidden", "500 Internal Server Error"] {
        let error = asked(&server(http(status, &headers, &body), false).await).await;
        let shown = format!("{error} {error:?}");
        assert!(!shown.contains(KEY) && shown.len() < 3000 && !shown.contains('\u{0}'), "{shown}");
    }
}

#[tokio::test]
async fn one_event_that_cannot_be_read_does_not_hide_the_others() {
    let good = r#"{"id":"evt_2","type":"plan.created","created":1,"livemode":false,"data":{"object":{}}}"#;
    let bad = r#"{"id":"evt_1","type":"charge.refunded","created":1,"livemode":false,"data":{"object":{}}}"#;
    let body = format!(r#"{{"object":"list","data":[{good},{bad},7],"has_more":false}}"#);
    let client = StripeClient::new(&server(http("200 OK", "", &body), false).await, KEY, POLICY).unwrap();
    let page = client.events(&EventsQuery::default()).await.unwrap();
    assert_eq!(page.events.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, false, false]);
    assert!(format!("{}", page.events[1].as_ref().unwrap_err()).contains("evt_1"));
}
