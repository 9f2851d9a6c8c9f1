//! What each venue says: frames and pages in the forms that were recorded.

use engine::market::Venue;

/// A trade of the fake venue.
#[derive(Clone, Copy, Debug)]
pub struct FakeTrade {
    pub id: u64,
    pub ms: i64,
    /// In cents.
    pub price: u64,
    /// In thousandths.
    pub quantity: u64,
}

impl FakeTrade {
    fn price(&self) -> String {
        format!("{}.{:02}", self.price / 100, self.price % 100)
    }

    fn quantity(&self) -> String {
        format!("{}.{:03}", self.quantity / 1000, self.quantity % 1000)
    }
}

/// `2026-11-18T13:46:57.123000Z` for a moment after 2000.
pub fn rfc3339(ms: i64) -> String {
    let (days, of_day) = (ms.div_euclid(86_400_000), ms.rem_euclid(86_400_000));
    // Days to a date, by Howard Hinnant's `civil_from_days`.
    let z = days + 719_468;
    let (era, of_era) = (z.div_euclid(146_097), z.rem_euclid(146_097));
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month_shifted + 2) / 5 + 1;
    let month = if month_shifted < 10 { month_shifted + 3 } else { month_shifted - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (hour, minute, second) = (of_day / 3_600_000, of_day / 60_000 % 60, of_day / 1000 % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}000Z", of_day % 1000)
}

/// The frame that a trade is pushed in.
pub fn trade_frame(venue: Venue, name: &str, trade: &FakeTrade) -> String {
    let (id, ms, price, quantity) = (trade.id, trade.ms, trade.price(), trade.quantity());
    match venue {
        Venue::Binance => format!(
            r#"{{"stream":"{}@trade","data":{{"e":"trade","E":{ms},"s":"{name}","t":{id},"p":"{price}","q":"{quantity}","T":{ms},"m":true,"M":true}}}}"#,
            name.to_lowercase()
        ),
        Venue::Coinbase => format!(
            r#"{{"type":"match","trade_id":{id},"maker_order_id":"f07e510f","taker_order_id":"55c8b85c","side":"sell","size":"{quantity}","price":"{price}","product_id":"{name}","sequence":{},"time":"{}"}}"#,
            id * 130,
            rfc3339(ms)
        ),
        Venue::Kraken => format!(
            r#"{{"channel":"trade","type":"update","data":[{{"symbol":"{name}","side":"buy","price":{price},"qty":{quantity},"ord_type":"limit","trade_id":{id},"timestamp":"{}"}}]}}"#,
            rfc3339(ms)
        ),
        Venue::Bybit => format!(
            r#"{{"topic":"publicTrade.{name}","ts":{ms},"type":"snapshot","data":[{{"i":"{id}","T":{ms},"p":"{price}","v":"{quantity}","S":"Buy","s":"{name}","BT":false,"RPI":false}}]}}"#
        ),
        Venue::Okx => format!(
            r#"{{"arg":{{"channel":"trades","instId":"{name}"}},"data":[{{"instId":"{name}","tradeId":"{id}","px":"{price}","sz":"{quantity}","side":"buy","ts":"{ms}","count":"1","source":"0","seqId":{id}}}]}}"#
        ),
        _ => format!(
            r#"{{"channel":"trades","data":[{{"coin":"{name}","side":"A","px":"{price}","sz":"{quantity}","time":{ms},"hash":"0x00","tid":{id}}}]}}"#
        ),
    }
}

/// What the venue says as soon as somebody connects.
pub fn greeting(venue: Venue) -> Option<String> {
    // An announced maintenance stands in each greeting: it must not replace connections for ever.
    (venue == Venue::Kraken).then(|| notice(Venue::Kraken))
}

