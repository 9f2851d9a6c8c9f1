//! What is traded where, and one trade: the values that every other part speaks of.

use std::{collections::HashMap, fmt, sync::Arc};

use crate::number::Scale;

/// A moment in nanoseconds since the Unix epoch, UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// The moment `ms` milliseconds after the Unix epoch; saturates beyond the year 2262.
    pub const fn from_millis(ms: i64) -> Self {
        Self(ms.saturating_mul(1_000_000))
    }

    /// Whole milliseconds since the Unix epoch, rounded down.
    pub const fn millis(self) -> i64 {
        self.0.div_euclid(1_000_000)
    }

    /// This moment moved by `nanos`; saturates.
    pub const fn plus(self, nanos: i64) -> Self {
        Self(self.0.saturating_add(nanos))
    }
}

/// A price in the quote currency, in units of its symbol's price scale: with 2 decimals `Price(6_812_345)` is 68123.45.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Price(pub i64);

/// A quantity of the base currency, in units of its symbol's quantity scale.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Quantity(pub i64);

/// Who took liquidity: the side of the taker's order, on every venue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The taker bought.
    Buy,
    /// The taker sold.
    Sell,
    /// The source does not tell.
    Unknown,
}

impl Side {
    /// `buy`, `sell` or `unknown`, as on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Buy => "buy",
            Self::Sell => "sell",
            Self::Unknown => "unknown",
        }
    }
}

/// A place that trades come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Venue {
    /// Binance spot.
    Binance,
    /// Coinbase Exchange.
    Coinbase,
    /// Kraken spot, WebSocket v2.
    Kraken,
    /// Bybit v5 spot.
    Bybit,
    /// OKX v5.
    Okx,
    /// Hyperliquid perpetuals and spot.
    Hyperliquid,
    /// Rows of a file.
    File,
    /// The seeded simulation.
    Sim,
}

impl Venue {
    /// The six exchanges with a live feed.
    pub const LIVE: [Self; 6] =
        [Self::Binance, Self::Coinbase, Self::Kraken, Self::Bybit, Self::Okx, Self::Hyperliquid];
    /// Every venue.
    pub const ALL: [Self; 8] =
        [Self::Binance, Self::Coinbase, Self::Kraken, Self::Bybit, Self::Okx, Self::Hyperliquid, Self::File, Self::Sim];

    /// The name in configuration, sources and metrics: `binance`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Binance => "binance",
            Self::Coinbase => "coinbase",
            Self::Kraken => "kraken",
            Self::Bybit => "bybit",
            Self::Okx => "okx",
            Self::Hyperliquid => "hyperliquid",
            Self::File => "file",
            Self::Sim => "sim",
        }
    }

    /// The venue of that name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|venue| venue.name() == name)
    }

    /// What this venue's trade ids prove (research: continuity rules of each venue's own pages).
    pub const fn id_rule(self) -> IdRule {
        match self {
            Self::Binance | Self::Coinbase | Self::Kraken | Self::Okx | Self::Sim => IdRule::Contiguous,
            Self::Bybit | Self::Hyperliquid => IdRule::Unique,
            Self::File => IdRule::Arrival,
        }
    }
}

impl fmt::Display for Venue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What the trade ids of an instrument prove.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdRule {
    /// Ids rise by one: a hole is a missing trade, a repeated id a duplicate, and the id gives the order.
    Contiguous,
    /// Ids are unique but not ordered: duplicates are known, missing trades are not. Time and arrival give the order.
    Unique,
    /// There are no ids: rows are numbered as they come, nothing is dropped and nothing is proven.
    Arrival,
}

/// An interned [`Instrument`]: its index in the [`Directory`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Symbol(pub u32);

/// One traded pair on one venue, with the scales that its integers count in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instrument {
    /// Where it trades.
    pub venue: Venue,
    /// The venue's own name: `BTCUSDT`, `BTC-USD`, `BTC/USD`.
    pub name: Box<str>,
    /// Decimals of its prices.
    pub price_scale: Scale,
    /// Decimals of its quantities.
    pub quantity_scale: Scale,
    /// What its trade ids prove.
    pub ids: IdRule,
}

impl Instrument {
    /// `venue:NAME`, the `source` of a candle.
    pub fn source(&self) -> String {
        format!("{}:{}", self.venue, self.name)
    }
}

/// How a trade reached us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Pushed by the venue as it happened.
    Live,
    /// Sent by the venue on subscription: trades from before. On a fresh symbol they only anchor the id chain and open
    /// no candle; later they count as repair.
    Backlog,
    /// Fetched afterwards to fill a hole.
    Repair,
}

/// One trade, or several fills of one taker order at one price where the venue joins them (`trades` > 1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trade {
    /// Which instrument.
    pub symbol: Symbol,
    /// The first venue id that this message stands for; equals `id` unless the venue joins fills.
    pub first_id: u64,
    /// The venue's id; the last one where fills are joined.
    pub id: u64,
    /// How many fills: at least 1.
    pub trades: u32,
    /// The venue's time.
    pub ts_event: Timestamp,
    /// Our time of receipt.
    pub ts_recv: Timestamp,
    /// Above zero.
    pub price: Price,
    /// Above zero, or zero where the source has prices alone.
    pub quantity: Quantity,
    /// The taker's side.
    pub side: Side,
    /// Live, backlog or repair.
    pub origin: Origin,
}

