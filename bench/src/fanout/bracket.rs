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
}
