//! Files of candles row by row: which cells hold what, and the candle that they spell.

use std::path::Path;

use anyhow::Context;
use engine::{
    market::{Price, Timestamp},
    message::VenueCandle,
    number::{NumberError, parse_amount, parse_decimal},
};
use store::Scales;

use super::{
    columns::CandleLayout,
    refusals::Reason,
    time::{open_time, parse},
};
use crate::{
    cli::ImportArgs,
    replay::{
        columns::split,
        input::{Input, Line},
    },
};

/// How many rows lie between two looks at the progress.
const ROWS_PER_TURN: u64 = 4096;

/// The rows of one file.
pub struct Rows<'a> {
    args: &'a ImportArgs,
    path: &'a Path,
    input: Input,
    layout: Option<CandleLayout>,
    fields: Vec<(usize, usize)>,
    told: u64,
}

/// One row.
pub struct Row<'a> {
    /// Its line, from 1.
    pub line: u64,
    /// Its text.
    pub text: &'a [u8],
    /// Its cells, or why there are none; a header and an empty line give no reason.
    pub cells: Result<Cells<'a>, Option<Reason>>,
}

/// The cells of a row that mean something.
pub struct Cells<'a> {
    /// When the candle opens.
    pub time: Result<Timestamp, NumberError>,
    /// Open, high, low, close.
    pub prices: [&'a [u8]; 4],
    /// Base volume.
    pub volume: Option<&'a [u8]>,
    /// Taker buy volume.
    pub buy_volume: Option<&'a [u8]>,
    /// Name of the instrument; empty without such a column.
    pub symbol: &'a [u8],
    quote_volume: Option<&'a [u8]>,
    trades: Option<&'a [u8]>,
}

impl<'a> Rows<'a> {
    /// Opens a file.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn open(args: &'a ImportArgs, path: &'a Path) -> anyhow::Result<Self> {
        let input = Input::open(path).with_context(|| format!("cannot read {}", path.display()))?;
        Ok(Self { args, path, input, layout: None, fields: Vec::new(), told: 0 })
    }

    /// The next row; `turn` is told now and then how many more bytes of the file were read.
    ///
    /// # Errors
    /// If the file cannot be read on, or its header lacks a column.
    pub fn next_row(&mut self, turn: &mut impl FnMut(u64)) -> anyhow::Result<Option<Row<'_>>> {
        let Self { args, path, input, layout, fields, told } = self;
        let bytes = input.bytes();
        let Some((line, text)) = input.next_line().with_context(|| format!("cannot read {}", path.display()))? else {
            turn(bytes - *told);
            return Ok(None);
        };
        if line.is_multiple_of(ROWS_PER_TURN) {
            turn(bytes - *told);
            *told = bytes;
        }
        let Line::Text(text) = text else {
            return Ok(Some(Row { line, text: b"", cells: Err(Some(Reason::new("line_too_long"))) }));
        };
        let layout = match layout {
            Some(layout) => *layout,
            None => {
                let is_time = |text: &[u8]| parse(text, args.time_unit) != Err(NumberError::Malformed);
                let found = args.columns.resolve(text, is_time);
                let (found, is_header) =
                    found.map_err(|error| anyhow::anyhow!("{}, line {line}: {error}", path.display()))?;
                *layout = Some(found);
                if is_header {
                    return Ok(Some(Row { line, text, cells: Err(None) }));
                }
                found
            }
        };
        if text.iter().all(u8::is_ascii_whitespace) {
            return Ok(Some(Row { line, text, cells: Err(None) }));
        }
        split(text, fields);
        Ok(Some(Row { line, text, cells: cells(args, text, fields, &layout).ok_or(Some(Reason::new("short_row"))) }))
    }
}

fn cells<'a>(args: &ImportArgs, text: &'a [u8], fields: &[(usize, usize)], layout: &CandleLayout) -> Option<Cells<'a>> {
    let optional = |field: Option<crate::replay::columns::Field>| match field {
        None => Some(None),
        Some(field) => field.of(text, fields).map(|text| Some(text.trim_ascii())),
    };
    let [open, high, low, close] = layout.prices.map(|field| field.of(text, fields).map(<[u8]>::trim_ascii));
    let time = parse(layout.time.of(text, fields)?.trim_ascii(), args.time_unit);
    Some(Cells {
        time: time.map(|ts| open_time(ts, args.time_is, args.interval)),
        prices: [open?, high?, low?, close?],
        volume: optional(layout.volume)?,
        buy_volume: optional(layout.buy_volume)?,
        symbol: optional(layout.symbol)?.unwrap_or_default(),
        quote_volume: optional(layout.quote_volume)?,
        trades: optional(layout.trades)?,
    })
}

impl Cells<'_> {
    /// The candle that they spell.
    ///
    /// # Errors
    /// The reason why it is refused.
    pub fn candle(&self, scales: Scales) -> Result<VenueCandle, Reason> {
        let price = |field, text: &[u8]| {
            parse_decimal(text, scales.price).map(Price).map_err(|error| reason(field, text, error))
        };
        let amount =
            |field, text: &[u8], decimals| parse_amount(text, decimals).map_err(|error| reason(field, text, error));
        let decimals = scales.quantity.decimals();
        // A sum of products that the scales cannot hold was rounded before: it counts as not told.
        let quote = |text: &[u8]| match parse_amount(text, decimals + scales.price.decimals()) {
            Err(error @ NumberError::Malformed) => Err(reason("quote_volume", text, error)),
            quote => Ok(quote.ok()),
        };
        let count = |text: &[u8]| {
            let count = amount("trades", text, 0)?;
            u64::try_from(count).map_err(|_| Reason { what: "absurd", field: "trades" })
        };
        let [open, high, low, close] = self.prices;
        Ok(VenueCandle {
            open_time: self.time.map_err(|error| reason("time", b"?", error))?,
            open: price("open", open)?,
            high: price("high", high)?,
            low: price("low", low)?,
            close: price("close", close)?,
            volume: self.volume.map_or(Ok(0), |text| amount("volume", text, decimals))?,
            quote_volume: self.quote_volume.map_or(Ok(None), quote)?,
            buy_volume: self.buy_volume.map(|text| amount("buy_volume", text, decimals)).transpose()?,
            trades: self.trades.map(count).transpose()?,
        })
    }
}

fn reason(field: &'static str, text: &[u8], error: NumberError) -> Reason {
    let what = match error {
        NumberError::Malformed if text.is_empty() => "missing",
        NumberError::Malformed if text.starts_with(b"-") => "negative",
        NumberError::Malformed => "malformed",
        NumberError::TooPrecise => "too_precise",
        NumberError::TooLarge => "absurd",
    };
    Reason { what, field }
}