/// The largest price × quantity of one trade, in units of both scales: with 2²⁷ of them a sum still fits into 128 bits.
pub const NOTIONAL_MAX: u128 = 1 << 100;

/// Why a trade never reaches a candle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Refusal {
    /// A number is missing or malformed.
    #[error("malformed")]
    Malformed,
    /// Price or quantity below zero.
    #[error("negative")]
    Negative,
    /// Price or quantity of zero.
    #[error("zero")]
    Zero,
    /// More decimals than the symbol's scale.
    #[error("too_precise")]
    TooPrecise,
    /// Beyond 64 bits, a notional beyond [`NOTIONAL_MAX`], or a time far from the present.
    #[error("absurd")]
    Absurd,
    /// An instrument that nobody registered.
    #[error("unknown_symbol")]
    UnknownSymbol,
    /// An unknown word where the venue's page lists a few, such as a side.
    #[error("unknown_value")]
    UnknownValue,
}

impl Refusal {
    /// Every reason, for counters.
    pub const ALL: [Self; 7] = [
        Self::Malformed,
        Self::Negative,
        Self::Zero,
        Self::TooPrecise,
        Self::Absurd,
        Self::UnknownSymbol,
        Self::UnknownValue,
    ];
}

impl From<crate::number::NumberError> for Refusal {
    fn from(error: crate::number::NumberError) -> Self {
        match error {
            crate::number::NumberError::Malformed => Self::Malformed,
            crate::number::NumberError::TooPrecise => Self::TooPrecise,
            crate::number::NumberError::TooLarge => Self::Absurd,
        }
    }
}

impl Trade {
    /// Checks the laws that every trade obeys, whatever its source.
    ///
    /// # Errors
    /// The [`Refusal`] that a counter is kept for.
    pub fn check(&self, prices_alone: bool) -> Result<(), Refusal> {
        if self.price.0 < 0 || self.quantity.0 < 0 {
            return Err(Refusal::Negative);
        }
        if self.price.0 == 0 || (self.quantity.0 == 0 && !prices_alone) {
            return Err(Refusal::Zero);
        }
        let ordered = self.first_id <= self.id && self.trades > 0;
        if !ordered || self.notional() > NOTIONAL_MAX || self.ts_event.0 <= 0 {
            return Err(Refusal::Absurd);
        }
        Ok(())
    }

    /// What is left of a trade that joins several fills when all but those from `first_id` to `last_id` are taken away;
    /// `None` unless `fills` holds each of the others, at the same price.
    pub(crate) fn without<'a>(
        &self,
        fills: impl Iterator<Item = &'a Self>,
        first_id: u64,
        last_id: u64,
    ) -> Option<Self> {
        let within = |fill: &&Self| self.first_id <= fill.first_id && fill.id <= self.id;
        let (mut quantity, mut count) = (self.quantity.0, 0);
        for fill in fills.filter(within) {
            let is_other = fill.id < first_id || last_id < fill.first_id;
            if !is_other || fill.price != self.price {
                return None;
            }
            quantity -= fill.quantity.0;
            count += fill.trades;
        }
        let trades = self.trades.checked_sub(count)?;
        let is_all = u64::from(trades) == last_id - first_id + 1;
        (is_all && quantity > 0).then_some(Self {
            first_id,
            id: last_id,
            trades,
            quantity: Quantity(quantity),
            ..*self
        })
    }

    /// Price × quantity in units of both scales.
    #[inline]
    pub fn notional(&self) -> u128 {
        u128::from(self.price.0.unsigned_abs()) * u128::from(self.quantity.0.unsigned_abs())
    }
}

/// A name that clients may use for an instrument: an alias (`BTC`) or its source (`binance:BTCUSDT`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Label(pub u32);

/// All instruments and the names that clients know them by. Built once at start, then shared.
#[derive(Clone, Debug, Default)]
pub struct Directory {
    instruments: Vec<Arc<Instrument>>,
    labels: Vec<(Box<str>, Symbol)>,
    by_label: HashMap<Box<str>, Label>,
    by_name: HashMap<(Venue, Box<str>), Symbol>,
}

/// Why a name could not be registered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DirectoryError {
    /// The alias is taken by another instrument.
    #[error("the alias {0:?} is given twice")]
    Taken(String),
    /// Not 1 to 40 letters, digits, `:`, `-`, `/`, `_` or `@`.
    #[error("{0:?} is not a symbol name: use 1 to 40 letters, digits or any of - / _ : @")]
    Name(String),
}

impl Directory {
    /// An empty directory.
    pub fn new() -> Self {
        Self::default()
    }

