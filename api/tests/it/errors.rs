//! What a client is told when its query is wrong or the store is away.

use engine::market::Timestamp;
use serde_json::json;
use store::{Keep, Store, StoreUrl, WriterState, WriterStatus};

use crate::stage::{START, Stage, batch, candle};

#[tokio::test]
async fn a_wrong_parameter_is_named_with_what_would_be_right() {
    let stage = Stage::embedded().await;
    for (query, field, word) in [
        ("interval=7m", "interval", "1s, 5s"),
        ("start=soon", "start", "RFC 3339"),
        ("end=-5", "end", "milliseconds"),
        ("limit=10001", "limit", "1 to 10000"),
        ("limit=0", "limit", "1 to 10000"),
        ("fill=linear", "fill", "none, flat"),
        ("open=1", "open", "false, true"),
        ("format=xml", "format", "json, csv, arrow"),
        ("numbers=float", "numbers", "number, string"),
        ("cursor=abc", "cursor", "leave it out"),
        ("from=1", "from", "interval, start, end"),
        ("start=2&end=1", "end", "before start"),
    ] {
        let (status, body) = stage.refused(&format!("/v1/market/ohlcv/BTC?{query}")).await;
        assert_eq!((status, &body["field"]), (400, &json!(field)), "{query}: {body}");
        assert!(body["message"].as_str().unwrap().contains(word), "{body}");
        assert!(["invalid_parameter", "unknown_parameter"].contains(&body["error"].as_str().unwrap()), "{body}");
    }
}

#[tokio::test]
async fn a_cursor_belongs_to_its_query() {
    let stage = Stage::embedded().await;
    stage.write(batch((0..9).map(|number| candle("1m", number)))).await;
    let end = START + 600_000;
    let page = stage.json(&format!("/v1/market/ohlcv/BTC?interval=1m&start={START}&end={end}&limit=2")).await;
    let cursor = page["next_cursor"].as_str().unwrap();
    for other in [
        "interval=5m".to_owned(),
        "interval=1m&fill=flat".to_owned(),
        format!("interval=1m&end={}", end + 60_000),
        format!("interval=1m&start={}", START + 300_000),
    ] {
        let (status, body) = stage.refused(&format!("/v1/market/ohlcv/BTC?{other}&cursor={cursor}")).await;
        assert_eq!((status, &body["field"]), (400, &json!("cursor")), "{other}");
    }
    let (status, body) = stage.refused(&format!("/v1/market/trades/BTC?cursor={cursor}")).await;
    assert_eq!((status, &body["field"]), (400, &json!("cursor")));
    // The same instrument by its other name is the same query.
    let page = stage.json(&format!("/v1/market/ohlcv/binance:BTCUSDT?interval=1m&cursor={cursor}")).await;
    assert_eq!(page["candles"].as_array().unwrap().len(), 7);
}

#[tokio::test]
async fn an_unknown_symbol_is_answered_with_the_nearest_names() {
    let stage = Stage::embedded().await;
    for path in ["/v1/market/ohlcv/BTX", "/v1/market/trades/BTX", "/v1/market/ticker?symbol=BTC,BTX"] {
        let (status, body) = stage.refused(path).await;
        assert_eq!((status, &body["error"]), (404, &json!("unknown_symbol")), "{path}");
        assert_eq!(body["suggestions"][0], "BTC", "{body}");
    }
    let (status, body) = stage.refused("/v1/market/ohlcv/kraken:BTC/USD").await;
    assert_eq!((status, &body["suggestions"][0]), (404, &json!("kraken:BTC/USD")), "{body}");
}

#[tokio::test]
async fn an_instrument_that_is_only_stored_is_found_by_its_source() {
    let stage = Stage::embedded().await;
    let mut batch = store::Batch::new();
    let source = store::Source::parse("kraken:BTC/USD").unwrap();
    let stored = store::StoredCandle { scales: crate::stage::scales(1, 8), candle: candle("2h", 0) };
    batch.candle(&source, stored).unwrap();
    stage.write(batch).await;
    for name in ["kraken:BTC/USD", "kraken:BTC%2FUSD"] {
        let page = stage.json(&format!("/v1/market/ohlcv/{name}?interval=2h")).await;
        assert_eq!((&page["symbol"], &page["source"]), (&json!("kraken:BTC/USD"), &json!("kraken:BTC/USD")));
        assert_eq!(page["candles"].as_array().unwrap().len(), 1);
    }
}

#[tokio::test]
async fn a_store_that_is_away_is_told_with_when_to_ask_again() {
    // Bound and closed at once: nobody listens on that port.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let url = StoreUrl::parse(&format!("questdb:http://me:secret@127.0.0.1:{port}")).unwrap();
    let stage = Stage::on(Some(Store::open(&url, Keep::default()).await.unwrap())).await;
    for path in ["/v1/market/ohlcv/BTC", "/v1/market/trades/BTC"] {
        let response = stage.get(path).await;
        assert_eq!((response.status().as_u16(), response.headers()["retry-after"].to_str().unwrap()), (503, "5"));
        let body = response.text().await.unwrap();
        assert!(body.contains(r#""error":"history_unavailable""#) && !body.contains("127.0.0.1"), "{body}");
    }
    assert_eq!(stage.get("/v1/health").await.status(), 200);
}

#[tokio::test]
async fn health_says_whether_what_is_streamed_is_kept() {
    let stage = Stage::embedded().await;
    let health = stage.json("/v1/health").await;
    assert_eq!((&health["status"], &health["history"]["state"]), (&json!("ok"), &json!("off")));
    let since = Timestamp::from_millis(START);
    let told = [
        (WriterState::Ok, "ok", "ok", json!([]), 0),
        (WriterState::Spilling { since, bytes: 70 }, "degraded", "spilling", json!(["history"]), 70),
        (WriterState::Full { since, bytes: 99 }, "degraded", "full", json!(["history"]), 99),
    ];
    for (state, status, history, degraded, bytes) in &told {
        let last_error = Some("no room".to_owned());
        let own = WriterStatus { state: *state, lost_rows: 3, last_error, ..WriterStatus::default() };
        *stage.view.status.lock().unwrap() = Some(own);
        let health = stage.json("/v1/health").await;
        assert_eq!((&health["status"], &health["degraded"]), (&json!(status), degraded));
        let own = &health["history"];
        assert_eq!((&own["state"], &own["spilled_bytes"]), (&json!(history), &json!(bytes)));
        assert_eq!((&own["lost_rows"], &own["last_error"]), (&json!(3), &json!("no room")));
        assert_eq!(health["since"].as_i64(), (*bytes > 0).then_some(START));
    }
}
