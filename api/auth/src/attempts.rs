//! Guessing gets slower: attempts to log in, counted by e-mail and by address.

use std::{
    net::{IpAddr, Ipv6Addr},
    num::NonZeroUsize,
    time::Duration,
};

use lru::LruCache;

use crate::{Email, Timestamp};

/// How many e-mails and how many addresses are counted; the one that was not seen for longest falls out.
const COUNTED_MAX: NonZeroUsize = NonZeroUsize::new(65_536).unwrap();

/// How attempts slow down.
#[derive(Clone, Copy)]
struct Pace {
    /// So many follow each other without a wait.
    free: u32,
    /// The longest wait.
    most: Duration,
}

/// An account can be reached again after a minute, however many others try: nobody is locked out of it for good.
const EMAIL: Pace = Pace { free: 5, most: Duration::from_secs(60) };
/// Behind one address may be a whole office.
const ADDRESS: Pace = Pace { free: 20, most: Duration::from_secs(300) };
/// The first wait; each further one is twice as long.
const FIRST: Duration = Duration::from_secs(1);
/// After so long without an attempt all is forgotten.
const FORGET: Duration = Duration::from_secs(3600);

/// The attempts of the last hour.
///
/// An attempt is counted when it begins, not when it failed: a hundred that begin at once are a hundred. One that is refused
/// is not counted, so that whoever goes on trying does not lengthen the wait. A network from which the account's owner
/// last came in is free of the wait that others have brought on the account; its own attempts are counted all the same.
pub struct Attempts {
    emails: LruCache<Email, Count>,
    addresses: LruCache<IpAddr, Count>,
}

/// It was tried too often.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many attempts; try again in {} s", retry_after_seconds(*retry_after))]
pub struct TooSoon {
    /// How long to wait.
    pub retry_after: Duration,
}

#[derive(Default)]
struct Count {
    attempts: u32,
    last: Timestamp,
    home: Option<IpAddr>,
}

impl Default for Attempts {
    fn default() -> Self {
        Self { emails: LruCache::new(COUNTED_MAX), addresses: LruCache::new(COUNTED_MAX) }
    }
}

impl Attempts {
    /// Begins an attempt on the account of `email` by a client at `address`: ask before the password is looked at.
    ///
    /// # Errors
    /// [`TooSoon`] says how long to wait; the password must not be looked at.
    pub fn begin(&mut self, email: &Email, address: IpAddr, now: Timestamp) -> Result<(), TooSoon> {
        let network = network(address);
        let by_address = self.addresses.get_or_insert_mut(network, Count::default);
        let by_email = self.emails.get_or_insert_mut_ref(email, Count::default);
        let is_home = by_email.home == Some(network);
        let wait = by_address.wait(ADDRESS, now).max(if is_home { Duration::ZERO } else { by_email.wait(EMAIL, now) });
        if wait > Duration::ZERO {
            return Err(TooSoon { retry_after: wait });
        }
        by_address.count(now);
        if !is_home {
            by_email.count(now);
        }
        Ok(())
    }

    /// The attempt was right: its e-mail starts afresh, and it does not count against its address.
    pub fn succeed(&mut self, email: &Email, address: IpAddr, now: Timestamp) {
        let network = network(address);
        self.emails.put(email.clone(), Count { attempts: 0, last: now, home: Some(network) });
        if let Some(count) = self.addresses.get_mut(&network) {
            count.attempts = count.attempts.saturating_sub(1);
        }
    }
}

impl TooSoon {
    /// The wait in whole seconds, rounded up, as `Retry-After` says it.
    #[must_use]
    pub fn seconds(self) -> u64 {
        retry_after_seconds(self.retry_after)
    }
}

impl Count {
    /// How long the next attempt has to wait at `now`. A clock that was set back begins the wait anew: it frees nobody, and
    /// nobody waits until it has caught up.
    fn wait(&mut self, pace: Pace, now: Timestamp) -> Duration {
        self.last = self.last.min(now);
        let Some(beyond) = self.attempts.checked_sub(pace.free) else { return Duration::ZERO };
        let whole = FIRST.saturating_mul(1_u32.checked_shl(beyond).unwrap_or(u32::MAX)).min(pace.most);
        whole.saturating_sub(now.since(self.last))
    }

    fn count(&mut self, now: Timestamp) {
        if now.since(self.last) >= FORGET {
            self.attempts = 0;
        }
        self.attempts = self.attempts.saturating_add(1);
        self.last = now;
    }
}

/// What one subscriber has: an IPv4 address, or the /64 of an IPv6 address.
#[must_use]
pub fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into(),
        address => address,
    }
}

