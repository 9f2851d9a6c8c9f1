//! Which passwords an account may have.

use zxcvbn::{Score, feedback::Feedback, zxcvbn};

use crate::{Email, Password};

/// The fewest characters.
const CHARACTERS_MIN: usize = 10;
/// The most characters.
const CHARACTERS_MAX: usize = 128;
/// Guesses are judged over so many characters, and the others only add to them: the estimate of a long text that is made of
/// digits and signs in place of letters takes a second, that of this many a quarter of one.
const JUDGED_CHARACTERS: usize = 32;

/// Why a password is refused, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Weakness {
    /// Too short.
    #[error(
        "a password has at least {CHARACTERS_MIN} characters; a few words that do not belong together are easy to keep"
    )]
    Short,
    /// Too long.
    #[error("a password has at most {CHARACTERS_MAX} characters; shorten it")]
    Long,
    /// One of the first that anybody would try.
    #[error("this password is easy to guess: {hint}")]
    Guessable {
        /// What gives it away, and what would help.
        hint: String,
    },
}

/// Whether the owner of `email` may have this password: at least 10 characters, and beyond what zxcvbn expects a guesser to
/// find within 10^8 tries (its score 3 of 4), where the guesser knows the address.
///
/// # Errors
/// [`Weakness`], whose text is for the owner.
pub(crate) fn judge(password: &Password, email: &Email) -> Result<(), Weakness> {
    let text = password.as_str();
    let characters = text.chars().count();
    if characters < CHARACTERS_MIN {
        return Err(Weakness::Short);
    }
    if characters > CHARACTERS_MAX {
        return Err(Weakness::Long);
    }
    let end = text.char_indices().nth(JUDGED_CHARACTERS).map_or(text.len(), |(end, _)| end);
    let domain = email.domain().rsplit_once('.').map_or("", |(name, _)| name);
    let known = [email.as_str(), email.local_part(), email.domain(), domain, "kandle"];
    let estimate = zxcvbn(text.get(..end).unwrap_or(text), &known);
    if estimate.score() >= Score::Three {
        return Ok(());
    }
    Err(Weakness::Guessable { hint: hint(estimate.feedback()) })
}

fn hint(feedback: Option<&Feedback>) -> String {
    let mut sentences = Vec::new();
    if let Some(feedback) = feedback {
        sentences.extend(feedback.warning().map(|warning| warning.to_string()));
        sentences.extend(feedback.suggestions().iter().map(ToString::to_string));
    }
    if sentences.is_empty() {
        sentences.push("Use a few words that do not belong together.".to_owned());
    }
    sentences.join(" ")
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    fn verdict(password: &str) -> Result<(), Weakness> {
        let email = Email::parse("angel.merkle@candles.example.com").unwrap();
        judge(&Password::new(password.to_owned()).unwrap(), &email)
    }

    #[test]
    fn words_that_do_not_belong_together_are_good() {
        for password in [
            "a-long-password",
            "correct horse battery staple",
            "Tr0ub4dor&3-zebra",
            "ключ-от-квартиры-где",
            "日本語のパスワード長い",
        ] {
            assert_eq!(verdict(password), Ok(()), "{password}");
        }
    }

    #[test]
    fn what_is_guessed_first_is_refused_with_a_hint() {
        let weak = [
            "password123",
            "1234567890",
            "qwertyuiop",
            "aaaaaaaaaaaaaaaa",
            "abcabcabcabc",
            "iloveyou12",
            "angel.merkle",
            "angel.merkle@candles.example.com",
            "candles.example",
            "kandle2026",
            "P@ssw0rd123",
        ];
        for password in weak {
            let Err(Weakness::Guessable { hint }) = verdict(password) else { panic!("{password} is taken") };
            assert!(hint.len() > 10 && !hint.contains(password), "{hint}");
        }
    }

    #[test]
    fn lengths_are_counted_in_characters() {
        assert_eq!(verdict("Zx9#kw!tq"), Err(Weakness::Short));
        assert_eq!(verdict("пароль-да"), Err(Weakness::Short));
        let long: String = (0_u32..128).map(|at| char::from_u32(0x4e00 + at * 37 % 999).unwrap()).collect();
        assert_eq!(verdict(&long), Ok(()));
        assert!(Password::new(format!("{long}{long}")).is_none());
        assert_eq!(verdict(&"x9#".repeat(50)), Err(Weakness::Long));
    }

    #[test]
    fn no_text_takes_long_to_judge() {
        let slow = [
            "4@8({[<369&#!1/|0$5+7%2/".repeat(5),
            "a1".repeat(64),
            "1234567890".repeat(12),
            "password".repeat(16),
            "@$€".repeat(40),
            "2020-01-01".repeat(12),
        ];
        for password in slow {
            let start = Instant::now();
            let _ = verdict(&password);
            assert!(start.elapsed() < Duration::from_secs(3), "{password}: {:?}", start.elapsed());
        }
    }
}
