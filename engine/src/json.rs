//! Market data as JSON text: exact decimals, fixed order of fields, no allocation.

use crate::{
    candle::{Candle, State},
    frame::Form,
    interval::Interval,
    market::{Instrument, Price, Timestamp, Trade},
    number::{write_decimal, write_integer, write_signed},
    ticker::Ticker,
};

/// Appends `,"name":` or, at the start of an object, `"name":` as given in `key`, then the decimal in its wire form.
#[inline]
fn decimal<const N: usize>(out: &mut Vec<u8>, key: &[u8; N], value: u128, decimals: u8, form: Form) {
    out.extend_from_slice(key);
    quoted(out, form, |out| write_decimal(out, value, decimals));
}

#[inline]
fn quoted(out: &mut Vec<u8>, form: Form, write: impl FnOnce(&mut Vec<u8>)) {
    if form == Form::Text {
        out.push(b'"');
    }
    write(out);
    if form == Form::Text {
        out.push(b'"');
    }
}

#[inline]
fn optional<const N: usize>(out: &mut Vec<u8>, key: &[u8; N], value: Option<u128>, decimals: u8, form: Form) {
    match value {
        Some(value) => decimal(out, key, value, decimals, form),
        None => {
            out.extend_from_slice(key);
            out.extend_from_slice(b"null");
        }
    }
}

#[inline]
fn millis<const N: usize>(out: &mut Vec<u8>, key: &[u8; N], ts: Timestamp) {
    out.extend_from_slice(key);
    write_signed(out, ts.millis());
}

/// Appends a JSON string; `text` is a name from the directory, which has no character that needs an escape.
#[inline]
fn name<const N: usize>(out: &mut Vec<u8>, key: &[u8; N], text: &str) {
    out.extend_from_slice(key);
    out.push(b'"');
    out.extend_from_slice(text.as_bytes());
    out.push(b'"');
}

/// About how long a candle's text is.
const CANDLE_BYTES: usize = 512;

/// Appends a candle: `ts` is its first millisecond, `close_ts` the first one behind it. Prices and volumes are exact;
/// `vwap` is truncated to the price scale and null without volume, ids are null without trades, and so is what the
/// source does not tell.
pub fn write_candle(out: &mut Vec<u8>, candle: &Candle, instrument: &Instrument, label: &str, form: Form) {
    let names = Names { instrument, label, form };
    out.reserve(CANDLE_BYTES);
    Head::of(candle).write(out, &names);
    write_volume(out, candle, &names);
    Span::of(candle).write(out, &names);
    write_sums(out, candle, &names);
    Tail::of(candle).write(out, &names);
    id(out, b"", Tail::knows_ids(candle).then_some(candle.last_id));
    out.push(b'}');
}

/// [`write_candle`] for one candle after another of one instrument, label and form: a part whose values are those of
/// the candle before is copied.
#[derive(Debug, Default)]
pub struct CandleText {
    head: Kept<Head>,
    span: Kept<Span>,
    tail: Kept<Tail>,
}

impl CandleText {
    /// Appends the same text as [`write_candle`], whose arguments but for the candle are the same in every call.
    pub fn write(&mut self, out: &mut Vec<u8>, candle: &Candle, instrument: &Instrument, label: &str, form: Form) {
        let names = Names { instrument, label, form };
        out.reserve(CANDLE_BYTES);
        self.head.write(out, Head::of(candle), &names);
        write_volume(out, candle, &names);
        self.span.write(out, Span::of(candle), &names);
        write_sums(out, candle, &names);
        self.tail.write(out, Tail::of(candle), &names);
        id(out, b"", Tail::knows_ids(candle).then_some(candle.last_id));
        out.push(b'}');
    }
}

/// What is the same for all candles of a channel and form.
struct Names<'a> {
    instrument: &'a Instrument,
    label: &'a str,
    form: Form,
}

