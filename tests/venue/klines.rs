//! Candles straight from the trades: whole-number sums over the text that the venue sent, trade by trade.

use super::{calendar::span, recording::Recorded};

/// Decimals of Binance's prices and quantities.
const DECIMALS: usize = 8;

/// A candle in units of 10⁻⁸, its quote volumes in units of 10⁻¹⁶. Without trades, all prices are the close before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Kline {
    pub(crate) open_ms: i64,
    pub(crate) close_ms: i64,
    pub(crate) open: u128,
    pub(crate) high: u128,
    pub(crate) low: u128,
    pub(crate) close: u128,
    pub(crate) volume: u128,
    pub(crate) quote_volume: u128,
    pub(crate) buy_volume: u128,
    pub(crate) buy_quote_volume: u128,
    pub(crate) trades: u64,
    pub(crate) first_id: u64,
    pub(crate) last_id: u64,
}

/// The candles of these trades, from that of the first to that of the last; `None` for an unknown interval.
pub(crate) fn klines(interval: &str, trades: &[Recorded]) -> Option<Vec<Kline>> {
    span(interval, 0)?;
    let mut klines: Vec<Kline> = Vec::new();
    for trade in trades {
        let (open_ms, close_ms) = span(interval, trade.ms)?;
        let price = units(&trade.price);
        while klines.last().is_none_or(|last| last.close_ms <= trade.ms) {
            let next = klines.last().map_or((open_ms, close_ms), |last| span(interval, last.close_ms).unwrap());
            let at = klines.last().map_or(price, |last| last.close);
            klines.push(empty(next, at));
        }
        let place = klines.iter().rposition(|kline| kline.open_ms == open_ms)?;
        add(&mut klines[place], trade, price);
    }
    Some(klines)
}

fn empty((open_ms, close_ms): (i64, i64), at: u128) -> Kline {
    Kline {
        open_ms,
        close_ms,
        open: at,
        high: at,
        low: at,
        close: at,
        volume: 0,
        quote_volume: 0,
        buy_volume: 0,
        buy_quote_volume: 0,
        trades: 0,
        first_id: 0,
        last_id: 0,
    }
}

fn add(kline: &mut Kline, trade: &Recorded, price: u128) {
    let quantity = units(&trade.quantity);
    if kline.trades == 0 {
        (kline.open, kline.high, kline.low, kline.first_id) = (price, price, price, trade.id);
    }
    kline.high = kline.high.max(price);
    kline.low = kline.low.min(price);
    kline.close = price;
    kline.volume += quantity;
    kline.quote_volume += price * quantity;
    if !trade.is_sell {
        kline.buy_volume += quantity;
        kline.buy_quote_volume += price * quantity;
    }
    kline.trades += 1;
    kline.last_id = trade.id;
}

/// Decimal text in units of 10⁻⁸.
pub(crate) fn units(text: &str) -> u128 {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    assert!(fraction.len() <= DECIMALS, "{text}");
    format!("{whole}{fraction:0<DECIMALS$}").parse().unwrap()
}

/// Units of 10⁻⁸ as Binance prints them.
pub(crate) fn decimal(units: u128) -> String {
    let one = 10_u128.pow(DECIMALS as u32);
    format!("{}.{:0DECIMALS$}", units / one, units % one)
}

/// Units of 10⁻¹⁶ as Binance prints them: cut to eight decimals.
pub(crate) fn quote(units: u128) -> String {
    decimal(units / 10_u128.pow(DECIMALS as u32))
}
