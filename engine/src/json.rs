//! Market data as JSON text: exact decimals, fixed order of fields, no allocation.

use crate::{
    candle::Candle,
    frame::Form,
    market::{Instrument, Timestamp, Trade},
    number::{write_decimal, write_integer, write_signed},
    ticker::Ticker,
};

/// Appends `,"name":` or, at the start of an object, `"name":` as given in `key`, then the decimal in its wire form.
#[inline]
fn decimal(out: &mut Vec<u8>, key: &[u8], value: u128, decimals: u8, form: Form) {
    out.extend_from_slice(key);
    match form {
        Form::Number => write_decimal(out, value, decimals),
        Form::Text => {
            out.push(b'"');
            write_decimal(out, value, decimals);
            out.push(b'"');
        }
    }
}

#[inline]
fn optional(out: &mut Vec<u8>, key: &[u8], value: Option<u128>, decimals: u8, form: Form) {
    match value {
        Some(value) => decimal(out, key, value, decimals, form),
        None => {
            out.extend_from_slice(key);
            out.extend_from_slice(b"null");
        }
    }
}

#[inline]
fn millis(out: &mut Vec<u8>, key: &[u8], ts: Timestamp) {
    out.extend_from_slice(key);
    write_signed(out, ts.millis());
}

/// Appends a JSON string; `text` is a name from the directory, which has no character that needs an escape.
fn name(out: &mut Vec<u8>, key: &[u8], text: &str) {
    out.extend_from_slice(key);
    out.push(b'"');
    out.extend_from_slice(text.as_bytes());
    out.push(b'"');
}

/// About how long a candle's text is.
const CANDLE_BYTES: usize = 512;

/// Appends a candle: `ts` is its first millisecond, `close_ts` the first one behind it. Prices and volumes are exact;
/// `vwap` is truncated to the price scale and null without volume, ids are null without trades, and so is what the
/// source does not tell.
pub fn write_candle(out: &mut Vec<u8>, candle: &Candle, instrument: &Instrument, label: &str, form: Form) {
    out.reserve(CANDLE_BYTES);
    name(out, b"{\"symbol\":", label);
    name(out, b",\"interval\":", candle.interval.name());
    millis(out, b",\"ts\":", candle.open_time);
    let price = instrument.price_scale.decimals();
    let quantity = instrument.quantity_scale.decimals();
    decimal(out, b",\"open\":", u128::from(candle.open.0.unsigned_abs()), price, form);
    decimal(out, b",\"high\":", u128::from(candle.high.0.unsigned_abs()), price, form);
    decimal(out, b",\"low\":", u128::from(candle.low.0.unsigned_abs()), price, form);
    decimal(out, b",\"close\":", u128::from(candle.close.0.unsigned_abs()), price, form);
    decimal(out, b",\"volume\":", candle.volume, quantity, form);
    out.extend_from_slice(if candle.is_closed { b",\"is_closed\":true" } else { b",\"is_closed\":false" });
    millis(out, b",\"close_ts\":", candle.close_time);
    let counted = !candle.unknown.trades || candle.trades > 0;
    out.extend_from_slice(b",\"trades\":");
    if counted {
        write_integer(out, candle.trades)
    } else {
        out.extend_from_slice(b"null")
    }
    optional(out, b",\"vwap\":", candle.vwap(), price, form);
    let quote = (!candle.unknown.quote).then_some(candle.quote_volume);
    optional(out, b",\"quote_volume\":", quote, price + quantity, form);
    let buy = (!candle.unknown.sides).then_some(candle.buy_volume);
    optional(out, b",\"buy_volume\":", buy, quantity, form);
    out.extend_from_slice(b",\"revision\":");
    write_integer(out, u64::from(candle.revision));
    name(out, b",\"state\":", candle.state.name());
    source(out, instrument);
    let known = candle.trades > 0 && !candle.unknown.trades;
    id(out, b",\"first_id\":", known.then_some(candle.first_id));
    id(out, b",\"last_id\":", known.then_some(candle.last_id));
    out.push(b'}');
}

fn id(out: &mut Vec<u8>, key: &[u8], id: Option<u64>) {
    out.extend_from_slice(key);
    match id {
        Some(id) => write_integer(out, id),
        None => out.extend_from_slice(b"null"),
    }
}

fn source(out: &mut Vec<u8>, instrument: &Instrument) {
    out.extend_from_slice(b",\"source\":\"");
    out.extend_from_slice(instrument.venue.name().as_bytes());
    out.push(b':');
    out.extend_from_slice(instrument.name.as_bytes());
    out.push(b'"');
}

/// Appends a trade: `{id, ts, price, quantity, side}`, side being the taker's; `trades` says how many fills the venue
/// joined, where it is more than one.
pub fn write_trade(out: &mut Vec<u8>, trade: &Trade, instrument: &Instrument, form: Form) {
    out.extend_from_slice(b"{\"id\":");
    write_integer(out, trade.id);
    millis(out, b",\"ts\":", trade.ts_event);
    let price = u128::from(trade.price.0.unsigned_abs());
    decimal(out, b",\"price\":", price, instrument.price_scale.decimals(), form);
    let quantity = u128::from(trade.quantity.0.unsigned_abs());
    decimal(out, b",\"quantity\":", quantity, instrument.quantity_scale.decimals(), form);
    name(out, b",\"side\":", trade.side.name());
    if trade.trades > 1 {
        out.extend_from_slice(b",\"trades\":");
        write_integer(out, u64::from(trade.trades));
    }
    out.push(b'}');
}

/// Appends a ticker: the last price and 24 hours of whole minutes with the current one. `change` is last − open.
pub fn write_ticker(out: &mut Vec<u8>, ticker: &Ticker, instrument: &Instrument, label: &str, form: Form) {
    name(out, b"{\"symbol\":", label);
    millis(out, b",\"ts\":", ticker.ts_event);
    let price = instrument.price_scale.decimals();
    let quantity = instrument.quantity_scale.decimals();
    decimal(out, b",\"last\":", u128::from(ticker.last.0.unsigned_abs()), price, form);
    decimal(out, b",\"open\":", u128::from(ticker.open.0.unsigned_abs()), price, form);
    decimal(out, b",\"high\":", u128::from(ticker.high.0.unsigned_abs()), price, form);
    decimal(out, b",\"low\":", u128::from(ticker.low.0.unsigned_abs()), price, form);
    decimal(out, b",\"volume\":", ticker.volume, quantity, form);
    decimal(out, b",\"quote_volume\":", ticker.quote_volume, price + quantity, form);
    let (last, open) = (ticker.last.0, ticker.open.0);
    let key: &[u8] = if form == Form::Text { b",\"change\":\"" } else { b",\"change\":" };
    out.extend_from_slice(key);
    if last < open {
        out.push(b'-');
    }
    write_decimal(out, u128::from(last.abs_diff(open)), price);
    if form == Form::Text {
        out.push(b'"');
    }
    // Hundredths of a per cent, truncated: exact to the two decimals that are shown.
    let basis = u128::from(last.abs_diff(open)) * 10_000 / u128::from(open.unsigned_abs()).max(1);
    let key: &[u8] = if last < open && basis > 0 { b",\"change_percent\":-" } else { b",\"change_percent\":" };
    match form {
        Form::Number => decimal(out, key, basis, 2, form),
        Form::Text => {
            out.extend_from_slice(b",\"change_percent\":\"");
            if last < open && basis > 0 {
                out.push(b'-');
            }
            write_decimal(out, basis, 2);
            out.push(b'"');
        }
    }
    millis(out, b",\"since\":", ticker.since);
    source(out, instrument);
    out.push(b'}');
}
