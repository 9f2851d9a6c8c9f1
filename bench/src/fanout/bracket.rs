//! Brackets: each run stands between two of the raw limit, so that the machine's moods hit both alike.

/// Two raw runs that differ by more than this do not tell what the machine gave in between.
pub(crate) const STEADY: f64 = 0.25;

/// A run's rate between the rates of raw before and after it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bracket {
    pub(crate) before: f64,
    pub(crate) rate: f64,
    pub(crate) after: f64,
}

impl Bracket {
    /// How far the two raw runs are apart, as a share of the smaller one.
    pub(crate) fn drift(&self) -> f64 {
        (self.before - self.after).abs() / self.before.min(self.after).max(f64::MIN_POSITIVE)
    }

    pub(crate) fn is_steady(&self) -> bool {
        self.drift() <= STEADY
    }

    /// The run against the mean of the raw runs around it.
    pub(crate) fn ratio(&self) -> f64 {
        self.rate / ((self.before + self.after) / 2.0).max(f64::MIN_POSITIVE)
    }
}

/// The middle of some values with the least and the greatest.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
    pub(crate) count: usize,
}

impl Spread {
    /// Nothing, if there are no values.
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<_> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let count = values.len();
        let (min, max) = (*values.first()?, *values.last()?);
        let (low, high) = (values.get((count - 1) / 2)?, values.get(count / 2)?);
        Some(Self { median: (low + high) / 2.0, min, max, count })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_is_to_the_mean_of_both_raw_runs() {
        let bracket = Bracket { before: 90.0, rate: 50.0, after: 110.0 };
        assert!((bracket.ratio() - 0.5).abs() < 1e-9);
        assert!(bracket.is_steady());
    }

    #[test]
    fn raw_runs_a_quarter_apart_make_a_bracket_unsteady() {
        assert!(Bracket { before: 100.0, rate: 1.0, after: 125.0 }.is_steady());
        assert!(!Bracket { before: 100.0, rate: 1.0, after: 126.0 }.is_steady());
        assert!(!Bracket { before: 126.0, rate: 1.0, after: 100.0 }.is_steady());
        assert!(!Bracket { before: 0.0, rate: 1.0, after: 100.0 }.is_steady());
    }

    #[test]
    fn the_median_of_an_even_count_lies_between_the_middle_two() {
        let spread = Spread { median: 2.5, min: 1.0, max: 9.0, count: 4 };
        assert_eq!(Spread::of([9.0, 1.0, 3.0, 2.0]), Some(spread));
        assert_eq!(Spread::of([7.0]), Some(Spread { median: 7.0, min: 7.0, max: 7.0, count: 1 }));
        assert_eq!(Spread::of([]), None);
    }
}
