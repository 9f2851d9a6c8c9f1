//! Bybit v5 spot (bybit-exchange.github.io: v5 websocket public trade).
//!
//! `{"topic":"publicTrade.BTCUSDT","ts":…,"type":"snapshot","data":[{"i":"2290…","T":…,"p":"28165.38","v":"0.04",
//! "S":"Sell","s":"BTCUSDT","BT":false}]}`. `type` is always `snapshot`. Ids are unique but prove no continuity: a
//! reconnect is a gap, mended from the venue's own minutes. The pong comes as `op:"ping"` or as `op:"pong"`.
//! Block and RPI trades are trades of this market and enter the candles.

use std::time::Duration;

use engine::{
    interval::Interval,
    market::{Refusal, Side, Timestamp, Trade, Venue},
};
use serde::Deserialize;

use super::{
    CandleLimits, CandleRow, Event, FeedError, KeepAlive, Known, Limits, RawCandle, RawTrade, RestRequest, Sink,
    TradeRange, VenueFeed, message, oldest_first, page, repair_trade,
    scan::{Scan, integer, millis},
};

pub(crate) static FEED: Bybit = Bybit;

/// See the module.
pub(crate) struct Bybit;

#[inline]
pub(crate) fn on_frame(frame: &[u8], sink: &mut Sink<'_>) -> Result<(), &'static str> {
    match ordered(frame) {
        Some(raw) => {
            sink.trade(&raw);
            Ok(())
        }
        None => general(frame, sink),
    }
}

/// A frame with one trade, in the order that Bybit sends.
#[inline]
fn ordered(frame: &[u8]) -> Option<RawTrade<'_>> {
    let mut scan = Scan::new(frame);
    scan.literal(b"{\"topic\":\"publicTrade.")?;
    scan.until_quote()?;
    scan.literal(b",\"ts\":")?;
    scan.integer()?;
    scan.literal(b",\"type\":\"snapshot\",\"data\":[{\"i\":\"")?;
    let id = integer(scan.until_quote()?)?;
    scan.literal(b",\"T\":")?;
    let ts_event = i64::try_from(scan.integer()?).ok()?.checked_mul(1_000_000)?;
    scan.literal(b",\"p\":\"")?;
    let price = scan.until_quote()?;
    scan.literal(b",\"v\":\"")?;
    let quantity = scan.until_quote()?;
    scan.literal(b",\"S\":\"")?;
    let side = side(scan.until_quote()?)?;
    scan.literal(b",\"s\":\"")?;
    let name = scan.until_quote()?;
    scan.literal(b",\"BT\":")?;
    scan.boolean()?;
    if scan.accept(b",\"RPI\":") {
        scan.boolean()?;
    }
    if scan.accept(b",\"seq\":") {
        scan.integer()?;
    }
    scan.literal(b"}]}")?;
    Some(RawTrade { name, first_id: id, id, ts_event, price, quantity, side, backlog: false })
}

const fn side(text: &[u8]) -> Option<Side> {
    match text {
        b"Buy" => Some(Side::Buy),
        b"Sell" => Some(Side::Sell),
        _ => None,
    }
}

