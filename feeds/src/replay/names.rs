//! Which instruments a recording holds.

use std::{collections::BTreeSet, path::Path};

use engine::market::Venue;
use simd_json::{BorrowedValue, prelude::*};

use super::{RawFrames, ReplayError};

/// How many instruments one recording may hold.
const NAMES_MAX: usize = 10_000;

/// The names of all instruments with a trade in the file, sorted, as the venue spells them.
///
/// # Errors
/// [`ReplayError`] if the file cannot be read; a frame that cannot be parsed is passed over.
pub fn discover(path: &Path, venue: Venue) -> Result<Vec<String>, ReplayError> {
    let mut names = BTreeSet::new();
    for frame in RawFrames::open(path)? {
        let mut text = frame?.text.into_bytes();
        let Ok(frame) = simd_json::to_borrowed_value(&mut text) else { continue };
        collect(venue, &frame, &mut |name| {
            if names.len() < NAMES_MAX && !names.contains(name) {
                names.insert(name.to_owned());
            }
        });
    }
    Ok(names.into_iter().collect())
}

/// Calls `found` with the instrument of each trade in the frame.
fn collect(venue: Venue, frame: &BorrowedValue<'_>, found: &mut dyn FnMut(&str)) {
    let channel = frame.get_str("channel");
    match venue {
        Venue::Binance => {
            let data = frame.get("data").unwrap_or(frame);
            if matches!(data.get_str("e"), Some("trade" | "aggTrade")) {
                data.get_str("s").into_iter().for_each(found);
            }
        }
        Venue::Coinbase if matches!(frame.get_str("type"), Some("match" | "last_match")) => {
            frame.get_str("product_id").into_iter().for_each(found);
        }
        Venue::Kraken if channel == Some("trade") => of_rows(frame, "symbol", found),
        Venue::Hyperliquid if channel == Some("trades") => of_rows(frame, "coin", found),
        Venue::Bybit if frame.get_str("topic").is_some_and(|topic| topic.starts_with("publicTrade.")) => {
            of_rows(frame, "s", found);
        }
        Venue::Okx => {
            let channel = frame.get("arg").and_then(|arg| arg.get_str("channel"));
            if matches!(channel, Some("trades" | "trades-all")) {
                of_rows(frame, "instId", found);
            }
        }
        _ => {}
    }
}

fn of_rows(frame: &BorrowedValue<'_>, field: &str, found: &mut dyn FnMut(&str)) {
    let rows = frame.get_array("data").into_iter().flatten();
    rows.filter_map(|row| row.get_str(field)).for_each(found);
}
