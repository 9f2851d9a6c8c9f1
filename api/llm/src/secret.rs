//! A key that is sent and never shown.

use reqwest::header::HeaderValue;

/// What stands in a text where a key stood.
const REDACTED: &str = "[redacted]";

/// The longest key of a provider.
pub(crate) const KEY_BYTES_MAX: usize = 512;

/// A provider's key. It has no `Debug`, no `Display` and no `Serialize`: it can be sent to its provider, nothing else.
#[derive(Clone, serde::Deserialize)]
#[serde(try_from = "String")]
pub struct Secret(Box<str>);

impl Secret {
    /// `None` if `key` is empty, longer than [`KEY_BYTES_MAX`] or not printable ASCII: no header can carry it.
    #[must_use]
    pub fn new(key: &str) -> Option<Self> {
        let is_sendable =
            !key.is_empty() && key.len() <= KEY_BYTES_MAX && key.bytes().all(|byte| byte.is_ascii_graphic());
        is_sendable.then(|| Self(key.into()))
    }

    /// The value of a header: `prefix` and the key, marked so that no log of the HTTP client shows it.
    pub(crate) fn header(&self, prefix: &str) -> Option<HeaderValue> {
        let mut value = HeaderValue::from_str(&format!("{prefix}{}", self.0)).ok()?;
        value.set_sensitive(true);
        Some(value)
    }

    /// `text` without the key: providers quote keys in their errors.
    pub(crate) fn redact(&self, text: String) -> String {
        if text.contains(&*self.0) { text.replace(&*self.0, REDACTED) } else { text }
    }
}

impl TryFrom<String> for Secret {
    type Error = &'static str;

    fn try_from(key: String) -> Result<Self, Self::Error> {
        Self::new(&key).ok_or("a key is up to 512 printable ASCII characters")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_no_header_can_carry_is_refused() {
        for key in ["", "two words", "line\nbreak", "schlüssel", &"k".repeat(KEY_BYTES_MAX + 1)] {
            assert!(Secret::new(key).is_none(), "{key:?}");
        }
    }

    #[test]
    fn an_error_that_quotes_the_key_is_told_without_it() {
        let key = Secret::new("sk-planted").unwrap();
        assert_eq!(key.redact("Incorrect API key: sk-planted.".into()), "Incorrect API key: [redacted].");
        assert!(key.header("Bearer ").unwrap().is_sensitive());
    }
}
