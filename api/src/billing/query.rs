//! What several of these routes are asked: a span of time, a number, where the next page of newest rows begins. That is an
//! opaque text that names a place in time, and so it fits any query of its user.

use ledger::Timestamp;
use records::Cursor;

use crate::{
    error::{ApiError, echo},
    given::Given,
};

/// What a column of a database holds.
const ID_MAX: u64 = i64::MAX.unsigned_abs();

/// Two times of which the second is not before the first, where both are given.
///
/// # Errors
/// [`ApiError`] naming what is wrong.
pub(crate) fn span(given: &Given<'_>) -> Result<(Option<Timestamp>, Option<Timestamp>), ApiError> {
    let time = |name| {
        let time = given.time(name);
        time.map(|time| time.and_then(|time| Timestamp::new(time.0.unsigned_abs())))
    };
    match (time("from")?, time("to")?) {
        (Some(from), Some(to)) if to < from => {
            Err(ApiError::invalid("to", "to lies before from: give the earlier time as from"))
        }
        span => Ok(span),
    }
}

/// The number of something: from 1 on.
///
/// # Errors
/// [`ApiError`] naming what is wrong.
pub(crate) fn number(given: &Given<'_>, name: &str) -> Result<Option<u64>, ApiError> {
    let Some(text) = given.get(name) else { return Ok(None) };
    let number = text.parse().ok().filter(|number| (1..=ID_MAX).contains(number));
    let wrong = || ApiError::invalid(name, format!("{name} is {:?}, and must be a number from 1 on", echo(text)));
    number.ok_or_else(wrong).map(Some)
}

/// The text behind a page that is full; nothing behind the last one.
pub(crate) fn next(last: Option<Cursor>, rows: usize, limit: usize) -> Option<String> {
    last.filter(|_| rows == limit).map(|cursor| format!("{:016x}{:016x}", cursor.created.nanos(), cursor.id))
}

/// The place that a query goes on from.
///
/// # Errors
/// [`ApiError`] if it is none of ours.
pub(crate) fn cursor(given: &Given<'_>) -> Result<Option<Cursor>, ApiError> {
    let Some(text) = given.get("cursor") else { return Ok(None) };
    let wrong =
        || ApiError::invalid("cursor", "cursor is none of this route: give it back as it came, or leave it out");
    parse(text).ok_or_else(wrong).map(Some)
}

fn parse(text: &str) -> Option<Cursor> {
    if text.len() != 32 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let (created, id) = text.split_at_checked(16)?;
    let number = |hex| u64::from_str_radix(hex, 16).ok();
    let id = number(id).filter(|id| *id <= ID_MAX)?;
    Some(Cursor { created: Timestamp::new(number(created)?)?, id })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_comes_back_equal_and_what_is_none_is_refused() {
        let place = Cursor { created: Timestamp::new(1_700_000_000_000_000_001).unwrap(), id: 77 };
        let text = next(Some(place), 5, 5).unwrap();
        assert_eq!(parse(&text), Some(place));
        assert_eq!((next(Some(place), 4, 5), next(None, 0, 5)), (None, None));
        for text in ["", "0", &text[1..], &format!("{text}0"), &"f".repeat(32), &"+".repeat(32), &"é".repeat(16)] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
