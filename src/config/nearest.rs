//! "Did you mean …?": the known name that is nearest to an unknown one.

/// Names longer than this are not compared.
const NAME_CHARS_MAX: usize = 64;

/// The name among `known` that differs from `name` in the fewest letters, if it is near enough to be a slip.
pub(crate) fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let letters = name.chars().take(NAME_CHARS_MAX + 1).count();
    if letters == 0 || letters > NAME_CHARS_MAX {
        return None;
    }
    let lower = name.to_ascii_lowercase();
    let distance = |candidate: &str| strsim::levenshtein(&lower, &candidate.to_ascii_lowercase());
    let ranked = known.into_iter().map(|candidate| (distance(candidate), candidate));
    let (edits, best) = ranked.min_by_key(|(edits, _)| *edits)?;
    (edits <= 1 + letters / 3).then_some(best)
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