fn retry_after_seconds(wait: Duration) -> u64 {
    wait.as_secs().saturating_add(u64::from(wait.subsec_nanos() > 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Attempts and a clock that the test moves.
    struct Scene {
        attempts: Attempts,
        now: Timestamp,
    }

    impl Scene {
        fn new() -> Self {
            Self { attempts: Attempts::default(), now: Timestamp::from_seconds(1_800_000_000) }
        }

        /// How many seconds an attempt has to wait, 0 if it was let in.
        fn try_from(&mut self, email: &str, address: &str) -> u64 {
            let result = self.attempts.begin(&Email::parse(email).unwrap(), address.parse().unwrap(), self.now);
            result.map_or_else(TooSoon::seconds, |()| 0)
        }

        fn succeed(&mut self, email: &str, address: &str) {
            self.attempts.succeed(&Email::parse(email).unwrap(), address.parse().unwrap(), self.now);
        }

        fn pass(&mut self, seconds: u64) {
            self.now = self.now.after(Duration::from_secs(seconds));
        }
    }

    const VICTIM: &str = "victim@example.com";

    #[test]
    fn after_five_attempts_on_an_account_each_waits_twice_as_long() {
        let mut scene = Scene::new();
        let mut from = (1..).map(|host| format!("198.51.100.{host}"));
        let mut attempt = |scene: &mut Scene| scene.try_from(VICTIM, &from.next().unwrap());
        assert!((0..5).all(|_| attempt(&mut scene) == 0));
        for wait in [1, 2, 4, 8, 16, 32, 60, 60] {
            assert_eq!(attempt(&mut scene), wait);
            scene.pass(wait - 1);
            assert_eq!(attempt(&mut scene), 1, "a refused attempt has changed the wait");
            scene.pass(1);
            assert_eq!(attempt(&mut scene), 0);
        }
        scene.pass(3600);
        assert!((0..5).all(|_| attempt(&mut scene) == 0), "an hour of rest is not forgotten");
    }

    #[test]
    fn an_address_that_tries_many_accounts_is_slowed_down() {
        let mut scene = Scene::new();
        assert!((0..20).all(|user| scene.try_from(&format!("user{user}@example.com"), "192.0.2.1") == 0));
        assert_eq!(scene.try_from("another@example.com", "192.0.2.1"), 1);
        assert_eq!(scene.try_from("another@example.com", "::ffff:192.0.2.1"), 1);
        assert_eq!(scene.try_from("another@example.com", "192.0.2.2"), 0);
        let mut waits = Vec::new();
        for _ in 0..12 {
            let wait = scene.try_from("another@example.com", "192.0.2.1");
            waits.push(wait);
            scene.pass(wait);
            scene.try_from(&format!("user{}@example.org", waits.len()), "192.0.2.1");
        }
        assert_eq!(waits.last(), Some(&300), "{waits:?}");
    }

    #[test]
    fn addresses_of_one_ipv6_network_count_together() {
        let mut scene = Scene::new();
        for host in 0..20 {
            assert_eq!(scene.try_from(&format!("user{host}@example.com"), &format!("2001:db8:0:1::{host}")), 0);
        }
        assert_eq!(scene.try_from("another@example.com", "2001:db8:0:1:ffff::1"), 1);
        assert_eq!(scene.try_from("another@example.com", "2001:db8:0:2::1"), 0);
    }

    #[test]
    fn a_success_starts_afresh_and_its_network_is_free_of_the_wait_of_others() {
        let mut scene = Scene::new();
        let home = "203.0.113.9";
        for _ in 0..3 {
            assert!((0..5).all(|_| scene.try_from(VICTIM, home) == 0));
            scene.succeed(VICTIM, home);
        }
        let attack =
            |scene: &mut Scene| (0..30).map(|host| scene.try_from(VICTIM, &format!("198.51.100.{host}"))).max();
        assert!(attack(&mut scene) > Some(0));
        assert_eq!(scene.try_from(VICTIM, home), 0, "the owner is locked out");
        let guesses_at_home = (0..100).filter(|_| scene.try_from(VICTIM, home) == 0).count();
        assert!(guesses_at_home < 20, "a neighbour guesses without end: {guesses_at_home}");
    }

    #[test]
    fn successes_do_not_slow_down_an_office() {
        let mut scene = Scene::new();
        for user in 0..500 {
            let email = format!("user{user}@example.com");
            assert_eq!(scene.try_from(&email, "192.0.2.1"), 0);
            scene.succeed(&email, "192.0.2.1");
        }
    }

    #[test]
    fn a_hundred_that_begin_at_once_are_a_hundred() {
        let mut scene = Scene::new();
        let admitted = (0..100).filter(|host| scene.try_from(VICTIM, &format!("198.51.100.{host}")) == 0).count();
        assert_eq!(admitted, 5);
    }

    #[test]
    fn a_clock_that_is_set_back_frees_nobody_and_locks_nobody_out() {
        let mut scene = Scene::new();
        let waits: Vec<_> = (0..6).map(|_| scene.try_from(VICTIM, "192.0.2.1")).collect();
        assert_eq!(waits, [0, 0, 0, 0, 0, 1]);
        scene.now = Timestamp::from_seconds(1_700_000_000);
        assert_eq!(scene.try_from(VICTIM, "192.0.2.2"), 1);
        scene.pass(1);
        assert_eq!(scene.try_from(VICTIM, "192.0.2.2"), 0);
        assert_eq!(scene.try_from(VICTIM, "192.0.2.2"), 2);
    }

    #[test]
    fn successes_on_an_own_account_do_not_free_an_address_that_guesses() {
        let mut scene = Scene::new();
        let guesses = (0..100).filter(|user| {
            if scene.try_from("own@example.com", "192.0.2.1") == 0 {
                scene.succeed("own@example.com", "192.0.2.1");
            }
            scene.try_from(&format!("user{user}@example.com"), "192.0.2.1") == 0
        });
        assert_eq!(guesses.count(), 20);
    }

    #[test]
    fn memory_is_bounded_whatever_is_tried() {
        let mut scene = Scene::new();
        for number in 0..70_000_u32 {
            scene.try_from(
                &format!("user{number}@example.com"),
                &format!("10.{}.{}.1", number >> 8 & 255, number & 255),
            );
        }
        assert_eq!(scene.attempts.emails.len(), COUNTED_MAX.get());
        assert!(scene.attempts.addresses.len() <= COUNTED_MAX.get());
    }
}
