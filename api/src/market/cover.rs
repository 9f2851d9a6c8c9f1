//! The largest candles that exist, without overlap: where one of the interval itself is missing, shorter ones take its place.

use engine::interval::Interval;
use store::StoredCandle;

use super::level::{Level, Reader, Span, Way};
use crate::error::ApiError;

/// Rows of the first page of a shorter interval, which seldom has any, and of later pages.
const SHORTER_ASK: usize = 64;
const SHORTER_ASK_MAX: usize = 2048;

/// See the module.
pub(crate) struct Cover {
    way: Way,
    levels: Vec<Level>,
    place: i64,
    end: i64,
}

impl Cover {
    /// The candles of `span`, whose ends are boundaries of `interval`; about `rows` of the interval itself are wanted.
    pub(crate) fn new(interval: Interval, way: Way, span: Span, rows: usize) -> Self {
        let shorter = Interval::ALL.into_iter().rev().filter(|part| divides(*part, interval));
        let shorter = shorter.map(|part| Level::new(part, way, span, SHORTER_ASK, SHORTER_ASK_MAX));
        let levels = std::iter::once(Level::new(interval, way, span, rows, rows)).chain(shorter).collect();
        let (place, end) = match way {
            Way::Forward => (span.from.0, span.to.0),
            Way::Backward => (-span.to.0, -span.from.0),
        };
        Self { way, levels, place, end }
    }

    /// The next piece if it is one of the interval itself, was read already and has no hole before it: most are.
    pub(crate) fn next_own(&mut self) -> Option<StoredCandle> {
        let row = self.levels.first_mut()?.take_at(self.place)?;
        self.place = self.way.far(&row.candle);
        Some(row)
    }

    /// The next piece.
    ///
    /// # Errors
    /// [`ApiError`] if the store fails.
    pub(crate) async fn next(&mut self, reader: &Reader<'_>) -> Result<Option<StoredCandle>, ApiError> {
        let mut found = None;
        let mut bound = self.end;
        for level in &mut self.levels {
            // A candle that begins here leaves nothing for shorter ones.
            if bound <= self.place {
                break;
            }
            if let Some(row) = level.seek(reader, self.place).await?
                && self.way.far(&row.candle) <= bound
            {
                bound = self.way.near(&row.candle);
                found = Some(*row);
            }
        }
        if let Some(row) = &found {
            self.place = self.way.far(&row.candle);
        }
        Ok(found)
    }
}

/// Whether candles of `part` fill one of `whole` exactly, wherever it begins.
fn divides(part: Interval, whole: Interval) -> bool {
    // Weeks begin on Mondays and months on any day: only what divides a day lies within them.
    let is_calendar = whole > Interval::D3;
    match (part.nanos(), whole.nanos()) {
        _ if part >= whole || (is_calendar && part > Interval::D1) => false,
        (Some(part), Some(whole)) => whole % part == 0,
        (Some(_), None) => true,
        (None, _) => false,
    }
}

#[cfg(test)]
mod tests {
    use engine::market::Timestamp;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_parts_of_an_interval_are_those_that_divide_it() {
        let parts = |name: &str| {
            let whole = Interval::parse(name).unwrap();
            let parts = Interval::ALL.into_iter().filter(|part| divides(*part, whole));
            parts.map(Interval::name).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(parts("1s"), "");
        assert_eq!(parts("3m"), "1s 5s 15s 30s 1m");
        assert_eq!(parts("5m"), "1s 5s 15s 30s 1m");
        assert_eq!(parts("8h"), "1s 5s 15s 30s 1m 3m 5m 15m 30m 1h 2h 4h");
        assert_eq!(parts("1d"), "1s 5s 15s 30s 1m 3m 5m 15m 30m 1h 2h 4h 6h 8h 12h");
        assert_eq!(parts("3d"), parts("1d") + " 1d");
        assert_eq!(parts("1w"), parts("1d") + " 1d");
        assert_eq!(parts("1M"), parts("1d") + " 1d");
    }

    proptest! {
        #[test]
        fn prop_no_part_crosses_a_boundary_of_its_whole(ns in 0_i64..4_102_444_800_000_000_000) {
            for whole in Interval::ALL {
                let open = whole.open_time(Timestamp(ns));
                for part in Interval::ALL.into_iter().filter(|part| divides(*part, whole)) {
                    prop_assert_eq!(part.open_time(open), open, "{:?} in {:?}", part, whole);
                }
            }
        }
    }
}
