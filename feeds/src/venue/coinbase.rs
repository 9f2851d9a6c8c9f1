//! Coinbase Exchange, public `matches` and `heartbeat` (docs.cdp.coinbase.com: exchange websocket).
//!
//! `{"type":"match","trade_id":1,…,"side":"sell","size":"0.04","price":"14.77","product_id":"BTC-USD",…,"time":"…Z"}`.
//! **`side` is the maker's**: it is flipped here. `trade_id` rises by one per product, `last_match` (the last trade
//! before the subscription) included; each second's `heartbeat.last_trade_id` proves that none was lost.

use std::time::Duration;

use engine::{
    interval::Interval,
    market::{Refusal, Side, Timestamp, Trade, Venue},
};
use serde::Deserialize;

use super::{
    CandleLimits, CandleRow, Event, FeedError, KeepAlive, Known, Limits, RawCandle, RawTrade, RestRequest, Sink,
    TradeRange, VenueFeed, message, page, repair_trade,
    scan::{Scan, integer, rfc3339},
};

pub(crate) static FEED: Coinbase = Coinbase;

/// See the module.
pub(crate) struct Coinbase;

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

#[inline]
fn ordered(frame: &[u8]) -> Option<RawTrade<'_>> {
    let mut scan = Scan::new(frame);
    scan.literal(b"{\"type\":\"match\",\"trade_id\":")?;
    let id = scan.integer()?;
    scan.literal(b",\"maker_order_id\":\"")?;
    scan.until_quote()?;
    scan.literal(b",\"taker_order_id\":\"")?;
    scan.until_quote()?;
    scan.literal(b",\"side\":\"")?;
    let side = taker(scan.until_quote()?)?;
    scan.literal(b",\"size\":\"")?;
    let quantity = scan.until_quote()?;
    scan.literal(b",\"price\":\"")?;
    let price = scan.until_quote()?;
    scan.literal(b",\"product_id\":\"")?;
    let name = scan.until_quote()?;
    scan.literal(b",\"sequence\":")?;
    scan.integer()?;
    scan.literal(b",\"time\":\"")?;
    let ts_event = rfc3339(scan.until_quote()?)?;
    scan.literal(b"}")?;
    Some(RawTrade { name, first_id: id, id, ts_event, price, quantity, side, backlog: false })
}

/// The taker's side from the maker's.
const fn taker(maker: &[u8]) -> Option<Side> {
    match maker {
        b"sell" => Some(Side::Buy),
        b"buy" => Some(Side::Sell),
        _ => None,
    }
}

#[derive(Default)]
struct Fields<'a> {
    kind: &'a [u8],
    id: &'a [u8],
    last_id: &'a [u8],
    side: &'a [u8],
    size: &'a [u8],
    price: &'a [u8],
    name: &'a [u8],
    time: &'a [u8],
    message: &'a [u8],
    reason: &'a [u8],
}

fn general(frame: &[u8], sink: &mut Sink<'_>) -> Result<(), &'static str> {
    let mut fields = Fields::default();
    let mut scan = Scan::new(frame);
    scan.object(|key, scan| {
        let target = match key {
            b"type" => &mut fields.kind,
            b"trade_id" => &mut fields.id,
            b"last_trade_id" => &mut fields.last_id,
            b"side" => &mut fields.side,
            b"size" => &mut fields.size,
            b"price" => &mut fields.price,
            b"product_id" => &mut fields.name,
            b"time" => &mut fields.time,
            b"message" => &mut fields.message,
            b"reason" => &mut fields.reason,
            _ => return scan.skip(),
        };
        *target = scan.scalar()?;
        Some(())
    })
    .filter(|()| scan.is_done())
    .ok_or("JSON object")?;
    match fields.kind {
        b"match" | b"last_match" => trade(&fields, sink),
        b"heartbeat" => match (sink.names.get(fields.name), integer(fields.last_id)) {
            (Some(known), Some(last_id)) => sink.event(Event::Proof { symbol: known.symbol, last_id }),
            _ => sink.event(Event::Heartbeat),
        },
        b"subscriptions" => sink.event(Event::Subscribed),
        b"error" => {
            let text = [fields.message, b": ", fields.reason].concat();
            sink.event(Event::SubscribeError(message(&text)));
        }
        b"" => return Err("type"),
        _ => sink.event(Event::Ignored),
    }
    Ok(())
}

fn trade(fields: &Fields<'_>, sink: &mut Sink<'_>) {
    let Some(id) = integer(fields.id) else { return sink.refuse(Refusal::Malformed, "trade_id") };
    let Some(ts_event) = rfc3339(fields.time) else { return sink.refuse(Refusal::Malformed, "time") };
    let Some(side) = taker(fields.side) else { return sink.refuse(Refusal::UnknownValue, "side") };
    let (name, price, quantity) = (fields.name, fields.price, fields.size);
    let backlog = fields.kind == b"last_match";
    sink.trade(&RawTrade { name, first_id: id, id, ts_event, price, quantity, side, backlog });
}

/// A row of `/products/{id}/trades`; `side` is the maker's here too.
#[derive(Deserialize)]
struct Row<'a> {
    trade_id: u64,
    side: &'a str,
    size: &'a str,
    price: &'a str,
    time: &'a str,
}

