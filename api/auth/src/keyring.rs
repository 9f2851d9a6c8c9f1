//! All keys, in memory: what a request or a socket is judged by without asking the store.

use std::{
    collections::VecDeque,
    net::IpAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use dashmap::{DashMap, Entry};

use crate::{AllowList, Form, KeyHash, Scope, Timestamp};

/// How many good keys are known at most: some 300 bytes each.
const LIVE_MAX: usize = 1_000_000;
/// How many revoked keys are remembered as such; of older ones the answer is [`KeyRefusal::Unknown`].
const REVOKED_MAX: usize = 65_536;

/// What a key allows, and to whom it belongs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyGrant {
    /// Whose key it is; none for a key of the configuration, which has no account and spends nothing.
    pub owner: Option<Owner>,
    /// The tier's name.
    pub tier: Arc<str>,
    /// What it may do.
    pub scope: Scope,
    /// From when on it is refused.
    pub expires_at: Option<Timestamp>,
    /// From where it may be used.
    pub allowed: AllowList,
    /// Whether it has a spend cap of its own, so that each hold needs a link more.
    pub has_cap: bool,
    /// Whether its user is shut out for now.
    pub is_disabled: bool,
}

/// The account behind a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The user.
    pub user_id: u64,
    /// Which of the user's keys.
    pub key_id: u64,
}

/// What is known of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyState {
    /// It may be used as its grant says.
    Live(Arc<KeyGrant>),
    /// It was taken back, for good.
    Revoked,
}

/// Why a key is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyRefusal {
    /// None was sent.
    #[error("no API key was sent; send it as `Authorization: Bearer kai-…`")]
    Missing,
    /// It has not the form of a key, or its checksum is wrong.
    #[error("this is not an API key, or it was not copied whole")]
    Malformed,
    /// Nobody has this key.
    #[error("there is no such API key")]
    Unknown,
    /// It was taken back.
    #[error("this API key was revoked")]
    Revoked,
    /// Its time is over.
    #[error("this API key has expired")]
    Expired,
    /// It may not be used from there.
    #[error("this API key may not be used from this address")]
    Address,
    /// Its user is shut out.
    #[error("this account is disabled")]
    Disabled,
}

/// More good keys than the keyring takes: the new one is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("more than {LIVE_MAX} API keys are in use")]
pub struct KeyringFull;

/// Keys by the hash of their text. Whoever owns the store applies what changes there; any number of threads look up.
#[derive(Default)]
pub struct Keyring {
    keys: DashMap<KeyHash, Known>,
    live: AtomicUsize,
    /// The revoked ones, oldest first.
    revoked: Mutex<VecDeque<KeyHash>>,
    changes: AtomicU64,
}

struct Known {
    version: u64,
    state: KeyState,
}

impl Keyring {
    /// Takes in what the store says of a key. `version` is the number of the change: an older one than what is known is
    /// left out, so a slow read never brings a revoked key back; and a revoked key stays revoked.
    ///
    /// # Errors
    /// [`KeyringFull`] if it is one good key too many.
    pub fn apply(&self, hash: KeyHash, version: u64, state: KeyState) -> Result<(), KeyringFull> {
        let becomes_live = matches!(state, KeyState::Live(_));
        let was_live = match self.keys.entry(hash) {
            Entry::Occupied(mut known) => {
                let was_live = matches!(known.get().state, KeyState::Live(_));
                if known.get().version >= version || (becomes_live && !was_live) {
                    return Ok(());
                }
                known.insert(Known { version, state });
                was_live
            }
            Entry::Vacant(place) => {
                if becomes_live && self.live.fetch_add(1, Ordering::Relaxed) >= LIVE_MAX {
                    self.live.fetch_sub(1, Ordering::Relaxed);
                    return Err(KeyringFull);
                }
                place.insert(Known { version, state });
                becomes_live
            }
        };
        if !becomes_live {
            if was_live {
                self.live.fetch_sub(1, Ordering::Relaxed);
            }
            self.remember_revoked(hash, REVOKED_MAX);
        }
        // Only now: who sees the new number also finds the new state.
        self.changes.fetch_add(1, Ordering::Release);
        Ok(())
    }

    /// What the key with this text allows at `now` to a client at `address`.
    ///
    /// # Errors
    /// [`KeyRefusal`].
    pub fn lookup(&self, text: &str, now: Timestamp, address: IpAddr) -> Result<Arc<KeyGrant>, KeyRefusal> {
        if text.is_empty() {
            return Err(KeyRefusal::Missing);
        }
        Form::of(text).map_err(|_| KeyRefusal::Malformed)?;
        self.check(KeyHash::of(text), now, address)
    }

    /// The same for a key that is known by its hash: of a client whose socket is open.
    ///
    /// # Errors
    /// [`KeyRefusal`].
    pub fn check(&self, hash: KeyHash, now: Timestamp, address: IpAddr) -> Result<Arc<KeyGrant>, KeyRefusal> {
        let grant = self.standing(hash, now)?;
        if grant.allowed.allows(address) { Ok(grant) } else { Err(KeyRefusal::Address) }
    }

    /// Whether a key that was good is still good, wherever its client is.
    #[must_use]
    pub fn is_valid(&self, hash: KeyHash, now: Timestamp) -> bool {
        self.standing(hash, now).is_ok()
    }

    /// Grows with each change: as long as it is the same, only the passing of time can make a key bad.
    #[must_use]
    pub fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    fn standing(&self, hash: KeyHash, now: Timestamp) -> Result<Arc<KeyGrant>, KeyRefusal> {
        // Cloned out, so that no shard of the map stays locked.
        let state = self.keys.get(&hash).map(|known| known.state.clone());
        let grant = match state {
            None => return Err(KeyRefusal::Unknown),
            Some(KeyState::Revoked) => return Err(KeyRefusal::Revoked),
            Some(KeyState::Live(grant)) => grant,
        };
        if grant.is_disabled {
            return Err(KeyRefusal::Disabled);
        }
        if grant.expires_at.is_some_and(|expires_at| now >= expires_at) {
            return Err(KeyRefusal::Expired);
        }
        Ok(grant)
    }

    fn remember_revoked(&self, hash: KeyHash, most: usize) {
        let mut revoked = self.revoked.lock().unwrap_or_else(PoisonError::into_inner);
        revoked.push_back(hash);
        let forgotten = if revoked.len() > most { revoked.pop_front() } else { None };
        drop(revoked);
        if let Some(forgotten) = forgotten {
            self.keys.remove(&forgotten);
        }
    }
}

impl KeyGrant {
    /// What a key of the configuration allows: all that needs no account.
    #[must_use]
    pub fn configured(tier: Arc<str>) -> Self {
        let (scope, allowed) = (Scope::Read, AllowList::default());
        Self { owner: None, tier, scope, expires_at: None, allowed, has_cap: false, is_disabled: false }
    }
}

impl KeyRefusal {
    /// The stable code that clients see.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Missing => "missing_api_key",
            Self::Malformed | Self::Unknown => "invalid_api_key",
            Self::Revoked => "revoked_api_key",
            Self::Expired => "expired_api_key",
            Self::Address => "address_not_allowed",
            Self::Disabled => "account_disabled",
        }
    }
}

#[cfg(test)]
mod tests;
