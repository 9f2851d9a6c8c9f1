//! Where the tests play: empty databases, a clock that is set, money that is easy to count.

use std::{
    env, process,
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
};

use ledger::{Account, AccountId, Balancing, Event, Kind, Limit, Micros, Settle, Timestamp, Transfer, TransferId};
use records::{Records, RecordsUrl};
use sqlx::{AnyConnection, Connection, Executor, Row};
use tempfile::TempDir;

pub(crate) const BANK: AccountId = AccountId(1);
pub(crate) const USER: AccountId = AccountId(2);
pub(crate) const REVENUE: AccountId = AccountId(3);
const START: u64 = 1_700_000_000_000_000_000;

/// An empty database, which goes when this is struck.
pub(crate) struct Stage {
    pub(crate) url: String,
    now: Arc<AtomicU64>,
    server: Option<(String, String)>,
    _folder: Option<TempDir>,
}

impl Stage {
    pub(crate) fn sqlite() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", folder.path().join("records.db").display());
        Self { url, now: Arc::new(AtomicU64::new(START)), server: None, _folder: Some(folder) }
    }

    pub(crate) async fn postgres(server: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("t{}_{}", process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        execute(server, &format!("CREATE DATABASE {name}")).await;
        let (place, _) = server.rsplit_once('/').unwrap();
        let url = format!("{place}/{name}");
        Self { url, now: Arc::new(AtomicU64::new(START)), server: Some((server.to_owned(), name)), _folder: None }
    }

    pub(crate) fn open(&self) -> impl Future<Output = Records> + use<> {
        let (url, now) = (RecordsUrl::parse(&self.url).unwrap(), Arc::clone(&self.now));
        let clock = move || Timestamp::new(now.load(Ordering::Relaxed)).unwrap();
        async move { Records::open(url, clock).await.unwrap() }
    }

    pub(crate) fn pass(&self, seconds: u64) {
        self.now.fetch_add(seconds * 1_000_000_000, Ordering::Relaxed);
    }

    pub(crate) fn now(&self) -> Timestamp {
        Timestamp::new(self.now.load(Ordering::Relaxed)).unwrap()
    }

    /// How many rows a table has.
    pub(crate) async fn count(&self, table: &str) -> i64 {
        self.number(&format!("SELECT COUNT(*) FROM {table}")).await
    }

    /// What a query of one number says.
    pub(crate) async fn number(&self, sql: &str) -> i64 {
        sqlx::any::install_default_drivers();
        let mut connection = AnyConnection::connect(&self.url).await.unwrap();
        let row = connection.fetch_one(sql).await.unwrap();
        connection.close().await.unwrap();
        row.get(0)
    }

    pub(crate) async fn execute(&self, sql: &str) {
        execute(&self.url, sql).await;
    }

    /// Leaves nothing on the server.
    pub(crate) async fn strike(self) {
        if let Some((server, name)) = &self.server {
            execute(server, &format!("DROP DATABASE {name} WITH (FORCE)")).await;
        }
    }
}

async fn execute(url: &str, sql: &str) {
    sqlx::any::install_default_drivers();
    let mut connection = AnyConnection::connect(url).await.unwrap();
    connection.execute(sql).await.unwrap();
    connection.close().await.unwrap();
}

/// The server that the environment names.
pub(crate) fn postgres_server() -> Option<String> {
    let server = env::var("KANDLE_POSTGRES").ok().filter(|server| !server.is_empty());
    let is_required = env::var("KANDLE_REQUIRE_POSTGRES").is_ok_and(|value| value == "1");
    assert!(server.is_some() || !is_required, "KANDLE_POSTGRES must name a PostgreSQL server by its URL");
    if server.is_none() {
        eprintln!("KANDLE_POSTGRES is not set: PostgreSQL is not tested");
    }
    server
}

/// Runs a test on each database that there is.
pub(crate) async fn on_each_database(test: impl AsyncFn(&Stage)) {
    let stage = Stage::sqlite();
    test(&stage).await;
    stage.strike().await;
    if let Some(server) = postgres_server() {
        let stage = Stage::postgres(&server).await;
        test(&stage).await;
        stage.strike().await;
    }
}

pub(crate) fn transfer(id: u128, debit: AccountId, credit: AccountId, amount: u64, kind: Kind) -> Event {
    let (id, amount, balancing) = (TransferId(id), Micros::new(amount).unwrap(), Balancing::default());
    Event::Transfer(Transfer { id, debit, credit, amount, balancing, kind, ledger: 1, code: 1, reference: 0 })
}

pub(crate) fn hold(id: u128, amount: u64) -> Event {
    transfer(id, USER, REVENUE, amount, Kind::Hold { timeout_s: 60 })
}

pub(crate) fn settle(id: u128, hold: u128, amount: u64) -> Event {
    let (id, hold) = (TransferId(id), TransferId(hold));
    Event::Settle(Settle { id, hold, amount: Micros::new(amount), reference: 0 })
}

/// Opens a bank, a user and a revenue account, and gives the user `funds`.
pub(crate) fn opening(funds: u64) -> Vec<Event> {
    let open = |id, limit| Event::Open(Account { id, ledger: 1, code: 1, reference: 0, limit });
    let gift = transfer(1, BANK, USER, funds, Kind::Post);
    vec![open(BANK, Limit::None), open(USER, Limit::DebitsMustNotExceedCredits), open(REVENUE, Limit::None), gift]
}
