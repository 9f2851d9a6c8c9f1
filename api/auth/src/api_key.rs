//! The text of an API key, and what it is known by once that text is gone.

use std::fmt;

use rand::TryCryptoRng;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

const PREFIX: &str = "kai-";
const RANDOM: usize = 30;
const CHECKSUM: usize = 6;
const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// How much of a key an owner sees in lists, to tell one from another.
const SHOWN: usize = 8;

/// A new key: `kai-`, 30 random characters and a checksum, of letters and digits only, so that a double click marks the
/// tail as one word. Whoever asked sees it once; it is stored as its [`KeyHash`] and its [`ApiKey::prefix`].
pub struct ApiKey(Zeroizing<String>);

/// The SHA-256 of a key's text: what stores and caches know it by. A key is random, so nobody finds it by guessing.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyHash(pub [u8; 32]);

/// What kind of key a text is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// One of ours, with the right checksum.
    Checked,
    /// A text that an operator made up for the configuration: 8 to 128 letters, digits, `-`, `_` or `.`.
    Configured,
}

/// The text is no key: of another form, or with a typing error that its checksum shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is not an API key, or it was not copied whole")]
pub struct MalformedKey;

impl ApiKey {
    /// A key that nobody has seen.
    ///
    /// # Errors
    /// What the generator says if it has no random bytes.
    pub fn generate<R: TryCryptoRng + ?Sized>(random: &mut R) -> Result<Self, R::Error> {
        let mut text = Zeroizing::new(String::with_capacity(PREFIX.len() + RANDOM + CHECKSUM));
        text.push_str(PREFIX);
        let mut bytes = Zeroizing::new([0; 64]);
        while text.len() < PREFIX.len() + RANDOM {
            random.try_fill_bytes(&mut *bytes)?;
            let room = PREFIX.len() + RANDOM - text.len();
            // 248 is the largest multiple of 62 in a byte: what lies beyond would favour the first characters.
            text.extend(bytes.iter().filter(|&&byte| byte < 248).map(|&byte| base62(u32::from(byte))).take(room));
        }
        let checksum = checksum(text.get(PREFIX.len()..).unwrap_or_default());
        text.push_str(&checksum);
        Ok(Self(text))
    }

    /// The key itself, for the one answer that shows it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// What it is known by from now on.
    #[must_use]
    pub fn hash(&self) -> KeyHash {
        KeyHash::of(&self.0)
    }

    /// Its first characters, for lists.
    #[must_use]
    pub fn prefix(&self) -> &str {
        prefix(&self.0)
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "ApiKey({}…)", self.prefix())
    }
}

impl Form {
    /// What kind of key `text` is, before anything is looked up.
    ///
    /// # Errors
    /// [`MalformedKey`] if it can be no key.
    pub fn of(text: &str) -> Result<Self, MalformedKey> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if !(8..=128).contains(&text.len()) || !text.bytes().all(allowed) {
            return Err(MalformedKey);
        }
        let tail = text.strip_prefix(PREFIX).filter(|tail| tail.len() == RANDOM + CHECKSUM);
        let Some(tail) = tail.filter(|tail| tail.bytes().all(|byte| byte.is_ascii_alphanumeric())) else {
            return Ok(Self::Configured);
        };
        let (random, found) = tail.split_at_checked(RANDOM).ok_or(MalformedKey)?;
        if checksum(random) == found { Ok(Self::Checked) } else { Err(MalformedKey) }
    }
}

impl KeyHash {
    /// Of a key's whole text.
    #[must_use]
    pub fn of(text: &str) -> Self {
        Self(Sha256::digest(text.as_bytes()).into())
    }
}

impl fmt::Debug for KeyHash {
    /// Enough to tell keys apart in a log.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "KeyHash({:02x}{:02x}{:02x}{:02x}…)", self.0[0], self.0[1], self.0[2], self.0[3])
    }
}

/// The first characters of a key's text, never more than a quarter of it: an operator's own key may be short.
#[must_use]
pub(crate) fn prefix(text: &str) -> &str {
    text.get(..SHOWN.min(text.len() / 4)).unwrap_or_default()
}

fn base62(value: u32) -> char {
    usize::try_from(value % 62).ok().and_then(|index| ALPHABET.get(index)).map_or('0', |&letter| char::from(letter))
}