/// A part of a candle's text. It is written from its own values and [`Names`] alone, so equal values are equal bytes.
trait Part: PartialEq {
    fn write(&self, out: &mut Vec<u8>, names: &Names<'_>);
}

/// The part that was written last, with its text.
#[derive(Debug)]
struct Kept<P> {
    part: Option<P>,
    text: Vec<u8>,
}

impl<P> Default for Kept<P> {
    fn default() -> Self {
        Self { part: None, text: Vec::new() }
    }
}

impl<P: Part> Kept<P> {
    #[inline]
    fn write(&mut self, out: &mut Vec<u8>, part: P, names: &Names<'_>) {
        if self.part.as_ref() != Some(&part) {
            self.text.clear();
            part.write(&mut self.text, names);
            self.part = Some(part);
        }
        out.extend_from_slice(&self.text);
    }
}

/// From the symbol to the low.
#[derive(Debug, PartialEq)]
struct Head {
    interval: Interval,
    open_time: Timestamp,
    open: Price,
    high: Price,
    low: Price,
}

impl Head {
    #[inline]
    fn of(candle: &Candle) -> Self {
        let Candle { interval, open_time, open, high, low, .. } = *candle;
        Self { interval, open_time, open, high, low }
    }
}

impl Part for Head {
    fn write(&self, out: &mut Vec<u8>, names: &Names<'_>) {
        let (price, form) = (names.instrument.price_scale.decimals(), names.form);
        name(out, b"{\"symbol\":", names.label);
        name(out, b",\"interval\":", self.interval.name());
        millis(out, b",\"ts\":", self.open_time);
        decimal(out, b",\"open\":", u128::from(self.open.0.unsigned_abs()), price, form);
        decimal(out, b",\"high\":", u128::from(self.high.0.unsigned_abs()), price, form);
        decimal(out, b",\"low\":", u128::from(self.low.0.unsigned_abs()), price, form);
    }
}

#[inline]
fn write_volume(out: &mut Vec<u8>, candle: &Candle, names: &Names<'_>) {
    let (price, quantity) = (names.instrument.price_scale.decimals(), names.instrument.quantity_scale.decimals());
    decimal(out, b",\"close\":", u128::from(candle.close.0.unsigned_abs()), price, names.form);
    decimal(out, b",\"volume\":", candle.volume, quantity, names.form);
}

/// Whether it is over, and when.
#[derive(Debug, PartialEq)]
struct Span {
    is_closed: bool,
    close_time: Timestamp,
}

impl Span {
    #[inline]
    fn of(candle: &Candle) -> Self {
        Self { is_closed: candle.is_closed, close_time: candle.close_time }
    }
}

impl Part for Span {
    fn write(&self, out: &mut Vec<u8>, _: &Names<'_>) {
        out.extend_from_slice(b",\"is_closed\":");
        match self.is_closed {
            true => out.extend_from_slice(b"true"),
            false => out.extend_from_slice(b"false"),
        }
        millis(out, b",\"close_ts\":", self.close_time);
        out.extend_from_slice(b",\"trades\":");
    }
}

#[inline]
fn write_sums(out: &mut Vec<u8>, candle: &Candle, names: &Names<'_>) {
    let (price, quantity) = (names.instrument.price_scale.decimals(), names.instrument.quantity_scale.decimals());
    let counted = !candle.unknown.trades || candle.trades > 0;
    id(out, b"", counted.then_some(candle.trades));
    optional(out, b",\"vwap\":", candle.vwap(), price, names.form);
    let quote = (!candle.unknown.quote).then_some(candle.quote_volume);
    optional(out, b",\"quote_volume\":", quote, price + quantity, names.form);
    let buy = (!candle.unknown.sides).then_some(candle.buy_volume);
    optional(out, b",\"buy_volume\":", buy, quantity, names.form);
}

/// From the revision up to the last id.
#[derive(Debug, PartialEq)]
struct Tail {
    revision: u32,
    state: State,
    first_id: Option<u64>,
}

impl Tail {
    #[inline]
    fn of(candle: &Candle) -> Self {
        let first_id = Self::knows_ids(candle).then_some(candle.first_id);
        Self { revision: candle.revision, state: candle.state, first_id }
    }

