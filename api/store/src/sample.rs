//! Random rows for property tests: every value that a row can hold, the extremes included.

use engine::{
    candle::{Candle, State, Unknown},
    interval::Interval,
    market::{Origin, Price, Quantity, Side, Timestamp},
    number::Scale,
};
use proptest::{prelude::*, sample::select};

use store::{Scales, StoredCandle, StoredTrade};

fn scales() -> impl Strategy<Value = Scales> {
    (0..=Scale::MAX, 0..=Scale::MAX).prop_filter_map("a scale", |(price, quantity)| {
        Some(Scales { price: Scale::new(price)?, quantity: Scale::new(quantity)? })
    })
}

fn amount() -> impl Strategy<Value = u128> {
    prop_oneof![3 => 0..1_u128 << 60, 1 => any::<u128>(), 1 => Just(u128::MAX)]
}

fn positive() -> impl Strategy<Value = i64> {
    prop_oneof![3 => 0..1_i64 << 40, 1 => 0..=i64::MAX, 1 => Just(i64::MAX)]
}

fn id() -> impl Strategy<Value = u64> {
    prop_oneof![3 => 0..1_u64 << 40, 1 => any::<u64>(), 1 => Just(1 << 63), 1 => Just(u64::MAX)]
}

/// Any candle from 2001 to 2100 of any interval.
pub(crate) fn candles() -> impl Strategy<Value = StoredCandle> {
    candles_in(select(Interval::ALL.as_slice()), 1_000_000_000..4_100_000_000)
}

/// Any candle of these intervals whose time, in seconds, lies in this range.
pub(crate) fn candles_in(
    interval: impl Strategy<Value = Interval>,
    seconds: std::ops::Range<i64>,
) -> impl Strategy<Value = StoredCandle> {
    let state = select([State::Complete, State::Partial, State::Repaired, State::Flat].as_slice());
    let flags = (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>(), 0..4_u32);
    let prices = (positive(), positive(), positive(), positive());
    (scales(), interval, seconds, prices, (amount(), amount(), amount()), (id(), id(), id()), state, flags).prop_map(
        |(scales, interval, seconds, prices, sums, ids, state, flags)| {
            let open_time = interval.open_time(Timestamp(seconds * 1_000_000_000));
            let mut candle = Candle::flat(interval, open_time, Price(prices.0));
            (candle.high, candle.low, candle.close) = (Price(prices.1), Price(prices.2), Price(prices.3));
            (candle.volume, candle.quote_volume, candle.buy_volume) = sums;
            (candle.trades, candle.first_id, candle.last_id) = ids;
            candle.state = state;
            candle.is_closed = flags.0;
            candle.unknown = Unknown { sides: flags.1, trades: flags.2, quote: flags.3 };
            candle.revision = flags.4;
            StoredCandle { scales, candle }
        },
    )
}

/// Any trade of a week in 2024.
pub(crate) fn trades() -> impl Strategy<Value = StoredTrade> {
    let ns = 1_723_000_000_000_000_000_i64..1_723_600_000_000_000_000;
    let sides = select([Side::Buy, Side::Sell, Side::Unknown].as_slice());
    let kinds = (sides, select([Origin::Live, Origin::Backlog, Origin::Repair].as_slice()));
    (scales(), (id(), id()), any::<u32>(), (ns, positive()), (positive(), positive()), kinds).prop_map(
        |(scales, (first_id, id), trades, (ts_event, ts_recv), (price, quantity), (side, origin))| StoredTrade {
            scales,
            first_id,
            id,
            trades,
            ts_event: Timestamp(ts_event),
            ts_recv: Timestamp(ts_recv),
            price: Price(price),
            quantity: Quantity(quantity),
            side,
            origin,
        },
    )
}
