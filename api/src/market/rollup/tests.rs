use engine::{candle::Unknown, number::Scale};
use proptest::prelude::*;

use super::*;

const SECOND: i64 = 1_000_000_000;

fn scales(price: u8, quantity: u8) -> Scales {
    Scales { price: Scale::new(price).unwrap(), quantity: Scale::new(quantity).unwrap() }
}

/// A piece: when it opens, its prices, its volume and number of trades.
fn piece(interval: Interval, open_seconds: i64, prices: [i64; 4], volume: u64, trades: u64) -> StoredCandle {
    let mut candle = Candle::flat(interval, Timestamp(open_seconds * SECOND), Price(prices[0]));
    [candle.open, candle.high, candle.low, candle.close] = prices.map(Price);
    (candle.volume, candle.quote_volume) = (u128::from(volume), u128::from(volume) * prices[3].unsigned_abs() as u128);
    (candle.buy_volume, candle.trades) = (u128::from(volume / 2), trades);
    (candle.first_id, candle.last_id) = (open_seconds.unsigned_abs() * 100, open_seconds.unsigned_abs() * 100 + 5);
    candle.state = if trades == 0 { State::Flat } else { State::Complete };
    candle.is_closed = true;
    StoredCandle { scales: scales(2, 5), candle }
}

fn rolled(interval: Interval, way: Way, now: i64, pieces: &[StoredCandle]) -> Vec<StoredCandle> {
    let mut slots = Slots::new(interval, way, Timestamp(now * SECOND));
    let mut found: Vec<_> = pieces.iter().filter_map(|piece| slots.push(*piece)).collect();
    found.extend(slots.finish());
    found
}

fn minute(pieces: &[StoredCandle]) -> Candle {
    let found = rolled(Interval::M1, Way::Forward, 1000, pieces);
    assert_eq!(found.len(), 1, "{found:?}");
    found[0].candle
}

#[test]
fn parts_make_the_candle_that_their_trades_would_have_made() {
    let made = minute(&[
        piece(Interval::S30, 0, [10, 14, 9, 12], 4, 3),
        piece(Interval::S15, 30, [12, 12, 12, 12], 0, 0),
        piece(Interval::S15, 45, [13, 13, 7, 8], 6, 2),
    ]);
    assert_eq!([made.open, made.high, made.low, made.close].map(|price| price.0), [10, 14, 7, 8]);
    assert_eq!((made.volume, made.quote_volume, made.buy_volume, made.trades), (10, 4 * 12 + 6 * 8, 5, 5));
    assert_eq!((made.first_id, made.last_id, made.state, made.is_closed), (0, 4505, State::Complete, true));
    assert_eq!((made.open_time.0, made.close_time.0), (0, 60 * SECOND));
}

#[test]
fn a_missing_part_makes_it_partial_and_the_worst_part_gives_its_state() {
    let whole = [0, 30].map(|at| piece(Interval::S30, at, [5, 5, 5, 5], 1, 1));
    let with = |state| {
        let mut pieces = whole;
        pieces[1].candle.state = state;
        minute(&pieces).state
    };
    assert_eq!(with(State::Complete), State::Complete);
    assert_eq!(with(State::Repaired), State::Repaired);
    assert_eq!(with(State::Partial), State::Partial);
    assert_eq!(minute(&whole[..1]).state, State::Partial);
    let flat = [0, 30].map(|at| piece(Interval::S30, at, [5, 5, 5, 5], 0, 0));
    assert_eq!(minute(&flat).state, State::Flat);
    assert_eq!(minute(&flat[1..]).state, State::Partial);
    assert_eq!(minute(&[flat[0], whole[1]]).state, State::Complete);
}

#[test]
fn a_candle_is_closed_once_it_is_over_and_all_its_parts_are() {
    let pieces = [0, 30].map(|at| piece(Interval::S30, at, [5, 5, 5, 5], 1, 1));
    let closed = |now, pieces: &[_]| rolled(Interval::M1, Way::Forward, now, pieces)[0].candle.is_closed;
    assert!(closed(60, &pieces) && !closed(59, &pieces) && !closed(45, &pieces[..1]));
    let mut open = pieces;
    open[1].candle.is_closed = false;
    assert!(!closed(60, &open));
}

