//! Where Binance's candles begin and end, counted day by day rather than by the program's rule.

const SECOND: i64 = 1_000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
/// 1970-01-05 was a Monday.
const FIRST_MONDAY: i64 = 4 * DAY;

/// The candle of `ms`: its first millisecond and the first one behind it. `None` for a name that is no interval;
/// `5s`, `15s` and `30s` are the program's own.
pub(super) fn span(interval: &str, ms: i64) -> Option<(i64, i64)> {
    if interval == "1M" {
        return Some(month(ms));
    }
    let unit = match interval.chars().last()? {
        's' => SECOND,
        'm' => MINUTE,
        'h' => HOUR,
        'd' => DAY,
        'w' => 7 * DAY,
        _ => return None,
    };
    let count: i64 = interval.get(..interval.len() - 1)?.parse().ok()?;
    let known = "1s 5s 15s 30s 1m 3m 5m 15m 30m 1h 2h 4h 6h 8h 12h 1d 3d 1w";
    known.split(' ').any(|name| name == interval).then_some(())?;
    let (length, origin) = (count * unit, if unit == 7 * DAY { FIRST_MONDAY } else { 0 });
    let open = ms - (ms - origin).rem_euclid(length);
    Some((open, open + length))
}

/// Walks the months from 1970 on.
fn month(ms: i64) -> (i64, i64) {
    let mut open = 0;
    for year in 1970.. {
        let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        for days in [31, if is_leap { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
            let close = open + days * DAY;
            if ms < close {
                return (open, close);
            }
            open = close;
        }
    }
    unreachable!("there is always a next year")
}

#[test]
fn candles_begin_where_the_calendar_says() {
    let at = 1_723_161_255_342; // Thursday, 2024-08-08 23:54:15 UTC
    for (interval, open) in [
        ("1s", 1_723_161_255_000),
        ("15s", 1_723_161_255_000),
        ("1m", 1_723_161_240_000),
        ("5m", 1_723_161_000_000),
        ("1d", 1_723_075_200_000),
        ("1w", 1_722_816_000_000),
        ("1M", 1_722_470_400_000),
    ] {
        assert_eq!(span(interval, at).unwrap().0, open, "{interval}");
    }
    assert_eq!(span("1M", at).unwrap().1, 1_725_148_800_000);
    assert_eq!(span("7m", at), None);
}
