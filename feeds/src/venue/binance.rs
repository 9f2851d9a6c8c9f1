//! Binance spot, market-data-only hosts (developers.binance.com: web-socket-streams, rest-api).
//!
//! `{"stream":"btcusdt@trade","data":{"e":"trade","E":…,"s":"BTCUSDT","t":1,"p":"1.0","q":"2.0","T":…,"m":true}}`;
//! `m` says that the buyer was the maker, so the taker sold. `t` rises by one per pair. `aggTrade` names its fills
//! `f` to `l`. A connection lives 24 hours; `serverShutdown` announces its end. The server pings, tungstenite answers.

use std::time::Duration;

use engine::{
    interval::Interval,
    market::{Refusal, Side, Timestamp, Trade, Venue},
};
use serde::Deserialize;

use super::{
    CandleLimits, CandleRow, Event, FeedError, KeepAlive, Known, Limits, RawCandle, RawTrade, RestRequest, Sink,
    TradeRange, VenueFeed, page, repair_trade,
    scan::{Scan, millis},
};

pub(crate) static FEED: Binance = Binance;

/// See the module.
pub(crate) struct Binance;

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

/// The spot trade stream in the order that Binance sends.
#[inline]
fn ordered(frame: &[u8]) -> Option<RawTrade<'_>> {
    let mut scan = Scan::new(frame);
    if scan.accept(b"{\"stream\":\"") {
        scan.until_quote()?;
        scan.literal(b",\"data\":")?;
    }
    scan.literal(b"{\"e\":\"trade\",\"E\":")?;
    scan.integer()?;
    scan.literal(b",\"s\":\"")?;
    let name = scan.until_quote()?;
    scan.literal(b",\"t\":")?;
    let id = scan.integer()?;
    scan.literal(b",\"p\":\"")?;
    let price = scan.until_quote()?;
    scan.literal(b",\"q\":\"")?;
    let quantity = scan.until_quote()?;
    scan.literal(b",\"T\":")?;
    let ts_event = i64::try_from(scan.integer()?).ok()?.checked_mul(1_000_000)?;
    scan.literal(b",\"m\":")?;
    let side = side(scan.boolean()?);
    // What follows is not needed, but a frame that was cut short is not a trade.
    frame.ends_with(b"}").then_some(())?;
    Some(RawTrade { name, first_id: id, id, ts_event, price, quantity, side, backlog: false })
}

/// `m`: the buyer was the maker, so the taker sold.
const fn side(buyer_is_maker: bool) -> Side {
    if buyer_is_maker { Side::Sell } else { Side::Buy }
}

/// The fields of any event, in any order.
#[derive(Default)]
struct Fields<'a> {
    kind: &'a [u8],
    name: &'a [u8],
    id: Option<&'a [u8]>,
    first: Option<&'a [u8]>,
    last: Option<&'a [u8]>,
    price: &'a [u8],
    quantity: &'a [u8],
    time: &'a [u8],
    maker: Option<bool>,
}

fn general(frame: &[u8], sink: &mut Sink<'_>) -> Result<(), &'static str> {
    let mut fields = Fields::default();
    let mut scan = Scan::new(frame);
    scan.object(|key, scan| match key {
        b"data" if scan.peek() == Some(b'{') => scan.object(|key, scan| field(key, scan, &mut fields)),
        _ => field(key, scan, &mut fields),
    })
    .filter(|()| scan.is_done())
    .ok_or("JSON object")?;
    match fields.kind {
        b"trade" | b"aggTrade" => trade(&fields, sink),
        b"serverShutdown" => {
            sink.event(Event::PlannedShutdown);
            Ok(())
        }
        _ => {
            sink.event(control(frame));
            Ok(())
        }
    }
}

fn field<'a>(key: &'a [u8], scan: &mut Scan<'a>, fields: &mut Fields<'a>) -> Option<()> {
    match key {
        b"e" => fields.kind = scan.scalar()?,
        b"s" => fields.name = scan.scalar()?,
        b"t" if scan.peek() != Some(b'{') => fields.id = Some(scan.scalar()?),
        b"f" => fields.first = Some(scan.scalar()?),
        b"l" => fields.last = Some(scan.scalar()?),
        b"p" => fields.price = scan.scalar()?,
        b"q" => fields.quantity = scan.scalar()?,
        b"T" => fields.time = scan.scalar()?,
        b"m" if matches!(scan.peek(), Some(b't' | b'f')) => fields.maker = Some(scan.boolean()?),
        _ => scan.skip()?,
    }
    Some(())
}

fn trade(fields: &Fields<'_>, sink: &mut Sink<'_>) -> Result<(), &'static str> {
    let (first, last) = if fields.kind == b"aggTrade" { (fields.first, fields.last) } else { (fields.id, fields.id) };
    let number = |text: Option<&[u8]>| text.and_then(super::scan::integer);
    let (Some(first_id), Some(id)) = (number(first), number(last)) else {
        sink.refuse(Refusal::Malformed, "id");
        return Ok(());
    };
    let Some(ts_event) = millis(fields.time) else {
        sink.refuse(Refusal::Malformed, "time");
        return Ok(());
    };
    let Some(maker) = fields.maker else {
        sink.refuse(Refusal::UnknownValue, "side");
        return Ok(());
    };
    let (name, price, quantity) = (fields.name, fields.price, fields.quantity);
    sink.trade(&RawTrade { name, first_id, id, ts_event, price, quantity, side: side(maker), backlog: false });
    Ok(())
}

