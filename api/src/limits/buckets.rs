//! Everybody's bucket. A full one is as good as none, so that only callers of the last minutes are kept.

use std::{
    net::IpAddr,
    sync::atomic::{AtomicUsize, Ordering},
};

use auth::network;
use dashmap::{DashMap, Entry};

use super::quota::{Quota, Taken};

/// Buckets that are kept; beyond it those that are full again are forgotten.
const KEPT_MAX: usize = 100_000;

/// Whose bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Who {
    /// An API key, by its hash.
    Key([u8; 32]),
    /// A user who has logged in.
    User(u64),
    /// Nobody known: an address, or the /64 network of one.
    Address(IpAddr),
}

impl Who {
    /// A caller without a name.
    pub(crate) fn address(address: IpAddr) -> Self {
        Self::Address(network(address))
    }
}

/// See the module.
pub(crate) struct Buckets {
    /// When each is full again, in nanoseconds of a clock that does not go back.
    full_at: DashMap<Who, u64>,
    sweep_at: AtomicUsize,
    kept_max: usize,
}

impl Default for Buckets {
    fn default() -> Self {
        Self { full_at: DashMap::new(), sweep_at: AtomicUsize::new(KEPT_MAX / 2), kept_max: KEPT_MAX }
    }
}

impl Buckets {
    /// Takes a request out of a bucket. While too many callers are known, a new one is refused.
    pub(crate) fn take(&self, who: Who, quota: Quota, now_ns: u64) -> Taken {
        self.sweep(now_ns);
        let is_full = self.full_at.len() >= self.kept_max;
        match self.full_at.entry(who) {
            Entry::Occupied(mut known) => quota.take(now_ns, known.get_mut()),
            Entry::Vacant(_) if is_full => {
                Taken { is_allowed: false, remaining: 0, full_in_ns: 1_000_000_000, next_in_ns: 1_000_000_000 }
            }
            Entry::Vacant(new) => {
                let mut full_at = now_ns;
                let taken = quota.take(now_ns, &mut full_at);
                new.insert(full_at);
                taken
            }
        }
    }

    /// Forgets full buckets each time that their number has doubled.
    fn sweep(&self, now_ns: u64) {
        let at = self.sweep_at.load(Ordering::Relaxed);
        if self.full_at.len() < at.min(self.kept_max) {
            return;
        }
        self.full_at.retain(|_, full_at| *full_at > now_ns);
        self.sweep_at.store((self.full_at.len() * 2).max(self.kept_max / 2), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn callers_have_a_bucket_each_and_a_network_shares_one() {
        let (buckets, quota) = (Buckets::default(), Quota::new(60, 1));
        let address = |text: &str| Who::address(text.parse().unwrap());
        let allowed = |who| buckets.take(who, quota, 1).is_allowed;
        assert!(allowed(Who::User(1)) && allowed(Who::User(2)) && !allowed(Who::User(1)));
        assert!(allowed(address("2001:db8::1")) && !allowed(address("2001:db8::2")));
        assert!(allowed(address("192.0.2.1")) && allowed(address("192.0.2.2")));
        assert!(!allowed(address("::ffff:192.0.2.1")), "the same address");
    }

    #[test]
    fn a_flood_of_callers_is_bounded_and_passes() {
        let buckets = Buckets { kept_max: 100, sweep_at: AtomicUsize::new(50), ..Buckets::default() };
        let quota = Quota::new(60, 1);
        let allowed = (0..1_000).filter(|user| buckets.take(Who::User(*user), quota, 1).is_allowed).count();
        assert_eq!((allowed, buckets.full_at.len()), (100, 100));
        assert!(buckets.take(Who::User(5_000), quota, 2_000_000_000).is_allowed, "their buckets are full again");
        assert_eq!(buckets.full_at.len(), 1);
    }
}
