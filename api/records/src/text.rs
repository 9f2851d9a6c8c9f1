//! Text that is short and harmless by its type.

use std::fmt;

/// 1 to `MAX` bytes of text without control characters.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Text<const MAX: usize>(String);

/// Text is empty, too long, or has control characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("text must have 1 to {max} bytes and no control characters")]
pub struct TextError {
    /// The most that it may have.
    pub max: usize,
}

/// A lower-cased e-mail address.
pub type Email = Text<254>;
/// Names a request, and with it all that it is charged: the same request is charged once.
pub type RequestName = Text<64>;
/// A word of the configuration or of a protocol: a tier, a provider, a status.
pub type Word = Text<32>;
/// What people or providers call something: a key, a user, a model.
pub type Name = Text<128>;
/// What a payment provider calls something.
pub type Token = Text<255>;

impl<const MAX: usize> Text<MAX> {
    /// Checks a text.
    ///
    /// # Errors
    /// If it is empty, longer than `MAX` bytes, or has control characters.
    pub fn new(text: impl Into<String>) -> Result<Self, TextError> {
        let text = text.into();
        let is_right = !text.is_empty() && text.len() <= MAX && !text.contains(char::is_control);
        if is_right { Ok(Self(text)) } else { Err(TextError { max: MAX }) }
    }

    /// Makes any text fit, for what is only noted: cuts it, and puts a space for each control character. Of nothing comes `-`.
    #[must_use]
    pub fn cut(text: &str) -> Self {
        let text = if text.is_empty() { "-" } else { text };
        let end = text.floor_char_boundary(MAX);
        let harmless = |letter: char| if letter.is_control() { ' ' } else { letter };
        Self(text.get(..end).unwrap_or_default().chars().map(harmless).collect())
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<const MAX: usize> fmt::Debug for Text<MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl<const MAX: usize> fmt::Display for Text<MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<const MAX: usize> From<Text<MAX>> for String {
    fn from(text: Text<MAX>) -> Self {
        text.0
    }
}

impl<const MAX: usize> TryFrom<String> for Text<MAX> {
    type Error = TextError;

    fn try_from(text: String) -> Result<Self, TextError> {
        Self::new(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_short_and_without_control_characters() {
        let check = |text: &str, is_right| assert_eq!(Text::<8>::new(text).is_ok(), is_right, "{text:?}");
        check("a", true);
        check("ääää", true);
        check("12345678", true);
        check("", false);
        check("123456789", false);
        check("äääää", false);
        check("a\0", false);
        check("a\r\nb", false);
    }

    #[test]
    fn what_is_only_noted_is_made_to_fit() {
        let check = |text, want| assert_eq!(Text::<4>::cut(text).as_str(), want);
        check("", "-");
        check("abcdef", "abcd");
        check("aäöü", "aä");
        check("a\n\0b", "a  b");
    }
}
