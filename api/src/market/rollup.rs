//! Pieces that follow each other become candles of one interval.

use engine::{
    candle::{Candle, State},
    interval::Interval,
    market::{Price, Timestamp},
};
use store::{Scales, StoredCandle};

use super::level::Way;

/// Folds pieces in the order in which they are read. A piece of the interval itself is taken as it is; shorter ones are
/// merged, and the candle they make says what is missing: it is partial unless they fill it.
pub(crate) struct Slots {
    interval: Interval,
    way: Way,
    now: Timestamp,
    pending: Option<Slot>,
}

/// The candle that pieces are still added to.
#[derive(Clone, Copy, Debug)]
struct Slot {
    row: StoredCandle,
    /// Whether it is one piece, of the interval itself.
    is_own: bool,
    /// How much of its time the pieces cover, and up to where.
    covered: i64,
    until: Timestamp,
    /// The worst state of a piece.
    worst: State,
}

impl Slots {
    /// Nothing yet. `now` decides which candles are over.
    pub(crate) fn new(interval: Interval, way: Way, now: Timestamp) -> Self {
        Self { interval, way, now, pending: None }
    }

    /// Takes the next piece and returns the candle before it, if it begins another one.
    pub(crate) fn push(&mut self, piece: StoredCandle) -> Option<StoredCandle> {
        let open_time = self.interval.open_time(piece.candle.open_time);
        match &mut self.pending {
            Some(slot) if slot.row.candle.open_time == open_time => {
                slot.add(piece, self.way);
                None
            }
            _ => {
                let before = self.finish();
                self.pending = Some(Slot::begin(piece, self.interval, open_time));
                before
            }
        }
    }

    /// The last candle.
    pub(crate) fn finish(&mut self) -> Option<StoredCandle> {
        self.pending.take().map(|slot| slot.finish(self.now))
    }

    /// The candle that is not finished yet, if it is one of the interval itself and opens at `at`.
    pub(crate) fn take_own(&mut self, at: Timestamp) -> Option<StoredCandle> {
        let slot = self.pending.take_if(|slot| slot.is_own && slot.row.candle.open_time == at)?;
        Some(slot.row)
    }

    /// Open time of the candle that is not finished yet.
    pub(crate) fn pending(&self) -> Option<Timestamp> {
        self.pending.map(|slot| slot.row.candle.open_time)
    }

    /// Whether the candle that is not finished yet is over.
    pub(crate) fn pending_is_over(&self) -> bool {
        self.pending.is_some_and(|slot| match slot.is_own {
            true => slot.row.candle.is_closed,
            false => slot.row.candle.is_closed && slot.row.candle.close_time <= self.now,
        })
    }
}

impl Slot {
    fn begin(piece: StoredCandle, interval: Interval, open_time: Timestamp) -> Self {
        let part = piece.candle;
        let (covered, until) = (part.close_time.0 - part.open_time.0, part.close_time);
        let is_own = part.interval == interval;
        let candle = if is_own { part } else { widened(&part, interval, open_time) };
        Self { row: StoredCandle { scales: piece.scales, candle }, is_own, covered, until, worst: part.state }
    }

    /// Merges a piece that lies behind the others, or before them where the way is backward.
    fn add(&mut self, piece: StoredCandle, way: Way) {
        let scales = finer(self.row.scales, piece.scales);
        // What does not fit, or would overflow, cannot be told: it is missing, so the candle is partial.
        let (Some(own), Some(part)) = (rescaled(&self.row, scales), rescaled(&piece, scales)) else { return };
        if !fits(&own, &part) {
            return;
        }
        let merged = match way {
            Way::Forward => joined(own, &part),
            Way::Backward => joined(widened(&part, own.interval, own.open_time), &own),
        };
        self.row = StoredCandle { scales, candle: merged };
        self.row.candle.revision = own.revision.saturating_add(part.revision);
        self.row.candle.is_closed = own.is_closed && part.is_closed;
        self.covered += part.close_time.0 - part.open_time.0;
        self.until = self.until.max(part.close_time);
        self.worst = worse(self.worst, part.state);
    }

    fn finish(self, now: Timestamp) -> StoredCandle {
        let mut row = self.row;
        if self.is_own {
            return row;
        }
        let Candle { open_time, close_time, .. } = row.candle;
        row.candle.is_closed &= close_time <= now;
        // Of a candle that is not over, the rest is yet to come.
        let end = if row.candle.is_closed { close_time } else { self.until };
        let is_whole = self.covered == end.0 - open_time.0;
        row.candle.state = match self.worst {
            State::Flat if is_whole => State::Flat,
            worst if is_whole && row.candle.is_closed => worst,
            _ => State::Partial,
        };
        row
    }
}

/// `part` as a candle of a longer interval.
fn widened(part: &Candle, interval: Interval, open_time: Timestamp) -> Candle {
    let mut whole = Candle::flat(interval, open_time, part.open);
    whole.merge(part);
    (whole.revision, whole.is_closed, whole.state) = (part.revision, part.is_closed, part.state);
    whole
}

fn joined(mut earlier: Candle, later: &Candle) -> Candle {
    earlier.merge(later);
    earlier
}

/// The state that proves less.
fn worse(left: State, right: State) -> State {
    let rank = |state: State| match state {
        State::Flat => 0,
        State::Complete => 1,
        State::Repaired => 2,
        State::Partial => 3,
    };
    if rank(left) >= rank(right) { left } else { right }
}

/// Whether the sums of both fit into their numbers.
fn fits(left: &Candle, right: &Candle) -> bool {
    left.volume.checked_add(right.volume).is_some()
        && left.quote_volume.checked_add(right.quote_volume).is_some()
        && left.buy_volume.checked_add(right.buy_volume).is_some()
        && left.trades.checked_add(right.trades).is_some()
}

/// The finer of both scales, in which the numbers of both are whole.
pub(crate) fn finer(left: Scales, right: Scales) -> Scales {
    Scales { price: left.price.max(right.price), quantity: left.quantity.max(right.quantity) }
}

/// The candle in units of finer scales, exactly; `None` if a number does not fit.
pub(crate) fn rescaled(row: &StoredCandle, scales: Scales) -> Option<Candle> {
    let mut candle = row.candle;
    if row.scales == scales {
        return Some(candle);
    }
    let steps = |from: u8, to: u8| to.checked_sub(from).map(u32::from);
    let price = steps(row.scales.price.decimals(), scales.price.decimals())?;
    let quantity = steps(row.scales.quantity.decimals(), scales.quantity.decimals())?;
    let moved = |value: Price| Some(Price(value.0.checked_mul(10_i64.checked_pow(price)?)?));
    let grown = |value: u128, steps: u32| value.checked_mul(10_u128.checked_pow(steps)?);
    (candle.open, candle.high) = (moved(candle.open)?, moved(candle.high)?);
    (candle.low, candle.close) = (moved(candle.low)?, moved(candle.close)?);
    (candle.volume, candle.buy_volume) = (grown(candle.volume, quantity)?, grown(candle.buy_volume, quantity)?);
    candle.quote_volume = grown(candle.quote_volume, price + quantity)?;
    Some(candle)
}

#[cfg(test)]
mod tests;
