//! Which symbols are served by default, and how the text `venue:NAME` is read.

use engine::{
    market::{Instrument, Venue},
    number::Scale,
};

/// Decimals of a price and of a quantity that are not listed: they hold every value the six venues were seen to send,
/// up to 922 million a coin and 92 billion coins a trade.
pub const DEFAULT_SCALES: (u8, u8) = (10, 8);

const TABLE: &str = include_str!("../symbols.txt");

/// Why a text names no instrument.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SymbolError {
    /// There is no colon, or nothing beside it.
    #[error("{0:?} is not an instrument: write venue:NAME, such as \"binance:BTCUSDT\"")]
    Form(String),
    /// The venue has no feed.
    #[error("unknown venue {0:?}: use binance, coinbase, kraken, bybit, okx or hyperliquid")]
    Venue(String),
}

/// The default aliases with their venues and names.
pub fn default_symbols() -> impl Iterator<Item = (&'static str, Venue, &'static str)> {
    rows().filter_map(|mut row| {
        let (alias, source) = (row.next()?, row.next()?);
        let (venue, name) = parse_source(source).ok()?;
        Some((alias, venue, name))
    })
}

fn rows() -> impl Iterator<Item = std::str::SplitWhitespace<'static>> {
    TABLE.lines().filter(|line| !line.starts_with('#')).map(str::split_whitespace)
}

/// Reads `venue:NAME` for a venue with a live feed.
///
/// # Errors
/// [`SymbolError`] says what to write instead.
pub fn parse_source(source: &str) -> Result<(Venue, &str), SymbolError> {
    match source.split_once(':') {
        Some((venue, name)) if !name.is_empty() => {
            let known = Venue::parse(venue).filter(|venue| Venue::LIVE.contains(venue));
            known.map(|known| (known, name)).ok_or_else(|| SymbolError::Venue(venue.to_owned()))
        }
        _ => Err(SymbolError::Form(source.to_owned())),
    }
}

/// An instrument with its scales: those of the table, or the default ones.
pub fn instrument(venue: Venue, name: &str) -> Instrument {
    let listed = rows().find_map(|mut row| {
        let source = row.nth(1)?;
        (parse_source(source) == Ok((venue, name))).then_some(())?;
        Some((row.next()?.parse().ok()?, row.next()?.parse().ok()?))
    });
    let (price, quantity) = listed.unwrap_or(DEFAULT_SCALES);
    scaled(venue, name, price, quantity)
}

/// An instrument with decimals of one's own; more than 18 are cut to 18.
pub fn scaled(venue: Venue, name: &str, price: u8, quantity: u8) -> Instrument {
    let scale = |decimals: u8| Scale::new(decimals.min(Scale::MAX)).unwrap_or(Scale::ZERO);
    Instrument {
        venue,
        name: name.into(),
        price_scale: scale(price),
        quantity_scale: scale(quantity),
        ids: venue.id_rule(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn the_default_table_has_a_hundred_aliases_over_all_venues() {
        let symbols: Vec<_> = default_symbols().collect();
        assert!(symbols.len() >= 100, "{}", symbols.len());
        assert_eq!(symbols.len(), rows().count());
        assert_eq!(symbols.iter().map(|row| row.0).collect::<HashSet<_>>().len(), symbols.len());
        assert_eq!(symbols.iter().map(|row| row.1).collect::<HashSet<_>>().len(), Venue::LIVE.len());
    }

    #[test]
    fn a_source_is_read_or_refused_with_a_remedy() {
        assert_eq!(parse_source("kraken:BTC/USD"), Ok((Venue::Kraken, "BTC/USD")));
        assert!(matches!(parse_source("BTCUSDT"), Err(SymbolError::Form(_))));
        assert!(parse_source("ftx:BTC").unwrap_err().to_string().contains("use binance"));
        assert_eq!(instrument(Venue::Binance, "SHIBUSDT").price_scale.decimals(), 12);
        assert_eq!(instrument(Venue::Binance, "NEWUSDT").price_scale.decimals(), 10);
    }
}
