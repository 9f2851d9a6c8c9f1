//! Pages as JSON: an object with an array of rows in the shape of the stream.

use engine::{frame::Form, interval::Interval, json, market::Instrument, market::Symbol};
use store::{Scales, StoredCandle, StoredTrade};

use super::{chunks::Encode, subject::Subject};

/// See the module.
pub(crate) struct Json {
    subject: Subject,
    form: Form,
    next: Option<String>,
    /// The instrument with the scales of the last row.
    kept: (Scales, Instrument),
    /// `"interval":…,"candles"` or `"trades"`.
    array: String,
    is_first: bool,
}

impl Json {
    /// `{"symbol", "source", "interval", "candles", "next_cursor"}`.
    pub(crate) fn candles(subject: Subject, interval: Interval, form: Form, next: Option<String>) -> Self {
        Self::new(subject, form, next, format!("\"interval\":\"{}\",\"candles\"", interval.name()))
    }

    /// `{"symbol", "source", "trades", "next_cursor"}`.
    pub(crate) fn trades(subject: Subject, form: Form, next: Option<String>) -> Self {
        Self::new(subject, form, next, "\"trades\"".to_owned())
    }

    fn new(subject: Subject, form: Form, next: Option<String>, array: String) -> Self {
        let scales = subject.scales();
        let kept = (scales, subject.instrument(scales));
        Self { subject, form, next, kept, array, is_first: true }
    }

    fn open(&self, out: &mut Vec<u8>) {
        let Self { subject, array, .. } = self;
        // Names of symbols and sources have no character that needs an escape.
        let head = format!(r#"{{"symbol":"{}","source":"{}",{array}:["#, subject.label, subject.source);
        out.extend_from_slice(head.as_bytes());
    }

    fn close(&self, out: &mut Vec<u8>) {
        let next = self.next.as_ref().map_or("null".to_owned(), |cursor| format!("\"{cursor}\""));
        out.extend_from_slice(format!("],\"next_cursor\":{next}}}").as_bytes());
    }

    fn separate(&mut self, out: &mut Vec<u8>, scales: Scales) {
        if !std::mem::replace(&mut self.is_first, false) {
            out.push(b',');
        }
        if self.kept.0 != scales {
            self.kept = (scales, self.subject.instrument(scales));
        }
    }
}

impl Encode<StoredCandle> for Json {
    fn begin(&mut self, out: &mut Vec<u8>) {
        self.open(out);
    }

    fn row(&mut self, out: &mut Vec<u8>, row: &StoredCandle) {
        self.separate(out, row.scales);
        json::write_candle(out, &row.candle, &self.kept.1, &self.subject.label, self.form);
    }

    fn end(&mut self, out: &mut Vec<u8>) {
        self.close(out);
    }
}

impl Encode<StoredTrade> for Json {
    fn begin(&mut self, out: &mut Vec<u8>) {
        self.open(out);
    }

    fn row(&mut self, out: &mut Vec<u8>, row: &StoredTrade) {
        self.separate(out, row.scales);
        // The number of the symbol is not written.
        json::write_trade(out, &row.trade(Symbol(0)), &self.kept.1, self.form);
    }

    fn end(&mut self, out: &mut Vec<u8>) {
        self.close(out);
    }
}