/// Answers to our requests, and streams that are not trades.
fn control(frame: &[u8]) -> Event {
    let mut event = Event::Ignored;
    let mut scan = Scan::new(frame);
    let mut text = None;
    let _ = scan.object(|key, scan| match key {
        b"result" => {
            event = Event::Subscribed;
            scan.skip()
        }
        b"msg" => {
            text = Some(scan.string()?);
            Some(())
        }
        b"error" if scan.peek() == Some(b'{') => scan.object(|key, scan| match key {
            b"msg" => {
                text = Some(scan.string()?);
                Some(())
            }
            _ => scan.skip(),
        }),
        _ => scan.skip(),
    });
    text.map_or(event, |text| Event::SubscribeError(super::message(text)))
}

/// A row of `/api/v3/aggTrades`.
#[derive(Deserialize)]
struct AggTrade<'a> {
    p: &'a str,
    q: &'a str,
    f: u64,
    l: u64,
    #[serde(rename = "T")]
    time: i64,
    m: bool,
}

/// A row of `/api/v3/klines`: open time, open, high, low, close, volume, close time, quote volume, trades, taker buy
/// volume, taker buy quote volume, unused.
type Kline<'a> = (i64, &'a str, &'a str, &'a str, &'a str, &'a str, i64, &'a str, u64, &'a str, &'a str, &'a str);

impl VenueFeed for Binance {
    fn ws_base(&self) -> &'static str {
        "wss://data-stream.binance.vision"
    }

    fn rest_base(&self) -> &'static str {
        "https://data-api.binance.vision"
    }

    /// Streams in the URL cost none of the five client messages a second.
    fn ws_url(&self, base: &str, names: &[&str]) -> String {
        let streams: Vec<_> = names.iter().map(|name| format!("{}@trade", name.to_lowercase())).collect();
        format!("{base}/stream?streams={}", streams.join("/"))
    }

    fn subscribe(&self, _names: &[&str]) -> Vec<String> {
        Vec::new()
    }

    fn keep_alive(&self) -> Option<KeepAlive> {
        None
    }

    /// 1024 streams a connection, but the URL must stay short; 6000 weight a minute, 4 for a page of trades.
    fn limits(&self) -> Limits {
        Limits {
            symbols_per_connection: 100,
            message_pause: Duration::from_millis(250),
            lifetime: Some(Duration::from_secs(23 * 3600 + 1800)),
            rest_pause: Duration::from_millis(50),
        }
    }

    /// Aggregated trades are asked for by time, since their own ids are not those of trades; 1000 a page, weight 4.
    fn trades_request(&self, base: &str, name: &str, range: TradeRange) -> Option<RestRequest> {
        let (from, to) = (range.from.millis() - 1, range.to.millis() + 1);
        Some(RestRequest::get(format!(
            "{base}/api/v3/aggTrades?symbol={name}&startTime={from}&endTime={to}&limit=1000"
        )))
    }

    fn parse_trades(&self, body: &mut [u8], name: &str, known: &Known) -> Result<Vec<Trade>, FeedError> {
        let rows: Vec<AggTrade<'_>> = page(Venue::Binance, body)?;
        let read = |row: &AggTrade<'_>| {
            let raw = RawTrade {
                name: name.as_bytes(),
                first_id: row.f,
                id: row.l,
                ts_event: row.time.checked_mul(1_000_000)?,
                price: row.p.as_bytes(),
                quantity: row.q.as_bytes(),
                side: side(row.m),
                backlog: false,
            };
            repair_trade(&raw, known)
        };
        Ok(rows.iter().filter_map(read).collect())
    }

    /// At most 1000 a page, weight 2.
    fn candles_request(
        &self,
        base: &str,
        name: &str,
        interval: Interval,
        from: Timestamp,
        to: Timestamp,
    ) -> Option<RestRequest> {
        let has = !matches!(interval, Interval::S5 | Interval::S15 | Interval::S30);
        has.then(|| {
            let (from, to, interval) = (from.millis(), to.millis() - 1, interval.name());
            RestRequest::get(format!(
                "{base}/api/v3/klines?symbol={name}&interval={interval}&startTime={from}&endTime={to}&limit=1000"
            ))
        })
    }

    /// Weight 2 a page, of 6000 a minute. A quiet minute has a row.
    fn candle_limits(&self) -> CandleLimits {
        CandleLimits { rows: 1000, pause: Duration::from_millis(50), newest: None, omits_quiet: false }
    }

    fn parse_candles(&self, body: &mut [u8], known: &Known) -> Result<Vec<CandleRow>, FeedError> {
        let rows: Vec<Kline<'_>> = page(Venue::Binance, body)?;
        let read = |row: &Kline<'_>| {
            let raw = RawCandle::new(row.0.checked_mul(1_000_000)?, [row.1, row.2, row.3, row.4], row.5);
            let (quote_volume, buy_volume, trades) = (Some(row.7), Some(row.9), Some(row.8));
            Some(RawCandle { quote_volume, buy_volume, trades, ..raw }.read(known))
        };
        Ok(rows.iter().filter_map(read).collect())
    }
}
