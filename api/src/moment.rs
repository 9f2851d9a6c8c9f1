//! Moments in JSON: RFC 3339, in UTC with milliseconds where they are told.

use ledger::Timestamp;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// `at` as text, such as `2026-01-31T09:30:00.250Z`.
pub(crate) fn text(at: Timestamp) -> String {
    // Every moment that a `Timestamp` can be is one that can be told.
    let moment =
        OffsetDateTime::from_unix_timestamp_nanos(i128::from(at.nanos())).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    let (year, month, day) = moment.to_calendar_date();
    let (hour, minute, second, milli) = moment.to_hms_milli();
    let month = u8::from(month);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z")
}

/// The moment that a text in RFC 3339 says, with any offset.
pub(crate) fn parse(text: &str) -> Option<Timestamp> {
    let moment = OffsetDateTime::parse(text, &Rfc3339).ok()?;
    u64::try_from(moment.unix_timestamp_nanos()).ok().and_then(Timestamp::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_told_in_utc_and_read_with_any_offset() {
        let check = |given: &str, told: &str| assert_eq!(parse(given).map(text).as_deref(), Some(told));
        check("2026-01-31T09:30:00.250Z", "2026-01-31T09:30:00.250Z");
        check("2026-01-31T11:30:00.2509999+02:00", "2026-01-31T09:30:00.250Z");
        check("1970-01-01T00:00:00Z", "1970-01-01T00:00:00.000Z");
        assert_eq!(text(Timestamp::MAX).len(), "2026-01-31T09:30:00.250Z".len());
        for wrong in ["", "2026-01-31", "1969-12-31T23:59:59Z", "9999-01-01T00:00:00Z", "2026-02-30T00:00:00Z"] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}
