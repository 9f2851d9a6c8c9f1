//! The servers, on a thread of their own: kandle's routes over a store, and the same axum with other sources of bytes.

use std::{
    future::{Future, ready},
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

use api::{
    Access, App,
    view::{Answer, Health, Listing, SymbolStatus, TickerRow, View},
};
use axum::{
    Router,
    extract::{Path, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use bytes::Bytes;
use engine::{
    candle::Candle,
    interval::Interval,
    market::{Symbol, Trade},
};
use store::{Source, Store, WriterStatus};
use tokio::{net::TcpListener, runtime};

use crate::{rows, sqlite::Sqlite};

/// Where the servers listen.
pub(crate) struct Servers {
    /// kandle's routes.
    pub(crate) api: SocketAddr,
    /// `/memory` and `/sqlite/SOURCE/FROM/TO`.
    pub(crate) others: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    page: Mutex<Bytes>,
    sqlite: Arc<Mutex<Sqlite>>,
}

impl Servers {
    /// What `/memory` answers from now on.
    pub(crate) fn remember(&self, page: Bytes) {
        *self.shared.page.lock().unwrap_or_else(PoisonError::into_inner) = page;
    }
}

/// Starts both; they end with the process.
pub(crate) async fn start(store: Store, sqlite: Sqlite) -> anyhow::Result<Servers> {
    let shared = Arc::new(Shared { page: Mutex::default(), sqlite: Arc::new(Mutex::new(sqlite)) });
    let app = App { view: Arc::new(Stored(store)), access: Arc::new(Access::open_to_all()) };
    let api = serve(api::router(app, &[])).await?;
    let router = Router::new().route("/memory", get(memory)).route("/sqlite/{source}/{from}/{to}", get(from_sqlite));
    let others = serve(router.with_state(Arc::clone(&shared))).await?;
    Ok(Servers { api, others, shared })
}

async fn serve(router: Router) -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let listener = listener.into_std()?;
    std::thread::spawn(move || -> anyhow::Result<()> {
        // One thread for requests: what is compared is work, not how many cores share it.
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async { Ok(axum::serve(TcpListener::from_std(listener)?, router).await?) })
    });
    Ok(address)
}

async fn memory(State(shared): State<Arc<Shared>>) -> impl IntoResponse {
    let page = shared.page.lock().unwrap_or_else(PoisonError::into_inner).clone();
    ([(header::CONTENT_TYPE, "application/json")], page)
}

async fn from_sqlite(
    State(shared): State<Arc<Shared>>,
    Path((number, from, to)): Path<(usize, i64, i64)>,
) -> Result<Response, StatusCode> {
    let sqlite = Arc::clone(&shared.sqlite);
    let read = move || {
        let sqlite = sqlite.lock().unwrap_or_else(PoisonError::into_inner);
        sqlite.json(&rows::source(number), from * 1_000_000, to * 1_000_000)
    };
    let json = tokio::task::spawn_blocking(read).await.map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
    let json = json.map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
    Ok(([(header::CONTENT_TYPE, "application/json")], json).into_response())
}

/// A store without an engine.
struct Stored(Store);

impl View for Stored {
    fn now_ms(&self) -> i64 {
        4_000_000_000_000
    }

    fn health(&self) -> Health {
        Health::of(Vec::new(), "", 0)
    }

    fn symbols(&self) -> Vec<SymbolStatus> {
        Vec::new()
    }

    fn metrics(&self) -> String {
        String::new()
    }

    fn listing(&self, name: &str) -> Option<Listing> {
        let (source, scales) = (Source::parse(name).ok()?, rows::scales().ok()?);
        Some(Listing { label: name.to_owned(), symbol: Symbol(0), source, scales })
    }

    fn names(&self) -> Vec<String> {
        Vec::new()
    }

    fn history(&self) -> Option<Store> {
        Some(self.0.clone())
    }

    fn history_status(&self) -> Option<WriterStatus> {
        None
    }

    fn latest(&self, _: Symbol, _: Interval, _: usize) -> Answer<'_, Vec<Candle>> {
        later(Vec::new())
    }

    fn newest_trades(&self, _: Symbol, _: usize) -> Vec<Trade> {
        Vec::new()
    }

    fn tickers(&self) -> Answer<'_, Vec<TickerRow>> {
        later(Vec::new())
    }
}

fn later<T: Send + 'static>(value: T) -> std::pin::Pin<Box<dyn Future<Output = T> + Send>> {
    Box::pin(ready(value))
}