/// The CRC-32 of `random` in base 62, six characters: what GitHub's tokens end with, so that scanners know the form.
fn checksum(random: &str) -> String {
    let mut rest = crc32fast::hash(random.as_bytes());
    let mut digits = [0; CHECKSUM];
    for digit in digits.iter_mut().rev() {
        *digit = rest % 62;
        rest /= 62;
    }
    digits.into_iter().map(base62).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;
    use rand::{
        SeedableRng,
        rngs::{OsRng, StdRng},
    };

    use super::*;

    #[test]
    fn checksums_are_those_of_published_tokens() {
        let text = include_str!("../tests/vectors/api_key_checksum_vectors.json");
        let file: serde_json::Value = serde_json::from_str(text).unwrap();
        assert_eq!(file["alphabet"].as_str().unwrap().as_bytes(), ALPHABET);
        let vectors = file["vectors"].as_array().unwrap();
        for vector in vectors {
            let (random, expected) = (vector["random"].as_str().unwrap(), vector["checksum"].as_str().unwrap());
            assert_eq!(checksum(random), expected);
            assert_eq!(Form::of(&format!("{PREFIX}{random}{expected}")), Ok(Form::Checked));
        }
        assert_eq!(vectors.len(), 2);
    }

    #[test]
    fn keys_differ_use_the_whole_alphabet_and_have_the_right_form() {
        let keys: Vec<_> = (0..1000).map(|_| ApiKey::generate(&mut OsRng).unwrap()).collect();
        assert!(keys.iter().all(|key| Form::of(key.reveal()) == Ok(Form::Checked) && key.reveal().len() == 40));
        assert_eq!(keys.iter().map(ApiKey::hash).collect::<HashSet<_>>().len(), keys.len());
        let letters: HashSet<_> = keys.iter().flat_map(|key| key.reveal()[4..34].bytes()).collect();
        assert_eq!(letters.len(), 62);
    }

    #[test]
    fn no_letter_is_likelier_than_another() {
        let mut random = StdRng::seed_from_u64(1);
        let mut counts = [0_u32; 128];
        for _ in 0..10_000 {
            let key = ApiKey::generate(&mut random).unwrap();
            key.reveal()[4..34].bytes().for_each(|letter| counts[usize::from(letter)] += 1);
        }
        // Of 300,000 letters each has 4,839, with a standard deviation of 69; a byte modulo 62 would give some 20 % more.
        assert!(ALPHABET.iter().all(|&letter| counts[usize::from(letter)].abs_diff(4_839) < 350), "{counts:?}");
    }

    #[test]
    fn neither_debug_nor_the_prefix_shows_a_key() {
        let key = ApiKey::generate(&mut OsRng).unwrap();
        assert_eq!(key.prefix(), &key.reveal()[..8]);
        assert_eq!(format!("{key:?}"), format!("ApiKey({}…)", key.prefix()));
        assert_eq!(format!("{:?}", key.hash()).len(), "KeyHash(00000000…)".len());
        assert_eq!((prefix("secretly"), prefix("é"), prefix("ééééé")), ("se", "", "é"));
    }

    #[test]
    fn keys_of_a_configuration_keep_their_form() {
        for text in ["12345678", "kai-demo", "kai-0123456789abcdef0123456789abcdef0123", &"a".repeat(128), "a.b_c-d9"] {
            let long_like_ours = text.len() == 40;
            assert_eq!(Form::of(text), if long_like_ours { Err(MalformedKey) } else { Ok(Form::Configured) }, "{text}");
        }
        for text in ["", "1234567", &"a".repeat(129), "secret word", "kai-ä12345", "a\r\nb: c.d", "12345678\0"] {
            assert_eq!(Form::of(text), Err(MalformedKey), "{text}");
        }
    }

    proptest! {
        #[test]
        fn prop_one_wrong_letter_or_two_that_changed_places_are_noticed(seed: u64, at in 4_usize..40, letter in 0_usize..62) {
            let key = ApiKey::generate(&mut StdRng::seed_from_u64(seed)).unwrap();
            let mut wrong = key.reveal().as_bytes().to_vec();
            wrong[at] = ALPHABET[letter];
            let wrong = String::from_utf8(wrong).unwrap();
            prop_assert_eq!(Form::of(&wrong).is_ok(), wrong == key.reveal());
            let mut swapped = key.reveal().as_bytes().to_vec();
            swapped.swap(at, if at == 39 { 38 } else { at + 1 });
            let swapped = String::from_utf8(swapped).unwrap();
            prop_assert_eq!(Form::of(&swapped).is_ok(), swapped == key.reveal());
        }

        #[test]
        fn prop_no_text_makes_it_panic(text: String) {
            let _ = (Form::of(&text), prefix(&text).len(), KeyHash::of(&text));
        }
    }
}
