//! Hyperliquid (hyperliquid.gitbook.io: API, websocket).
//!
//! `{"channel":"trades","data":[{"coin":"BTC","side":"B","px":"105056.0","sz":"0.002","time":…,"hash":"0x…",
//! "tid":121451470284048}]}`: `A` is a taker sell, `B` a taker buy. `tid` is a hash: unique, not ordered. The first
//! message of a coin is a backlog. The server closes after 60 seconds of silence.

use std::time::Duration;

use engine::{
    interval::Interval,
    market::{Refusal, Side, Timestamp, Trade, Venue},
};
use serde::Deserialize;

use super::{
    CandleLimits, CandleRow, Event, FeedError, KeepAlive, Known, Limits, RawCandle, RawTrade, RestRequest, Sink,
    TradeRange, VenueFeed, message, page,
    scan::{Scan, integer, millis},
};

pub(crate) static FEED: Hyperliquid = Hyperliquid;

/// See the module.
pub(crate) struct Hyperliquid;

pub(crate) fn on_frame(frame: &[u8], sink: &mut Sink<'_>) -> Result<(), &'static str> {
    let mut scan = Scan::new(frame);
    let start = b"{\"channel\":\"trades\",\"data\":";
    if frame.starts_with(start) && frame.ends_with(b"}") {
        return trades(frame.get(start.len()..frame.len() - 1).unwrap_or_default(), sink);
    }
    let (mut channel, mut data): (&[u8], &[u8]) = (b"", b"");
    scan.object(|key, scan| {
        match key {
            b"channel" => channel = scan.scalar()?,
            b"data" => data = scan.value()?,
            _ => scan.skip()?,
        }
        Some(())
    })
    .filter(|()| scan.is_done())
    .ok_or("JSON object")?;
    sink.event(match channel {
        b"trades" => return trades(data, sink),
        b"subscriptionResponse" => Event::Subscribed,
        b"pong" => Event::Pong,
        b"error" => Event::SubscribeError(message(data)),
        b"" => return Err("channel"),
        _ => Event::Ignored,
    });
    Ok(())
}

#[derive(Default)]
struct Fields<'a> {
    coin: &'a [u8],
    side: &'a [u8],
    price: &'a [u8],
    size: &'a [u8],
    time: &'a [u8],
    id: &'a [u8],
}

/// One trade in either order that was recorded.
#[inline]
fn ordered<'a>(scan: &mut Scan<'a>) -> Option<Fields<'a>> {
    let mut fields = Fields::default();
    let mut at = *scan;
    at.literal(b"{\"coin\":\"")?;
    fields.coin = at.until_quote()?;
    at.literal(b",\"side\":\"")?;
    fields.side = at.until_quote()?;
    at.literal(b",\"px\":\"")?;
    fields.price = at.until_quote()?;
    at.literal(b",\"sz\":\"")?;
    fields.size = at.until_quote()?;
    at.literal(b",\"time\":")?;
    fields.time = at.number()?;
    at.literal(b",\"hash\":\"")?;
    at.until_quote()?;
    at.literal(b",\"tid\":")?;
    fields.id = at.number()?;
    if at.accept(b",\"users\":[\"") {
        at.until_quote()?;
        at.literal(b",\"")?;
        at.until_quote()?;
        at.literal(b"]")?;
    }
    at.literal(b"}")?;
    *scan = at;
    Some(fields)
}

fn any_order<'a>(scan: &mut Scan<'a>) -> Option<Fields<'a>> {
    let mut fields = Fields::default();
    scan.object(|key, scan| {
        let target = match key {
            b"coin" => &mut fields.coin,
            b"side" => &mut fields.side,
            b"px" => &mut fields.price,
            b"sz" => &mut fields.size,
            b"time" => &mut fields.time,
            b"tid" => &mut fields.id,
            _ => return scan.skip(),
        };
        *target = scan.scalar()?;
        Some(())
    })?;
    Some(fields)
}

const fn side(text: &[u8]) -> Option<Side> {
    match text {
        b"A" => Some(Side::Sell),
        b"B" => Some(Side::Buy),
        _ => None,
    }
}

