//! Where test data lies, and how it is read.

use std::{
    io::Read,
    path::{Path, PathBuf},
    sync::Arc,
};

use engine::{
    candle::Candle,
    fold::Fold,
    interval::Interval,
    market::{Directory, Instrument, Timestamp, Trade, Venue},
    number::write_decimal,
};
use feeds::{
    symbols::scaled,
    venue::{Event, Names, Parser},
};
use store::{Keep, Series, Source, Store, StoreUrl, StoredCandle};

/// A file of the shared data folder beside the project, or `None` in a fresh clone, which has none. With
/// `KANDLE_REQUIRE_SHARED=1` (CI) its absence is a failure.
pub(crate) fn shared(name: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared").join(name);
    if path.exists() {
        return Some(path);
    }
    assert!(std::env::var_os("KANDLE_REQUIRE_SHARED").is_none(), "{} is missing", path.display());
    eprintln!("skipped: {name} is not here");
    None
}

/// A whole file, unpacked by its ending.
pub(crate) fn read(path: &Path) -> String {
    let bytes = std::fs::read(path).unwrap();
    let mut text = String::new();
    match path.extension().and_then(|ending| ending.to_str()) {
        Some("gz") => flate2::read::MultiGzDecoder::new(&*bytes).read_to_string(&mut text).unwrap(),
        Some("zst") => zstd::Decoder::new(&*bytes).unwrap().read_to_string(&mut text).unwrap(),
        _ => return String::from_utf8(bytes).unwrap(),
    };
    text
}

/// One instrument under the alias `X`, with a parser for its venue.
pub(crate) struct Single {
    pub(crate) instrument: Arc<Instrument>,
    pub(crate) names: Arc<Names>,
    venue: Venue,
}

impl Single {
    pub(crate) fn new(venue: Venue, name: &str, price: u8, quantity: u8) -> Self {
        let mut directory = Directory::new();
        let symbol = directory.register(Some("X"), scaled(venue, name, price, quantity)).unwrap();
        let instrument = Arc::clone(directory.instrument(symbol).unwrap());
        Self { instrument, names: Arc::new(Names::new(&directory, venue)), venue }
    }

    /// The trades in recorded `<ns> <json>` lines, through the venue's parser.
    pub(crate) fn trades(&self, lines: &str) -> Vec<Trade> {
        let mut parser = Parser::new(self.venue, Arc::clone(&self.names), false);
        let mut events = Vec::new();
        for line in lines.lines() {
            let (ns, frame) = line.split_once(' ').unwrap();
            parser.on_frame(frame.as_bytes(), Timestamp(ns.parse().unwrap()), &mut events).unwrap();
        }
        events
            .into_iter()
            .filter_map(|event| if let Event::Trade(trade) = event { Some(trade) } else { None })
            .collect()
    }

    /// The candles of these trades.
    pub(crate) fn candles(&self, trades: &[Trade], interval: Interval) -> Vec<Candle> {
        let mut fold = Fold::new(&self.instrument, &[interval], 300_000, 1000);
        let mut candles = Vec::new();
        for trade in trades {
            fold.on_trade(trade);
            fold.drain(&mut candles);
        }
        fold.finish(&mut candles);
        candles
    }
}

/// An amount as decimal text.
pub(crate) fn text(value: u128, decimals: u8) -> String {
    let mut out = Vec::new();
    write_decimal(&mut out, value, decimals);
    String::from_utf8(out).unwrap()
}

/// Decimal text without the zeros that say nothing, as this project prints it.
pub(crate) fn trimmed(text: &str) -> String {
    match text.split_once('.') {
        Some((whole, fraction)) if fraction.trim_end_matches('0').is_empty() => whole.to_owned(),
        Some((whole, fraction)) => format!("{whole}.{}", fraction.trim_end_matches('0')),
        None => text.to_owned(),
    }
}

/// All candles of a series.
pub(crate) fn stored(store: &Path, source: &str, interval: Interval) -> Vec<StoredCandle> {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let url = StoreUrl::Redb(store.to_owned());
        let store = Store::open(&url, Keep::default()).await.unwrap();
        let series = Series { source: Source::parse(source).unwrap(), interval };
        let mut candles: Vec<StoredCandle> = Vec::new();
        loop {
            let from = candles.last().map_or(Timestamp(0), |last| last.candle.open_time.plus(1));
            let page = store.candles(&series, from, Timestamp(i64::MAX), 10_000).await.unwrap();
            if page.is_empty() {
                return candles;
            }
            candles.extend(page);
        }
    })
}

/// Time in ms and the five values of a candle, as text.
pub(crate) fn stored_row(stored: &StoredCandle) -> String {
    let price = |value: i64| text(u128::from(value.unsigned_abs()), stored.scales.price.decimals());
    let candle = &stored.candle;
    let volume = text(candle.volume, stored.scales.quantity.decimals());
    let [open, high, low, close] = [candle.open.0, candle.high.0, candle.low.0, candle.close.0].map(price);
    format!("{},{open},{high},{low},{close},{volume}", candle.open_time.millis())
}
