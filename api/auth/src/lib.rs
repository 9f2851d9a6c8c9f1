//! Who is asking, and whether they may: no SQL, no HTTP, no clock. Time and chance are arguments.
//!
//! `secret` (what all keys of the server are derived from) → `email` and `password`, `strength`, `hasher` (people) →
//! `token` with `hs256` (what a login gives) → `api_key`, `scope`, `allow_list` (what programs carry) → `keyring` (all
//! keys, in memory) → `attempts` (guessing gets slower) → `seal` (answers that are kept, encrypted). Read `keyring` first.
//!
//! - **A key is looked up in memory.** [`Keyring::lookup`] touches no database, and a typing error in a key is noticed by
//!   its checksum. Whoever owns the store applies its changes here; the newest version of a key wins, whatever their order.
//! - **Nothing secret is printed.** Passwords, secrets and keys have no `Debug`, or one that hides them, and are wiped.
//! - **Everything is bounded**: the length of each text, the hashes at work and those that wait, the keys that are known,
//!   the addresses and e-mails whose attempts are counted.
//!
//! ```
//! use std::sync::Arc;
//!
//! use auth::{ApiKey, KeyGrant, KeyRefusal, KeyState, Keyring, Scope, Timestamp};
//!
//! let key = ApiKey::generate(&mut rand::rngs::OsRng)?; // shown once; the store keeps `key.hash()` and `key.prefix()`
//! let keyring = Keyring::default();
//! let grant = KeyGrant { scope: Scope::Write, ..KeyGrant::configured("pro".into()) };
//! keyring.apply(key.hash(), 1, KeyState::Live(Arc::new(grant)))?;
//!
//! let (now, address) = (Timestamp::from_seconds(1_800_000_000), "192.0.2.7".parse()?);
//! assert!(keyring.lookup(key.reveal(), now, address)?.scope.allows(Scope::Read));
//! keyring.apply(key.hash(), 2, KeyState::Revoked)?;
//! assert_eq!(keyring.lookup(key.reveal(), now, address).err(), Some(KeyRefusal::Revoked));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod allow_list;
mod api_key;
mod attempts;
mod email;
mod hasher;
mod hs256;
mod keyring;
mod password;
mod scope;
mod seal;
mod secret;
mod strength;
mod timestamp;
mod token;

pub use allow_list::{ALLOWED_MAX, AllowList, AllowListError};
pub use api_key::{ApiKey, Form, KeyHash, MalformedKey};
pub use attempts::{Attempts, TooSoon, network};
pub use email::{Email, EmailError};
pub use hasher::{HasherError, HasherLimits, PasswordHasher, Verdict};
pub use keyring::{KeyGrant, KeyRefusal, KeyState, Keyring, KeyringFull, Owner};
pub use password::Password;
pub use scope::{Scope, UnknownScope};
pub use seal::{SealError, Sealer};
pub use secret::{Secret, SecretError, Subkey};
pub use strength::Weakness;
pub use timestamp::Timestamp;
pub use token::{AccessToken, TokenError, TokenLife, Tokens, UserClaim};
