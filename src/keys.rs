//! Who may open a stream: the keys of the configuration and those of accounts, all on one keyring, so that no socket waits for
//! a database.

use std::{collections::HashMap, net::IpAddr, sync::Arc};

use api::tiers::Tiers;
use auth::{KeyHash, Keyring, Timestamp};
use node::{Authenticator, Clock, Grant, KeyId};

use crate::config::Config;

/// See the module.
pub struct Keys {
    keyring: Arc<Keyring>,
    /// Of the keys of the configuration.
    connections: HashMap<KeyId, u32>,
    tiers: Tiers,
    connections_per_key: u32,
    clock: Arc<Clock>,
}

impl Keys {
    /// The keys on `keyring`, to which those of the configuration are added.
    ///
    /// # Errors
    /// If there are more than it holds.
    pub fn new(config: &Config, keyring: Arc<Keyring>, clock: Arc<Clock>) -> anyhow::Result<Self> {
        let mut connections = HashMap::new();
        for key in &config.keys {
            api::Access::add_configured(&keyring, key.key.reveal(), &key.tier)?;
            connections.insert(KeyId::of(key.key.reveal()), key.connections);
        }
        let tiers = config.accounts.tiers.clone();
        Ok(Self { keyring, connections, tiers, connections_per_key: config.limits.connections_per_key, clock })
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_nanos(u64::try_from(self.clock.now().0).unwrap_or(0))
    }
}

impl Authenticator for Keys {
    fn authenticate(&self, token: &str, peer: IpAddr) -> Option<Grant> {
        let grant = self.keyring.lookup(token, self.now(), peer).ok()?;
        let key = KeyId::of(token);
        let of_tier = || self.tiers.get(&grant.tier).and_then(|tier| tier.connections);
        let connections = self.connections.get(&key).copied().or_else(of_tier).unwrap_or(self.connections_per_key);
        Some(Grant { key, connections })
    }

    fn is_valid(&self, key: KeyId) -> bool {
        self.keyring.is_valid(KeyHash(key.0), self.now())
    }

    fn changes(&self) -> u64 {
        self.keyring.changes()
    }
}