    /// Registers an instrument under its source name and, if given, an alias; a known instrument keeps its scales.
    ///
    /// # Errors
    /// [`DirectoryError`] if the alias is taken or a name has other characters.
    pub fn register(&mut self, alias: Option<&str>, instrument: Instrument) -> Result<Symbol, DirectoryError> {
        let source = instrument.source();
        for name in alias.into_iter().chain([source.as_str()]) {
            let allowed = |c: char| c.is_ascii_alphanumeric() || "-/_:@".contains(c);
            if name.is_empty() || name.len() > 40 || !name.chars().all(allowed) {
                return Err(DirectoryError::Name(name.to_owned()));
            }
        }
        if let Some(alias) = alias
            && self.by_label.contains_key(alias)
        {
            return Err(DirectoryError::Taken(alias.to_owned()));
        }
        let key = (instrument.venue, instrument.name.clone());
        let symbol = match self.by_name.get(&key) {
            Some(symbol) => *symbol,
            None => {
                let symbol = Symbol(u32::try_from(self.instruments.len()).unwrap_or(u32::MAX));
                self.by_name.insert(key, symbol);
                self.instruments.push(Arc::new(instrument));
                self.label(&source, symbol);
                symbol
            }
        };
        if let Some(alias) = alias {
            self.label(alias, symbol);
        }
        Ok(symbol)
    }

    fn label(&mut self, name: &str, symbol: Symbol) {
        let label = Label(u32::try_from(self.labels.len()).unwrap_or(u32::MAX));
        self.labels.push((name.into(), symbol));
        self.by_label.insert(name.into(), label);
    }

    /// The instrument behind a symbol.
    pub fn instrument(&self, symbol: Symbol) -> Option<&Arc<Instrument>> {
        self.instruments.get(symbol.0 as usize)
    }

    /// The symbol of a venue's own name, as its frames spell it.
    pub fn find(&self, venue: Venue, name: &str) -> Option<Symbol> {
        // A borrowed tuple key needs an owned name; feeds keep their own table for the hot path.
        self.by_name.get(&(venue, Box::from(name))).copied()
    }

    /// The label that clients know an alias or a source by.
    pub fn find_label(&self, name: &str) -> Option<Label> {
        self.by_label.get(name).copied()
    }

    /// A label's text and symbol.
    pub fn label_of(&self, label: Label) -> Option<(&str, Symbol)> {
        self.labels.get(label.0 as usize).map(|(name, symbol)| (&**name, *symbol))
    }

    /// All symbols with their instruments, in the order of registration.
    pub fn symbols(&self) -> impl Iterator<Item = (Symbol, &Arc<Instrument>)> {
        (0..).map(Symbol).zip(&self.instruments)
    }

    /// All labels with their text and symbol: sources and aliases.
    pub fn labels(&self) -> impl Iterator<Item = (Label, &str, Symbol)> {
        (0..).map(Label).zip(&self.labels).map(|(label, (name, symbol))| (label, &**name, *symbol))
    }

    /// How many instruments there are.
    pub fn len(&self) -> usize {
        self.instruments.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.instruments.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instrument(name: &str) -> Instrument {
        let scale = Scale::new(8).unwrap();
        Instrument {
            venue: Venue::Binance,
            name: name.into(),
            price_scale: scale,
            quantity_scale: scale,
            ids: IdRule::Contiguous,
        }
    }

    #[test]
    fn an_alias_and_a_source_name_the_same_symbol() {
        let mut directory = Directory::new();
        let symbol = directory.register(Some("BTC"), instrument("BTCUSDT")).unwrap();
        assert_eq!(directory.find(Venue::Binance, "BTCUSDT"), Some(symbol));
        for name in ["BTC", "binance:BTCUSDT"] {
            assert_eq!(directory.label_of(directory.find_label(name).unwrap()), Some((name, symbol)));
        }
        assert_eq!(directory.register(Some("XBT"), instrument("BTCUSDT")), Ok(symbol));
        assert_eq!(directory.register(Some("BTC"), instrument("ETHUSDT")), Err(DirectoryError::Taken("BTC".into())));
        assert!(matches!(directory.register(Some("a b"), instrument("X")), Err(DirectoryError::Name(_))));
    }

    #[test]
    fn values_that_no_market_knows_are_refused() {
        let trade = Trade {
            symbol: Symbol(0),
            first_id: 1,
            id: 1,
            trades: 1,
            ts_event: Timestamp(1),
            ts_recv: Timestamp(1),
            price: Price(1),
            quantity: Quantity(1),
            side: Side::Buy,
            origin: Origin::Live,
        };
        assert_eq!(trade.check(false), Ok(()));
        assert_eq!(Trade { price: Price(-1), ..trade }.check(false), Err(Refusal::Negative));
        assert_eq!(Trade { quantity: Quantity(0), ..trade }.check(false), Err(Refusal::Zero));
        assert_eq!(Trade { quantity: Quantity(0), ..trade }.check(true), Ok(()));
        let large = Trade { price: Price(i64::MAX), quantity: Quantity(i64::MAX), ..trade };
        assert_eq!(large.check(false), Err(Refusal::Absurd));
        assert_eq!(Trade { first_id: 2, ..trade }.check(false), Err(Refusal::Absurd));
    }
}