/// The answer to a subscription or a ping; `None` for other words.
pub fn answer(venue: Venue, said: &str) -> Option<String> {
    let is_ping = said.contains("ping");
    let answer = match (venue, is_ping) {
        (Venue::Coinbase, _) => r#"{"type":"subscriptions","channels":[{"name":"matches","product_ids":["BTC-USD"]}]}"#,
        (Venue::Kraken, true) => {
            r#"{"method":"pong","time_in":"2026-10-03T20:58:30.5Z","time_out":"2026-10-03T20:58:30.5Z"}"#
        }
        (Venue::Kraken, false) => {
            r#"{"method":"subscribe","result":{"channel":"trade","snapshot":true,"symbol":"BTC/USD"},"success":true}"#
        }
        (Venue::Bybit, true) => r#"{"success":true,"ret_msg":"pong","conn_id":"c","op":"ping"}"#,
        (Venue::Bybit, false) => r#"{"success":true,"ret_msg":"subscribe","conn_id":"c","op":"subscribe"}"#,
        (Venue::Okx, true) => "pong",
        (Venue::Okx, false) => r#"{"event":"subscribe","arg":{"channel":"trades","instId":"BTC-USDT"},"connId":"c"}"#,
        (Venue::Hyperliquid, true) => r#"{"channel":"pong"}"#,
        (Venue::Hyperliquid, false) => {
            r#"{"channel":"subscriptionResponse","data":{"method":"subscribe","subscription":{"type":"trades","coin":"BTC"}}}"#
        }
        _ => return None,
    };
    Some(answer.to_owned())
}

/// A sign of life; Coinbase's names its newest trade.
pub fn heartbeat(venue: Venue, name: &str, last_id: u64) -> String {
    match venue {
        Venue::Coinbase => {
            format!(
                r#"{{"type":"heartbeat","last_trade_id":{last_id},"product_id":"{name}","sequence":1,"time":"{}"}}"#,
                rfc3339(1_790_000_000_000)
            )
        }
        Venue::Kraken => r#"{"channel":"heartbeat"}"#.to_owned(),
        _ => answer(venue, "ping").unwrap_or_default(),
    }
}

/// The announcement of a cut.
pub fn notice(venue: Venue) -> String {
    match venue {
        Venue::Binance => r#"{"stream":"!serverShutdown","data":{"e":"serverShutdown","E":1770123456789}}"#,
        Venue::Okx => r#"{"event":"notice","code":"64008","msg":"The connection will soon be closed for a service upgrade. Please reconnect.","connId":"a4d3ae55"}"#,
        _ => r#"{"channel":"status","type":"update","data":[{"version":"2.0.10","system":"online","api_version":"v2","connection_id":3364750901719990046,"upcoming_maintenance":[{"event_id":33,"phase":"announced"}]}]}"#,
    }
    .to_owned()
}

/// The value of a query's field.
fn query(target: &str, field: &str) -> Option<i64> {
    let (_, fields) = target.split_once('?')?;
    fields.split('&').find_map(|pair| pair.strip_prefix(field)?.strip_prefix('=')?.parse().ok())
}

