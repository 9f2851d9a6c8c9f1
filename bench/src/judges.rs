//! What our own parsers and encoder are compared with: the usual libraries on the same recorded frames.

use std::hint::black_box;

use engine::{
    candle::Candle,
    market::{Trade, Venue},
};
use serde::{Deserialize, Serialize};

/// One recorded frame with one trade of each venue, as its fixture has it, and the instrument that it is of.
pub(crate) const FRAMES: [(Venue, &str, &str); 6] = [
    (
        Venue::Binance,
        "BTCUSDT",
        r#"{"stream":"btcusdt@trade","data":{"e":"trade","E":1723161255343,"s":"BTCUSDT","t":3735683259,"p":"61837.63000000","q":"0.02000000","T":1723161255342,"m":true,"M":true}}"#,
    ),
    (
        Venue::Coinbase,
        "BTC-USD",
        r#"{"type":"match","trade_id":1081862675,"maker_order_id":"f07e510f-4edf-469d-b844-4f670f1e93f1","taker_order_id":"55c8b85c-75ae-4cd5-9775-eba950fc4605","side":"sell","size":"0.00000001","price":"80691.53","product_id":"BTC-USD","sequence":134905860111,"time":"2026-08-25T03:35:57.296368Z"}"#,
    ),
    (
        Venue::Kraken,
        "BTC/USDT",
        r#"{"channel":"trade","type":"update","data":[{"symbol":"BTC/USDT","side":"buy","price":118832.9,"qty":0.00409283,"ord_type":"market","trade_id":9622656,"timestamp":"2025-07-23T04:41:46.919844Z"}]}"#,
    ),
    (
        Venue::Bybit,
        "BTCUSDT",
        r#"{"topic":"publicTrade.BTCUSDT","ts":1703430744103,"type":"snapshot","data":[{"i":"2290000000090712222","T":1703430744102,"p":"43774","v":"0.0026","S":"Sell","s":"BTCUSDT","BT":false}]}"#,
    ),
    (
        Venue::Okx,
        "BTC-USDT",
        r#"{"arg":{"channel":"trades","instId":"BTC-USDT"},"data":[{"instId":"BTC-USDT","tradeId":"1032787952","px":"62571.2","sz":"0.07990896","side":"buy","ts":"1784016942060","count":"1","source":"0","seqId":78755034232}]}"#,
    ),
    (
        Venue::Hyperliquid,
        "BTC",
        r#"{"channel":"trades","data":[{"coin":"BTC","side":"B","px":"72581.0","sz":"0.00017","time":1787259217020,"hash":"0x0000000000000000000000000000000000000000000000000000000000000000","tid":877707108085800,"users":["0x9b54264d7502f80163ea949038aad771eae67e38","0x706bb519b05b7dc01d048af9a5e29d1ef5d6d9e3"]}]}"#,
    ),
];

/// The frame with another last digit of its first price-like text, so that no branch sees the same bytes each time.
pub(crate) fn vary(frame: &str, n: usize) -> Vec<u8> {
    let digit = char::from(b'1' + (n % 9) as u8);
    frame.replacen("0.0", &format!("0.{digit}"), 1).into_bytes()
}

/// A Binance frame that carries the numbers of `trade`.
pub(crate) fn at(frame: &str, trade: &Trade) -> Vec<u8> {
    let ms = trade.ts_event.millis();
    let price = format!("{}.{:08}", trade.price.0 / 10_000_000_000, trade.price.0 % 10_000_000_000 / 100);
    let quantity = format!("0.{:08}", trade.quantity.0);
    frame
        .replace("3735683259", &trade.id.to_string())
        .replace("1723161255342", &ms.to_string())
        .replace("61837.63000000", &price)
        .replace("0.02000000", &quantity)
        .into_bytes()
}

#[derive(Deserialize)]
#[serde(bound = "T: Deserialize<'de>")]
struct Wrapped<T> {
    data: T,
}

#[derive(Deserialize)]
#[allow(dead_code, reason = "the fields are what is measured, not what is used")]
struct Binance<'a> {
    s: &'a str,
    t: u64,
    p: &'a str,
    q: &'a str,
    #[serde(rename = "T")]
    time: i64,
    m: bool,
}

#[derive(Deserialize)]
#[allow(dead_code, reason = "the fields are what is measured, not what is used")]
struct Coinbase<'a> {
    trade_id: u64,
    side: &'a str,
    size: &'a str,
    price: &'a str,
    product_id: &'a str,
    time: &'a str,
}

#[derive(Deserialize)]
#[allow(dead_code, reason = "the fields are what is measured, not what is used")]
struct Kraken<'a> {
    symbol: &'a str,
    side: &'a str,
    price: f64,
    qty: f64,
    trade_id: u64,
    timestamp: &'a str,
}

