//! The lines of a recording. A frame is `<ns> <json>`; all else begins with `#` and a word, so that a reader of frames
//! passes it by. Times are ours, in nanoseconds, except where they bound what a venue was asked for.
//!
//! | line | says |
//! |---|---|
//! | `<ns> JSON` | a frame as received (line breaks in it are blanks) |
//! | `#kandle <- NS VENUE RUN LATE_WINDOW_MS CLOSE_DELAY_MS` | a file begins; RUN is when the program was started |
//! | `#symbol <- NS NAME ALIAS` | the venue's name of an instrument, and its clients' |
//! | `#open <-> NS CONNECTION URL` | a connection was opened |
//! | `#from <- NS CONNECTION` | the frames that follow came over this one |
//! | `#close <- NS CONNECTION WHY` | it is over |
//! | `#down <- NS SINCE NAME…`, `#up <- NS NAME…` | these instruments have no feed; they have one again |
//! | `#trades <- NS NAME FIRST LAST JSON` | a REST page; its trades from id FIRST to LAST were taken |
//! | `#minutes <- NS NAME FROM TO JSON` | a REST page; its candles that open in `[FROM, TO)` were taken |
//! | `#gone <- NS NAME FIRST LAST` | the trades with these ids cannot be had |
//! | `#time <- NS` | all that came until then stands above |
//! | `#lost <- NS LINES` | so many lines are missing here |
//! | `#end <- NS` | the program was stopped |

use std::io::Write as _;

use engine::market::{Timestamp, Venue};

/// How a file begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Whose frames these are.
    pub venue: Venue,
    /// When the program was started: files of one run go on where the one before ended.
    pub run: Timestamp,
    /// How long after its end a candle could be corrected.
    pub late_window_ms: i64,
    /// How long after its end a candle closed at the latest.
    pub close_delay_ms: i64,
}

/// What a line says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line<'a> {
    /// A frame as received.
    Frame(&'a [u8]),
    /// A file begins.
    Head(Head),
    /// An instrument.
    Symbol {
        /// The venue's name.
        name: &'a str,
        /// The name that clients use.
        alias: &'a str,
    },
    /// A connection was opened.
    Opened {
        /// Its number, never used twice in a run.
        connection: u64,
        /// Where to.
        url: &'a str,
    },
    /// The frames that follow came over this connection.
    From {
        /// Its number.
        connection: u64,
    },
    /// A connection is over.
    Closed {
        /// Its number.
        connection: u64,
        /// Why.
        why: &'a str,
    },
    /// These instruments have no feed.
    Down {
        /// Since when.
        since: Timestamp,
        /// Their names, between blanks.
        names: &'a str,
    },
    /// They have one again.
    Up {
        /// Their names, between blanks.
        names: &'a str,
    },
    /// A REST page of trades.
    Trades {
        /// Of which instrument.
        name: &'a str,
        /// The first id that was taken.
        first_id: u64,
        /// The last one.
        last_id: u64,
        /// The page.
        page: &'a [u8],
    },
    /// A REST page of minutes.
    Minutes {
        /// Of which instrument.
        name: &'a str,
        /// The first moment at which a candle that was taken may open.
        from: Timestamp,
        /// The first one behind.
        to: Timestamp,
        /// The page.
        page: &'a [u8],
    },
    /// Trades that cannot be had.
    Gone {
        /// Of which instrument.
        name: &'a str,
        /// The first id.
        first_id: u64,
        /// The last one.
        last_id: u64,
    },
    /// All that came until then stands above.
    Time,
    /// Lines are missing here.
    Lost {
        /// How many.
        lines: u64,
    },
    /// The program was stopped.
    End,
}

impl<'a> Line<'a> {
    /// Appends the line with its end.
    pub fn write(&self, ts: Timestamp, out: &mut Vec<u8>) {
        let Timestamp(ns) = ts;
        let start = out.len();
        // Writing into memory does not fail.
        let _ = match *self {
            Self::Frame(json) => write!(out, "{ns} ").and_then(|()| out.write_all(json)),
            Self::Head(Head { venue, run, late_window_ms, close_delay_ms }) => {
                write!(out, "#kandle <- {ns} {venue} {} {late_window_ms} {close_delay_ms}", run.0)
            }
            Self::Symbol { name, alias } => write!(out, "#symbol <- {ns} {name} {alias}"),
            Self::Opened { connection, url } => write!(out, "#open <-> {ns} {connection} {url}"),
            Self::From { connection } => write!(out, "#from <- {ns} {connection}"),
            Self::Closed { connection, why } => write!(out, "#close <- {ns} {connection} {why}"),
            Self::Down { since, names } => write!(out, "#down <- {ns} {} {names}", since.0),
            Self::Up { names } => write!(out, "#up <- {ns} {names}"),
            Self::Trades { name, first_id, last_id, page } => {
                write!(out, "#trades <- {ns} {name} {first_id} {last_id} ").and_then(|()| out.write_all(page))
            }
            Self::Minutes { name, from, to, page } => {
                write!(out, "#minutes <- {ns} {name} {} {} ", from.0, to.0).and_then(|()| out.write_all(page))
            }
            Self::Gone { name, first_id, last_id } => write!(out, "#gone <- {ns} {name} {first_id} {last_id}"),
            Self::Time => write!(out, "#time <- {ns}"),
            Self::Lost { lines } => write!(out, "#lost <- {ns} {lines}"),
            Self::End => write!(out, "#end <- {ns}"),
        };
        // JSON takes blanks where it takes line breaks.
        for byte in out.iter_mut().skip(start).filter(|byte| matches!(byte, b'\n' | b'\r')) {
            *byte = b' ';
        }
        out.push(b'\n');
    }

