//! A rate as a bucket: `burst` requests at once, refilled evenly at `per_minute`. This is the generic cell rate algorithm:
//! one number says how full the bucket is, and no timer refills it.

const MINUTE_NS: u64 = 60_000_000_000;

/// How many requests are allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    per_minute: u32,
    burst: u32,
}

impl Quota {
    /// `per_minute` requests in the long run, `burst` of them at once; both are at least 1.
    #[must_use]
    pub fn new(per_minute: u32, burst: u32) -> Self {
        Self { per_minute: per_minute.max(1), burst: burst.max(1) }
    }

    /// Requests in the long run.
    #[must_use]
    pub const fn per_minute(&self) -> u32 {
        self.per_minute
    }

    /// Requests at once.
    #[must_use]
    pub const fn burst(&self) -> u32 {
        self.burst
    }

    /// In how many seconds an empty bucket is full again, rounded up.
    #[must_use]
    pub fn window_s(&self) -> u64 {
        self.full_ns().div_ceil(1_000_000_000)
    }

    /// Takes one request at `now_ns` out of the bucket that is full again at `full_at_ns`.
    pub(crate) fn take(&self, now_ns: u64, full_at_ns: &mut u64) -> Taken {
        let each = self.each_ns();
        let level = (*full_at_ns).max(now_ns);
        let after = level.saturating_add(each);
        let allowed_until = now_ns.saturating_add(self.full_ns());
        let is_allowed = after <= allowed_until;
        if is_allowed {
            *full_at_ns = after;
        }
        let level = if is_allowed { after } else { level };
        let missing = level - now_ns;
        Taken {
            is_allowed,
            remaining: u32::try_from(self.full_ns().saturating_sub(missing) / each).unwrap_or(u32::MAX),
            full_in_ns: missing,
            next_in_ns: level.saturating_add(each).saturating_sub(allowed_until),
        }
    }

    fn each_ns(&self) -> u64 {
        MINUTE_NS / u64::from(self.per_minute)
    }

    fn full_ns(&self) -> u64 {
        self.each_ns() * u64::from(self.burst)
    }
}

/// What came of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Taken {
    pub(crate) is_allowed: bool,
    /// How many more are allowed now.
    pub(crate) remaining: u32,
    /// Until the bucket is full, if nothing more is taken.
    pub(crate) full_in_ns: u64,
    /// Until one more is allowed; 0 if one is now.
    pub(crate) next_in_ns: u64,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn a_burst_is_allowed_at_once_and_then_the_rate() {
        let quota = Quota::new(60, 3);
        let mut bucket = 0;
        let mut take = |now| {
            let taken = quota.take(now, &mut bucket);
            (taken.is_allowed, taken.remaining, taken.next_in_ns / SECOND)
        };
        let start = 1_000 * SECOND;
        assert_eq!([take(start), take(start), take(start)], [(true, 2, 0), (true, 1, 0), (true, 0, 1)]);
        assert_eq!(take(start), (false, 0, 1));
        assert_eq!(take(start + SECOND), (true, 0, 1));
        assert_eq!(take(start + SECOND), (false, 0, 1));
        assert_eq!(take(start + 100 * SECOND), (true, 2, 0), "a full bucket holds no more than the burst");
    }

    proptest! {
        #[test]
        fn prop_no_span_of_time_has_more_than_the_burst_and_the_rate(
            per_minute in 1_u32..5_000, burst in 1_u32..300, steps in proptest::collection::vec(0_u64..20 * SECOND, 1..300),
        ) {
            let quota = Quota::new(per_minute, burst);
            let (mut now, mut bucket, mut allowed) = (SECOND, 0, Vec::new());
            for step in steps {
                now += step / 7;
                let taken = quota.take(now, &mut bucket);
                prop_assert_eq!(taken.is_allowed || taken.next_in_ns > 0, true);
                if taken.is_allowed {
                    allowed.push(now);
                } else {
                    // Who waits as long as was said is let in, and not a nanosecond earlier.
                    let (mut early, mut right) = (bucket, bucket);
                    prop_assert!(!quota.take(now + taken.next_in_ns - 1, &mut early).is_allowed);
                    prop_assert!(quota.take(now + taken.next_in_ns, &mut right).is_allowed);
                }
            }
            for (index, from) in allowed.iter().enumerate() {
                for (count, to) in allowed[index..].iter().enumerate() {
                    let most = u64::from(burst) + (to - from) / (MINUTE_NS / u64::from(per_minute));
                    prop_assert!((count as u64) < most);
                }
            }
        }
    }
}
