//! The keyring follows the database: all keys at the start, then what any process changes, within a fraction of a second.

use std::{sync::Arc, time::Duration};

use auth::{AllowList, KeyGrant, KeyHash, KeyState, Keyring, Owner, Scope, Timestamp};
use records::{Changed, Grant, KEYS_PAGE_MAX, Keys, RecordsError};
use tokio::{
    sync::watch,
    time::{MissedTickBehavior, interval},
};

/// How often the database is asked. A revoked key's streams end within a second, looks of the streams included.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Follows a database; see [`Follower::load`].
pub struct Follower {
    keys: Keys,
    keyring: Arc<Keyring>,
    version: u64,
}

impl Follower {
    /// Puts all keys of the database on the keyring.
    ///
    /// # Errors
    /// If they cannot be read.
    pub async fn load(keys: Keys, keyring: Arc<Keyring>) -> Result<Self, RecordsError> {
        // Asked first: what changes while the pages are read is read again.
        let version = keys.version().await?;
        let mut after = None;
        loop {
            let page = keys.page(after, KEYS_PAGE_MAX).await?;
            page.iter().for_each(|grant| apply(&keyring, grant, grant.key.version));
            let Some(last) = page.last().filter(|_| page.len() == KEYS_PAGE_MAX) else { break };
            after = Some(last.key.id);
        }
        Ok(Self { keys, keyring, version })
    }

    /// Follows until `stop` turns true.
    pub async fn run(mut self, mut stop: watch::Receiver<bool>) {
        let mut looks = interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut is_warned = false;
        loop {
            tokio::select! {
                _ = stop.wait_for(|stop| *stop) => return,
                _ = looks.tick() => {}
            }
            match self.look().await {
                Ok(()) => is_warned = false,
                // Known keys stay good meanwhile: a database that is away must not cut every stream.
                Err(error) if !is_warned => {
                    is_warned = true;
                    tracing::warn!(error = &error as &dyn std::error::Error, "changes of keys cannot be read");
                }
                Err(_) => {}
            }
        }
    }

    async fn look(&mut self) -> Result<(), RecordsError> {
        loop {
            let changes = self.keys.changes(self.version, KEYS_PAGE_MAX).await?;
            let is_all = changes.changed.len() < KEYS_PAGE_MAX;
            for changed in changes.changed {
                match changed {
                    Changed::Key(grant) => apply(&self.keyring, &grant, grant.key.version),
                    Changed::User(user) => {
                        let mut after = None;
                        loop {
                            let page = self.keys.of_user(user.id, after, KEYS_PAGE_MAX).await?;
                            for key in &page {
                                let version = user.version.max(key.version);
                                let (tier, is_user_disabled) = (user.tier.clone(), user.disabled.is_some());
                                apply(&self.keyring, &Grant { key: key.clone(), tier, is_user_disabled }, version);
                            }
                            let Some(last) = page.last().filter(|_| page.len() == KEYS_PAGE_MAX) else { break };
                            after = Some(last.id);
                        }
                    }
                }
            }
            self.version = changes.version;
            if is_all {
                return Ok(());
            }
        }
    }
}

/// Puts a key on the keyring as the database has it at `version`.
pub(crate) fn apply(keyring: &Keyring, grant: &Grant, version: u64) {
    let state = if grant.key.revoked.is_some() { KeyState::Revoked } else { KeyState::Live(Arc::new(granted(grant))) };
    if let Err(error) = keyring.apply(KeyHash(grant.key.hash), version, state) {
        tracing::error!(%error, key = grant.key.id.0, "a key is not let in");
    }
}

fn granted(grant: &Grant) -> KeyGrant {
    let key = &grant.key;
    // What is stored was checked when it was stored; what cannot be read all the same lets nobody in.
    let allowed = AllowList::parse(key.cidrs.iter().map(records::Text::as_str));
    let is_unreadable = allowed.is_err();
    KeyGrant {
        owner: Some(Owner { user_id: key.user.0, key_id: key.id.0 }),
        tier: grant.tier.as_str().into(),
        scope: scope(key.scope),
        expires_at: key.expires.map(|time| Timestamp::from_nanos(time.nanos())),
        allowed: allowed.unwrap_or_default(),
        has_cap: key.cap.is_some(),
        is_disabled: grant.is_user_disabled || is_unreadable,
    }
}

/// A scope as it is stored.
pub(crate) fn scope(stored: records::Scope) -> Scope {
    match stored {
        records::Scope::Read => Scope::Read,
        records::Scope::Write => Scope::Write,
        records::Scope::Admin => Scope::Admin,
    }
}
