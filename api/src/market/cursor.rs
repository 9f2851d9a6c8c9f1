//! Where the next page begins, as an opaque text that belongs to one query: version, query, place, checksum, in hex.

use engine::{interval::Interval, market::Timestamp};
use store::{Source, TradePlace};

use super::query::Fill;
use crate::{error::ApiError, given::TIME_MAX};

const CANDLES: u8 = 1;
const TRADES: u8 = 2;
/// Kind and version, interval, fill, end, place (two numbers), source, checksum.
const BYTES: usize = 1 + 1 + 1 + 8 + 8 + 8 + 4 + 4;

/// The longest candle behind the latest time of a query.
const PLACE_MAX: i64 = TIME_MAX.0 + 32 * 86_400 * 1_000_000_000;

/// Where the next page of candles begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cursor {
    /// How long they are.
    pub(crate) interval: Interval,
    /// What is done about holes.
    pub(crate) fill: Fill,
    /// The end of the query, also where none was given.
    pub(crate) end: Timestamp,
    /// The first open time of the page.
    pub(crate) at: Timestamp,
}

impl Cursor {
    /// The text for a client.
    pub(crate) fn encode(&self, source: &Source) -> String {
        let fill = u8::from(self.fill == Fill::Flat);
        encode(
            &Fields { kind: CANDLES, interval: self.interval as u8, fill, end: self.end.0, at: self.at.0, id: 0 },
            source,
        )
    }

    /// Reads [`Self::encode`]'s text.
    ///
    /// # Errors
    /// [`ApiError`] if it is none, or of another instrument.
    pub(crate) fn parse(text: &str, source: &Source) -> Result<Self, ApiError> {
        let fields = decode(text, source).filter(|fields| fields.kind == CANDLES).ok_or_else(foreign)?;
        let interval = *Interval::ALL.get(usize::from(fields.interval)).ok_or_else(foreign)?;
        let fill = if fields.fill == 0 { Fill::None } else { Fill::Flat };
        let (end, at) = (Timestamp(fields.end), Timestamp(fields.at));
        // The checksum is no secret: a made-up place must be one that a page can end at.
        let is_place = |at: Timestamp| (0..=PLACE_MAX).contains(&at.0) && interval.open_time(at) == at;
        if !is_place(end) || !is_place(at) || at > end {
            return Err(foreign());
        }
        Ok(Self { interval, fill, end, at })
    }
}

/// The text for the trades behind `place`.
pub(crate) fn encode_trades(place: TradePlace, source: &Source) -> String {
    let at = place.ts_event.0;
    encode(&Fields { kind: TRADES, interval: 0, fill: 0, end: 0, at, id: place.id }, source)
}

/// Reads [`encode_trades`]' text.
///
/// # Errors
/// [`ApiError`] if it is none, or of another instrument.
pub(crate) fn parse_trades(text: &str, source: &Source) -> Result<TradePlace, ApiError> {
    let fields = decode(text, source).filter(|fields| fields.kind == TRADES).ok_or_else(foreign)?;
    Ok(TradePlace { ts_event: Timestamp(fields.at), id: fields.id })
}

/// The answer to a cursor of another query.
pub(crate) fn foreign() -> ApiError {
    let remedy = "give it back as it came, with the parameters of the query that it came from, or leave it out";
    ApiError::invalid("cursor", format!("cursor does not belong to this query: {remedy}"))
}

struct Fields {
    kind: u8,
    interval: u8,
    fill: u8,
    end: i64,
    at: i64,
    id: u64,
}

