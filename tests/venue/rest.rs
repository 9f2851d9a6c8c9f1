//! The REST interface, as the pages of its documentation have it: ping, time, trades, historicalTrades, aggTrades, klines.

use std::{collections::HashMap, fmt::Write as _, sync::Arc};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::Instant,
};

use super::{
    Shared,
    klines::{decimal, klines, quote, units},
    recording::{Recorded, now_ms},
};

const PAGE: usize = 500;
const PAGE_MAX: usize = 1000;
const HEAD_BYTES_MAX: usize = 16 << 10;
/// Aggregates have numbers of their own; these begin here.
const AGGREGATE_IDS: u64 = 3_082_000_000;

/// A status and a body.
type Answer = (u16, String);

pub(super) async fn serve(shared: Arc<Shared>, listener: TcpListener) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(answer(Arc::clone(&shared), stream));
    }
}

/// One request a connection.
async fn answer(shared: Arc<Shared>, mut stream: TcpStream) -> Option<()> {
    let mut head = Vec::new();
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        let read = stream.read_buf(&mut head).await.ok()?;
        (read > 0 && head.len() < HEAD_BYTES_MAX).then_some(())?;
    }
    shared.requests.send_modify(|count| *count += 1);
    let head = String::from_utf8_lossy(&head).into_owned();
    let target = head.split(' ').nth(1)?;
    let refusal = shared.mood.borrow().refusal.filter(|(_, until)| Instant::now() < *until);
    let (status, body) = match refusal {
        Some((status, _)) => (status, r#"{"code":-1003,"msg":"Too many requests."}"#.to_owned()),
        None => respond(shared.recording.past(), target).unwrap_or_else(|refused| refused),
    };
    let wait = refusal.map_or(String::new(), |(_, until)| {
        format!("Retry-After: {}\r\n", until.duration_since(Instant::now()).as_secs() + 1)
    });
    let length = body.len();
    let text = format!(
        "HTTP/1.1 {status} -\r\nContent-Type: application/json;charset=UTF-8\r\nContent-Length: {length}\r\n\
         x-mbx-used-weight-1m: 4\r\n{wait}Connection: close\r\n\r\n{body}"
    );
    stream.write_all(text.as_bytes()).await.ok()
}

