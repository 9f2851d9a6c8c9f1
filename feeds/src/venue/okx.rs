//! OKX v5, public `trades` (www.okx.com/docs-v5: WS / Trades channel).
//!
//! `{"arg":{"channel":"trades","instId":"BTC-USDT"},"data":[{"instId":"BTC-USDT","tradeId":"9","px":"42219.9",
//! "sz":"0.12","side":"buy","ts":"1630048897897","count":"3"}]}`: fills of one taker order at one price joined;
//! `tradeId` is the last of `count`. The first frame of an instrument is the last trade before the subscription.
//! Code 64008 announces a cut in 60 seconds. The keep-alive is the plain text `ping`.

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

pub(crate) static FEED: Okx = Okx;

/// See the module.
pub(crate) struct Okx;

#[inline]
pub(crate) fn on_frame(frame: &[u8], sink: &mut Sink<'_>) -> Result<(), &'static str> {
    if frame == b"pong" {
        sink.event(Event::Pong);
        return Ok(());
    }
    match ordered(frame, sink) {
        Some(raw) => {
            sink.trade(&raw);
            Ok(())
        }
        None => general(frame, sink),
    }
}

#[inline]
fn ordered<'a>(frame: &'a [u8], sink: &mut Sink<'_>) -> Option<RawTrade<'a>> {
    let mut scan = Scan::new(frame);
    scan.literal(b"{\"arg\":{\"channel\":\"trades\",\"instId\":\"")?;
    scan.until_quote()?;
    scan.literal(b"},\"data\":[{\"instId\":\"")?;
    let name = scan.until_quote()?;
    scan.literal(b",\"tradeId\":\"")?;
    let id = integer(scan.until_quote()?)?;
    scan.literal(b",\"px\":\"")?;
    let price = scan.until_quote()?;
    scan.literal(b",\"sz\":\"")?;
    let quantity = scan.until_quote()?;
    scan.literal(b",\"side\":\"")?;
    let side = side(scan.until_quote()?)?;
    scan.literal(b",\"ts\":\"")?;
    let ts_event = millis(scan.until_quote()?)?;
    let mut count = 1;
    if scan.accept(b",\"count\":\"") {
        count = integer(scan.until_quote()?)?;
    }
    if scan.accept(b",\"source\":\"") {
        scan.until_quote()?;
    }
    if scan.accept(b",\"seqId\":") {
        scan.integer()?;
    }
    scan.literal(b"}]}")?;
    let first_id = first_id(id, count)?;
    let backlog = sink.is_first(name);
    Some(RawTrade { name, first_id, id, ts_event, price, quantity, side, backlog })
}

/// The first of `count` ids that end with `id`.
const fn first_id(id: u64, count: u64) -> Option<u64> {
    match count.checked_sub(1) {
        Some(more) => id.checked_sub(more),
        None => None,
    }
}

const fn side(text: &[u8]) -> Option<Side> {
    match text {
        b"buy" => Some(Side::Buy),
        b"sell" => Some(Side::Sell),
        _ => None,
    }
}

fn general(frame: &[u8], sink: &mut Sink<'_>) -> Result<(), &'static str> {
    let (mut event, mut data, mut code, mut reason): (&[u8], &[u8], &[u8], &[u8]) = (b"", b"", b"", b"");
    let mut channel: &[u8] = b"";
    let mut scan = Scan::new(frame);
    scan.object(|key, scan| {
        match key {
            b"event" => event = scan.scalar()?,
            b"data" => data = scan.value()?,
            b"code" => code = scan.scalar()?,
            b"msg" => reason = scan.scalar()?,
            b"arg" if scan.peek() == Some(b'{') => scan.object(|key, scan| match key {
                b"channel" => {
                    channel = scan.scalar()?;
                    Some(())
                }
                _ => scan.skip(),
            })?,
            _ => scan.skip()?,
        }
        Some(())
    })
    .filter(|()| scan.is_done())
    .ok_or("JSON object")?;
    sink.event(match event {
        b"" if matches!(channel, b"trades" | b"trades-all") && !data.is_empty() => return trades(data, sink),
        b"subscribe" => Event::Subscribed,
        b"error" => Event::SubscribeError(message(reason)),
        b"notice" if code == b"64008" => Event::PlannedShutdown,
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
            let mut count: &[u8] = b"1";
            scan.object(|key, scan| {
                let target = match key {
                    b"instId" => &mut name,
                    b"tradeId" => &mut id,
                    b"px" => &mut price,
                    b"sz" => &mut quantity,
                    b"side" => &mut side_text,
                    b"ts" => &mut time,
                    b"count" => &mut count,
                    _ => return scan.skip(),
                };
                *target = scan.scalar()?;
                Some(())
            })?;
            let ids = integer(id).and_then(|id| Some((first_id(id, integer(count)?)?, id)));
            match (ids, millis(time), side(side_text)) {
                (None, ..) => sink.refuse(Refusal::Malformed, "tradeId"),
                (_, None, _) => sink.refuse(Refusal::Malformed, "ts"),
                (.., None) => sink.refuse(Refusal::UnknownValue, "side"),
                (Some((first_id, id)), Some(ts_event), Some(side)) => {
                    let backlog = sink.is_first(name);
                    sink.trade(&RawTrade { name, first_id, id, ts_event, price, quantity, side, backlog });
                }
            }
            Some(())
        })
        .ok_or("data")
}

#[derive(Deserialize)]
struct Answer<T> {
    code: String,
    #[serde(default)]
    msg: String,
    #[serde(default = "Vec::new")]
    data: Vec<T>,
}

#[derive(Deserialize)]
struct Row {
    #[serde(rename = "tradeId")]
    id: String,
    px: String,
    sz: String,
    side: String,
    ts: String,
}

fn rows<'a, T: Deserialize<'a>>(body: &'a mut [u8]) -> Result<Vec<T>, FeedError> {
    let answer: Answer<T> = page(Venue::Okx, body)?;
    match answer.code.as_str() {
        "0" => Ok(answer.data),
        _ => Err(FeedError::Venue { venue: Venue::Okx, message: message(answer.msg.as_bytes()) }),
    }
}

impl VenueFeed for Okx {
    fn ws_base(&self) -> &'static str {
        "wss://ws.okx.com:8443/ws/v5/public"
    }

    fn rest_base(&self) -> &'static str {
        "https://www.okx.com"
    }

    fn subscribe(&self, names: &[&str]) -> Vec<String> {
        let arg = |name: &&str| format!(r#"{{"channel":"trades","instId":"{name}"}}"#);
        let args = names.iter().map(arg).collect::<Vec<_>>().join(",");
        vec![format!(r#"{{"id":"trades","op":"subscribe","args":[{args}]}}"#)]
    }

    /// Within 30 seconds of silence.
    fn keep_alive(&self) -> Option<KeepAlive> {
        Some(KeepAlive { every: Duration::from_secs(20), text: "ping" })
    }

    fn limits(&self) -> Limits {
        Limits {
            symbols_per_connection: 50,
            message_pause: Duration::from_millis(350),
            lifetime: None,
            rest_pause: Duration::from_millis(110),
        }
    }

    /// `after` is a cursor: ids below it, newest first, 100 a page, three months back.
    fn trades_request(&self, base: &str, name: &str, range: TradeRange) -> Option<RestRequest> {
        let after = range.last_id.min(range.first_id.saturating_add(99)) + 1;
        Some(RestRequest::get(format!(
            "{base}/api/v5/market/history-trades?instId={name}&type=1&after={after}&limit=100"
        )))
    }

    fn parse_trades(&self, body: &mut [u8], name: &str, known: &Known) -> Result<Vec<Trade>, FeedError> {
        let rows: Vec<Row> = rows(body)?;
        let read = |row: &Row| {
            let id = integer(row.id.as_bytes())?;
            let raw = RawTrade {
                name: name.as_bytes(),
                first_id: id,
                id,
                ts_event: millis(row.ts.as_bytes())?,
                price: row.px.as_bytes(),
                quantity: row.sz.as_bytes(),
                side: side(row.side.as_bytes())?,
                backlog: false,
            };
            repair_trade(&raw, known)
        };
        let mut trades: Vec<_> = rows.iter().filter_map(read).collect();
        trades.sort_unstable_by_key(|trade| trade.id);
        Ok(trades)
    }

    /// `after` and `before` are exclusive times; 6 hours and longer need the `utc` names. At most 300, newest first.
    fn candles_request(
        &self,
        base: &str,
        name: &str,
        interval: Interval,
        from: Timestamp,
        to: Timestamp,
    ) -> Option<RestRequest> {
        let bar = match interval {
            Interval::S1 | Interval::M1 | Interval::M3 | Interval::M5 | Interval::M15 | Interval::M30 => {
                interval.name().to_owned()
            }
            Interval::H1 | Interval::H2 | Interval::H4 => interval.name().to_uppercase(),
            Interval::H6 | Interval::H12 | Interval::D1 | Interval::D3 | Interval::W1 => {
                format!("{}utc", interval.name().to_uppercase())
            }
            Interval::Month1 => "1Mutc".to_owned(),
            _ => return None,
        };
        let (before, after) = (from.millis() - 1, to.millis());
        Some(RestRequest::get(format!(
            "{base}/api/v5/market/history-candles?instId={name}&bar={bar}&before={before}&after={after}&limit=300"
        )))
    }

    /// 20 requests in two seconds. A quiet interval has a row.
    fn candle_limits(&self) -> CandleLimits {
        CandleLimits { rows: 300, pause: Duration::from_millis(110), newest: None, omits_quiet: false }
    }

    /// Rows of ts, open, high, low, close, volume, two quote volumes, confirm; only confirmed ones are taken.
    fn parse_candles(&self, body: &mut [u8], known: &Known) -> Result<Vec<CandleRow>, FeedError> {
        let rows: Vec<Vec<String>> = rows(body)?;
        let read = |row: &Vec<String>| match row.as_slice() {
            [time, open, high, low, close, volume, _, quote, confirm] if confirm == "1" => {
                let raw = RawCandle::new(millis(time.as_bytes())?, [open, high, low, close], volume);
                Some(RawCandle { quote_volume: Some(quote), ..raw }.read(known))
            }
            _ => None,
        };
        let mut candles: Vec<_> = rows.iter().filter_map(read).collect();
        oldest_first(&mut candles);
        Ok(candles)
    }
}