    #[inline]
    const fn knows_ids(candle: &Candle) -> bool {
        candle.trades > 0 && !candle.unknown.trades
    }
}

impl Part for Tail {
    fn write(&self, out: &mut Vec<u8>, names: &Names<'_>) {
        out.extend_from_slice(b",\"revision\":");
        write_integer(out, u64::from(self.revision));
        name(out, b",\"state\":", self.state.name());
        source(out, names.instrument);
        id(out, b",\"first_id\":", self.first_id);
        out.extend_from_slice(b",\"last_id\":");
    }
}

#[inline]
fn id<const N: usize>(out: &mut Vec<u8>, key: &[u8; N], id: Option<u64>) {
    out.extend_from_slice(key);
    match id {
        Some(id) => write_integer(out, id),
        None => out.extend_from_slice(b"null"),
    }
}

fn source(out: &mut Vec<u8>, instrument: &Instrument) {
    out.extend_from_slice(b",\"source\":\"");
    out.extend_from_slice(instrument.venue.name().as_bytes());
    out.push(b':');
    out.extend_from_slice(instrument.name.as_bytes());
    out.push(b'"');
}

/// Appends a trade: `{id, ts, price, quantity, side}`, side being the taker's; `trades` says how many fills the venue
/// joined, where it is more than one.
pub fn write_trade(out: &mut Vec<u8>, trade: &Trade, instrument: &Instrument, form: Form) {
    out.extend_from_slice(b"{\"id\":");
    write_integer(out, trade.id);
    millis(out, b",\"ts\":", trade.ts_event);
    let price = u128::from(trade.price.0.unsigned_abs());
    decimal(out, b",\"price\":", price, instrument.price_scale.decimals(), form);
    let quantity = u128::from(trade.quantity.0.unsigned_abs());
    decimal(out, b",\"quantity\":", quantity, instrument.quantity_scale.decimals(), form);
    name(out, b",\"side\":", trade.side.name());
    if trade.trades > 1 {
        out.extend_from_slice(b",\"trades\":");
        write_integer(out, u64::from(trade.trades));
    }
    out.push(b'}');
}

/// Appends a ticker: the last price and 24 hours of whole minutes with the current one. `change` is last − open.
pub fn write_ticker(out: &mut Vec<u8>, ticker: &Ticker, instrument: &Instrument, label: &str, form: Form) {
    name(out, b"{\"symbol\":", label);
    millis(out, b",\"ts\":", ticker.ts_event);
    let price = instrument.price_scale.decimals();
    let quantity = instrument.quantity_scale.decimals();
    decimal(out, b",\"last\":", u128::from(ticker.last.0.unsigned_abs()), price, form);
    decimal(out, b",\"open\":", u128::from(ticker.open.0.unsigned_abs()), price, form);
    decimal(out, b",\"high\":", u128::from(ticker.high.0.unsigned_abs()), price, form);
    decimal(out, b",\"low\":", u128::from(ticker.low.0.unsigned_abs()), price, form);
    decimal(out, b",\"volume\":", ticker.volume, quantity, form);
    decimal(out, b",\"quote_volume\":", ticker.quote_volume, price + quantity, form);
    let (last, open) = (ticker.last.0, ticker.open.0);
    let change = u128::from(last.abs_diff(open));
    // Hundredths of a per cent, truncated: exact to the two decimals that are shown.
    let basis = change * 10_000 / u128::from(open.unsigned_abs()).max(1);
    for (key, value, decimals) in [(&b"change"[..], change, price), (b"change_percent", basis, 2)] {
        out.extend_from_slice(b",\"");
        out.extend_from_slice(key);
        out.extend_from_slice(b"\":");
        quoted(out, form, |out| {
            if last < open && value > 0 {
                out.push(b'-');
            }
            write_decimal(out, value, decimals);
        });
    }
    millis(out, b",\"since\":", ticker.since);
    source(out, instrument);
    out.push(b'}');
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        candle::Unknown,
        market::{IdRule, Venue},
        number::{Scale, plain_decimal},
    };

    fn instrument(price: u8, quantity: u8) -> Instrument {
        Instrument {
            venue: Venue::Kraken,
            name: "BTC/USD".into(),
            price_scale: Scale::new(price).unwrap(),
            quantity_scale: Scale::new(quantity).unwrap(),
            ids: IdRule::Contiguous,
        }
    }

    /// The documented fields, each as one would write it without a thought for speed.
    fn plain(candle: &Candle, instrument: &Instrument, form: Form) -> String {
        let (price, quantity) = (instrument.price_scale.decimals(), instrument.quantity_scale.decimals());
        let amount = |value: Option<u128>, decimals| match (value, form) {
            (None, _) => "null".to_owned(),
            (Some(value), Form::Number) => plain_decimal(value, decimals),
            (Some(value), Form::Text) => format!("\"{}\"", plain_decimal(value, decimals)),
        };
        let of = |price_of: Price| amount(Some(price_of.0.unsigned_abs().into()), price);
        let or_null = |known: bool, value: u64| if known { value.to_string() } else { "null".to_owned() };
        let Candle { trades, unknown, volume, quote_volume, .. } = *candle;
        let ids = trades > 0 && !unknown.trades;
        let fields = [
            ("symbol", "\"BTC\"".to_owned()),
            ("interval", format!("\"{}\"", candle.interval.name())),
            ("ts", candle.open_time.millis().to_string()),
            ("open", of(candle.open)),
            ("high", of(candle.high)),
            ("low", of(candle.low)),
            ("close", of(candle.close)),
            ("volume", amount(Some(volume), quantity)),
            ("is_closed", candle.is_closed.to_string()),
            ("close_ts", candle.close_time.millis().to_string()),
            ("trades", or_null(!unknown.trades || trades > 0, trades)),
            ("vwap", amount((!unknown.quote && volume > 0).then(|| quote_volume / volume), price)),
            ("quote_volume", amount((!unknown.quote).then_some(quote_volume), price + quantity)),
            ("buy_volume", amount((!unknown.sides).then_some(candle.buy_volume), quantity)),
            ("revision", candle.revision.to_string()),
            ("state", format!("\"{}\"", candle.state.name())),
            ("source", "\"kraken:BTC/USD\"".to_owned()),
            ("first_id", or_null(ids, candle.first_id)),
            ("last_id", or_null(ids, candle.last_id)),
        ];
        format!("{{{}}}", fields.map(|(key, value)| format!("\"{key}\":{value}")).join(","))
    }

