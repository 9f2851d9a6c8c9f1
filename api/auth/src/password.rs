//! A password on its way through memory.

use zeroize::Zeroizing;

/// The longest password that is looked at, in bytes: 128 characters of four each.
const BYTES_MAX: usize = 512;

/// A password as someone typed it. It has no `Debug`, and its memory is wiped.
///
/// Its bytes are taken as they come, without normalising Unicode: what was typed at registration must be typed at login.
pub struct Password(Zeroizing<String>);

impl Password {
    /// The password, unless it is longer than any that could have been accepted.
    #[must_use]
    pub fn new(text: String) -> Option<Self> {
        let text = Zeroizing::new(text);
        (text.len() <= BYTES_MAX).then_some(Self(text))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}
