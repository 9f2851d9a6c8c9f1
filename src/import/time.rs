//! When a row's candle opens.

use engine::{
    interval::Interval,
    market::Timestamp,
    number::{NumberError, Scale, parse_decimal},
};
use feeds::venue::scan::rfc3339;

use crate::cli::{TimeForm, TimeIs};

/// Reads a time as nanoseconds since the Unix epoch.
///
/// # Errors
/// [`NumberError`] if it is not of that form, or beyond nanoseconds.
pub fn parse(text: &[u8], form: TimeForm) -> Result<Timestamp, NumberError> {
    let decimals = match form {
        TimeForm::S => 9,
        TimeForm::Ms => 6,
        TimeForm::Us => 3,
        TimeForm::Ns => 0,
        TimeForm::Rfc3339 | TimeForm::Date => return calendar(text, form).map(Timestamp).ok_or(NumberError::Malformed),
    };
    parse_decimal(text, Scale::new(decimals).unwrap_or(Scale::ZERO)).map(Timestamp)
}

fn calendar(text: &[u8], form: TimeForm) -> Option<i64> {
    if form == TimeForm::Date {
        return (text.len() == 10).then(|| rfc3339(&[text, b"T00:00:00Z"].concat())).flatten();
    }
    // As spreadsheets and data frames write it.
    let mut text = text.strip_suffix(b"+00:00").map_or_else(|| text.to_vec(), |clock| [clock, b"Z"].concat());
    if let Some(blank @ b' ') = text.get_mut(10) {
        *blank = b'T';
    }
    if text.len() == 19 {
        text.push(b'Z');
    }
    rfc3339(&text)
}

/// The open time of the candle that a row of time `ts` names; one that ends at no boundary stays off the grid.
pub fn open_time(ts: Timestamp, is: TimeIs, interval: Interval) -> Timestamp {
    let open = interval.open_time(ts.plus(-1));
    match is {
        TimeIs::End if interval.close_time(open) == ts => open,
        TimeIs::Start | TimeIs::End => ts,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, form: TimeForm, want: Option<i64>) {
        assert_eq!(parse(text.as_bytes(), form).ok().map(Timestamp::millis), want, "{text} as {form:?}");
    }

    #[test]
    fn every_form_names_the_same_moment() {
        const MS: i64 = 1_704_067_200_000;
        check("1704067200", TimeForm::S, Some(MS));
        check("1704067200000", TimeForm::Ms, Some(MS));
        check("1704067200000.5", TimeForm::Ms, Some(MS));
        check("1704067200000000", TimeForm::Us, Some(MS));
        check("1704067200000000000", TimeForm::Ns, Some(MS));
        check("2024-01-01", TimeForm::Date, Some(MS));
        for text in
            ["2024-01-01T00:00:00Z", "2024-01-01 00:00:00+00:00", "2024-01-01 00:00:00", "2024-01-01T00:00:00.000Z"]
        {
            check(text, TimeForm::Rfc3339, Some(MS));
        }
        for text in ["", "2024-01-01T", "2024-02-30", "2023-02-29", "2024-13-01", "01.01.2024"] {
            check(text, TimeForm::Date, None);
        }
        check("2024-02-29", TimeForm::Date, Some(1_709_164_800_000));
        check("2024-01-01T00:00:00+01:00", TimeForm::Rfc3339, None);
        check("170406720000000000000", TimeForm::Ms, None);
    }

    #[test]
    fn a_time_that_names_the_end_is_moved_by_one_candle_and_only_on_the_grid() {
        let minute = 60_000_000_000;
        let open = |ns, is| open_time(Timestamp(ns), is, Interval::M1).0;
        assert_eq!(open(minute, TimeIs::End), 0);
        assert_eq!(open(minute, TimeIs::Start), minute);
        assert_eq!(open(minute + 1, TimeIs::End), minute + 1);
        // March 2024 ends where April begins.
        let april = 1_711_929_600_000_000_000;
        assert_eq!(open_time(Timestamp(april), TimeIs::End, Interval::Month1).millis(), 1_709_251_200_000);
    }
}
