//! Intervals without trades, where a venue leaves them out: flat candles, but only between two rows that it gave.

use engine::{interval::Interval, market::Timestamp, message::VenueCandle};

use super::open_time;
use crate::venue::CandleRow;

/// The most flat candles that two neighbouring rows prove: a longer silence is a market that was closed or not yet open.
const QUIET_MAX: i64 = 10_000;

/// Walks over the pages of one series, oldest first, without a hole between them.
#[derive(Clone, Debug)]
pub struct Quiet {
    interval: Interval,
    /// The last candle that the venue gave; none after one that could not be read.
    before: Option<VenueCandle>,
    /// Up to where the venue was asked.
    asked: Option<Timestamp>,
}

impl Quiet {
    /// At the beginning of a series.
    pub const fn new(interval: Interval) -> Self {
        Self { interval, before: None, asked: None }
    }

    /// The rows of a page that covers `[from, to)`, with a flat candle for each interval between two rows that has none.
    pub fn fill(&mut self, page: Vec<CandleRow>, from: Timestamp, to: Timestamp) -> Vec<CandleRow> {
        if self.asked != Some(from) {
            self.before = None;
        }
        self.asked = Some(to);
        let mut rows = Vec::with_capacity(page.len());
        for row in page {
            if let Some(before) = &self.before {
                flat_between(before, open_time(&row), self.interval, &mut rows);
            }
            self.before = row.ok();
            rows.push(row);
        }
        rows
    }
}

fn flat_between(before: &VenueCandle, until: Timestamp, interval: Interval, rows: &mut Vec<CandleRow>) {
    let first = interval.close_time(before.open_time);
    let span = interval.nanos().map_or(0, |nanos| (until.0 - first.0) / nanos);
    if span > QUIET_MAX {
        return;
    }
    let mut open_time = first;
    while open_time < until {
        let price = before.close;
        rows.push(Ok(VenueCandle {
            open_time,
            open: price,
            high: price,
            low: price,
            close: price,
            volume: 0,
            quote_volume: Some(0),
            buy_volume: Some(0),
            trades: Some(0),
        }));
        open_time = interval.close_time(open_time);
    }
}

#[cfg(test)]
mod tests {
    use engine::market::{Price, Refusal};

    use super::*;
    use crate::venue::RefusedCandle;

    const MINUTE: i64 = 60_000_000_000;

    fn row(minute: i64, close: i64) -> CandleRow {
        let (open_time, close) = (Timestamp(minute * MINUTE), Price(close));
        let (open, high, low) = (Price(1), close, Price(1));
        Ok(VenueCandle {
            open_time,
            open,
            high,
            low,
            close,
            volume: 5,
            quote_volume: None,
            buy_volume: None,
            trades: None,
        })
    }

    /// Minutes with their closes; those without volume in brackets.
    fn shown(rows: &[CandleRow]) -> String {
        let one = |row: &CandleRow| match row {
            Ok(candle) if candle.volume == 0 => format!("[{} {}]", candle.open_time.0 / MINUTE, candle.close.0),
            Ok(candle) => format!("{} {}", candle.open_time.0 / MINUTE, candle.close.0),
            Err(refused) => format!("{} refused", refused.open_time.0 / MINUTE),
        };
        rows.iter().map(one).collect::<Vec<_>>().join(", ")
    }

    fn pages(pages: Vec<(i64, i64, Vec<CandleRow>)>) -> String {
        let mut quiet = Quiet::new(Interval::M1);
        let fill = |(from, to, rows)| quiet.fill(rows, Timestamp(from * MINUTE), Timestamp(to * MINUTE));
        shown(&pages.into_iter().flat_map(fill).collect::<Vec<_>>())
    }

    #[test]
    fn only_what_lies_between_two_rows_is_proven_to_be_quiet() {
        assert_eq!(pages(vec![(0, 9, vec![row(2, 7), row(5, 8)])]), "2 7, [3 7], [4 7], 5 8");
        assert_eq!(pages(vec![(0, 9, vec![])]), "");
    }

    #[test]
    fn pages_that_follow_each_other_prove_what_lies_between_them() {
        let rows = |third| vec![(0, 3, vec![row(1, 7)]), (3, 6, vec![]), (third, 9, vec![row(7, 9)])];
        assert_eq!(pages(rows(6)), "1 7, [2 7], [3 7], [4 7], [5 7], [6 7], 7 9");
        // Of what was not asked for, nothing is known.
        assert_eq!(pages(rows(7)), "1 7, 7 9");
    }

    #[test]
    fn a_row_that_cannot_be_read_proves_nothing_behind_it() {
        let bad = RefusedCandle { open_time: Timestamp(4 * MINUTE), reason: Refusal::TooPrecise, field: "open" };
        assert_eq!(pages(vec![(0, 9, vec![row(2, 7), Err(bad), row(6, 8)])]), "2 7, [3 7], 4 refused, 6 8");
    }
}
