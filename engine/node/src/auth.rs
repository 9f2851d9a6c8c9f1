//! Who may connect, and how often at once.

use std::{collections::HashSet, net::IpAddr, sync::Arc};

use dashmap::{DashMap, Entry};
use sha2::{Digest, Sha256};

/// The SHA-256 of an API key: what the runtime knows it by. Never the key itself.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyId(pub [u8; 32]);

impl KeyId {
    /// The id of a key's text.
    pub fn of(token: &str) -> Self {
        Self(Sha256::digest(token.as_bytes()).into())
    }
}

/// What a key allows.
#[derive(Clone, Copy)]
pub struct Grant {
    /// Which key.
    pub key: KeyId,
    /// How many connections it may hold at once.
    pub connections: u32,
}

/// Knows the keys. Asked once per connection, and each second or after a change for every open one: answer from memory.
pub trait Authenticator: Send + Sync {
    /// What `token` allows to a client at `peer`, or nothing if it is unknown, revoked, expired or not for that address.
    fn authenticate(&self, token: &str, peer: IpAddr) -> Option<Grant>;
    /// Whether a key that was granted before is still good.
    fn is_valid(&self, key: KeyId) -> bool;
    /// Rises whenever a key may have stopped being good before its time was over: open connections are then looked at within a
    /// quarter of a second.
    fn changes(&self) -> u64;
}

/// The longest key that is looked at.
pub(crate) const TOKEN_BYTES_MAX: usize = 256;

/// A fixed set of keys from configuration.
pub struct ConfiguredKeys {
    keys: HashSet<KeyId>,
    connections: u32,
}

impl ConfiguredKeys {
    /// These keys, each with as many connections at once.
    pub fn new<'a>(keys: impl IntoIterator<Item = &'a str>, connections: u32) -> Self {
        Self { keys: keys.into_iter().map(KeyId::of).collect(), connections }
    }
}

impl Authenticator for ConfiguredKeys {
    fn authenticate(&self, token: &str, _: IpAddr) -> Option<Grant> {
        let key = KeyId::of(token);
        self.keys.contains(&key).then_some(Grant { key, connections: self.connections })
    }

    fn is_valid(&self, key: KeyId) -> bool {
        self.keys.contains(&key)
    }

    fn changes(&self) -> u64 {
        0
    }
}

/// How many connections each key holds.
#[derive(Clone, Default)]
pub struct ConnectionCounts {
    counts: Arc<DashMap<KeyId, u32>>,
}

impl ConnectionCounts {
    /// Takes one of the grant's connections, or nothing if all are taken. Dropping the permit gives it back.
    pub fn try_acquire(&self, grant: Grant) -> Option<ConnectionPermit> {
        let mut count = self.counts.entry(grant.key).or_insert(0);
        if *count >= grant.connections {
            return None;
        }
        *count += 1;
        Some(ConnectionPermit { counts: Arc::clone(&self.counts), key: grant.key })
    }

    /// How many connections the key holds now.
    pub fn held(&self, key: KeyId) -> u32 {
        self.counts.get(&key).map_or(0, |count| *count)
    }
}

/// One connection of a key, given back when dropped.
pub struct ConnectionPermit {
    counts: Arc<DashMap<KeyId, u32>>,
    key: KeyId,
}

impl ConnectionPermit {
    /// Whose connection it is.
    pub fn key(&self) -> KeyId {
        self.key
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        let Entry::Occupied(mut count) = self.counts.entry(self.key) else { return };
        *count.get_mut() = count.get().saturating_sub(1);
        if *count.get() == 0 {
            count.remove();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_holds_as_many_connections_as_it_was_granted() {
        let keys = ConfiguredKeys::new(["kai-a"], 2);
        let here = IpAddr::from([127, 0, 0, 1]);
        assert!(keys.authenticate("kai-b", here).is_none());
        let grant = keys.authenticate("kai-a", here).unwrap();
        assert!(keys.is_valid(grant.key) && !keys.is_valid(KeyId::of("kai-b")));
        let counts = ConnectionCounts::default();
        let first = counts.try_acquire(grant).unwrap();
        let second = counts.try_acquire(grant).unwrap();
        assert!(counts.try_acquire(grant).is_none());
        drop(first);
        assert_eq!(counts.held(grant.key), 1);
        assert!(counts.try_acquire(grant).is_some());
        drop(second);
        assert_eq!(counts.held(grant.key), 0);
    }
}