#[test]
fn what_one_part_does_not_tell_the_whole_does_not_tell() {
    let mut pieces = [0, 30].map(|at| piece(Interval::S30, at, [5, 5, 5, 5], 1, 1));
    pieces[0].candle.unknown = Unknown { sides: true, trades: false, quote: true };
    (pieces[0].candle.revision, pieces[1].candle.revision) = (2, 1);
    let made = minute(&pieces);
    assert_eq!((made.unknown, made.revision), (pieces[0].candle.unknown, 3));
}

#[test]
fn parts_of_two_scales_are_added_in_the_finer_one_and_what_does_not_fit_is_missing() {
    let mut pieces = [0, 30].map(|at| piece(Interval::S30, at, [5, 5, 5, 5], 1, 1));
    pieces[1].scales = scales(4, 5);
    let made = rolled(Interval::M1, Way::Forward, 60, &pieces)[0];
    assert_eq!((made.scales, made.candle.open, made.candle.close), (scales(4, 5), Price(500), Price(5)));
    assert_eq!((made.candle.volume, made.candle.quote_volume), (2, 5 * 100 + 5));
    pieces[0].candle.high = Price(i64::MAX);
    assert_eq!(minute(&pieces).state, State::Partial);
    let mut pieces = [0, 30].map(|at| piece(Interval::S30, at, [5, 5, 5, 5], 1, 1));
    pieces[1].candle.volume = u128::MAX;
    let made = minute(&pieces);
    assert_eq!((made.state, made.volume), (State::Partial, 1));
}

prop_compose! {
    /// Seconds in order, some missing, some flat.
    fn seconds()(rows in proptest::collection::vec((any::<bool>(), 1..100_i64, 0..9_i64, 0..9_i64, 0..1000_u64), 1..200))
        -> Vec<StoredCandle>
    {
        let made = |(at, (is_there, price, up, down, volume)): (usize, (bool, i64, i64, i64, u64))| {
            let prices = [price + 9, price + 9 + up, price + 9 - down, price + 9];
            let flat = [price; 4];
            is_there.then(|| match volume {
                0..200 => piece(Interval::S1, at as i64, flat, 0, 0),
                _ => piece(Interval::S1, at as i64, prices, volume, 1),
            })
        };
        rows.into_iter().enumerate().filter_map(made).collect()
    }
}

proptest! {
    #[test]
    fn prop_both_ways_make_the_same_candles(pieces in seconds()) {
        let forward = rolled(Interval::M1, Way::Forward, 1000, &pieces);
        let reversed: Vec<_> = pieces.iter().rev().copied().collect();
        let mut backward = rolled(Interval::M1, Way::Backward, 1000, &reversed);
        backward.reverse();
        // Without any trade the price is that of a part, and which one is open where a part is missing.
        let traded = |rows: Vec<StoredCandle>| rows.into_iter().filter(|row| row.candle.trades > 0).collect::<Vec<_>>();
        prop_assert_eq!(traded(forward), traded(backward));
    }

    #[test]
    fn prop_steps_make_what_one_step_makes(pieces in seconds()) {
        let once = rolled(Interval::M1, Way::Forward, 1000, &pieces);
        let twice = rolled(Interval::M1, Way::Forward, 1000, &rolled(Interval::S15, Way::Forward, 1000, &pieces));
        let traded = |rows: Vec<StoredCandle>| rows.into_iter().filter(|row| row.candle.trades > 0).collect::<Vec<_>>();
        prop_assert_eq!(traded(once), traded(twice));
    }

    #[test]
    fn prop_no_volume_is_lost(pieces in seconds()) {
        let sum = |rows: &[StoredCandle]| rows.iter().map(|row| row.candle.volume).sum::<u128>();
        prop_assert_eq!(sum(&rolled(Interval::M5, Way::Forward, 1000, &pieces)), sum(&pieces));
    }
}
