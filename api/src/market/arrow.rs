//! Pages as an Arrow IPC stream: exact decimals, milliseconds in UTC, one record batch a thousand rows.
//!
//! A column has one scale, so a page with rows of several scales takes the finest of each; no number is rounded.

use std::sync::Arc;

use arrow_array::{
    ArrayRef, BooleanArray, Decimal128Array, DictionaryArray, RecordBatch, StringArray, TimestampMillisecondArray,
    UInt32Array, UInt64Array, types::Int8Type,
};
use arrow_ipc::writer::StreamWriter;
use arrow_schema::{ArrowError, Field, Schema};
use bytes::Bytes;
use engine::{
    candle::{Candle, State},
    market::Side,
};
use store::{Scales, StoredCandle, StoredTrade};

use super::{
    fields::{self, Known},
    rollup::{finer, rescaled},
    subject::Subject,
};
use crate::error::ApiError;

const BATCH_ROWS: usize = 1000;
/// The digits that a 128-bit decimal holds.
const PRECISION: u8 = 38;
const DECIMAL_MAX: u128 = 10_u128.pow(PRECISION as u32) - 1;

/// Makes the columns of some rows.
type Columns<R> = Box<dyn Fn(&[R]) -> Result<Vec<ArrayRef>, ArrowError> + Send>;

/// The chunks of a page: the schema with the first batch, then a batch each, then the end.
pub(crate) struct Batches<R> {
    rows: Vec<R>,
    done: usize,
    columns: Columns<R>,
    schema: Arc<Schema>,
    writer: Option<StreamWriter<Vec<u8>>>,
}

/// The candles of a page.
///
/// # Errors
/// [`ApiError::Unrepresentable`] if a number has more than 38 digits.
pub(crate) fn candles(subject: &Subject, rows: &[StoredCandle]) -> Result<Batches<Candle>, ApiError> {
    let scales = rows.iter().map(|row| row.scales).reduce(finer).unwrap_or(subject.scales());
    let fits = |candle: &Candle| candle.volume.max(candle.quote_volume).max(candle.buy_volume) <= DECIMAL_MAX;
    let rows = rows.iter().map(|row| rescaled(row, scales).filter(fits)).collect::<Option<Vec<_>>>();
    let rows = rows.ok_or(ApiError::Unrepresentable { format: "arrow" })?;
    let (label, source) = (subject.label.clone(), subject.source.to_string());
    let columns = move |rows: &[Candle]| candle_columns(rows, scales, &label, &source);
    Batches::new(rows, &fields::CANDLE, Box::new(columns)).map_err(ApiError::Arrow)
}

/// The trades of a page.
///
/// # Errors
/// None that comes from the rows: 64 bits fit at every scale.
pub(crate) fn trades(subject: &Subject, rows: Vec<StoredTrade>) -> Result<Batches<StoredTrade>, ApiError> {
    let scales = rows.iter().map(|row| row.scales).reduce(finer).unwrap_or(subject.scales());
    let columns = move |rows: &[StoredTrade]| trade_columns(rows, scales);
    Batches::new(rows, &fields::TRADE, Box::new(columns)).map_err(ApiError::Arrow)
}

impl<R> Batches<R> {
    fn new(rows: Vec<R>, names: &[&str], columns: Columns<R>) -> Result<Self, ArrowError> {
        // The types follow from the columns, so that they are said once.
        let none = columns(&[])?;
        let field = |(name, column): (&&str, &ArrayRef)| Field::new(*name, column.data_type().clone(), true);
        let schema = Arc::new(Schema::new(names.iter().zip(&none).map(field).collect::<Vec<_>>()));
        Ok(Self { rows, done: 0, columns, schema, writer: None })
    }

    /// The next chunk; an empty one is the end.
    fn chunk(&mut self) -> Result<Vec<u8>, ArrowError> {
        let is_begin = self.writer.is_none() && self.done == 0;
        if is_begin {
            self.writer = Some(StreamWriter::try_new(Vec::new(), &self.schema)?);
        }
        let Some(mut writer) = self.writer.take() else { return Ok(Vec::new()) };
        let rows = self.rows.get(self.done..).unwrap_or_default();
        let rows = rows.get(..rows.len().min(BATCH_ROWS)).unwrap_or_default();
        if !rows.is_empty() {
            let columns = (self.columns)(rows)?;
            writer.write(&RecordBatch::try_new(Arc::clone(&self.schema), columns)?)?;
        }
        self.done += rows.len();
        if self.done < self.rows.len() {
            let chunk = std::mem::take(writer.get_mut());
            self.writer = Some(writer);
            return Ok(chunk);
        }
        self.done = usize::MAX;
        writer.finish()?;
        writer.into_inner()
    }
}

