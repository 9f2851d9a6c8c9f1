//! Who asks, and how often: each request is told apart by its key, its token or its address, counted, and noted.
//!
//! `caller` (who it is) → `gate` (the layer that asks, limits, and notes) → `client` (the address behind proxies) →
//! `follow` (the keyring follows the database). Read `gate` first.

mod caller;
mod client;
mod follow;
mod gate;

use std::sync::Arc;

use auth::{KeyGrant, KeyHash, KeyState, Keyring, KeyringFull};
use ipnet::IpNet;

use crate::{
    accounts::Accounts,
    limits::Buckets,
    tiers::{ANONYMOUS, Tier, Tiers},
};

pub(crate) use caller::{Caller, Identity, Member, refused_key};
pub use follow::Follower;
pub(crate) use follow::{apply as apply_key, scope as stored_scope};
pub(crate) use gate::{Cost, CostLater, gate, is_open, is_proving};

/// See the module.
pub struct Access {
    tiers: Tiers,
    keyring: Arc<Keyring>,
    accounts: Option<Arc<Accounts>>,
    proxies: Vec<IpNet>,
    buckets: Buckets,
}

impl Access {
    /// What `tiers` allow, to the holders of the keys of `keyring`, and to users where there are accounts. `proxies` are believed when
    /// they say for whom they ask.
    #[must_use]
    pub fn new(tiers: Tiers, keyring: Arc<Keyring>, accounts: Option<Arc<Accounts>>, proxies: Vec<IpNet>) -> Self {
        Self { tiers, keyring, accounts, proxies, buckets: Buckets::default() }
    }

    /// Lets everybody ask as often as they like, and nobody have an account: for what only answers about the market.
    #[must_use]
    pub fn open_to_all() -> Self {
        let mut tiers = Tiers::default();
        let anonymous = Tier { quota: None, connections: None, runs: None, cap_micros: None };
        tiers.set(ANONYMOUS, anonymous);
        Self::new(tiers, Arc::default(), None, Vec::new())
    }

    /// Lets a key of the configuration in.
    ///
    /// # Errors
    /// If there are too many.
    pub fn add_configured(keyring: &Keyring, key: &str, tier: &str) -> Result<(), KeyringFull> {
        keyring.apply(KeyHash::of(key), 0, KeyState::Live(Arc::new(KeyGrant::configured(tier.into()))))
    }

    pub(crate) fn accounts(&self) -> Option<&Arc<Accounts>> {
        self.accounts.as_ref()
    }

    pub(crate) fn tiers(&self) -> &Tiers {
        &self.tiers
    }

    pub(crate) fn keyring(&self) -> &Keyring {
        &self.keyring
    }
}
