//! Trades or prices as rows of a CSV file, one instrument a file.

use std::{io, path::Path, sync::Arc};

use anyhow::{Context, bail};
use engine::{
    market::{Directory, IdRule, Instrument, Origin, Price, Quantity, Side, Symbol, Timestamp, Trade, Venue},
    number::{NumberError, Scale, parse_decimal},
};

use super::{
    TradeSink,
    columns::{Field, Layout, split},
    input::{Input, Line},
    tally::Tally,
};
use crate::cli::{ReplayArgs, TimeUnit};

pub use super::columns::Columns;

/// How many rows are looked at to learn whether quantities carry the taker's side as their sign.
const SIGN_ROWS: u64 = 65_536;

/// Reads rows of one instrument.
pub struct CsvReader {
    columns: Columns,
    layout: Option<Layout>,
    instrument: Arc<Instrument>,
    directory: Arc<Directory>,
    labels: Vec<(Symbol, String)>,
    symbol: Symbol,
    time_scale: Scale,
    signed: bool,
    rows: u64,
    fields: Vec<(usize, usize)>,
}

impl CsvReader {
    /// A reader for the columns and scales of the command line.
    ///
    /// # Errors
    /// If an argument is missing or the symbol's name has other characters.
    pub fn new(args: &ReplayArgs) -> anyhow::Result<Self> {
        let columns = args.columns.clone().context("CSV needs --columns")?;
        let name = args.symbol.as_deref().context("CSV needs --symbol")?;
        let scale = |decimals| Scale::new(decimals).context("a scale has at most 18 decimals");
        let ids = if columns.has_id() { IdRule::Contiguous } else { IdRule::Arrival };
        let (price_scale, quantity_scale) = (scale(args.price_scale)?, scale(args.quantity_scale)?);
        let instrument = Instrument { venue: Venue::File, name: name.into(), price_scale, quantity_scale, ids };
        let mut directory = Directory::new();
        let symbol = directory.register(Some(name), instrument.clone()).context("--symbol")?;
        let digits = match args.time_unit.context("CSV needs --time-unit")? {
            TimeUnit::S => 9,
            TimeUnit::Ms => 6,
            TimeUnit::Us => 3,
            TimeUnit::Ns => 0,
        };
        Ok(Self {
            columns,
            layout: None,
            instrument: Arc::new(instrument),
            directory: Arc::new(directory),
            labels: vec![(symbol, name.to_owned())],
            symbol,
            time_scale: scale(digits)?,
            signed: false,
            rows: 0,
            fields: Vec::new(),
        })
    }

    /// The one instrument, `file:NAME`, and its name.
    pub fn directory(&self) -> (&Arc<Directory>, &[(Symbol, String)]) {
        (&self.directory, &self.labels)
    }