/// What the venue says of its `past`.
fn respond(past: &[Recorded], target: &str) -> Result<Answer, Answer> {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let query: HashMap<&str, &str> = query.split('&').filter_map(|pair| pair.split_once('=')).collect();
    match path {
        "/api/v3/ping" => return Ok((200, "{}".to_owned())),
        "/api/v3/time" => return Ok((200, format!(r#"{{"serverTime":{}}}"#, now_ms()))),
        _ => {}
    }
    if query.get("symbol") != Some(&"BTCUSDT") {
        return Err((400, r#"{"code":-1121,"msg":"Invalid symbol."}"#.to_owned()));
    }
    let number = |name: &str| match query.get(name) {
        Some(text) => text.parse::<i64>().map(Some).map_err(|_| illegal(name)),
        None => Ok(None),
    };
    let limit = usize::try_from(number("limit")?.unwrap_or(PAGE as i64)).map_err(|_| illegal("limit"))?.min(PAGE_MAX);
    let from_id = number("fromId")?.map(i64::unsigned_abs);
    let (from, to) = (number("startTime")?, number("endTime")?);
    let rows = match path {
        "/api/v3/trades" => past[past.len().saturating_sub(limit)..].iter().map(trade_row).collect(),
        "/api/v3/historicalTrades" => {
            let newest = past.len().saturating_sub(limit);
            let first = from_id.map_or(newest, |id| past.partition_point(|trade| trade.id < id));
            past[first..].iter().take(limit).map(trade_row).collect()
        }
        "/api/v3/aggTrades" => aggregate_rows(past, from_id, from, to, limit)?,
        "/api/v3/klines" => kline_rows(past, query.get("interval").unwrap_or(&""), from, to, limit)?,
        _ => return Err((404, r#"{"code":-1000,"msg":"Not found."}"#.to_owned())),
    };
    Ok((200, format!("[{}]", rows.join(","))))
}

fn illegal(name: &str) -> Answer {
    (400, format!(r#"{{"code":-1100,"msg":"Illegal characters found in parameter '{name}'."}}"#))
}

fn trade_row(trade: &Recorded) -> String {
    let Recorded { id, ms, price, quantity, is_sell, .. } = trade;
    let value = quote(units(price) * units(quantity));
    format!(
        r#"{{"id":{id},"price":"{price}","qty":"{quantity}","quoteQty":"{value}","time":{ms},"isBuyerMaker":{is_sell},"isBestMatch":true}}"#
    )
}

/// Fills of one price, side and moment that follow each other are one row.
fn aggregate_rows(
    past: &[Recorded],
    from_id: Option<u64>,
    from: Option<i64>,
    to: Option<i64>,
    limit: usize,
) -> Result<Vec<String>, Answer> {
    if from_id.is_some() && (from.is_some() || to.is_some()) {
        let message = r#"{"code":-1128,"msg":"Combination of optional parameters invalid."}"#;
        return Err((400, message.to_owned()));
    }
    let numbered = past.chunk_by(Recorded::is_one_order_with).zip(AGGREGATE_IDS..);
    let is_asked = |fills: &[Recorded], id: u64| {
        let ms = fills[0].ms;
        from_id.is_none_or(|first| id >= first) && from.is_none_or(|from| ms >= from) && to.is_none_or(|to| ms <= to)
    };
    let mut asked: Vec<_> = numbered.filter(|(fills, id)| is_asked(fills, *id)).collect();
    // Without a start the newest are meant.
    let newest = if from_id.is_none() && from.is_none() { asked.len().saturating_sub(limit) } else { 0 };
    asked.drain(..newest);
    Ok(asked.iter().take(limit).map(|(fills, id)| aggregate_row(fills, *id)).collect())
}

fn aggregate_row(fills: &[Recorded], id: u64) -> String {
    let Recorded { ms, price, is_sell, id: first, .. } = &fills[0];
    let quantity = decimal(fills.iter().map(|fill| units(&fill.quantity)).sum());
    let last = fills[fills.len() - 1].id;
    format!(r#"{{"a":{id},"p":"{price}","q":"{quantity}","f":{first},"l":{last},"T":{ms},"m":{is_sell},"M":true}}"#)
}

fn kline_rows(
    past: &[Recorded],
    interval: &str,
    from: Option<i64>,
    to: Option<i64>,
    limit: usize,
) -> Result<Vec<String>, Answer> {
    let own = ["5s", "15s", "30s"].contains(&interval);
    let known = klines(interval, past).filter(|_| !own);
    let mut klines = known.ok_or_else(|| (400, r#"{"code":-1120,"msg":"Invalid interval."}"#.to_owned()))?;
    klines.retain(|kline| from.is_none_or(|from| kline.open_ms >= from) && to.is_none_or(|to| kline.open_ms <= to));
    if from.is_none() {
        klines.drain(..klines.len().saturating_sub(limit));
    }
    let row = |kline: &super::Kline| {
        let mut row = format!("[{}", kline.open_ms);
        for price in [kline.open, kline.high, kline.low, kline.close, kline.volume] {
            let _ = write!(row, ",\"{}\"", decimal(price));
        }
        let (close, trades) = (kline.close_ms - 1, kline.trades);
        let (value, buy, bought) =
            (quote(kline.quote_volume), decimal(kline.buy_volume), quote(kline.buy_quote_volume));
        let _ = write!(row, ",{close},\"{value}\",{trades},\"{buy}\",\"{bought}\",\"0\"]");
        row
    };
    Ok(klines.iter().take(limit).map(row).collect())
}
