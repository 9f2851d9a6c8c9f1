//! An e-mail address: what an account is found by.

use std::fmt;

use email_address::{EmailAddress, Options};

/// The longest address that SMTP can name (RFC 5321 §4.5.3.1.3, less its brackets).
const BYTES_MAX: usize = 254;

/// An address in lower case, of ASCII characters, with a domain of at least two parts.
///
/// Upper and lower case name the same mailbox at every provider of note, so one account has one spelling. Names beyond
/// ASCII are refused, because several spellings of them look the same; a domain may be written in its `xn--` form.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Email(Box<str>);

/// Why a text is no address that an account can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EmailError {
    /// Too long.
    #[error("an e-mail address has at most {BYTES_MAX} characters")]
    Long,
    /// Not of ASCII.
    #[error("an e-mail address is written in ASCII characters; write an international domain in its xn-- form")]
    Foreign,
    /// Not an address.
    #[error("this is not an e-mail address such as name@example.com")]
    Malformed,
}

impl Email {
    /// Reads an address; spaces around it are left out.
    ///
    /// # Errors
    /// [`EmailError`] says what is wrong, without the text itself.
    pub fn parse(text: &str) -> Result<Self, EmailError> {
        let text = text.trim_matches(' ');
        if text.len() > BYTES_MAX {
            return Err(EmailError::Long);
        }
        if !text.is_ascii() {
            return Err(EmailError::Foreign);
        }
        // A quoted name may hold spaces, quotes and an @: legal, and of use only to those who hope for a careless reader.
        if text.bytes().any(|byte| !byte.is_ascii_graphic() || b"\"\\<>()[],;:".contains(&byte)) {
            return Err(EmailError::Malformed);
        }
        let options =
            Options { minimum_sub_domains: 2, ..Options::default().without_domain_literal().without_display_text() };
        EmailAddress::parse_with_options(text, options).map_err(|_| EmailError::Malformed)?;
        Ok(Self(text.to_ascii_lowercase().into()))
    }

    /// The address.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What stands before the `@`: up to 64 characters.
    #[must_use]
    pub fn local_part(&self) -> &str {
        self.0.rsplit_once('@').map_or("", |(local, _)| local)
    }

    /// What stands behind the `@`.
    #[must_use]
    pub fn domain(&self) -> &str {
        self.0.rsplit_once('@').map_or("", |(_, domain)| domain)
    }
}

impl fmt::Display for Email {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(text: &str, expected: Result<&str, EmailError>) {
        assert_eq!(Email::parse(text).as_ref().map(Email::as_str), expected.as_ref().copied(), "{text}");
    }

    #[test]
    fn an_address_is_kept_in_lower_case() {
        check("Angel@Example.COM", Ok("angel@example.com"));
        check("  o'hara+bots@mail.example.co.uk ", Ok("o'hara+bots@mail.example.co.uk"));
        check("me@xn--bcher-kva.example", Ok("me@xn--bcher-kva.example"));
        let email = Email::parse("Angel@Example.com").unwrap();
        assert_eq!((email.local_part(), email.domain()), ("angel", "example.com"));
    }

    #[test]
    fn what_is_no_address_is_refused_by_its_kind() {
        let hostile = [
            "",
            "@",
            "a@",
            "@example.com",
            "a",
            "a@b",
            "a b@example.com",
            "a@@example.com",
            "a@example..com",
            "a@.com",
            "a@example.com.",
            "a@-example.com",
            ".a@example.com",
            "a.@example.com",
            "a..b@example.com",
            "a@[192.0.2.1]",
            "\"a b\"@example.com",
            "\"ab\"@example.com",
            "\"a@b\"@example.com",
            "Angel <a@example.com>",
            "a@example.com,b@example.com",
            "a@example.com\r\nBcc: b@c.de",
            "a\0@example.com",
            "a@exa\tmple.com",
            "a@example.com\n",
            "a@example.com;drop",
            "a\u{7f}@example.com",
        ];
        for text in hostile {
            check(text, Err(EmailError::Malformed));
        }
        check("ängel@example.com", Err(EmailError::Foreign));
        check("a@exаmple.com", Err(EmailError::Foreign));
        check(&format!("{}@{}.com", "a".repeat(64), "b".repeat(190)), Err(EmailError::Long));
        check(&format!("{}@example.com", "a".repeat(65)), Err(EmailError::Malformed));
    }

    proptest! {
        #[test]
        fn prop_an_address_that_was_read_is_read_again_as_the_same(text in "[ -~]{1,12}@[ -~]{1,12}\\.[a-zA-Z]{2,4}") {
            if let Ok(email) = Email::parse(&text) {
                prop_assert_eq!(Email::parse(email.as_str()), Ok(email.clone()));
                prop_assert!(email.as_str().bytes().all(|byte| byte.is_ascii_graphic()));
            }
        }
    }
}
