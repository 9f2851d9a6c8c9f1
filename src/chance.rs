//! The program's only source of chance; everything else is told.

use rand::Rng;

use crate::config::KeyText;

/// 64 bits from the system's generator.
pub fn seed() -> u64 {
    rand::rng().random()
}

/// A key that nobody can guess: `prefix` and 32 hexadecimal digits. `None` if the prefix makes it no key.
pub fn random_key(prefix: &str) -> Option<KeyText> {
    KeyText::new(format!("{prefix}{:032x}", rand::rng().random::<u128>()))
}
