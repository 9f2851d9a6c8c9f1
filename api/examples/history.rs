//! Serves a store over HTTP, with no engine beside it.
//!
//! `cargo run --release -p api --example history -- redb:history.redb 127.0.0.1:8080 [NAME FILE]…` first loads each FILE of
//! candles (`[symbol,]open_time_ms,open,high,low,close,volume`, plain or zstd) and then serves. NAME is `venue:INTERVAL` where
//! the file has symbols, or else `venue:SYMBOL:INTERVAL`.

use std::{
    collections::BTreeMap,
    error::Error,
    fs,
    sync::Arc,
    time::{Instant, UNIX_EPOCH},
};

use api::view::{Answer, Health, Listing, SymbolStatus, TickerRow, View};
use engine::{
    candle::{Candle, State, Unknown},
    interval::Interval,
    market::{Price, Symbol, Timestamp, Trade},
    number::Scale,
};
use store::{Batch, Keep, Scales, Source, Store, StoreUrl, StoredCandle, WriterStatus};

/// Rows of a batch.
const ROWS: usize = 10_000;

struct Stored {
    store: Store,
    started_ms: i64,
    started: Instant,
}

impl View for Stored {
    fn now_ms(&self) -> i64 {
        self.started_ms + i64::try_from(self.started.elapsed().as_millis()).unwrap_or(i64::MAX)
    }

    fn health(&self) -> Health {
        Health::of(Vec::new(), env!("CARGO_PKG_VERSION"), self.now_ms() - self.started_ms)
    }

    fn symbols(&self) -> Vec<SymbolStatus> {
        Vec::new()
    }

    fn metrics(&self) -> String {
        "# EOF\n".to_owned()
    }

    fn listing(&self, _: &str) -> Option<Listing> {
        None
    }

    fn names(&self) -> Vec<String> {
        Vec::new()
    }

    fn history(&self) -> Option<Store> {
        Some(self.store.clone())
    }

    fn history_status(&self) -> Option<WriterStatus> {
        None
    }

    fn latest(&self, _: Symbol, _: Interval, _: usize) -> Answer<'_, Vec<Candle>> {
        Box::pin(std::future::ready(Vec::new()))
    }

    fn newest_trades(&self, _: Symbol, _: usize) -> Vec<Trade> {
        Vec::new()
    }

    fn tickers(&self) -> Answer<'_, Vec<TickerRow>> {
        Box::pin(std::future::ready(Vec::new()))
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [url, address, files @ ..] = &args[..] else { return Err("usage: history URL ADDRESS [NAME FILE]…".into()) };
    let store = Store::open(&StoreUrl::parse(url)?, Keep::default()).await?;
    for pair in files.chunks(2) {
        let [name, path] = pair else { return Err("a NAME without its FILE".into()) };
        let count = load(&store, name, path).await?;
        println!("loaded {count} candles of {name}");
    }
    store.settled().await?;
    #[expect(clippy::disallowed_methods, reason = "an example is its own clock")]
    let started_ms = i64::try_from(std::time::SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis())?;
    let view = Arc::new(Stored { store, started_ms, started: Instant::now() });
    let listener = tokio::net::TcpListener::bind(address).await?;
    println!("serving http://{}/v1/market/ohlcv/", listener.local_addr()?);
    Ok(axum::serve(listener, api::router(view)).await?)
}

async fn load(store: &Store, name: &str, path: &str) -> Result<usize, Box<dyn Error>> {
    let text = match path.ends_with(".zst") {
        true => String::from_utf8(zstd::decode_all(fs::File::open(path)?)?)?,
        false => fs::read_to_string(path)?,
    };
    let (source, interval) = name.rsplit_once(':').ok_or("a NAME without an interval")?;
    let interval = Interval::parse(interval).ok_or("no such interval")?;
    let mut lines = BTreeMap::<_, Vec<Vec<&str>>>::new();
    for line in text.lines().skip(1) {
        let mut fields: Vec<&str> = line.split(',').collect();
        let own = (fields.len() == 7).then(|| format!("{source}:{}", fields.remove(0)));
        lines.entry(own.unwrap_or_else(|| source.to_owned())).or_default().push(fields);
    }
    let mut count = 0;
    for (source, lines) in &lines {
        let source = Source::parse(source)?;
        let decimals = |text: &&str| text.split_once('.').map_or(0, |(_, decimals)| decimals.len());
        let price = lines.iter().flat_map(|fields| fields.iter().skip(1).take(4)).map(decimals).max().unwrap_or(0);
        for lines in lines.chunks(ROWS) {
            let mut batch = Batch::new();
            for fields in lines {
                let [time, open, high, low, close, volume] = fields[..] else { return Err("not six fields".into()) };
                let quantity = decimals(&volume);
                let at = |text: &str| -> Result<_, Box<dyn Error>> { Ok(Price(units(text, price)?.try_into()?)) };
                let mut candle = Candle::flat(interval, Timestamp::from_millis(time.parse()?), at(open)?);
                (candle.high, candle.low, candle.close) = (at(high)?, at(low)?, at(close)?);
                (candle.volume, candle.is_closed, candle.state) = (units(volume, quantity)?, true, State::Complete);
                candle.unknown = Unknown { sides: true, trades: true, quote: true };
                let scale = |decimals| u8::try_from(decimals).ok().and_then(Scale::new).ok_or("too many decimals");
                let scales = Scales { price: scale(price)?, quantity: scale(quantity)? };
                batch.candle(&source, StoredCandle { scales, candle })?;
            }
            store.write(&Arc::new(batch)).await?;
            count += lines.len();
        }
    }
    Ok(count)
}

/// A plain decimal in units of `decimals` decimals.
fn units(text: &str, decimals: usize) -> Result<u128, Box<dyn Error>> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    Ok(format!("{whole}{fraction:0<decimals$}").parse()?)
}
