//! Which column of a file of candles holds what.

use crate::replay::columns::{Column, Field, Header, assign};

const USE: &str =
    "use time=…,open=…,high=…,low=…,close=…[,volume=…][,trades=…][,quote_volume=…][,buy_volume=…][,symbol=…]";

/// What a column can hold. The first five are needed.
const ROLES: [&str; 10] =
    ["time", "open", "high", "low", "close", "volume", "trades", "quote_volume", "buy_volume", "symbol"];
const NEEDED: usize = 5;

/// `time=…,open=…`, as given on the command line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CandleColumns([Option<Column>; ROLES.len()]);

/// The places of all columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CandleLayout {
    /// Time of the candle.
    pub time: Field,
    /// Open, high, low, close.
    pub prices: [Field; 4],
    /// Base volume.
    pub volume: Option<Field>,
    /// Number of trades.
    pub trades: Option<Field>,
    /// Quote volume.
    pub quote_volume: Option<Field>,
    /// Taker buy volume.
    pub buy_volume: Option<Field>,
    /// Name of the instrument.
    pub symbol: Option<Field>,
}

impl CandleColumns {
    /// Reads the value of `--columns`.
    ///
    /// # Errors
    /// A sentence that says what is wrong and how to write it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let columns = Self(assign(text, ROLES, USE)?);
        let mut missing = ROLES.iter().zip(&columns.0).take(NEEDED).filter(|(_, column)| column.is_none());
        missing.next().map_or(Ok(()), |(role, _)| Err(format!("{role} is needed; {USE}")))?;
        Ok(columns)
    }

    /// Whether there is a volume.
    pub fn has_volume(&self) -> bool {
        self.0.get(NEEDED).is_some_and(Option::is_some)
    }

    /// Whether rows name their instrument.
    pub fn has_symbol(&self) -> bool {
        self.0.last().is_some_and(Option::is_some)
    }

    /// The places of the columns, and whether `first` is a header rather than a row; `is_time` says whether a text is one.
    ///
    /// # Errors
    /// If a name is not in the header; says which are.
    pub fn resolve(&self, first: &[u8], is_time: impl Fn(&[u8]) -> bool) -> Result<(CandleLayout, bool), String> {
        let mut header = Header::read(first);
        let mut places = [None; ROLES.len()];
        for (place, column) in places.iter_mut().zip(&self.0) {
            *place = column.as_ref().map(|column| header.find(column)).transpose()?;
        }
        let [
            Some(time),
            Some(open),
            Some(high),
            Some(low),
            Some(close),
            volume,
            trades,
            quote_volume,
            buy_volume,
            symbol,
        ] = places
        else {
            return Err(USE.to_owned());
        };
        let is_header = header.is_named || !header.text(time).is_some_and(is_time);
        let prices = [open, high, low, close];
        Ok((CandleLayout { time, prices, volume, trades, quote_volume, buy_volume, symbol }, is_header))
    }
}
