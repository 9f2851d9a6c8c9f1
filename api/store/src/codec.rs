//! Candles and trades as bytes, for the embedded store and the spill file: about 50 bytes a candle.
//!
//! Numbers are LEB128: seven bits a byte, lowest first. Prices of a candle stand as distances from its low, since most
//! of them are short. The first byte is the version; a later version reads earlier ones.

use engine::{
    candle::{Candle, State, Unknown},
    interval::Interval,
    market::{Price, Quantity, Timestamp},
    number::Scale,
};

use crate::row::{ORIGINS, SIDES, Scales, StoredCandle, StoredTrade};

const VERSION: u8 = 1;
const STATES: [State; 4] = [State::Complete, State::Partial, State::Repaired, State::Flat];

const CLOSED: u8 = 1 << 2;
const SIDES_UNKNOWN: u8 = 1 << 3;
const TRADES_UNKNOWN: u8 = 1 << 4;
const QUOTE_UNKNOWN: u8 = 1 << 5;

/// Appends the fields of a candle other than its key: interval and open time.
pub(crate) fn encode_candle(out: &mut Vec<u8>, stored: &StoredCandle) {
    let candle = &stored.candle;
    let flag = |set: bool, bit: u8| if set { bit } else { 0 };
    let state = STATES.iter().position(|state| *state == candle.state).unwrap_or_default();
    let flags = state as u8
        | flag(candle.is_closed, CLOSED)
        | flag(candle.unknown.sides, SIDES_UNKNOWN)
        | flag(candle.unknown.trades, TRADES_UNKNOWN)
        | flag(candle.unknown.quote, QUOTE_UNKNOWN);
    out.extend_from_slice(&[VERSION, flags, stored.scales.price.decimals(), stored.scales.quantity.decimals()]);
    put(out, u128::from(candle.revision));
    // A candle need not obey its own laws to be kept exactly: the distances wrap.
    let low = candle.low.0 as u64;
    put(out, u128::from(low));
    for price in [candle.open, candle.high, candle.close] {
        put(out, u128::from((price.0 as u64).wrapping_sub(low)));
    }
    put(out, candle.volume);
    put(out, candle.quote_volume);
    put(out, candle.buy_volume);
    put(out, u128::from(candle.trades));
    put(out, u128::from(candle.first_id));
    put(out, u128::from(candle.last_id.wrapping_sub(candle.first_id)));
}

/// Reads what [`encode_candle`] wrote; `None` if it is something else.
pub(crate) fn decode_candle(bytes: &mut &[u8], interval: Interval, open_time: Timestamp) -> Option<StoredCandle> {
    let [version, flags, price, quantity] = *bytes.split_off(..4)? else { return None };
    if version != VERSION {
        return None;
    }
    let scales = Scales { price: Scale::new(price)?, quantity: Scale::new(quantity)? };
    let revision = u32::try_from(take(bytes)?).ok()?;
    let low = take_u64(bytes)?;
    let mut price = || Some(Price(low.wrapping_add(take_u64(bytes)?) as i64));
    let (open, high, close) = (price()?, price()?, price()?);
    let mut candle = Candle::flat(interval, open_time, open);
    (candle.high, candle.low, candle.close) = (high, Price(low as i64), close);
    (candle.volume, candle.quote_volume, candle.buy_volume) = (take(bytes)?, take(bytes)?, take(bytes)?);
    candle.trades = take_u64(bytes)?;
    candle.first_id = take_u64(bytes)?;
    candle.last_id = candle.first_id.wrapping_add(take_u64(bytes)?);
    candle.revision = revision;
    candle.state = *STATES.get(usize::from(flags & 3))?;
    candle.is_closed = flags & CLOSED != 0;
    candle.unknown = Unknown {
        sides: flags & SIDES_UNKNOWN != 0,
        trades: flags & TRADES_UNKNOWN != 0,
        quote: flags & QUOTE_UNKNOWN != 0,
    };
    Some(StoredCandle { scales, candle })
}

/// The rank of an encoded candle, without reading the rest.
pub(crate) fn rank(mut bytes: &[u8]) -> Option<(u32, bool)> {
    let flags = *bytes.get(1)?;
    bytes.split_off(..4)?;
    Some((u32::try_from(take(&mut bytes)?).ok()?, flags & CLOSED != 0))
}

/// Whether an encoded candle is closed.
pub(crate) fn is_closed(bytes: &[u8]) -> bool {
    bytes.get(1).is_some_and(|flags| flags & CLOSED != 0)
}

