//! How moments are written and read.

use ledger::Timestamp;
use time::{Date, OffsetDateTime, UtcOffset, format_description::well_known::Rfc3339};

/// RFC 3339 in UTC with milliseconds, such as `2026-01-15T10:30:00.000Z`.
pub(crate) fn rfc3339(time: Timestamp) -> String {
    let moment = OffsetDateTime::from_unix_timestamp_nanos(i128::from(time.nanos()));
    let moment = moment.unwrap_or(OffsetDateTime::UNIX_EPOCH).to_offset(UtcOffset::UTC);
    let (hour, minute, second, milli) = moment.time().as_hms_milli();
    format!("{}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z", date(moment.date()))
}

fn date(date: Date) -> String {
    format!("{:04}-{:02}-{:02}", date.year(), u8::from(date.month()), date.day())
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
    fn moments_are_written_in_utc_with_milliseconds() {
        let at = |nanos| rfc3339(Timestamp::new(nanos).unwrap());
        assert_eq!(at(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(at(1_700_000_000_123_999_999), "2023-11-14T22:13:20.123Z");
        assert_eq!(rfc3339(Timestamp::MAX), "2262-04-11T23:47:16.854Z");
    }

    #[test]
    fn moments_are_read_with_any_offset() {
        let check = |given: &str, told: &str| assert_eq!(parse(given).map(rfc3339).as_deref(), Some(told));
        check("2026-01-31T09:30:00.250Z", "2026-01-31T09:30:00.250Z");
        check("2026-01-31T11:30:00.2509999+02:00", "2026-01-31T09:30:00.250Z");
        for wrong in ["", "2026-01-31", "1969-12-31T23:59:59Z", "9999-01-01T00:00:00Z", "2026-02-30T00:00:00Z"] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}
