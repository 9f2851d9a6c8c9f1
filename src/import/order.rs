//! The law of order: within a file the candles of an instrument go one way in time, and no candle comes twice.

use engine::{interval::Interval, market::Timestamp};

use super::refusals::Reason;

/// How far the rows of one instrument have come.
#[derive(Clone, Debug, Default)]
pub struct Order {
    file: usize,
    /// Open time of the last row that was taken.
    last: Option<Timestamp>,
    /// First and last open time taken from the present file.
    span: Option<(Timestamp, Timestamp)>,
    /// The same of earlier files.
    spans: Vec<(Timestamp, Timestamp)>,
    /// Intervals between the taken rows that have no row.
    pub missing: u64,
}

impl Order {
    /// Whether a row may follow those that were taken.
    ///
    /// # Errors
    /// The reason why not.
    pub fn check(&mut self, open_time: Timestamp, file: usize, is_newest_first: bool) -> Result<(), Reason> {
        if file != self.file {
            self.spans.extend(self.span.take());
            (self.file, self.last) = (file, None);
        }
        match self.last {
            Some(last) if open_time == last => return Err(Reason::new("duplicate")),
            Some(last) if (open_time < last) != is_newest_first => return Err(Reason::new("out_of_order")),
            _ => {}
        }
        if self.spans.iter().any(|(first, last)| (*first..=*last).contains(&open_time)) {
            return Err(Reason::new("within_an_earlier_file"));
        }
        Ok(())
    }

    /// Goes on to a row that is taken.
    pub fn take(&mut self, open_time: Timestamp, interval: Interval) {
        if let Some(last) = self.last.replace(open_time) {
            let (early, late) = (last.min(open_time), last.max(open_time));
            self.missing += between(early, late, interval);
        }
        let (first, last) = self.span.unwrap_or((open_time, open_time));
        self.span = Some((first.min(open_time), last.max(open_time)));
    }

    /// First and last open time of all that was taken.
    pub fn span(&self) -> Option<(Timestamp, Timestamp)> {
        let spans = || self.spans.iter().chain(&self.span);
        let first = spans().map(|(first, _)| *first).min()?;
        Some((first, spans().map(|(_, last)| *last).max()?))
    }
}

/// How many candles lie between two open times.
fn between(early: Timestamp, late: Timestamp, interval: Interval) -> u64 {
    let steps = match interval.nanos() {
        Some(nanos) => (late.0 - early.0) / nanos,
        // A month begins in each 31 days at the latest, and none has less than 28.
        None => (late.0 - early.0 + 15 * 86_400_000_000_000) / 2_629_746_000_000_000,
    };
    u64::try_from(steps - 1).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn refused(order: &mut Order, minutes: &[i64], file: usize, is_newest_first: bool) -> Vec<String> {
        let mut reasons = Vec::new();
        for minute in minutes {
            let open_time = Timestamp(minute * 60_000_000_000);
            match order.check(open_time, file, is_newest_first) {
                Ok(()) => order.take(open_time, Interval::M1),
                Err(reason) => reasons.push(format!("{minute} {reason}")),
            }
        }
        reasons
    }

    #[test]
    fn rows_go_one_way_and_come_once() {
        let mut order = Order::default();
        assert_eq!(refused(&mut order, &[1, 2, 2, 5, 4, 6], 0, false), ["2 duplicate", "4 out_of_order"]);
        assert_eq!(order.missing, 2);
        assert_eq!(
            refused(&mut order, &[9, 8, 6, 3, 0], 1, true),
            ["6 within_an_earlier_file", "3 within_an_earlier_file"]
        );
        assert_eq!(order.span().unwrap().0, Timestamp(0));
    }

    #[test]
    fn months_between_two_are_counted_by_the_calendar() {
        let month =
            |text: &str| Timestamp(feeds::venue::scan::rfc3339(format!("{text}-01T00:00:00Z").as_bytes()).unwrap());
        for (early, late, want) in [("2024-01", "2024-02", 0), ("2023-02", "2023-03", 0), ("2015-01", "2025-01", 119)] {
            assert_eq!(between(month(early), month(late), Interval::Month1), want);
        }
    }

    proptest! {
        #[test]
        fn prop_what_is_taken_is_strictly_ordered_and_nothing_lawful_is_refused(
            minutes in proptest::collection::vec(0_i64..40, 1..60), newest_first in any::<bool>(),
        ) {
            let mut order = Order::default();
            let mut taken: Vec<i64> = Vec::new();
            for minute in &minutes {
                let open_time = Timestamp(minute * 60_000_000_000);
                let follows = taken.last().is_none_or(|last| if newest_first { minute < last } else { minute > last });
                prop_assert_eq!(order.check(open_time, 0, newest_first).is_ok(), follows);
                if follows {
                    order.take(open_time, Interval::M1);
                    taken.push(*minute);
                }
            }
            let span = taken.iter().max().unwrap() - taken.iter().min().unwrap() + 1;
            prop_assert_eq!(order.missing, u64::try_from(span).unwrap() - taken.len() as u64);
        }
    }
}
