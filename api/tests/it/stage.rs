//! A server on a free port, before a store that is empty at first.

use std::{
    env, process,
    sync::{
        Arc, Mutex,
        atomic::{AtomicI64, AtomicU32, Ordering},
    },
};

use api::{
    Access, App,
    view::{Answer, Health, Listing, SymbolStatus, TickerRow, View},
};
use engine::{
    candle::{Candle, State},
    interval::Interval,
    market::{Origin, Price, Quantity, Side, Symbol, Timestamp, Trade},
    number::Scale,
    ticker::Ticker,
};
use reqwest::{Client, Response, StatusCode};
use serde_json::Value;
use store::{Batch, Keep, Scales, Source, Store, StoreUrl, StoredCandle, StoredTrade, WriterStatus};
use tempfile::TempDir;

/// 2023-11-14T22:00:00Z, in milliseconds.
pub(crate) const START: i64 = 1_699_999_200_000;

/// The engine, as the tests say.
pub(crate) struct Fake {
    pub(crate) now: AtomicI64,
    pub(crate) store: Option<Store>,
    pub(crate) running: Mutex<Vec<Candle>>,
    pub(crate) ring: Mutex<Vec<Trade>>,
    pub(crate) status: Mutex<Option<WriterStatus>>,
}

impl Fake {
    /// A day and an hour behind [`START`].
    pub(crate) fn new(store: Option<Store>) -> Self {
        let now = AtomicI64::new(START + 25 * 3_600_000);
        Self { now, store, running: Mutex::default(), ring: Mutex::default(), status: Mutex::default() }
    }
}

impl View for Fake {
    fn now_ms(&self) -> i64 {
        self.now.load(Ordering::Relaxed)
    }

    fn health(&self) -> Health {
        Health::of(Vec::new(), "0", 1)
    }

    fn symbols(&self) -> Vec<SymbolStatus> {
        Vec::new()
    }

    fn metrics(&self) -> String {
        "# EOF\n".to_owned()
    }

    fn listing(&self, name: &str) -> Option<Listing> {
        let label = name.to_owned();
        let symbol = ["BTC", "binance:BTCUSDT"].contains(&name).then_some(Symbol(0))?;
        Some(Listing { label, symbol, source: btc(), scales: scales(2, 5) })
    }

    fn names(&self) -> Vec<String> {
        ["BTC", "binance:BTCUSDT", "ETH", "kraken:BTC/USD"].map(str::to_owned).to_vec()
    }

    fn history(&self) -> Option<Store> {
        self.store.clone()
    }

    fn history_status(&self) -> Option<WriterStatus> {
        self.status.lock().unwrap().clone()
    }

    fn latest(&self, symbol: Symbol, interval: Interval, count: usize) -> Answer<'_, Vec<Candle>> {
        assert!(symbol == Symbol(0) && count <= 500);
        let all = self.running.lock().unwrap();
        let own: Vec<_> = all.iter().filter(|candle| candle.interval == interval).copied().collect();
        Box::pin(std::future::ready(own[own.len().saturating_sub(count)..].to_vec()))
    }

    fn newest_trades(&self, _: Symbol, count: usize) -> Vec<Trade> {
        let ring = self.ring.lock().unwrap();
        ring[ring.len().saturating_sub(count)..].to_vec()
    }

    fn tickers(&self) -> Answer<'_, Vec<TickerRow>> {
        let ticker = Ticker {
            ts_event: Timestamp(START * 1_000_000),
            last: Price(10_200),
            open: Price(10_000),
            high: Price(10_300),
            low: Price(9950),
            volume: 150_000,
            quote_volume: 1_500_000_000,
            since: Timestamp((START - 60_000) * 1_000_000),
        };
        let row = TickerRow { label: "BTC".to_owned(), source: btc(), scales: scales(2, 5), ticker };
        Box::pin(std::future::ready(vec![row]))
    }
}

/// A server and what stands behind it; all of it goes when this is dropped.
pub(crate) struct Stage {
    pub(crate) view: Arc<Fake>,
    pub(crate) url: String,
    client: Client,
    tables: Option<(String, String)>,
    _folder: Option<TempDir>,
}