    /// Reads a line without its end; `None` if it has none of the forms.
    pub fn parse(line: &'a [u8]) -> Option<(Timestamp, Self)> {
        let mut rest = line;
        let Some(word) = rest.strip_prefix(b"#") else {
            let ns = number(&mut rest)?;
            return Some((Timestamp(ns), Self::Frame(rest)));
        };
        rest = word;
        let word = token(&mut rest);
        matches!(token(&mut rest), b"<-" | b"<->").then_some(())?;
        let ts = Timestamp(number(&mut rest)?);
        Some((ts, Self::parse_as(word, rest)?))
    }

    fn parse_as(word: &[u8], mut rest: &'a [u8]) -> Option<Self> {
        let rest = &mut rest;
        Some(match word {
            b"kandle" => Self::Head(Head {
                venue: Venue::parse(text(token(rest))?)?,
                run: Timestamp(number(rest)?),
                late_window_ms: number(rest)?,
                close_delay_ms: number(rest)?,
            }),
            b"symbol" => Self::Symbol { name: text(token(rest))?, alias: text(rest)? },
            b"open" => Self::Opened { connection: number(rest)?, url: text(rest)? },
            b"from" => Self::From { connection: number(rest)? },
            b"close" => Self::Closed { connection: number(rest)?, why: text(rest)? },
            b"down" => Self::Down { since: Timestamp(number(rest)?), names: text(rest)? },
            b"up" => Self::Up { names: text(rest)? },
            b"trades" => {
                Self::Trades { name: text(token(rest))?, first_id: number(rest)?, last_id: number(rest)?, page: rest }
            }
            b"minutes" => Self::Minutes {
                name: text(token(rest))?,
                from: Timestamp(number(rest)?),
                to: Timestamp(number(rest)?),
                page: rest,
            },
            b"gone" => Self::Gone { name: text(token(rest))?, first_id: number(rest)?, last_id: number(rest)? },
            b"time" => Self::Time,
            b"lost" => Self::Lost { lines: number(rest)? },
            b"end" => Self::End,
            _ => return None,
        })
    }
}

/// Takes the bytes up to the next blank, and the blank.
fn token<'a>(rest: &mut &'a [u8]) -> &'a [u8] {
    let end = rest.iter().position(|byte| *byte == b' ').unwrap_or(rest.len());
    let (token, behind) = rest.split_at(end);
    *rest = behind.get(1..).unwrap_or_default();
    token
}

fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}

fn number<T: std::str::FromStr>(rest: &mut &[u8]) -> Option<T> {
    text(token(rest))?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_reads_back_as_it_was_written() {
        let (ts, names, page) = (Timestamp(1_795_701_971_000_000_123), "BTC/USD ETH/USD", &br#"[{"a":"b c"}]"#[..]);
        let head = Head { venue: Venue::Kraken, run: Timestamp(7), late_window_ms: 300_000, close_delay_ms: 1000 };
        for line in [
            Line::Frame(br#"{"a": 1}"#),
            Line::Head(head),
            Line::Symbol { name: "BTC/USD", alias: "BTC" },
            Line::Opened { connection: 3, url: "wss://ws.kraken.com/v2" },
            Line::From { connection: 3 },
            Line::Closed { connection: 3, why: "the venue closed the connection" },
            Line::Down { since: Timestamp(-1), names },
            Line::Up { names },
            Line::Trades { name: "BTC/USD", first_id: 5, last_id: u64::MAX, page },
            Line::Minutes { name: "BTC/USD", from: Timestamp(1), to: Timestamp(2), page },
            Line::Gone { name: "BTC/USD", first_id: 0, last_id: 0 },
            Line::Time,
            Line::Lost { lines: 9 },
            Line::End,
        ] {
            let mut bytes = Vec::new();
            line.write(ts, &mut bytes);
            assert_eq!(bytes.pop(), Some(b'\n'));
            assert_eq!(Line::parse(&bytes), Some((ts, line)), "{}", String::from_utf8_lossy(&bytes));
        }
    }

    #[test]
    fn a_frame_of_several_lines_is_one_line() {
        let mut bytes = Vec::new();
        Line::Frame(b"{\r\n\"a\":1}").write(Timestamp(5), &mut bytes);
        assert_eq!(bytes, b"5 {  \"a\":1}\n");
    }

    #[test]
    fn other_lines_are_none_of_these() {
        for line in [
            "",
            "#",
            "#kandle",
            "#from <- 1 x",
            "#gone <- 1 X",
            "x {}",
            "#what <- 1",
            "#time -> 1",
            "#kandle <- 1 mars 1 1 1",
        ] {
            assert_eq!(Line::parse(line.as_bytes()), None, "{line}");
        }
    }
}