fn encode(fields: &Fields, source: &Source) -> String {
    let mut bytes = vec![fields.kind, fields.interval, fields.fill];
    bytes.extend_from_slice(&fields.end.to_be_bytes());
    bytes.extend_from_slice(&fields.at.to_be_bytes());
    bytes.extend_from_slice(&fields.id.to_be_bytes());
    bytes.extend_from_slice(&crc32fast::hash(source.as_str().as_bytes()).to_be_bytes());
    bytes.extend_from_slice(&crc32fast::hash(&bytes).to_be_bytes());
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn decode(text: &str, source: &Source) -> Option<Fields> {
    if text.len() != 2 * BYTES || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let byte = |at: usize| u8::from_str_radix(text.get(2 * at..2 * at + 2)?, 16).ok();
    let bytes: Vec<u8> = (0..BYTES).map(byte).collect::<Option<_>>()?;
    let (body, sum) = bytes.split_last_chunk::<4>()?;
    let (_, named) = body.split_last_chunk::<4>()?;
    let source = crc32fast::hash(source.as_str().as_bytes());
    if crc32fast::hash(body) != u32::from_be_bytes(*sum) || u32::from_be_bytes(*named) != source {
        return None;
    }
    let [kind, interval, fill, rest @ ..] = body else { return None };
    let (end, rest) = rest.split_first_chunk::<8>()?;
    let (at, rest) = rest.split_first_chunk::<8>()?;
    let (id, _) = rest.split_first_chunk::<8>()?;
    Some(Fields {
        kind: *kind,
        interval: *interval,
        fill: *fill,
        end: i64::from_be_bytes(*end),
        at: i64::from_be_bytes(*at),
        id: u64::from_be_bytes(*id),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn prop_a_cursor_comes_back_equal_and_any_changed_letter_is_seen(
            (interval, flat, at, span) in (0..Interval::COUNT, any::<bool>(), 0..TIME_MAX.0, 0..TIME_MAX.0),
            (place, digit) in (0..2 * BYTES, 0..16_u32),
        ) {
            let source = Source::parse("binance:BTCUSDT").unwrap();
            let fill = if flat { Fill::Flat } else { Fill::None };
            let interval = Interval::ALL[interval];
            let [at, end] = [at, at.max(span)].map(|at| interval.close_time(interval.open_time(Timestamp(at))));
            let cursor = Cursor { interval, fill, end, at };
            let text = cursor.encode(&source);
            prop_assert_eq!(Cursor::parse(&text, &source).unwrap(), cursor);
            prop_assert!(Cursor::parse(&text, &Source::parse("binance:ETHUSDT").unwrap()).is_err());
            prop_assert!(parse_trades(&text, &source).is_err());
            let mut changed = text.clone();
            changed.replace_range(place..=place, &char::from_digit(digit, 16).unwrap().to_string());
            prop_assert_eq!(Cursor::parse(&changed, &source).is_ok(), changed == text);
        }

        #[test]
        fn prop_a_made_up_place_is_refused_or_one_that_a_page_can_end_at(
            (interval, end, at) in (0..Interval::COUNT, any::<i64>(), any::<i64>()),
        ) {
            let source = Source::parse("binance:BTCUSDT").unwrap();
            let interval = Interval::ALL[interval];
            let made = Cursor { interval, fill: Fill::None, end: Timestamp(end), at: Timestamp(at) };
            if let Ok(cursor) = Cursor::parse(&made.encode(&source), &source) {
                prop_assert!(cursor.at.0 >= 0 && cursor.at <= cursor.end && interval.open_time(cursor.at) == cursor.at);
            }
        }

        #[test]
        fn prop_a_place_among_trades_comes_back_equal(ts in any::<i64>(), id in any::<u64>()) {
            let source = Source::parse("binance:BTCUSDT").unwrap();
            let place = TradePlace { ts_event: Timestamp(ts), id };
            prop_assert_eq!(parse_trades(&encode_trades(place, &source), &source).unwrap(), place);
        }

        #[test]
        fn prop_no_text_panics(text in any::<String>()) {
            let source = Source::parse("binance:BTCUSDT").unwrap();
            let _ = (Cursor::parse(&text, &source).is_ok(), parse_trades(&text, &source).is_ok());
        }
    }
}