    /// Starts a file, which has a header of its own, and learns whether its quantities are signed.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn begin_file(&mut self, path: &Path) -> io::Result<()> {
        self.layout = None;
        self.signed = false;
        if self.columns.has_side() || !self.columns.has_quantity() {
            return Ok(());
        }
        let mut input = Input::open(path)?;
        while let Some((number, line)) = input.next_line()?
            && number <= SIGN_ROWS
            && !self.signed
        {
            let Line::Text(line) = line else { continue };
            let Some(layout) = self.layout.or_else(|| self.columns.resolve(line).ok().map(|(layout, _)| layout)) else {
                continue;
            };
            self.layout = Some(layout);
            split(line, &mut self.fields);
            self.signed = layout
                .quantity
                .and_then(|field| field.of(line, &self.fields))
                .is_some_and(|text| text.starts_with(b"-"));
        }
        self.layout = None;
        Ok(())
    }

    /// Reads a row into `sink`, or counts why not.
    ///
    /// # Errors
    /// If the header has not the columns that were named.
    pub fn on_line(
        &mut self,
        line: &[u8],
        number: u64,
        sink: &mut dyn TradeSink,
        tally: &mut Tally,
    ) -> anyhow::Result<()> {
        let layout = match self.layout {
            Some(layout) => layout,
            None => {
                let (layout, is_header) = match self.columns.resolve(line) {
                    Ok(found) => found,
                    Err(problem) => bail!("line {number}: {problem}"),
                };
                self.layout = Some(layout);
                if self.signed {
                    let note = "quantities have signs: below zero the taker sold, above zero the taker bought";
                    tally.notes.push(note.to_owned());
                }
                if is_header {
                    tally.other += 1;
                    return Ok(());
                }
                layout
            }
        };
        if line.iter().all(u8::is_ascii_whitespace) {
            tally.other += 1;
            return Ok(());
        }
        match self.read(line, &layout) {
            Ok(trade) => sink.on_trade(&trade, number, tally),
            Err(reason) => tally.refuse(reason, number),
        }
        Ok(())
    }

    fn read(&mut self, line: &[u8], layout: &Layout) -> Result<Trade, &'static str> {
        split(line, &mut self.fields);
        let field = |field: Field| field.of(line, &self.fields).ok_or("short_row");
        let time = parse_decimal(field(layout.time)?, self.time_scale).map_err(|error| reason(0, error))?;
        let price =
            parse_decimal(field(layout.price)?, self.instrument.price_scale).map_err(|error| reason(1, error))?;
        let quantity = match layout.quantity {
            None => None,
            Some(column) => {
                let read = parse_decimal(field(column)?, self.instrument.quantity_scale);
                Some(read.map_err(|error| reason(2, error))?)
            }
        };
        let side = match (layout.side, layout.buyer_maker) {
            (Some(column), _) => side(field(column)?).ok_or("unknown_side")?,
            (None, Some(column)) => buyer_maker(field(column)?).ok_or("unknown_side")?,
            (None, None) if self.signed => Side::Buy,
            (None, None) => Side::Unknown,
        };
        // A row keeps its number, whether or not it is taken: numbers only give the order.
        self.rows += 1;
        let id = match layout.id {
            None => self.rows,
            Some(column) => {
                std::str::from_utf8(field(column)?).ok().and_then(|id| id.parse().ok()).ok_or("malformed_id")?
            }
        };
        let trade = Trade {
            symbol: self.symbol,
            first_id: id,
            id,
            trades: 1,
            ts_event: Timestamp(time),
            ts_recv: Timestamp(time),
            price: Price(price),
            quantity: Quantity(quantity.unwrap_or(0).checked_abs().ok_or("absurd")?),
            side: if quantity.is_some_and(|quantity| quantity < 0) { Side::Sell } else { side },
            origin: Origin::Live,
        };
        trade.check(quantity.is_none()).map_err(|refusal| match refusal {
            engine::market::Refusal::Negative => "negative",
            engine::market::Refusal::Zero => "zero",
            _ => "absurd",
        })?;
        Ok(trade)
    }
}

fn reason(field: usize, error: NumberError) -> &'static str {
    const MALFORMED: [&str; 3] = ["malformed_time", "malformed_price", "malformed_quantity"];
    const PRECISE: [&str; 3] = ["too_precise_time", "too_precise_price", "too_precise_quantity"];
    const LARGE: [&str; 3] = ["absurd_time", "absurd_price", "absurd_quantity"];
    let table = match error {
        NumberError::Malformed => MALFORMED,
        NumberError::TooPrecise => PRECISE,
        NumberError::TooLarge => LARGE,
    };
    table.get(field).copied().unwrap_or("malformed")
}

/// The taker's side: `buy`, `sell`, `b` or `s`, in any case.
fn side(text: &[u8]) -> Option<Side> {
    let is = |words: [&str; 2]| words.iter().any(|word| text.eq_ignore_ascii_case(word.as_bytes()));
    if is(["buy", "b"]) {
        Some(Side::Buy)
    } else if is(["sell", "s"]) {
        Some(Side::Sell)
    } else {
        None
    }
}

/// Whether the buyer was the maker, which means that the taker sold.
fn buyer_maker(text: &[u8]) -> Option<Side> {
    let is = |words: [&str; 2]| words.iter().any(|word| text.eq_ignore_ascii_case(word.as_bytes()));
    if is(["true", "1"]) {
        Some(Side::Sell)
    } else if is(["false", "0"]) {
        Some(Side::Buy)
    } else {
        None
    }
}