/// The page that a request for trades or candles gets.
pub fn page(venue: Venue, target: &str, body: &str, history: &[FakeTrade]) -> String {
    if ["kline", "candle", "OHLC"].iter().any(|word| target.contains(word)) || body.contains("candleSnapshot") {
        return candles(venue, history);
    }
    let row = |trade: &FakeTrade| trade_row(venue, trade);
    let below = query(target, "after").unwrap_or(0).unsigned_abs();
    let limit = query(target, "limit").or(query(target, "count")).unwrap_or(1000).unsigned_abs() as usize;
    let newest_first =
        || history.iter().rev().filter(|trade| trade.id < below).take(limit).map(row).collect::<Vec<_>>().join(",");
    match venue {
        Venue::Binance => {
            let (from, to) = (query(target, "startTime").unwrap_or(0), query(target, "endTime").unwrap_or(0));
            let within = history.iter().filter(|trade| (from..=to).contains(&trade.ms));
            format!("[{}]", within.take(limit).map(row).collect::<Vec<_>>().join(","))
        }
        Venue::Coinbase => format!("[{}]", newest_first()),
        Venue::Okx => format!(r#"{{"code":"0","msg":"","data":[{}]}}"#, newest_first()),
        Venue::Kraken => {
            let since = query(target, "since").unwrap_or(0);
            let later = history.iter().filter(|trade| trade.ms * 1_000_000 > since).take(limit);
            let rows = later.map(row).collect::<Vec<_>>().join(",");
            format!(r#"{{"error":[],"result":{{"XBTUSD":[{rows}],"last":"0"}}}}"#)
        }
        _ => {
            let rows = history.iter().rev().take(60).map(row).collect::<Vec<_>>().join(",");
            format!(
                r#"{{"retCode":0,"retMsg":"OK","result":{{"category":"spot","list":[{rows}]}},"retExtInfo":{{}},"time":1}}"#
            )
        }
    }
}

fn trade_row(venue: Venue, trade: &FakeTrade) -> String {
    let (id, ms, price, quantity) = (trade.id, trade.ms, trade.price(), trade.quantity());
    match venue {
        Venue::Binance => {
            format!(r#"{{"a":{id},"p":"{price}","q":"{quantity}","f":{id},"l":{id},"T":{ms},"m":true,"M":true}}"#)
        }
        Venue::Coinbase => format!(
            r#"{{"time":"{}","trade_id":{id},"price":"{price}","size":"{quantity}","side":"sell"}}"#,
            rfc3339(ms)
        ),
        Venue::Kraken => format!(r#"["{price}","{quantity}",{}.{:03},"b","l","",{id}]"#, ms / 1000, ms % 1000),
        Venue::Okx => format!(
            r#"{{"instId":"BTC-USDT","side":"buy","sz":"{quantity}","source":"0","px":"{price}","tradeId":"{id}","ts":"{ms}"}}"#
        ),
        _ => format!(
            r#"{{"execId":"{id}","symbol":"BTCUSDT","price":"{price}","size":"{quantity}","side":"Buy","time":"{ms}","isBlockTrade":false,"isRPITrade":false,"seq":"1"}}"#
        ),
    }
}

/// The minutes of the history.
fn candles(venue: Venue, history: &[FakeTrade]) -> String {
    let mut minutes = std::collections::BTreeMap::<i64, Vec<FakeTrade>>::new();
    for trade in history {
        minutes.entry(trade.ms / 60_000 * 60_000).or_default().push(*trade);
    }
    let rows = minutes.iter().map(|(ms, trades)| {
        let (first, last) = (trades.first().unwrap().price(), trades.last().unwrap().price());
        let low = trades.iter().min_by_key(|trade| trade.price).unwrap().price();
        let high = trades.iter().max_by_key(|trade| trade.price).unwrap().price();
        let sum: u64 = trades.iter().map(|trade| trade.quantity).sum();
        let volume = FakeTrade { quantity: sum, ..trades[0] }.quantity();
        let (count, seconds) = (trades.len(), ms / 1000);
        match venue {
            Venue::Hyperliquid => format!(
                r#"{{"t":{ms},"T":{},"s":"BTC","i":"1m","o":"{first}","h":"{high}","l":"{low}","c":"{last}","v":"{volume}","n":{count}}}"#,
                ms + 59_999
            ),
            Venue::Coinbase => format!("[{seconds},{low},{high},{first},{last},{volume}]"),
            Venue::Kraken => format!(r#"[{seconds},"{first}","{high}","{low}","{last}","0","{volume}",{count}]"#),
            Venue::Okx => format!(r#"["{ms}","{first}","{high}","{low}","{last}","{volume}","0","0","1"]"#),
            Venue::Bybit => format!(r#"["{ms}","{first}","{high}","{low}","{last}","{volume}","0"]"#),
            _ => format!(r#"[{ms},"{first}","{high}","{low}","{last}","{volume}",{},"0",{count},"0","0","0"]"#, ms + 59_999),
        }
    });
    let rows = match venue {
        Venue::Bybit | Venue::Coinbase | Venue::Okx => rows.rev().collect::<Vec<_>>().join(","),
        _ => rows.collect::<Vec<_>>().join(","),
    };
    match venue {
        Venue::Bybit => format!(r#"{{"retCode":0,"retMsg":"OK","result":{{"list":[{rows}]}}}}"#),
        Venue::Okx => format!(r#"{{"code":"0","msg":"","data":[{rows}]}}"#),
        Venue::Kraken => format!(r#"{{"error":[],"result":{{"XBTUSD":[{rows}],"last":0}}}}"#),
        _ => format!("[{rows}]"),
    }
}
