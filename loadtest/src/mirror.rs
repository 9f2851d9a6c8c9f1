//! The candles of a few sessions as text, to compare with the server's own at the end.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;

/// Candles that are kept of one channel.
const CANDLES_MAX: usize = 1024;

/// Differences that are told.
const DIFFERENCES_MAX: usize = 10;

/// The candles of one channel, by their open time: from a snapshot, then moved on by events.
#[derive(Clone, Debug, Default)]
pub(crate) struct Mirror {
    candles: BTreeMap<i64, Box<str>>,
}

/// Candles that were compared, and the first that differ.
#[derive(Clone, Debug, Default)]
pub(crate) struct Comparison {
    /// How many were compared.
    pub(crate) candles: u64,
    /// Differences, in words.
    pub(crate) differences: Vec<String>,
}

#[derive(Deserialize)]
struct Head {
    ts: i64,
    is_closed: bool,
}

impl Mirror {
    /// Takes a candle in.
    pub(crate) fn put(&mut self, text: &str) {
        let Ok(head) = serde_json::from_str::<Head>(text) else { return };
        self.candles.insert(head.ts, text.into());
        if self.candles.len() > CANDLES_MAX {
            self.candles.pop_first();
        }
    }

    /// Compares with the server's candles of this moment, character by character.
    ///
    /// A candle that is over but not closed is left out: it goes on changing until it closes, and only then is sent.
    pub(crate) fn compare(&self, channel: &str, theirs: &[&RawValue], out: &mut Comparison) {
        let count = theirs.len();
        for (index, theirs) in theirs.iter().enumerate() {
            let Ok(head) = serde_json::from_str::<Head>(theirs.get()) else { continue };
            let is_newest = index + 1 == count;
            let Some(ours) = self.candles.get(&head.ts).filter(|_| head.is_closed || is_newest) else { continue };
            out.candles += 1;
            if **ours != *theirs.get() && out.differences.len() < DIFFERENCES_MAX {
                out.differences.push(format!("{channel}: held {ours}, the server has {theirs}"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candle(ts: i64, is_closed: bool, close: &str) -> String {
        format!(r#"{{"ts":{ts},"close":{close},"is_closed":{is_closed}}}"#)
    }

    #[test]
    fn a_candle_that_differs_in_one_character_is_found() {
        let mut mirror = Mirror::default();
        mirror.put(&candle(1, true, "10.50"));
        mirror.put(&candle(2, false, "10.5"));
        mirror.put(&candle(3, false, "11"));
        mirror.put("no candle");
        let check = |candles: &[String]| {
            let raw: Vec<Box<RawValue>> = candles.iter().map(|text| serde_json::from_str(text).unwrap()).collect();
            let raw: Vec<&RawValue> = raw.iter().map(|raw| &**raw).collect();
            let mut out = Comparison::default();
            mirror.compare("market.X.1s", &raw, &mut out);
            (out.candles, out.differences.len())
        };
        assert_eq!(check(&[candle(0, true, "9"), candle(1, true, "10.50"), candle(3, false, "11")]), (2, 0));
        assert_eq!(check(&[candle(1, true, "10.5"), candle(3, false, "11")]), (2, 1));
        assert_eq!(check(&[candle(1, true, "10.50"), candle(2, false, "99"), candle(3, false, "12")]), (2, 1));
    }
}
