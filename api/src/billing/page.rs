//! Where the next page of newest rows begins, as an opaque text. It names a place in time, and so fits any query of its user.

use ledger::Timestamp;
use records::Cursor;

use crate::{error::ApiError, given::Given};

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
    // What a database's column holds.
    let id = number(id).filter(|id| i64::try_from(*id).is_ok())?;
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