impl<R> Iterator for Batches<R> {
    type Item = Result<Bytes, ArrowError>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.chunk() {
            Ok(chunk) if chunk.is_empty() => None,
            chunk => Some(chunk.map(Bytes::from)),
        }
    }
}

fn candle_columns(rows: &[Candle], scales: Scales, label: &str, source: &str) -> Result<Vec<ArrayRef>, ArrowError> {
    let (price, quantity) = (scales.price.decimals(), scales.quantity.decimals());
    let prices = |of: fn(&Candle) -> i64| decimals(rows.iter().map(|row| Some(of(row).unsigned_abs().into())), price);
    let known: Vec<Known> = rows.iter().map(Known::of).collect();
    let interval = rows.first().map_or("", |row| row.interval.name());
    Ok(vec![
        words(rows, &[label], |_| 0)?,
        words(rows, &[interval], |_| 0)?,
        moments(rows.iter().map(|row| row.open_time.millis())),
        prices(|row| row.open.0)?,
        prices(|row| row.high.0)?,
        prices(|row| row.low.0)?,
        prices(|row| row.close.0)?,
        decimals(rows.iter().map(|row| Some(row.volume)), quantity)?,
        Arc::new(BooleanArray::from_iter(rows.iter().map(|row| Some(row.is_closed)))),
        moments(rows.iter().map(|row| row.close_time.millis())),
        Arc::new(UInt64Array::from_iter(known.iter().map(|known| known.trades))),
        decimals(known.iter().map(|known| known.vwap), price)?,
        decimals(known.iter().map(|known| known.quote_volume), price + quantity)?,
        decimals(known.iter().map(|known| known.buy_volume), quantity)?,
        Arc::new(UInt32Array::from_iter_values(rows.iter().map(|row| row.revision))),
        words(rows, &STATES.map(State::name), |row| place(&STATES, &row.state))?,
        words(rows, &[source], |_| 0)?,
        Arc::new(UInt64Array::from_iter(known.iter().map(|known| known.first_id))),
        Arc::new(UInt64Array::from_iter(known.iter().map(|known| known.last_id))),
    ])
}

fn trade_columns(rows: &[StoredTrade], scales: Scales) -> Result<Vec<ArrayRef>, ArrowError> {
    let moved = |value: i64, from: u8, to: u8| {
        let power = 10_u128.pow(u32::from(to.saturating_sub(from)));
        Some(u128::from(value.unsigned_abs()) * power)
    };
    let (price, quantity) = (scales.price.decimals(), scales.quantity.decimals());
    let price_of = |row: &StoredTrade| moved(row.price.0, row.scales.price.decimals(), price);
    let quantity_of = |row: &StoredTrade| moved(row.quantity.0, row.scales.quantity.decimals(), quantity);
    Ok(vec![
        Arc::new(UInt64Array::from_iter_values(rows.iter().map(|row| row.id))),
        moments(rows.iter().map(|row| row.ts_event.millis())),
        decimals(rows.iter().map(price_of), price)?,
        decimals(rows.iter().map(quantity_of), quantity)?,
        words(rows, &SIDES.map(Side::name), |row| place(&SIDES, &row.side))?,
        Arc::new(UInt32Array::from_iter_values(rows.iter().map(|row| row.trades))),
    ])
}

const STATES: [State; 4] = [State::Complete, State::Partial, State::Repaired, State::Flat];
const SIDES: [Side; 3] = [Side::Buy, Side::Sell, Side::Unknown];

fn place<T: PartialEq>(all: &[T], one: &T) -> i8 {
    all.iter().position(|other| other == one).and_then(|place| i8::try_from(place).ok()).unwrap_or_default()
}

/// A column of few words.
fn words<R>(rows: &[R], words: &[&str], place: impl Fn(&R) -> i8) -> Result<ArrayRef, ArrowError> {
    let words = Arc::new(StringArray::from_iter_values(words));
    Ok(Arc::new(DictionaryArray::<Int8Type>::try_new(rows.iter().map(place).collect(), words)?))
}

fn moments(millis: impl Iterator<Item = i64>) -> ArrayRef {
    Arc::new(TimestampMillisecondArray::from_iter_values(millis).with_timezone("UTC"))
}

fn decimals(values: impl Iterator<Item = Option<u128>>, scale: u8) -> Result<ArrayRef, ArrowError> {
    let values = values.map(|value| value.and_then(|value| i128::try_from(value).ok()));
    let scale = i8::try_from(scale).unwrap_or(i8::MAX);
    Ok(Arc::new(values.collect::<Decimal128Array>().with_precision_and_scale(PRECISION, scale)?))
}