#[derive(Deserialize)]
#[allow(dead_code, reason = "the fields are what is measured, not what is used")]
struct Bybit<'a> {
    i: &'a str,
    #[serde(rename = "T")]
    time: i64,
    p: &'a str,
    v: &'a str,
    #[serde(rename = "S")]
    side: &'a str,
    s: &'a str,
}

#[derive(Deserialize)]
#[allow(dead_code, reason = "the fields are what is measured, not what is used")]
struct Okx<'a> {
    #[serde(rename = "instId")]
    name: &'a str,
    #[serde(rename = "tradeId")]
    id: &'a str,
    px: &'a str,
    sz: &'a str,
    side: &'a str,
    ts: &'a str,
    count: &'a str,
}

#[derive(Deserialize)]
#[allow(dead_code, reason = "the fields are what is measured, not what is used")]
struct Hyperliquid<'a> {
    coin: &'a str,
    side: &'a str,
    px: &'a str,
    sz: &'a str,
    time: i64,
    tid: u64,
}

/// Reads a frame into a borrowed struct with `serde_json`.
pub(crate) fn serde(venue: Venue, frame: &[u8]) {
    match venue {
        Venue::Binance => drop(black_box(serde_json::from_slice::<Wrapped<Binance<'_>>>(frame).map(|w| w.data.t))),
        Venue::Coinbase => drop(black_box(serde_json::from_slice::<Coinbase<'_>>(frame).map(|row| row.trade_id))),
        Venue::Kraken => {
            drop(black_box(serde_json::from_slice::<Wrapped<Vec<Kraken<'_>>>>(frame).map(|w| w.data.len())))
        }
        Venue::Bybit => drop(black_box(serde_json::from_slice::<Wrapped<Vec<Bybit<'_>>>>(frame).map(|w| w.data.len()))),
        Venue::Okx => drop(black_box(serde_json::from_slice::<Wrapped<Vec<Okx<'_>>>>(frame).map(|w| w.data.len()))),
        _ => drop(black_box(serde_json::from_slice::<Wrapped<Vec<Hyperliquid<'_>>>>(frame).map(|w| w.data.len()))),
    }
}

/// Reads a frame into a borrowed struct with `simd-json`, which needs a copy that it may change.
pub(crate) fn simd(venue: Venue, frame: &[u8], scratch: &mut Vec<u8>) {
    scratch.clear();
    scratch.extend_from_slice(frame);
    let bytes = scratch.as_mut_slice();
    match venue {
        Venue::Binance => drop(black_box(simd_json::from_slice::<Wrapped<Binance<'_>>>(bytes).map(|w| w.data.t))),
        Venue::Coinbase => drop(black_box(simd_json::from_slice::<Coinbase<'_>>(bytes).map(|row| row.trade_id))),
        Venue::Kraken => {
            drop(black_box(simd_json::from_slice::<Wrapped<Vec<Kraken<'_>>>>(bytes).map(|w| w.data.len())))
        }
        Venue::Bybit => drop(black_box(simd_json::from_slice::<Wrapped<Vec<Bybit<'_>>>>(bytes).map(|w| w.data.len()))),
        Venue::Okx => drop(black_box(simd_json::from_slice::<Wrapped<Vec<Okx<'_>>>>(bytes).map(|w| w.data.len()))),
        _ => drop(black_box(simd_json::from_slice::<Wrapped<Vec<Hyperliquid<'_>>>>(bytes).map(|w| w.data.len()))),
    }
}

/// A candle as most programs keep it: floats, and a serialiser that is derived.
#[derive(Serialize)]
pub(crate) struct Plain {
    symbol: &'static str,
    interval: &'static str,
    ts: i64,
    open: f64,
    high: f64,
    low: f64,
    close: f64,
    volume: f64,
    is_closed: bool,
    close_ts: i64,
    trades: u64,
    vwap: f64,
    quote_volume: f64,
    buy_volume: f64,
    revision: u32,
    state: &'static str,
    source: &'static str,
    first_id: u64,
    last_id: u64,
}

impl Plain {
    /// The same values as `candle`, but for rounding.
    pub(crate) fn new(candle: &Candle) -> Self {
        let price = |value: i64| value as f64 / 1e10;
        Self {
            symbol: "BTC",
            interval: candle.interval.name(),
            ts: candle.open_time.millis(),
            open: price(candle.open.0),
            high: price(candle.high.0),
            low: price(candle.low.0),
            close: price(candle.close.0),
            volume: candle.volume as f64 / 1e8,
            is_closed: candle.is_closed,
            close_ts: candle.close_time.millis(),
            trades: candle.trades,
            vwap: candle.vwap().unwrap_or(0) as f64 / 1e10,
            quote_volume: candle.quote_volume as f64 / 1e18,
            buy_volume: candle.buy_volume as f64 / 1e8,
            revision: candle.revision,
            state: candle.state.name(),
            source: "binance:BTCUSDT",
            first_id: candle.first_id,
            last_id: candle.last_id,
        }
    }
}
