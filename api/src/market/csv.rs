//! Pages as CSV (RFC 4180): a row of names, then rows of values. Unknown values are empty; no value needs quotes.

use engine::number::{write_decimal, write_integer, write_signed};
use store::{StoredCandle, StoredTrade};

use super::{
    chunks::Encode,
    fields::{self, Known},
    subject::Subject,
};

/// See the module.
pub(crate) struct Csv {
    label: String,
    source: String,
}

impl Csv {
    /// Rows of one instrument.
    pub(crate) fn new(subject: &Subject) -> Self {
        Self { label: subject.label.clone(), source: subject.source.to_string() }
    }
}

/// One row: each call writes a value and what separates it from the one before.
struct Line<'a> {
    out: &'a mut Vec<u8>,
    is_first: bool,
}

impl<'a> Line<'a> {
    fn new(out: &'a mut Vec<u8>) -> Self {
        Self { out, is_first: true }
    }

    fn next(&mut self) -> &mut Vec<u8> {
        if !std::mem::replace(&mut self.is_first, false) {
            self.out.push(b',');
        }
        self.out
    }

    fn text(&mut self, text: &str) {
        self.next().extend_from_slice(text.as_bytes());
    }

    fn millis(&mut self, millis: i64) {
        write_signed(self.next(), millis);
    }

    fn integer(&mut self, value: Option<u64>) {
        let out = self.next();
        if let Some(value) = value {
            write_integer(out, value);
        }
    }

    fn decimal(&mut self, value: Option<u128>, decimals: u8) {
        let out = self.next();
        if let Some(value) = value {
            write_decimal(out, value, decimals);
        }
    }

    fn price(&mut self, value: i64, decimals: u8) {
        self.decimal(Some(u128::from(value.unsigned_abs())), decimals);
    }

    fn end(self) {
        self.out.extend_from_slice(b"\r\n");
    }
}

fn head(out: &mut Vec<u8>, names: &[&str]) {
    let mut line = Line::new(out);
    for name in names {
        line.text(name);
    }
    line.end();
}

impl Encode<StoredCandle> for Csv {
    fn begin(&mut self, out: &mut Vec<u8>) {
        head(out, &fields::CANDLE);
    }

    fn row(&mut self, out: &mut Vec<u8>, row: &StoredCandle) {
        let candle = &row.candle;
        let (price, quantity) = (row.scales.price.decimals(), row.scales.quantity.decimals());
        let known = Known::of(candle);
        let mut line = Line::new(out);
        line.text(&self.label);
        line.text(candle.interval.name());
        line.millis(candle.open_time.millis());
        for value in [candle.open, candle.high, candle.low, candle.close] {
            line.price(value.0, price);
        }
        line.decimal(Some(candle.volume), quantity);
        line.text(if candle.is_closed { "true" } else { "false" });
        line.millis(candle.close_time.millis());
        line.integer(known.trades);
        line.decimal(known.vwap, price);
        line.decimal(known.quote_volume, price + quantity);
        line.decimal(known.buy_volume, quantity);
        line.integer(Some(u64::from(candle.revision)));
        line.text(candle.state.name());
        line.text(&self.source);
        line.integer(known.first_id);
        line.integer(known.last_id);
        line.end();
    }

    fn end(&mut self, _: &mut Vec<u8>) {}
}

impl Encode<StoredTrade> for Csv {
    fn begin(&mut self, out: &mut Vec<u8>) {
        head(out, &fields::TRADE);
    }

    fn row(&mut self, out: &mut Vec<u8>, row: &StoredTrade) {
        let mut line = Line::new(out);
        line.integer(Some(row.id));
        line.millis(row.ts_event.millis());
        line.price(row.price.0, row.scales.price.decimals());
        line.price(row.quantity.0, row.scales.quantity.decimals());
        line.text(row.side.name());
        line.integer(Some(u64::from(row.trades)));
        line.end();
    }

    fn end(&mut self, _: &mut Vec<u8>) {}
}
