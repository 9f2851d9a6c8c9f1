//! What several measurements of one thing come to.

/// The middle of some values with the least and the greatest.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// Half of them are not above it.
    pub median: f64,
    /// The least.
    pub min: f64,
    /// The greatest.
    pub max: f64,
    /// How many there are.
    pub count: usize,
}

impl Spread {
    /// Nothing, if there are no values.
    #[must_use]
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<_> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let count = values.len();
        let (min, max) = (*values.first()?, *values.last()?);
        let (low, high) = (values.get((count - 1) / 2)?, values.get(count / 2)?);
        Some(Self { median: (low + high) / 2.0, min, max, count })
    }

    /// With its range, if there is one.
    #[must_use]
    pub fn show(self, digits: usize) -> String {
        let Self { median, min, max, count } = self;
        if count == 1 {
            return format!("{median:.digits$}");
        }
        format!("{median:.digits$} [{min:.digits$}–{max:.digits$}]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_even_count_lies_between_the_middle_two() {
        let spread = Spread { median: 2.5, min: 1.0, max: 9.0, count: 4 };
        assert_eq!(Spread::of([9.0, 1.0, 3.0, 2.0]), Some(spread));
        assert_eq!(Spread::of([7.0]), Some(Spread { median: 7.0, min: 7.0, max: 7.0, count: 1 }));
        assert_eq!(Spread::of([]), None);
    }

    #[test]
    fn a_range_is_shown_where_there_is_one() {
        assert_eq!(Spread::of([9.0, 1.0, 3.0, 2.0]).unwrap().show(1), "2.5 [1.0–9.0]");
        assert_eq!(Spread::of([7.0]).unwrap().show(0), "7");
    }
}
