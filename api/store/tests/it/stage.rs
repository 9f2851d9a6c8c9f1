//! Where the tests play: stores that are empty, rows that are easy to tell apart.

use std::{
    env,
    path::Path,
    process,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use engine::{
    candle::{Candle, State},
    interval::Interval,
    market::{Origin, Price, Quantity, Side, Timestamp},
    number::Scale,
};
use store::{Batch, Keep, Scales, Series, Source, Store, StoreUrl, StoredCandle, StoredTrade};
use tempfile::TempDir;

pub(crate) const SECOND: i64 = 1_000_000_000;
pub(crate) const MINUTE: i64 = 60 * SECOND;
/// 2023-11-14T22:13:00Z.
pub(crate) const START: Timestamp = Timestamp(1_699_999_980 * SECOND);

/// An empty store, which goes when this is dropped.
pub(crate) struct Stage {
    pub(crate) store: Store,
    pub(crate) url: StoreUrl,
    tables: Option<(String, String)>,
    _folder: Option<TempDir>,
}

impl Stage {
    pub(crate) async fn embedded(keep: Keep) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = file_url(folder.path());
        let store = Store::open(&url, keep).await.unwrap();
        Self { store, url, tables: None, _folder: Some(folder) }
    }

    pub(crate) async fn questdb(address: &str, keep: Keep) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let prefix = format!("t{}_{}_", process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let url = StoreUrl::parse(&format!("questdb:{address}/?tables={prefix}")).unwrap();
        let store = Store::open(&url, keep).await.unwrap();
        Self { store, url, tables: Some((address.to_owned(), prefix)), _folder: None }
    }

    pub(crate) async fn write(&self, batch: &Batch) {
        self.store.write(&Arc::new(batch.clone())).await.unwrap();
        self.store.settled().await.unwrap();
    }

    /// Leaves nothing on the server.
    pub(crate) async fn strike(self) {
        let Some((address, prefix)) = &self.tables else { return };
        for table in ["candles_s", "candles_m", "candles_h", "trades", "values"] {
            let query = [("query", format!("DROP TABLE IF EXISTS \"{prefix}{table}\""))];
            let answer = reqwest::Client::new().get(format!("{address}/exec")).query(&query).send().await.unwrap();
            assert!(answer.status().is_success(), "{answer:?}");
        }
    }
}

pub(crate) fn file_url(folder: &Path) -> StoreUrl {
    StoreUrl::Redb(folder.join("history.redb"))
}

/// The address of the server that the environment names.
pub(crate) fn questdb_address() -> Option<String> {
    let address = env::var("KANDLE_QUESTDB").ok().filter(|address| !address.is_empty());
    let is_required = env::var("KANDLE_REQUIRE_QUESTDB").is_ok_and(|value| value == "1");
    assert!(address.is_some() || !is_required, "KANDLE_QUESTDB must name the HTTP address of a QuestDB");
    if address.is_none() {
        eprintln!("KANDLE_QUESTDB is not set: QuestDB is not tested");
    }
    address
}

/// Runs a test on each store that there is.
pub(crate) async fn on_each_store(keep: Keep, test: impl AsyncFn(&Stage)) {
    let stage = Stage::embedded(keep).await;
    test(&stage).await;
    if let Some(address) = questdb_address() {
        let stage = Stage::questdb(&address, keep).await;
        test(&stage).await;
        stage.strike().await;
    }
}

pub(crate) fn source(text: &str) -> Source {
    Source::parse(text).unwrap()
}

pub(crate) fn series(source: &Source, interval: &str) -> Series {
    Series { source: source.clone(), interval: Interval::parse(interval).unwrap() }
}

pub(crate) fn scales(price: u8, quantity: u8) -> Scales {
    Scales { price: Scale::new(price).unwrap(), quantity: Scale::new(quantity).unwrap() }
}

/// The closed candle number `number` of an interval, with a value of its own in every field.
pub(crate) fn candle(interval: &str, number: i64, revision: u32) -> StoredCandle {
    let interval = Interval::parse(interval).unwrap();
    let open_time = Timestamp(interval.open_time(START).0 + number * interval.nanos().unwrap());
    let mut candle = Candle::flat(interval, open_time, Price(6_800_000 + number));
    (candle.high, candle.low, candle.close) = (Price(6_900_000 + number), Price(6_700_000), Price(6_800_007));
    (candle.volume, candle.buy_volume) = (1_000_000 + number as u128, 900_000);
    candle.quote_volume = u128::from(u64::MAX) * 7 + number as u128;
    (candle.trades, candle.first_id, candle.last_id) = (17, 1000 + number as u64, 1016 + number as u64);
    (candle.revision, candle.is_closed, candle.state) = (revision, true, State::Complete);
    StoredCandle { scales: scales(2, 5), candle }
}

pub(crate) fn trade(id: u64, ts_event: Timestamp) -> StoredTrade {
    StoredTrade {
        scales: scales(2, 5),
        first_id: id,
        id,
        trades: 1,
        ts_event,
        ts_recv: ts_event.plus(1234),
        price: Price(6_800_000),
        quantity: Quantity(id as i64 + 1),
        side: Side::Sell,
        origin: Origin::Live,
    }
}

pub(crate) fn batch_of(source: &Source, candles: &[StoredCandle]) -> Batch {
    let mut batch = Batch::new();
    for candle in candles {
        batch.candle(source, *candle).unwrap();
    }
    batch
}

/// Every candle of a series, page by page.
pub(crate) async fn all(store: &Store, series: &Series) -> Vec<StoredCandle> {
    let (mut found, mut from) = (Vec::new(), Timestamp(0));
    loop {
        let page = store.candles(series, from, Timestamp(i64::MAX), 1000).await.unwrap();
        let Some(last) = page.last() else { return found };
        from = last.candle.open_time.plus(1);
        found.extend(page);
    }
}