fn trades(data: &[u8], sink: &mut Sink<'_>) -> Result<(), &'static str> {
    let mut backlog = None;
    let mut scan = Scan::new(data);
    scan.array(|scan| {
        let fields = match ordered(scan) {
            Some(fields) => fields,
            None => any_order(scan)?,
        };
        let backlog = *backlog.get_or_insert_with(|| sink.is_first(fields.coin));
        match (integer(fields.id), millis(fields.time), side(fields.side)) {
            (None, ..) => sink.refuse(Refusal::Malformed, "tid"),
            (_, None, _) => sink.refuse(Refusal::Malformed, "time"),
            (.., None) => sink.refuse(Refusal::UnknownValue, "side"),
            (Some(id), Some(ts_event), Some(side)) => sink.trade(&RawTrade {
                name: fields.coin,
                first_id: id,
                id,
                ts_event,
                price: fields.price,
                quantity: fields.size,
                side,
                backlog,
            }),
        }
        Some(())
    })
    .filter(|()| scan.is_done())
    .ok_or("data")
}

#[derive(Deserialize)]
struct Row<'a> {
    t: i64,
    o: &'a str,
    h: &'a str,
    l: &'a str,
    c: &'a str,
    v: &'a str,
    n: u64,
}

impl VenueFeed for Hyperliquid {
    fn ws_base(&self) -> &'static str {
        "wss://api.hyperliquid.xyz/ws"
    }

    fn rest_base(&self) -> &'static str {
        "https://api.hyperliquid.xyz"
    }

    fn subscribe(&self, names: &[&str]) -> Vec<String> {
        let one =
            |name: &&str| format!(r#"{{"method":"subscribe","subscription":{{"type":"trades","coin":"{name}"}}}}"#);
        names.iter().map(one).collect()
    }

    fn keep_alive(&self) -> Option<KeepAlive> {
        Some(KeepAlive { every: Duration::from_secs(30), text: r#"{"method":"ping"}"# })
    }

    /// Ten connections and 30 new ones a minute from one address.
    fn limits(&self) -> Limits {
        Limits {
            symbols_per_connection: 200,
            message_pause: Duration::from_millis(50),
            lifetime: None,
            rest_pause: Duration::from_millis(500),
        }
    }

    /// There is no documented page of past trades.
    fn trades_request(&self, _base: &str, _name: &str, _range: TradeRange) -> Option<RestRequest> {
        None
    }

    fn parse_trades(&self, _body: &mut [u8], _name: &str, _known: &Known) -> Result<Vec<Trade>, FeedError> {
        Ok(Vec::new())
    }

    /// The newest 5000.
    fn candles_request(
        &self,
        base: &str,
        name: &str,
        interval: Interval,
        from: Timestamp,
        to: Timestamp,
    ) -> Option<RestRequest> {
        let has = !matches!(interval, Interval::S1 | Interval::S5 | Interval::S15 | Interval::S30 | Interval::H6);
        has.then(|| {
            let (from, to, interval) = (from.millis(), to.millis() - 1, interval.name());
            let request = format!(
                r#"{{"type":"candleSnapshot","req":{{"coin":"{name}","interval":"{interval}","startTime":{from},"endTime":{to}}}}}"#
            );
            RestRequest { url: format!("{base}/info"), body: Some(request) }
        })
    }

    /// The newest 5000 exist; a page weighs 20 and one more for each 60 rows, of 1200 a minute.
    fn candle_limits(&self) -> CandleLimits {
        CandleLimits { rows: 1000, pause: Duration::from_millis(2000), newest: Some(5000), omits_quiet: false }
    }

    fn parse_candles(&self, body: &mut [u8], known: &Known) -> Result<Vec<CandleRow>, FeedError> {
        let rows: Vec<Row<'_>> = page(Venue::Hyperliquid, body)?;
        let read = |row: &Row<'_>| {
            let raw = RawCandle::new(row.t.checked_mul(1_000_000)?, [row.o, row.h, row.l, row.c], row.v);
            Some(RawCandle { trades: Some(row.n), ..raw }.read(known))
        };
        Ok(rows.iter().filter_map(read).collect())
    }
}
