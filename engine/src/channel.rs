//! What a client can subscribe to: `market.{SYMBOL}.{INTERVAL}`, `trades.{SYMBOL}`, `ticker.{SYMBOL}`.

use crate::{
    interval::Interval,
    market::{Directory, Label, Symbol},
};

/// How many channels each label has: one per interval, trades and ticker.
const KINDS: u32 = Interval::COUNT as u32 + 2;
const TRADES: u32 = Interval::COUNT as u32;

/// A channel as a dense number: tables are indexed by it, on shards and workers alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChannelId(pub u32);

/// What a channel carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Candles of an interval: state, the newest open candle replaces the one before.
    Market(Interval),
    /// Every trade.
    Trades,
    /// The last price and 24 hours: state.
    Ticker,
}

/// Why a text names no channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChannelError {
    /// Not one of the three forms.
    #[error("unknown channel: use market.SYMBOL.INTERVAL, trades.SYMBOL or ticker.SYMBOL")]
    Form,
    /// A symbol that is not configured.
    #[error("unknown symbol: /v1/market/symbols lists those that are served")]
    Symbol,
    /// Not one of the 19 intervals.
    #[error("unknown interval: use 1s 5s 15s 30s 1m 3m 5m 15m 30m 1h 2h 4h 6h 8h 12h 1d 3d 1w or 1M")]
    Interval,
}

/// The longest channel name that is looked at.
pub const CHANNEL_BYTES_MAX: usize = 64;

impl ChannelId {
    /// The channel of that label and kind.
    pub const fn new(label: Label, kind: Kind) -> Self {
        let offset = match kind {
            Kind::Market(interval) => interval as u32,
            Kind::Trades => TRADES,
            Kind::Ticker => TRADES + 1,
        };
        Self(label.0 * KINDS + offset)
    }

    /// Reads a channel's name.
    ///
    /// # Errors
    /// [`ChannelError`] says which part is unknown and what would be right.
    pub fn parse(name: &str, directory: &Directory) -> Result<Self, ChannelError> {
        if name.len() > CHANNEL_BYTES_MAX {
            return Err(ChannelError::Form);
        }
        let (family, rest) = name.split_once('.').ok_or(ChannelError::Form)?;
        let (symbol, kind) = match family {
            "market" => {
                let (symbol, interval) = rest.rsplit_once('.').ok_or(ChannelError::Form)?;
                (symbol, Kind::Market(Interval::parse(interval).ok_or(ChannelError::Interval)?))
            }
            "trades" => (rest, Kind::Trades),
            "ticker" => (rest, Kind::Ticker),
            _ => return Err(ChannelError::Form),
        };
        directory.find_label(symbol).map(|label| Self::new(label, kind)).ok_or(ChannelError::Symbol)
    }

    /// The label that the channel was named by.
    pub const fn label(self) -> Label {
        Label(self.0 / KINDS)
    }

    /// What it carries.
    pub fn kind(self) -> Kind {
        match self.0 % KINDS {
            TRADES => Kind::Trades,
            offset if offset > TRADES => Kind::Ticker,
            offset => Interval::ALL.get(offset as usize).map_or(Kind::Ticker, |interval| Kind::Market(*interval)),
        }
    }

    /// The symbol behind it, if the label is of this directory.
    pub fn symbol(self, directory: &Directory) -> Option<Symbol> {
        directory.label_of(self.label()).map(|(_, symbol)| symbol)
    }

    /// Its name on the wire.
    pub fn name(self, directory: &Directory) -> String {
        let label = directory.label_of(self.label()).map_or("?", |(name, _)| name);
        match self.kind() {
            Kind::Market(interval) => format!("market.{label}.{}", interval.name()),
            Kind::Trades => format!("trades.{label}"),
            Kind::Ticker => format!("ticker.{label}"),
        }
    }

    /// One more than the largest channel number of a directory: the length of a table indexed by channel.
    pub fn count(directory: &Directory) -> usize {
        directory.labels().count() * KINDS as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        market::{IdRule, Instrument, Venue},
        number::Scale,
    };

    fn directory() -> Directory {
        let mut directory = Directory::new();
        let scale = Scale::new(8).unwrap();
        let ids = IdRule::Contiguous;
        let name = "BTCUSDT".into();
        let instrument = Instrument { venue: Venue::Binance, name, price_scale: scale, quantity_scale: scale, ids };
        directory.register(Some("BTC"), instrument).unwrap();
        directory
    }

    #[test]
    fn names_and_numbers_of_channels_round_trip() {
        let directory = directory();
        for name in ["market.BTC.1m", "market.BTC.1M", "market.binance:BTCUSDT.1s", "trades.BTC", "ticker.BTC"] {
            let channel = ChannelId::parse(name, &directory).unwrap();
            assert_eq!(channel.name(&directory), name);
            assert!((channel.0 as usize) < ChannelId::count(&directory));
        }
    }

    #[test]
    fn an_unknown_name_says_which_part_is_wrong() {
        let directory = directory();
        let check = |name: &str, want| assert_eq!(ChannelId::parse(name, &directory), Err(want), "{name}");
        check("market.BTC", ChannelError::Form);
        check("book.BTC", ChannelError::Form);
        check("market.BTC.7m", ChannelError::Interval);
        check("market.NOPE.1m", ChannelError::Symbol);
        check(&format!("trades.{}", "x".repeat(100)), ChannelError::Form);
    }
}