    /// Values of every size, so that few and many digits are equally likely.
    fn any_size() -> impl Strategy<Value = u128> {
        (any::<u128>(), 0_u32..128).prop_map(|(value, shift)| value >> shift)
    }

    prop_compose! {
        fn any_candle()(
            sums in [any_size(), any_size(), any_size()],
            words in [any::<u64>(), any::<u64>(), any::<u64>()],
            shift in 0_u32..64,
            prices in any::<[i64; 4]>(),
            times in [-(1_i64 << 62)..1 << 62, -(1_i64 << 62)..1 << 62],
            (interval, state) in (0..Interval::COUNT, 0..4_usize),
            flags in any::<[bool; 4]>(),
            revision in any::<u32>(),
        ) -> Candle {
            let [open, high, low, close] = prices.map(|price| Price(price >> shift));
            let [open_time, close_time] = times.map(Timestamp);
            let [volume, quote_volume, buy_volume] = sums;
            let [trades, first_id, last_id] = words.map(|word| word >> shift);
            Candle {
                close_time, open, high, low, close, volume, quote_volume, buy_volume, trades, first_id, last_id,
                revision: revision >> (shift / 2),
                state: [State::Complete, State::Partial, State::Repaired, State::Flat][state],
                is_closed: flags[0],
                unknown: Unknown { sides: flags[1], trades: flags[2], quote: flags[3] },
                ..Candle::flat(Interval::ALL[interval], open_time, open)
            }
        }
    }

    fn check(candles: &[Candle], instrument: &Instrument) {
        for form in Form::ALL {
            let mut text = CandleText::default();
            for candle in candles {
                let (mut alone, mut kept) = (Vec::new(), Vec::new());
                write_candle(&mut alone, candle, instrument, "BTC", form);
                text.write(&mut kept, candle, instrument, "BTC", form);
                let want = plain(candle, instrument, form);
                assert_eq!(String::from_utf8(alone).unwrap(), want);
                assert_eq!(String::from_utf8(kept).unwrap(), want);
            }
        }
    }

    proptest! {
        #[test]
        fn prop_candles_equal_a_plain_reference(candle in any_candle(), price in 0_u8..=18, quantity in 0_u8..=18) {
            check(&[candle], &instrument(price, quantity));
        }

        #[test]
        fn prop_no_part_of_a_text_outlives_its_values(
            base in any_candle(),
            steps in proptest::collection::vec((any_candle(), 0..16_u8), 1..40),
        ) {
            let mut candle = base;
            let mut candles = vec![candle];
            for (other, field) in steps {
                match field {
                    0 => candle.interval = other.interval,
                    1 => candle.open_time = other.open_time,
                    2 => candle.close_time = other.close_time,
                    3 => candle.open = other.open,
                    4 => candle.high = other.high,
                    5 => candle.low = other.low,
                    6 => candle.close = other.close,
                    7 => candle.volume = other.volume,
                    8 => candle.quote_volume = other.quote_volume,
                    9 => candle.trades = other.trades,
                    10 => (candle.first_id, candle.last_id) = (other.first_id, other.last_id),
                    11 => candle.revision = other.revision,
                    12 => candle.state = other.state,
                    13 => candle.is_closed = !candle.is_closed,
                    14 => candle.unknown = other.unknown,
                    _ => candle.buy_volume = other.buy_volume,
                }
                candles.push(candle);
            }
            check(&candles, &instrument(10, 8));
        }
    }
}
