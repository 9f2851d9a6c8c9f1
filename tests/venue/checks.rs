//! That the fake is true: to the recording, to the venue's own candles, to its own pages, and to what it is told to do.

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

use serde_json::Value;

use super::{
    Recording, Venue,
    klines::{decimal, klines, quote},
};
use crate::support::{read, shared, trimmed};

/// Status and JSON of a GET.
fn get(venue: &Venue, target: &str) -> (u16, Value) {
    let mut socket = TcpStream::connect(venue.rest()).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    write!(socket, "GET {target} HTTP/1.1\r\nHost: venue\r\n\r\n").unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), serde_json::from_str(body).unwrap())
}

#[test]
fn frames_are_the_recorded_ones_to_the_byte() {
    let file =
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("demo/binance_btcusdt_trades_2024-08-08.jsonl.zst");
    let lines = read(&file);
    let recording = Recording::parse(&lines);
    assert_eq!(recording.trades().len(), 19_904);
    for (line, trade) in lines.lines().zip(recording.trades()) {
        assert_eq!(line.split_once(' ').unwrap().1, trade.frame());
    }
}

#[test]
fn the_independent_candles_are_the_venues_own() {
    let Some(file) = shared("data/ws_binance/binance_spot_btcusdt_klines_5m_2024-08-08_09.csv") else { return };
    let ours = klines("5m", Recording::bundled().trades()).unwrap();
    let mut equal = 0;
    for row in read(&file).lines().skip(1) {
        let cells: Vec<&str> = row.split(',').collect();
        let whole = ours.iter().skip(1).rev().skip(1);
        for kline in whole.filter(|kline| kline.open_ms.to_string() == cells[0]) {
            let values = [kline.open, kline.high, kline.low, kline.close, kline.volume];
            assert_eq!(values.map(|value| trimmed(&decimal(value))), std::array::from_fn(|at| trimmed(cells[at + 1])));
            equal += 1;
        }
    }
    assert_eq!(equal, 2);
}

#[test]
fn rest_pages_hold_each_trade_once_and_add_up_to_the_candles() {
    let venue = Venue::open(Duration::from_secs(3600));
    let all = venue.recording().trades();
    let (first, last) = (&all[0], &all[all.len() - 1]);
    let (mut from, mut ids, mut rows) = (3_082_000_000_u64, Vec::new(), 0);
    loop {
        let (_, page) = get(&venue, &format!("/api/v3/aggTrades?symbol=BTCUSDT&fromId={from}&limit=1000"));
        let page = page.as_array().unwrap().clone();
        let Some(end) = page.last() else { break };
        from = end["a"].as_u64().unwrap() + 1;
        ids.extend(page.iter().flat_map(|row| row["f"].as_u64().unwrap()..=row["l"].as_u64().unwrap()));
        rows += page.len();
    }
    assert_eq!(ids, (first.id..=last.id).collect::<Vec<_>>());
    assert!(rows < all.len() * 3 / 4, "{rows} rows: fills were joined");
    let (_, page) = get(&venue, &format!("/api/v3/historicalTrades?symbol=BTCUSDT&fromId={}&limit=2", last.id - 1));
    assert_eq!((&page[1]["id"], &page[1]["price"]), (&last.id.into(), &last.price.clone().into()));
    assert_eq!(get(&venue, "/api/v3/trades?symbol=BTCUSDT&limit=3").1[2]["id"], last.id);
    let minutes = klines("1m", all).unwrap();
    let (_, page) = get(&venue, &format!("/api/v3/klines?symbol=BTCUSDT&interval=1m&startTime={}", minutes[1].open_ms));
    assert_eq!(page.as_array().unwrap().len(), minutes.len() - 1);
    assert_eq!(page[0][7], quote(minutes[1].quote_volume).as_str());
    assert_eq!(page[0][8], minutes[1].trades);
    let (_, page) =
        get(&venue, &format!("/api/v3/aggTrades?symbol=BTCUSDT&startTime={}&endTime={}", first.ms, first.ms));
    assert_eq!(page[0]["f"], first.id);
}

#[test]
fn bad_questions_have_the_venues_own_answers_and_a_ban_ends() {
    let venue = Venue::open(Duration::from_secs(60));
    let check = |target: &str, status: u16, code: i64| {
        let (was, body) = get(&venue, target);
        assert_eq!((was, &body["code"]), (status, &code.into()), "{target}");
    };
    check("/api/v3/klines?symbol=NOSUCH&interval=1m", 400, -1121);
    check("/api/v3/klines?symbol=BTCUSDT&interval=7m", 400, -1120);
    check("/api/v3/klines?symbol=BTCUSDT&interval=5s", 400, -1120);
    check("/api/v3/aggTrades?symbol=BTCUSDT&fromId=x", 400, -1100);
    check("/api/v3/aggTrades?symbol=BTCUSDT&fromId=1&startTime=1", 400, -1128);
    venue.refuse(429, Duration::from_secs(3600));
    check("/api/v3/ping", 429, -1003);
    venue.refuse(429, Duration::ZERO);
    assert_eq!(get(&venue, "/api/v3/ping").0, 200);
    assert_eq!(venue.requests(), 7);
}

/// Reads the stream until the trade `id` came, and gives all ids.
fn ids_until(venue: &Venue, id: u64) -> Vec<u64> {
    let (mut socket, _) = tokio_tungstenite::tungstenite::connect(format!(
        "ws://{}/stream?streams=ethusdt@trade/btcusdt@trade",
        venue.ws
    ))
    .unwrap();
    let mut ids = Vec::new();
    while ids.last().is_none_or(|last| *last < id) {
        let text = socket.read().unwrap().into_text().unwrap();
        let frame: Value = serde_json::from_str(&text).unwrap();
        ids.push(frame["data"]["t"].as_u64().unwrap());
    }
    ids
}

#[test]
fn the_stream_begins_now_leaves_out_what_is_lost_and_holds_back_what_is_paused() {
    let venue = Venue::open(Duration::from_secs(60));
    let newest = venue.recording().past().last().unwrap().id;
    let lost = venue.lose(5);
    let ids = ids_until(&venue, lost.end + 20);
    let expected = (ids[0]..=ids[ids.len() - 1]).filter(|id| !lost.contains(id));
    assert_eq!(ids, expected.collect::<Vec<_>>());
    assert!(ids[0] > newest, "history is not streamed");
    venue.await_streams(0);
    venue.pause(true);
    std::thread::scope(|threads| {
        let reader = threads.spawn(|| ids_until(&venue, lost.end + 60));
        venue.await_streams(1);
        while venue.recording().past().last().unwrap().id < lost.end + 60 {
            std::thread::sleep(Duration::from_millis(5));
        }
        assert!(!reader.is_finished());
        venue.pause(false);
        let ids = reader.join().unwrap();
        assert!(ids.windows(2).all(|pair| pair[1] == pair[0] + 1), "all that was held is sent: {ids:?}");
    });
}