impl VenueFeed for Coinbase {
    fn ws_base(&self) -> &'static str {
        "wss://ws-feed.exchange.coinbase.com"
    }

    fn rest_base(&self) -> &'static str {
        "https://api.exchange.coinbase.com"
    }

    fn subscribe(&self, names: &[&str]) -> Vec<String> {
        let products = names.iter().map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(",");
        vec![format!(r#"{{"type":"subscribe","product_ids":[{products}],"channels":["matches","heartbeat"]}}"#)]
    }

    /// The heartbeat channel speaks each second.
    fn keep_alive(&self) -> Option<KeepAlive> {
        None
    }

    fn limits(&self) -> Limits {
        Limits {
            symbols_per_connection: 50,
            message_pause: Duration::from_millis(100),
            lifetime: None,
            rest_pause: Duration::from_millis(150),
        }
    }

    /// `after` is a cursor: the page holds the ids below it, newest first, at most 1000.
    fn trades_request(&self, base: &str, name: &str, range: TradeRange) -> Option<RestRequest> {
        let after = range.last_id.min(range.first_id.saturating_add(999)) + 1;
        Some(RestRequest::get(format!("{base}/products/{name}/trades?after={after}&limit=1000")))
    }

    fn parse_trades(&self, body: &mut [u8], name: &str, known: &Known) -> Result<Vec<Trade>, FeedError> {
        let rows: Vec<Row<'_>> = page(Venue::Coinbase, body)?;
        let read = |row: &Row<'_>| {
            let raw = RawTrade {
                name: name.as_bytes(),
                first_id: row.trade_id,
                id: row.trade_id,
                ts_event: rfc3339(row.time.as_bytes())?,
                price: row.price.as_bytes(),
                quantity: row.size.as_bytes(),
                side: taker(row.side.as_bytes())?,
                backlog: false,
            };
            repair_trade(&raw, known)
        };
        let mut trades: Vec<_> = rows.iter().filter_map(read).collect();
        trades.sort_unstable_by_key(|trade| trade.id);
        Ok(trades)
    }

    /// At most 300 candles; intervals without trades are left out.
    fn candles_request(
        &self,
        base: &str,
        name: &str,
        interval: Interval,
        from: Timestamp,
        to: Timestamp,
    ) -> Option<RestRequest> {
        let seconds = interval.nanos()? / 1_000_000_000;
        [60, 300, 900, 3600, 21_600, 86_400].contains(&seconds).then(|| {
            let (start, end) = (from.millis() / 1000, to.millis() / 1000 - 1);
            RestRequest::get(format!("{base}/products/{name}/candles?granularity={seconds}&start={start}&end={end}"))
        })
    }

    /// Eight requests a second from one address. A quiet interval has no row.
    fn candle_limits(&self) -> CandleLimits {
        CandleLimits { rows: 300, pause: Duration::from_millis(150), newest: None, omits_quiet: true }
    }

    /// Rows of JSON numbers, newest first: time, **low, high**, open, close, volume.
    fn parse_candles(&self, body: &mut [u8], known: &Known) -> Result<Vec<CandleRow>, FeedError> {
        let bad = FeedError::Frame { venue: Venue::Coinbase, field: "page" };
        let mut candles = Vec::new();
        let mut scan = Scan::new(body);
        let read = scan.array(|scan| {
            let mut cells = [""; 6];
            let mut cell = cells.iter_mut();
            scan.array(|scan| {
                let text = std::str::from_utf8(scan.scalar()?).ok()?;
                *cell.next()? = text;
                Some(())
            })?;
            let [time, low, high, open, close, volume] = cells;
            let open_time = i64::try_from(integer(time.as_bytes())?).ok()?.checked_mul(1_000_000_000)?;
            candles.push(RawCandle::new(open_time, [open, high, low, close], volume).read(known));
            Some(())
        });
        read.ok_or(bad)?;
        candles.reverse();
        Ok(candles)
    }
}