/// Appends the fields of a trade other than its key: time and id.
pub(crate) fn encode_trade(out: &mut Vec<u8>, trade: &StoredTrade) {
    let side = SIDES.iter().position(|side| *side == trade.side).unwrap_or_default();
    let origin = ORIGINS.iter().position(|(origin, _)| *origin == trade.origin).unwrap_or_default();
    let scales = trade.scales;
    out.extend_from_slice(&[VERSION, (side << 2 | origin) as u8, scales.price.decimals(), scales.quantity.decimals()]);
    put(out, u128::from(trade.id.wrapping_sub(trade.first_id)));
    put(out, u128::from(trade.trades));
    put(out, u128::from(trade.ts_recv.0.wrapping_sub(trade.ts_event.0) as u64));
    put(out, u128::from(trade.price.0 as u64));
    put(out, u128::from(trade.quantity.0 as u64));
}

/// Reads what [`encode_trade`] wrote; `None` if it is something else.
pub(crate) fn decode_trade(bytes: &mut &[u8], ts_event: Timestamp, id: u64) -> Option<StoredTrade> {
    let [version, kinds, price, quantity] = *bytes.split_off(..4)? else { return None };
    if version != VERSION {
        return None;
    }
    Some(StoredTrade {
        scales: Scales { price: Scale::new(price)?, quantity: Scale::new(quantity)? },
        id,
        ts_event,
        first_id: id.wrapping_sub(take_u64(bytes)?),
        trades: u32::try_from(take(bytes)?).ok()?,
        ts_recv: Timestamp(ts_event.0.wrapping_add(take_u64(bytes)? as i64)),
        price: Price(take_u64(bytes)? as i64),
        quantity: Quantity(take_u64(bytes)? as i64),
        side: *SIDES.get(usize::from(kinds >> 2))?,
        origin: ORIGINS.get(usize::from(kinds & 3))?.0,
    })
}

/// Appends a number in LEB128.
pub(crate) fn put(out: &mut Vec<u8>, mut value: u128) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Reads a number in LEB128; `None` if it is cut off or does not fit into 128 bits.
#[inline]
pub(crate) fn take(bytes: &mut &[u8]) -> Option<u128> {
    // Nearly all numbers are short, and 64 bits are shifted faster than 128.
    let mut short = 0_u64;
    for shift in (0..56).step_by(7) {
        let byte = *bytes.split_off_first()?;
        short |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(short.into());
        }
    }
    take_long(bytes, short)
}

/// The rest of a number whose first eight bytes are read.
fn take_long(bytes: &mut &[u8], short: u64) -> Option<u128> {
    let mut value = u128::from(short);
    for shift in (56..128).step_by(7) {
        let byte = *bytes.split_off_first()?;
        let part = u128::from(byte & 0x7f);
        if shift == 126 && part > 3 {
            return None;
        }
        value |= part << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

/// Reads a number that fits into 64 bits.
pub(crate) fn take_u64(bytes: &mut &[u8]) -> Option<u64> {
    u64::try_from(take(bytes)?).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::sample;

    proptest! {
        #[test]
        fn prop_a_candle_comes_back_equal(stored in sample::candles()) {
            let mut bytes = Vec::new();
            encode_candle(&mut bytes, &stored);
            prop_assert_eq!(rank(&bytes), Some(stored.rank()));
            prop_assert_eq!(is_closed(&bytes), stored.candle.is_closed);
            let (interval, open_time) = (stored.candle.interval, stored.candle.open_time);
            let mut rest = bytes.as_slice();
            prop_assert_eq!(decode_candle(&mut rest, interval, open_time), Some(stored));
            prop_assert!(rest.is_empty());
            for cut in 0..bytes.len() {
                prop_assert_eq!(decode_candle(&mut &bytes[..cut], interval, open_time), None);
            }
        }

        #[test]
        fn prop_a_trade_comes_back_equal(trade in sample::trades()) {
            let mut bytes = Vec::new();
            encode_trade(&mut bytes, &trade);
            prop_assert_eq!(decode_trade(&mut bytes.as_slice(), trade.ts_event, trade.id), Some(trade));
        }

        #[test]
        fn prop_no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode_candle(&mut bytes.as_slice(), Interval::M1, Timestamp(0));
            let _ = decode_trade(&mut bytes.as_slice(), Timestamp(0), 1);
        }
    }
}
