//! Kraken spot, WebSocket v2 (docs.kraken.com: spot-websocket-v2).
//!
//! `{"channel":"trade","type":"update","data":[{"symbol":"BTC/USD","side":"buy","price":118832.9,"qty":0.004,…,
//! "trade_id":1,"timestamp":"…Z"},…]}`: prices are JSON **number literals**, read as text. One frame holds several
//! trades; `trade_id` rises by one per pair. `status` announces maintenance.

use std::time::Duration;

use engine::{
    interval::Interval,
    market::{Refusal, Side, Timestamp, Trade, Venue},
};

use super::{
    CandleLimits, CandleRow, Event, FeedError, KeepAlive, Known, Limits, RawCandle, RawTrade, RestRequest, Sink,
    TradeRange, VenueFeed, message, repair_trade,
    scan::{Scan, integer, rfc3339, seconds},
};

pub(crate) static FEED: Kraken = Kraken;

/// See the module.
pub(crate) struct Kraken;

#[inline]
pub(crate) fn on_frame(frame: &[u8], sink: &mut Sink<'_>) -> Result<(), &'static str> {
    let mut scan = Scan::new(frame);
    if scan.accept(b"{\"channel\":\"trade\",\"type\":\"update\",\"data\":[") && ordered(&mut scan, sink).is_some() {
        return Ok(());
    }
    general(frame, sink)
}

/// A single trade in the order that Kraken sends; frames with several go the general way.
#[inline]
fn ordered(scan: &mut Scan<'_>, sink: &mut Sink<'_>) -> Option<()> {
    scan.literal(b"{\"symbol\":\"")?;
    let name = scan.until_quote()?;
    scan.literal(b",\"side\":\"")?;
    let side = side(scan.until_quote()?)?;
    scan.literal(b",\"price\":")?;
    let price = scan.number()?;
    scan.literal(b",\"qty\":")?;
    let quantity = scan.number()?;
    scan.literal(b",\"ord_type\":\"")?;
    scan.until_quote()?;
    scan.literal(b",\"trade_id\":")?;
    let id = scan.integer()?;
    scan.literal(b",\"timestamp\":\"")?;
    let ts_event = rfc3339(scan.until_quote()?)?;
    scan.literal(b"}]}")?;
    sink.trade(&RawTrade { name, first_id: id, id, ts_event, price, quantity, side, backlog: false });
    Some(())
}

const fn side(text: &[u8]) -> Option<Side> {
    match text {
        b"buy" | b"b" => Some(Side::Buy),
        b"sell" | b"s" => Some(Side::Sell),
        _ => None,
    }
}

fn general(frame: &[u8], sink: &mut Sink<'_>) -> Result<(), &'static str> {
    let (mut channel, mut kind, mut data, mut method): (&[u8], &[u8], &[u8], &[u8]) = (b"", b"", b"", b"");
    let (mut error, mut success) = (None, None);
    let mut scan = Scan::new(frame);
    scan.object(|key, scan| {
        match key {
            b"channel" => channel = scan.scalar()?,
            b"type" => kind = scan.scalar()?,
            b"data" => data = scan.value()?,
            b"method" => method = scan.scalar()?,
            b"error" => error = Some(scan.scalar()?),
            b"success" => success = scan.boolean(),
            _ => scan.skip()?,
        }
        Some(())
    })
    .filter(|()| scan.is_done())
    .ok_or("JSON object")?;
    if let Some(error) = error {
        sink.event(Event::SubscribeError(message(error)));
        return Ok(());
    }
    match (channel, method) {
        (b"trade", _) => return trades(data, kind == b"snapshot", sink),
        (b"heartbeat", _) => sink.event(Event::Heartbeat),
        (b"status", _) => sink.event(if announces(data) { Event::PlannedShutdown } else { Event::Ignored }),
        (_, b"pong") => sink.event(Event::Pong),
        (_, b"subscribe") if success == Some(true) => sink.event(Event::Subscribed),
        _ => sink.event(Event::Ignored),
    }
    Ok(())
}

/// Whether a status names an upcoming maintenance or an emergency.
fn announces(data: &[u8]) -> bool {
    let mut found = false;
    let read = Scan::new(data).array(|scan| {
        scan.object(|key, scan| match key {
            b"upcoming_maintenance" | b"emergency" => {
                found |= scan.value()?.contains(&b'{');
                Some(())
            }
            _ => scan.skip(),
        })
    });
    read.is_some() && found
}

fn trades(data: &[u8], backlog: bool, sink: &mut Sink<'_>) -> Result<(), &'static str> {
    Scan::new(data)
        .array(|scan| {
            let empty: &[u8] = b"";
            let (mut name, mut side_text, mut price, mut quantity) = (empty, empty, empty, empty);
            let (mut id, mut time) = (empty, empty);
            scan.object(|key, scan| {
                let target = match key {
                    b"symbol" => &mut name,
                    b"side" => &mut side_text,
                    b"price" => &mut price,
                    b"qty" => &mut quantity,
                    b"trade_id" => &mut id,
                    b"timestamp" => &mut time,
                    _ => return scan.skip(),
                };
                *target = scan.scalar()?;
                Some(())
            })?;
            match (integer(id), rfc3339(time), side(side_text)) {
                (None, ..) => sink.refuse(Refusal::Malformed, "trade_id"),
                (_, None, _) => sink.refuse(Refusal::Malformed, "timestamp"),
                (.., None) => sink.refuse(Refusal::UnknownValue, "side"),
                (Some(id), Some(ts_event), Some(side)) => {
                    sink.trade(&RawTrade { name, first_id: id, id, ts_event, price, quantity, side, backlog });
                }
            }
            Some(())
        })
        .ok_or("data")
}

/// The REST name of a pair: `BTC/USDT` is `XBTUSDT` there.
fn rest_name(name: &str) -> String {
    name.replace("BTC/", "XBT/").replace("DOGE/", "XDG/").replace('/', "")
}

/// The array under the pair's own key in `result`.
fn rows<'a>(body: &'a [u8], mut row: impl FnMut(&[&'a str]) -> Option<()>) -> Result<(), FeedError> {
    let (mut error, mut found) = (None, false);
    let read = Scan::new(body).object(|key, scan| match key {
        b"error" => scan.array(|scan| {
            error = Some(message(scan.string()?));
            Some(())
        }),
        b"result" => scan.object(|key, scan| {
            if key == b"last" || scan.peek() != Some(b'[') {
                return scan.skip();
            }
            found = true;
            scan.array(|scan| {
                let mut cells = Vec::with_capacity(8);
                scan.array(|scan| {
                    cells.push(std::str::from_utf8(scan.scalar()?).ok()?);
                    (cells.len() <= 16).then_some(())
                })?;
                row(&cells)
            })
        }),
        _ => scan.skip(),
    });
    match (error, read) {
        (Some(message), _) => Err(FeedError::Venue { venue: Venue::Kraken, message }),
        (None, Some(())) if found => Ok(()),
        _ => Err(FeedError::Frame { venue: Venue::Kraken, field: "result" }),
    }
}

impl VenueFeed for Kraken {
    fn ws_base(&self) -> &'static str {
        "wss://ws.kraken.com/v2"
    }

    fn rest_base(&self) -> &'static str {
        "https://api.kraken.com"
    }

    fn subscribe(&self, names: &[&str]) -> Vec<String> {
        let symbols = names.iter().map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(",");
        vec![format!(
            r#"{{"method":"subscribe","params":{{"channel":"trade","symbol":[{symbols}],"snapshot":true}},"req_id":1}}"#
        )]
    }

    fn keep_alive(&self) -> Option<KeepAlive> {
        Some(KeepAlive { every: Duration::from_secs(20), text: r#"{"method":"ping"}"# })
    }

    fn limits(&self) -> Limits {
        Limits {
            symbols_per_connection: 50,
            message_pause: Duration::from_millis(250),
            lifetime: None,
            rest_pause: Duration::from_secs(1),
        }
    }

    /// `since` is exclusive and in nanoseconds; at most 1000 a page, oldest first.
    fn trades_request(&self, base: &str, name: &str, range: TradeRange) -> Option<RestRequest> {
        let (pair, since) = (rest_name(name), range.from.0 - 1);
        Some(RestRequest::get(format!("{base}/0/public/Trades?pair={pair}&since={since}&count=1000")))
    }

    /// Rows of price, volume, time in seconds, side, order type, text, trade id.
    fn parse_trades(&self, body: &mut [u8], name: &str, known: &Known) -> Result<Vec<Trade>, FeedError> {
        let mut trades = Vec::new();
        rows(body, |cells| {
            let [price, quantity, time, side_text, _, _, id] = cells else { return None };
            let id = integer(id.as_bytes())?;
            let raw = RawTrade {
                name: name.as_bytes(),
                first_id: id,
                id,
                ts_event: seconds(time.as_bytes())?,
                price: price.as_bytes(),
                quantity: quantity.as_bytes(),
                side: side(side_text.as_bytes())?,
                backlog: false,
            };
            trades.extend(repair_trade(&raw, known));
            Some(())
        })?;
        trades.sort_unstable_by_key(|trade| trade.id);
        Ok(trades)
    }

    /// The newest 720 only; the last row is still open.
    fn candles_request(
        &self,
        base: &str,
        name: &str,
        interval: Interval,
        from: Timestamp,
        _to: Timestamp,
    ) -> Option<RestRequest> {
        let minutes = interval.nanos()? / 60_000_000_000;
        [1, 5, 15, 30, 60, 240, 1440, 10_080].contains(&minutes).then(|| {
            let (pair, since) = (rest_name(name), from.millis() / 1000 - 1);
            RestRequest::get(format!("{base}/0/public/OHLC?pair={pair}&interval={minutes}&since={since}"))
        })
    }

    /// One request a second; only the newest 720 exist. A quiet interval has a row.
    fn candle_limits(&self) -> CandleLimits {
        CandleLimits { rows: 720, pause: Duration::from_millis(1000), newest: Some(720), omits_quiet: false }
    }

    /// Rows of time in seconds, open, high, low, close, vwap, volume, count.
    fn parse_candles(&self, body: &mut [u8], known: &Known) -> Result<Vec<CandleRow>, FeedError> {
        let mut candles = Vec::new();
        rows(body, |cells| {
            let [time, open, high, low, close, _, volume, count] = cells else { return None };
            let raw = RawCandle::new(seconds(time.as_bytes())?, [open, high, low, close], volume);
            candles.push(RawCandle { trades: integer(count.as_bytes()), ..raw }.read(known));
            Some(())
        })?;
        Ok(candles)
    }
}
