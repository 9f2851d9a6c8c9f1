//! "Did you mean …?": the known name that is nearest to an unknown one.

/// Names longer than this are not compared.
const NAME_CHARS_MAX: usize = 64;

/// The name among `known` that differs from `name` in the fewest letters, if it is near enough to be a slip.
pub(crate) fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let letters: Vec<char> = name.chars().take(NAME_CHARS_MAX + 1).collect();
    if letters.is_empty() || letters.len() > NAME_CHARS_MAX {
        return None;
    }
    let ranked = known.into_iter().map(|candidate| (distance(&letters, candidate), candidate));
    let (edits, best) = ranked.min_by_key(|(edits, _)| *edits)?;
    (edits <= 1 + letters.len() / 3).then_some(best)
}

/// How many letters must be added, removed or replaced to make `right` of `left`, whatever their case.
fn distance(left: &[char], right: &str) -> usize {
    let mut row: Vec<usize> = (0..=left.len()).collect();
    for (index, letter) in right.chars().enumerate() {
        let mut diagonal = index;
        let mut last = index + 1;
        for (cell, own) in row.iter_mut().skip(1).zip(left) {
            let replaced = diagonal + usize::from(!own.eq_ignore_ascii_case(&letter));
            diagonal = *cell;
            last = replaced.min(*cell + 1).min(last + 1);
            *cell = last;
        }
        if let Some(first) = row.first_mut() {
            *first = index + 1;
        }
    }
    row.last().copied().unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_finds_its_name_and_a_stranger_none() {
        let known = ["connections_per_key", "channels_per_connection", "outbox_bytes", "late_window_ms"];
        assert_eq!(nearest("outbox_byte", known), Some("outbox_bytes"));
        assert_eq!(nearest("late_windows_ms", known), Some("late_window_ms"));
        assert_eq!(nearest("OUTBOX_BYTES", known), Some("outbox_bytes"));
        assert_eq!(nearest("zzz", known), None);
        assert_eq!(nearest("", known), None);
    }
}
