//! The names of recorded files: `binance-2026-11-26T13.jsonl.zst`, the next part of that hour `binance-2026-11-26T13.2.jsonl.zst`.

use std::fmt;

use engine::market::{Timestamp, Venue};

const HOUR: i64 = 3_600_000_000_000;
const ENDING: &str = ".jsonl.zst";

/// Venue, hour in UTC and part. The order of names is that of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FileName {
    /// Hours since the Unix epoch.
    hour: i64,
    /// From 1.
    part: u32,
    /// Whose frames it holds.
    pub venue: Venue,
}

impl FileName {
    /// The part of that number of the hour of `ts`.
    pub(super) const fn new(venue: Venue, ts: Timestamp, part: u32) -> Self {
        Self { hour: ts.0.div_euclid(HOUR), part, venue }
    }

    /// Whether it holds the hour of `ts`, or a later one: time that goes back begins no file.
    pub(super) const fn reaches(&self, ts: Timestamp) -> bool {
        ts.0.div_euclid(HOUR) <= self.hour
    }

    /// Whether both are parts of one hour.
    pub(super) fn is_beside(&self, other: &Self) -> bool {
        (self.hour, self.venue) == (other.hour, other.venue)
    }

    pub(super) const fn part(&self) -> u32 {
        self.part
    }

    /// What orders names of all venues by time.
    pub const fn order(&self) -> (i64, u32) {
        (self.hour, self.part)
    }

    /// Reads a name; `None` if it is not one of a recording.
    pub fn parse(name: &str) -> Option<Self> {
        let (venue, rest) = name.strip_suffix(ENDING)?.split_once('-')?;
        let (hour, part) = rest.split_once('.').unwrap_or((rest, "1"));
        let (day, hour) = hour.split_once('T')?;
        let mut date = day.split('-').map(|number| number.parse::<u16>().ok().map(i64::from));
        let (year, month, day) = (date.next()??, date.next()??, date.next()??);
        let hour = i64::from(hour.parse::<u8>().ok()?);
        let parsed =
            Self { hour: days(year, month, day) * 24 + hour, part: part.parse().ok()?, venue: Venue::parse(venue)? };
        (parsed.to_string() == name).then_some(parsed)
    }
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = date(self.hour.div_euclid(24));
        write!(f, "{}-{year:04}-{month:02}-{day:02}T{:02}", self.venue, self.hour.rem_euclid(24))?;
        if self.part > 1 {
            write!(f, ".{}", self.part)?;
        }
        f.write_str(ENDING)
    }
}

/// Days of the years from March on before that date, so that the leap day is the last of its year.
const fn days(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let leaps = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    year * 365 + leaps + (month * 153 + 2) / 5 + day - 719_469
}

/// The date of a day since the epoch: years are tried from below, which are at most one too few.
const fn date(day: i64) -> (i64, i64, i64) {
    let mut year = 1969 + day.div_euclid(366);
    while days(year + 1, 1, 1) <= day {
        year += 1;
    }
    let mut month = 1;
    while month < 12 && days(year, month + 1, 1) <= day {
        month += 1;
    }
    (year, month, day - days(year, month, 1) + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_tells_the_hour_in_utc_and_reads_back() {
        for (seconds, part, name) in [
            (0, 1, "okx-1970-01-01T00.jsonl.zst"),
            (951_868_799, 2, "okx-2000-02-29T23.2.jsonl.zst"),
            (1_735_689_599, 1, "okx-2024-12-31T23.jsonl.zst"),
            (1_795_700_000, 12, "okx-2026-11-26T13.12.jsonl.zst"),
            (4_107_542_400, 1, "okx-2100-03-01T00.jsonl.zst"),
        ] {
            let ts = Timestamp(seconds * 1_000_000_000);
            let file = FileName::new(Venue::Okx, ts, part);
            assert_eq!(file.to_string(), name);
            assert_eq!(FileName::parse(name), Some(file));
            assert!(file.reaches(ts) && !file.reaches(ts.plus(HOUR)));
        }
    }

    #[test]
    fn other_names_are_left_alone() {
        for name in [
            "binance.jsonl.zst",
            "binance-2026-11-26T13.jsonl",
            "mars-2026-11-26T13.jsonl.zst",
            "binance-2026-11-26T24.jsonl.zst",
            "binance-2026-11-26T13.1.jsonl.zst",
            "binance-2026-13-26T13.jsonl.zst",
            "binance-9223372036854775807-11-26T13.jsonl.zst",
        ] {
            assert_eq!(FileName::parse(name), None, "{name}");
        }
    }
}
