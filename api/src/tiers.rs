//! What a tier allows. Tiers are configuration; those that are shipped are the tables of the product.

use std::collections::BTreeMap;

use crate::limits::Quota;

/// What the keys and users of a tier may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tier {
    /// Requests; `None` for as many as come.
    pub quota: Option<Quota>,
    /// Streams at once on a key; `None` for what is set for all.
    pub connections: Option<u32>,
    /// Runs of agents and workflows at once; `None` for as many as come.
    pub runs: Option<u32>,
    /// What may be spent within 30 days, in micros; `None` for the whole balance.
    pub cap_micros: Option<u64>,
}

/// Tiers by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tiers(BTreeMap<String, Tier>);

/// Whoever gives no key.
pub const ANONYMOUS: &str = "anonymous";
/// Keys of the configuration that name no tier.
pub const ENTERPRISE: &str = "enterprise";
/// New users.
pub const DEVELOPER: &str = "developer";

const KAI: u64 = 1_000_000;

impl Default for Tiers {
    fn default() -> Self {
        let tier = |per_minute, burst, runs, kai: Option<u64>| Tier {
            quota: Some(Quota::new(per_minute, burst)),
            connections: None,
            runs: Some(runs),
            cap_micros: kai.map(|kai| kai * KAI),
        };
        let shipped = [
            (ANONYMOUS, tier(60, 60, 0, Some(0))),
            ("free", tier(100, 200, 5, None)),
            ("starter", tier(30, 30, 5, Some(50))),
            ("pro", tier(60, 60, 25, Some(150))),
            ("agency", tier(120, 120, 25, Some(400))),
            (DEVELOPER, tier(120, 120, 25, Some(500))),
            (ENTERPRISE, Tier { quota: None, connections: None, runs: None, cap_micros: None }),
        ];
        Self(shipped.map(|(name, tier)| (name.to_owned(), tier)).into())
    }
}

impl Tiers {
    /// A tier by its name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Tier> {
        self.0.get(name)
    }

    /// Adds a tier, or puts it in the place of the one with that name.
    pub fn set(&mut self, name: &str, tier: Tier) {
        self.0.insert(name.to_owned(), tier);
    }

    /// All names, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}