fn general(frame: &[u8], sink: &mut Sink<'_>) -> Result<(), &'static str> {
    let (mut topic, mut data, mut op, mut reason): (&[u8], &[u8], &[u8], &[u8]) = (b"", b"", b"", b"");
    let mut success = None;
    let mut scan = Scan::new(frame);
    scan.object(|key, scan| {
        match key {
            b"topic" => topic = scan.scalar()?,
            b"data" => data = scan.value()?,
            b"op" => op = scan.scalar()?,
            b"ret_msg" => reason = scan.scalar()?,
            b"success" => success = scan.boolean(),
            _ => scan.skip()?,
        }
        Some(())
    })
    .filter(|()| scan.is_done())
    .ok_or("JSON object")?;
    if topic.starts_with(b"publicTrade.") {
        return trades(data, sink);
    }
    sink.event(match (op, success) {
        (_, Some(false)) => Event::SubscribeError(message(reason)),
        (b"pong", _) => Event::Pong,
        (b"ping", _) if reason == b"pong" => Event::Pong,
        (b"subscribe", Some(true)) => Event::Subscribed,
        _ => Event::Ignored,
    });
    Ok(())
}

fn trades(data: &[u8], sink: &mut Sink<'_>) -> Result<(), &'static str> {
    Scan::new(data)
        .array(|scan| {
            let empty: &[u8] = b"";
            let (mut id, mut time, mut price) = (empty, empty, empty);
            let (mut quantity, mut side_text, mut name) = (empty, empty, empty);
            scan.object(|key, scan| {
                let target = match key {
                    b"i" => &mut id,
                    b"T" => &mut time,
                    b"p" => &mut price,
                    b"v" => &mut quantity,
                    b"S" => &mut side_text,
                    b"s" => &mut name,
                    _ => return scan.skip(),
                };
                *target = scan.scalar()?;
                Some(())
            })?;
            match (integer(id), millis(time), side(side_text)) {
                (None, ..) => sink.refuse(Refusal::Malformed, "id"),
                (_, None, _) => sink.refuse(Refusal::Malformed, "time"),
                (.., None) => sink.refuse(Refusal::UnknownValue, "side"),
                (Some(id), Some(ts_event), Some(side)) => {
                    sink.trade(&RawTrade { name, first_id: id, id, ts_event, price, quantity, side, backlog: false })
                }
            }
            Some(())
        })
        .ok_or("data")
}

#[derive(Deserialize)]
struct Answer<T> {
    #[serde(rename = "retCode")]
    code: i64,
    #[serde(rename = "retMsg")]
    reason: String,
    result: Option<List<T>>,
}

#[derive(Deserialize)]
struct List<T> {
    #[serde(default = "Vec::new")]
    list: Vec<T>,
}

#[derive(Deserialize)]
struct Recent {
    #[serde(rename = "execId")]
    id: String,
    price: String,
    size: String,
    side: String,
    time: String,
}

fn list<'a, T: Deserialize<'a>>(body: &'a mut [u8]) -> Result<Vec<T>, FeedError> {
    let answer: Answer<T> = page(Venue::Bybit, body)?;
    match answer.result {
        Some(result) if answer.code == 0 => Ok(result.list),
        _ => Err(FeedError::Venue { venue: Venue::Bybit, message: message(answer.reason.as_bytes()) }),
    }
}

impl VenueFeed for Bybit {
    fn ws_base(&self) -> &'static str {
        "wss://stream.bybit.com/v5/public/spot"
    }

    fn rest_base(&self) -> &'static str {
        "https://api.bybit.com"
    }

    /// At most ten topics a request on spot.
    fn subscribe(&self, names: &[&str]) -> Vec<String> {
        let request = |names: &[&str]| {
            let topics = names.iter().map(|name| format!("\"publicTrade.{name}\"")).collect::<Vec<_>>().join(",");
            format!(r#"{{"req_id":"trades","op":"subscribe","args":[{topics}]}}"#)
        };
        names.chunks(10).map(request).collect()
    }

    fn keep_alive(&self) -> Option<KeepAlive> {
        Some(KeepAlive { every: Duration::from_secs(20), text: r#"{"op":"ping"}"# })
    }

    fn limits(&self) -> Limits {
        Limits {
            symbols_per_connection: 50,
            message_pause: Duration::from_millis(100),
            lifetime: None,
            rest_pause: Duration::from_millis(100),
        }
    }

    /// The newest 60 without a cursor: only the shortest cuts can be bridged by trades.
    fn trades_request(&self, base: &str, name: &str, _range: TradeRange) -> Option<RestRequest> {
        Some(RestRequest::get(format!("{base}/v5/market/recent-trade?category=spot&symbol={name}&limit=60")))
    }

    fn parse_trades(&self, body: &mut [u8], name: &str, known: &Known) -> Result<Vec<Trade>, FeedError> {
        let rows: Vec<Recent> = list(body)?;
        let read = |row: &Recent| {
            let id = integer(row.id.as_bytes())?;
            let raw = RawTrade {
                name: name.as_bytes(),
                first_id: id,
                id,
                ts_event: millis(row.time.as_bytes())?,
                price: row.price.as_bytes(),
                quantity: row.size.as_bytes(),
                side: side(row.side.as_bytes())?,
                backlog: false,
            };
            repair_trade(&raw, known)
        };
        let mut trades: Vec<_> = rows.iter().filter_map(read).collect();
        trades.sort_by_key(|trade| trade.ts_event);
        Ok(trades)
    }

    /// At most 1000, newest first.
    fn candles_request(
        &self,
        base: &str,
        name: &str,
        interval: Interval,
        from: Timestamp,
        to: Timestamp,
    ) -> Option<RestRequest> {
        let word = match interval {
            Interval::M1 => "1",
            Interval::M3 => "3",
            Interval::M5 => "5",
            Interval::M15 => "15",
            Interval::M30 => "30",
            Interval::H1 => "60",
            Interval::H2 => "120",
            Interval::H4 => "240",
            Interval::H6 => "360",
            Interval::H12 => "720",
            Interval::D1 => "D",
            Interval::W1 => "W",
            Interval::Month1 => "M",
            _ => return None,
        };
        let (from, to) = (from.millis(), to.millis() - 1);
        Some(RestRequest::get(format!(
            "{base}/v5/market/kline?category=spot&symbol={name}&interval={word}&start={from}&end={to}&limit=1000"
        )))
    }

    /// 600 requests in five seconds from one address, then a ban of ten minutes.
    fn candle_limits(&self) -> CandleLimits {
        CandleLimits { rows: 1000, pause: Duration::from_millis(50), newest: None, omits_quiet: false }
    }

    /// Rows of start, open, high, low, close, volume, turnover: all strings.
    fn parse_candles(&self, body: &mut [u8], known: &Known) -> Result<Vec<CandleRow>, FeedError> {
        let rows: Vec<[String; 7]> = list(body)?;
        let read = |row: &[String; 7]| {
            let [time, open, high, low, close, volume, turnover] = row;
            let raw = RawCandle::new(millis(time.as_bytes())?, [open, high, low, close], volume);
            Some(RawCandle { quote_volume: Some(turnover), ..raw }.read(known))
        };
        let mut candles: Vec<_> = rows.iter().filter_map(read).collect();
        oldest_first(&mut candles);
        Ok(candles)
    }
}
