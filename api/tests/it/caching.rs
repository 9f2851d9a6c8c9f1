//! What a cache may keep, and what need not be sent again.

use std::{io::Read, sync::atomic::Ordering};

use crate::stage::{START, Stage, batch, candle};

const HOUR: i64 = 3_600_000;

#[tokio::test]
async fn an_answer_that_the_client_has_is_not_sent_again_until_a_fact_of_it_changes() {
    let stage = Stage::embedded().await;
    stage.write(batch((0..5).map(|number| candle("1m", number)))).await;
    let path = format!("/v1/market/ohlcv/BTC?interval=1m&start={START}");
    let tag = |response: &reqwest::Response| response.headers()["etag"].to_str().unwrap().to_owned();
    let first = tag(&stage.get(&path).await);
    for given in [first.clone(), format!("\"x\", {first}"), first.trim_start_matches("W/").to_owned(), "*".to_owned()] {
        let again = stage.ask(&path, &[("if-none-match", &given)]).await;
        assert_eq!((again.status().as_u16(), tag(&again)), (304, first.clone()), "{given}");
        assert_eq!(again.text().await.unwrap(), "");
    }
    for other in ["&format=csv", "&numbers=string", "&limit=4"] {
        let other = stage.ask(&format!("{path}{other}"), &[("if-none-match", &first)]).await;
        assert_eq!(other.status(), 200);
    }
    let mut corrected = candle("1m", 3);
    (corrected.revision, corrected.buy_volume) = (1, 900_001);
    stage.write(batch([corrected])).await;
    let changed = stage.ask(&path, &[("if-none-match", &first)]).await;
    assert_eq!(changed.status(), 200);
    assert_ne!(tag(&changed), first);
}

#[tokio::test]
async fn only_a_range_that_can_change_no_more_is_immutable() {
    let stage = Stage::embedded().await;
    let mut partial = candle("1m", 20);
    partial.state = engine::candle::State::Partial;
    stage.write(batch((0..10).chain([12, 13]).map(|number| candle("1m", number)).chain([partial]))).await;
    stage.view.now.store(START + 24 * HOUR + 13 * 60_000, Ordering::Relaxed);
    let immutable = async |query: &str| {
        let response = stage.get(&format!("/v1/market/ohlcv/BTC?interval=1m&{query}")).await;
        let text = response.headers()["cache-control"].to_str().unwrap().to_owned();
        assert!(text == "no-cache" || text == "public, max-age=31536000, immutable", "{text}");
        text != "no-cache"
    };
    let range = |from: i64, to: i64| format!("start={}&end={}", START + from * 60_000, START + to * 60_000);
    // Younger than a day, and then no more.
    assert!(!immutable(&range(12, 14)).await);
    stage.view.now.fetch_add(60_000, Ordering::Relaxed);
    assert!(immutable(&range(0, 10)).await);
    assert!(immutable(&format!("{}&limit=3", range(0, 14))).await);
    assert!(immutable(&range(12, 14)).await);
    // A hole, at the begin, in the middle, at the end; a hole that is filled; a candle that may be repaired.
    for (from, to) in [(-1, 5), (0, 14), (12, 15), (20, 21)] {
        assert!(!immutable(&range(from, to)).await, "{from} {to}");
    }
    assert!(!immutable(&format!("{}&fill=flat", range(0, 14))).await);
    // An open end, or an open begin.
    assert!(!immutable(&format!("start={START}&limit=3")).await);
    assert!(!immutable(&format!("end={}&limit=3", START + 600_000)).await);
    // A page behind a cursor has both ends.
    let page = stage.json(&format!("/v1/market/ohlcv/BTC?interval=1m&{}&limit=3", range(0, 10))).await;
    assert!(immutable(&format!("cursor={}&limit=3", page["next_cursor"].as_str().unwrap())).await);
}

#[tokio::test]
async fn the_next_page_is_named_in_the_headers_of_every_format() {
    let stage = Stage::embedded().await;
    stage.write(batch((0..5).map(|number| candle("1m", number)))).await;
    for format in ["json", "csv", "arrow"] {
        let path = format!("/v1/market/ohlcv/BTC?interval=1m&start={START}&limit=3&format={format}");
        let response = stage.get(&path).await;
        let cursor = response.headers()["x-next-cursor"].to_str().unwrap();
        let link = response.headers()["link"].to_str().unwrap();
        assert_eq!(link, format!("<{path}&cursor={cursor}>; rel=\"next\""));
        let next = link.trim_start_matches('<').split_once('>').unwrap().0;
        assert!(!stage.get(next).await.headers().contains_key("x-next-cursor"));
    }
}

#[tokio::test]
async fn a_page_that_is_kept_is_the_same_in_every_form_and_is_read_again_after_a_minute() {
    let stage = Stage::embedded().await;
    stage.write(batch((0..50).map(|number| candle("1m", number)))).await;
    stage.view.now.store(START + 26 * HOUR, Ordering::Relaxed);
    let path = format!("/v1/market/ohlcv/BTC?interval=1m&start={START}&end={}&limit=30", START + 50 * 60_000);
    let headers = |response: &reqwest::Response| {
        let of = |name: &str| response.headers().get(name).cloned();
        ["etag", "cache-control", "content-type", "x-next-cursor", "link", "vary"].map(of)
    };
    for accept in ["application/json", "text/csv", "application/vnd.apache.arrow.stream"] {
        let first = stage.ask(&path, &[("accept", accept)]).await;
        assert_eq!(first.headers()["cache-control"], "public, max-age=31536000, immutable");
        let again = stage.ask(&path, &[("accept", accept)]).await;
        assert_eq!(headers(&first), headers(&again));
        let tag = first.headers()["etag"].to_str().unwrap().to_owned();
        assert_eq!(first.bytes().await.unwrap(), again.bytes().await.unwrap());
        assert_eq!(stage.ask(&path, &[("accept", accept), ("if-none-match", &tag)]).await.status(), 304);
    }
    // What was settled is corrected all the same, by an import.
    let mut corrected = candle("1m", 3);
    corrected.revision = 1;
    stage.write(batch([corrected])).await;
    stage.view.now.fetch_add(60_000, Ordering::Relaxed);
    assert_eq!(stage.json(&path).await["candles"][3]["revision"], 1);
}

#[tokio::test]
async fn answers_are_compressed_for_clients_that_ask() {
    let stage = Stage::embedded().await;
    stage.write(batch((0..500).map(|number| candle("1m", number)))).await;
    let path = format!("/v1/market/ohlcv/BTC?interval=1m&start={START}");
    let plain = stage.text(&path).await;
    for encoding in ["gzip", "zstd"] {
        let response = stage.ask(&path, &[("accept-encoding", encoding)]).await;
        assert_eq!(response.headers()["content-encoding"], encoding);
        let bytes = response.bytes().await.unwrap();
        assert!(bytes.len() * 4 < plain.len(), "{encoding}: {} of {}", bytes.len(), plain.len());
        let mut text = String::new();
        match encoding {
            "gzip" => flate2::read::GzDecoder::new(&*bytes).read_to_string(&mut text).unwrap(),
            _ => zstd::Decoder::new(&*bytes).unwrap().read_to_string(&mut text).unwrap(),
        };
        assert_eq!(text, plain);
    }
}