impl Stage {
    /// On a file.
    pub(crate) async fn embedded() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = StoreUrl::Redb(folder.path().join("history.redb"));
        let store = Store::open(&url, Keep::default()).await.unwrap();
        Self { _folder: Some(folder), ..Self::on(Some(store)).await }
    }

    async fn questdb(address: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let prefix = format!("r{}_{}_", process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let url = StoreUrl::parse(&format!("questdb:{address}/?tables={prefix}")).unwrap();
        let store = Store::open(&url, Keep::default()).await.unwrap();
        Self { tables: Some((address.to_owned(), prefix)), ..Self::on(Some(store)).await }
    }

    /// On this store, or none. The clock stands a day and an hour behind [`START`].
    pub(crate) async fn on(store: Option<Store>) -> Self {
        let view = Arc::new(Fake::new(store));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let app = App { view: Arc::clone(&view) as Arc<dyn View>, access: Arc::new(Access::open_to_all()) };
        let router = api::router(app, &[]);
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        // What comes compressed is unpacked by the tests themselves.
        let client = Client::builder().no_gzip().no_zstd().build().unwrap();
        Self { view, url, client, tables: None, _folder: None }
    }

    pub(crate) async fn write(&self, batch: Batch) {
        let store = self.view.store.as_ref().unwrap();
        store.write(&Arc::new(batch)).await.unwrap();
        store.settled().await.unwrap();
    }

    pub(crate) async fn get(&self, path: &str) -> Response {
        self.ask(path, &[]).await
    }

    pub(crate) async fn ask(&self, path: &str, headers: &[(&str, &str)]) -> Response {
        let request = self.client.get(format!("{}{path}", self.url));
        headers.iter().fold(request, |request, (name, value)| request.header(*name, *value)).send().await.unwrap()
    }

    pub(crate) async fn text(&self, path: &str) -> String {
        let response = self.get(path).await;
        let status = response.status();
        let text = response.text().await.unwrap();
        assert_eq!(status, StatusCode::OK, "{path}: {text}");
        text
    }

    pub(crate) async fn json(&self, path: &str) -> Value {
        serde_json::from_str(&self.text(path).await).unwrap()
    }

    /// Status and body of an answer that is an error.
    pub(crate) async fn refused(&self, path: &str) -> (u16, Value) {
        let response = self.get(path).await;
        (response.status().as_u16(), serde_json::from_str(&response.text().await.unwrap()).unwrap())
    }

    /// Every candle of a query, page by page.
    pub(crate) async fn all_candles(&self, query: &str) -> Vec<Value> {
        let (mut found, mut next) = (Vec::new(), String::new());
        loop {
            let page = self.json(&format!("{query}{next}")).await;
            found.extend(page["candles"].as_array().unwrap().iter().cloned());
            let Some(cursor) = page["next_cursor"].as_str() else { return found };
            assert!(found.len() < 1_000_000, "pages without an end");
            next = format!("&cursor={cursor}");
        }
    }

    /// Leaves nothing on the server.
    async fn strike(self) {
        let Some((address, prefix)) = &self.tables else { return };
        for table in ["candles_s", "candles_m", "candles_h", "trades", "values"] {
            let query = [("query", format!("DROP TABLE IF EXISTS \"{prefix}{table}\""))];
            let answer = self.client.get(format!("{address}/exec")).query(&query).send().await.unwrap();
            assert!(answer.status().is_success(), "{answer:?}");
        }
    }
}

/// Runs a test on each store that there is.
pub(crate) async fn on_each_store(test: impl AsyncFn(&Stage)) {
    let stage = Stage::embedded().await;
    test(&stage).await;
    let address = env::var("KANDLE_QUESTDB").ok().filter(|address| !address.is_empty());
    let is_required = env::var("KANDLE_REQUIRE_QUESTDB").is_ok_and(|value| value == "1");
    assert!(address.is_some() || !is_required, "KANDLE_QUESTDB must name the HTTP address of a QuestDB");
    let Some(address) = address else { return eprintln!("KANDLE_QUESTDB is not set: QuestDB is not tested") };
    let stage = Stage::questdb(&address).await;
    test(&stage).await;
    stage.strike().await;
}

pub(crate) fn btc() -> Source {
    Source::parse("binance:BTCUSDT").unwrap()
}

pub(crate) fn scales(price: u8, quantity: u8) -> Scales {
    Scales { price: Scale::new(price).unwrap(), quantity: Scale::new(quantity).unwrap() }
}

/// The closed candle number `number` of an interval from [`START`] on, with values that follow from its number.
pub(crate) fn candle(interval: &str, number: i64) -> Candle {
    let interval = Interval::parse(interval).unwrap();
    let nanos = interval.nanos().unwrap();
    let open_time = Timestamp(START * 1_000_000 + number * nanos);
    assert_eq!(interval.open_time(open_time), open_time);
    let mut candle = Candle::flat(interval, open_time, Price(6_800_000 + number));
    (candle.high, candle.low, candle.close) = (Price(6_900_000 + number), Price(6_700_000 + number), Price(6_800_007));
    (candle.volume, candle.buy_volume) = (1_000_000 + number as u128, 900_000);
    candle.quote_volume = 6_800_001 * candle.volume;
    (candle.trades, candle.first_id, candle.last_id) = (10, 1000 + 10 * number as u64, 1009 + 10 * number as u64);
    (candle.is_closed, candle.state) = (true, State::Complete);
    candle
}

pub(crate) fn batch(candles: impl IntoIterator<Item = Candle>) -> Batch {
    let mut batch = Batch::new();
    for candle in candles {
        batch.candle(&btc(), StoredCandle { scales: scales(2, 5), candle }).unwrap();
    }
    batch
}

pub(crate) fn trade(id: u64, after_ms: i64) -> Trade {
    let ts_event = Timestamp((START + after_ms) * 1_000_000);
    Trade {
        symbol: Symbol(0),
        first_id: id,
        id,
        trades: 1,
        ts_event,
        ts_recv: ts_event,
        price: Price(6_800_000 + id as i64),
        quantity: Quantity(12_345),
        side: if id.is_multiple_of(2) { Side::Buy } else { Side::Sell },
        origin: Origin::Live,
    }
}

pub(crate) fn trades(rows: impl IntoIterator<Item = Trade>) -> Batch {
    let mut batch = Batch::new();
    for row in rows {
        batch.trade(&btc(), StoredTrade::new(scales(2, 5), &row)).unwrap();
    }
    batch
}

/// Each row's open time as the number of its candle from [`START`] on.
pub(crate) fn numbers(rows: &[Value], interval: &str) -> Vec<i64> {
    let millis = Interval::parse(interval).unwrap().nanos().unwrap() / 1_000_000;
    rows.iter().map(|row| (row["ts"].as_i64().unwrap() - START) / millis).collect()
}
