//! The keys of the configuration, each with its own number of connections.

use std::{collections::HashMap, net::IpAddr};

use node::{Authenticator, Grant, KeyId};

use crate::config::KeyConfig;

/// Keys by their hashes: no secret stays in memory here.
pub struct Keys {
    connections: HashMap<KeyId, u32>,
}

impl Keys {
    /// These keys.
    pub fn new(keys: &[KeyConfig]) -> Self {
        Self { connections: keys.iter().map(|key| (KeyId::of(key.key.reveal()), key.connections)).collect() }
    }
}

impl Authenticator for Keys {
    fn authenticate(&self, token: &str, _: IpAddr) -> Option<Grant> {
        let key = KeyId::of(token);
        self.connections.get(&key).map(|&connections| Grant { key, connections })
    }

    fn is_valid(&self, key: KeyId) -> bool {
        self.connections.contains_key(&key)
    }
}
