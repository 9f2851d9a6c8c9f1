//! The QuestDB store: rows go in as ILP over HTTP, come out as SQL over HTTP (`/exec`).
//!
//! Both speak to the one port of the URL. The PostgreSQL wire would need a second address, driver and pool, and its
//! decimals come in a form of its own; `/exec` gives them as exact text.
//!
//! Numbers are `DECIMAL`s: exact for every value a row can hold (128-bit sums with 36 decimals included), readable in any SQL
//! client, and independent of an instrument's scales, which stand beside them so that the same integers come back. Tables
//! have the designated timestamp `ts` in nanoseconds and drop duplicates by key. Revisions are part of the key: whichever
//! order they arrive in, all are kept and the highest is read.
//!
//! A write returns once the server has it in its log. That it survives a power cut there, not only a crash, takes
//! `cairo.commit.mode=sync` on the server.

mod decimal;
mod read;
mod schema;
mod write;

use std::{
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use ::questdb::ingress::Sender;
use serde::Deserialize;

use crate::{access::Keep, error::StoreError, url::QuestDbUrl};

/// How long one request may take: the writer tries again, a reader is told.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// The largest answer that is read: a page of candles has about 5 MB.
const ANSWER_BYTES_MAX: usize = 64 << 20;
/// How often [`QuestDb::settled`] asks.
const SETTLE_EVERY: Duration = Duration::from_millis(5);

/// Candles on a QuestDB server.
pub struct QuestDb {
    url: QuestDbUrl,
    keep: Keep,
    http: reqwest::Client,
    sender: Mutex<Sender>,
    /// Whether the tables are known to exist. A failure resets it: the server that comes back may be an empty one, and
    /// it would create tables without keys by itself.
    is_ready: AtomicBool,
}

impl std::fmt::Debug for QuestDb {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("QuestDb").field("url", &self.url).finish_non_exhaustive()
    }
}

/// The parts of an `/exec` answer that are read.
#[derive(Deserialize)]
struct Answer<T> {
    dataset: Option<Vec<T>>,
    error: Option<String>,
}

impl QuestDb {
    pub(crate) fn new(url: QuestDbUrl, keep: Keep) -> Result<Self, StoreError> {
        let unavailable = |source| StoreError::Unavailable { store: url.base(), source };
        let http =
            reqwest::Client::builder().timeout(REQUEST_TIMEOUT).connect_timeout(Duration::from_secs(3)).no_proxy();
        let http = http.build().map_err(|error| unavailable(error.into()))?;
        let sender = Sender::from_conf(conf(&url)).map_err(|error| unavailable(error.into()))?;
        Ok(Self { url, keep, http, sender: Mutex::new(sender), is_ready: AtomicBool::new(false) })
    }

    /// Waits until the server has applied what it has in its log, so that it can be read.
    pub(crate) async fn settled(&self) -> Result<(), StoreError> {
        self.ready().await?;
        let sql = format!(
            "SELECT suspended, writerTxn, sequencerTxn FROM wal_tables() WHERE name IN ({})",
            schema::names(&self.url.tables).map(|name| format!("'{name}'")).join(",")
        );
        let polls = REQUEST_TIMEOUT.as_millis() / SETTLE_EVERY.as_millis();
        for _ in 0..polls {
            let body = self.exec(&sql).await?;
            let tables: Vec<(bool, i64, i64)> = self.dataset(&body)?;
            if tables.iter().any(|(suspended, ..)| *suspended) {
                return Err(self.unavailable("a table is suspended: see wal_tables() and ALTER TABLE … RESUME WAL"));
            }
            if tables.iter().all(|(_, written, known)| written == known) {
                return Ok(());
            }
            tokio::time::sleep(SETTLE_EVERY).await;
        }
        Err(self.unavailable("the server has not applied its log within ten seconds"))
    }

    /// Creates the tables, or checks those that exist, once per life of the server.
    async fn ready(&self) -> Result<(), StoreError> {
        if self.is_ready.load(Ordering::Acquire) {
            return Ok(());
        }
        let hours = self.keep.trades_age.as_secs().div_ceil(3600).max(1);
        for (name, ddl) in schema::tables(&self.url.tables, hours) {
            self.exec(&ddl).await?;
            let sql = format!("SELECT \"column\", type, designated, upsertKey FROM table_columns('{name}')");
            let body = self.exec(&sql).await?;
            let columns: Vec<(String, String, bool, bool)> = self.dataset(&body)?;
            if let Some(what) = schema::difference(&ddl, &columns) {
                return Err(StoreError::Foreign { store: self.url.base(), what: format!("table {name}: {what}") });
            }
        }
        let days = self.keep.seconds_age.map_or(0, |age| age.as_secs().div_ceil(86_400).max(1));
        for statement in schema::keep(&self.url.tables, hours, days) {
            self.exec(&statement).await?;
        }
        self.is_ready.store(true, Ordering::Release);
        Ok(())
    }

    /// Runs one statement and returns the answer's text, bounded.
    async fn exec(&self, sql: &str) -> Result<Vec<u8>, StoreError> {
        let mut request = self.http.get(format!("{}/exec", self.url.base())).query(&[("query", sql), ("nm", "true")]);
        if let Some((user, password)) = &self.url.login {
            request = request.basic_auth(user, Some(password));
        }
        let mut answer = request.send().await.map_err(|error| self.failed(error.without_url()))?;
        let status = answer.status();
        let mut body = Vec::new();
        while let Some(part) = answer.chunk().await.map_err(|error| self.failed(error.without_url()))? {
            if body.len() + part.len() > ANSWER_BYTES_MAX {
                return Err(self.unavailable("its answer is too long"));
            }
            body.extend_from_slice(&part);
        }
        if status.is_success() {
            return Ok(body);
        }
        let error = serde_json::from_slice::<Answer<()>>(&body).ok().and_then(|answer| answer.error);
        Err(self.unavailable(error.unwrap_or_else(|| format!("it answers {status}"))))
    }

    fn dataset<'a, T: Deserialize<'a>>(&self, body: &'a [u8]) -> Result<Vec<T>, StoreError> {
        let answer: Answer<T> = serde_json::from_slice(body).map_err(|error| self.foreign(error.to_string()))?;
        match answer {
            Answer { error: Some(error), .. } => Err(self.unavailable(error)),
            Answer { dataset, .. } => Ok(dataset.unwrap_or_default()),
        }
    }

    fn failed(&self, source: impl std::error::Error + Send + Sync + 'static) -> StoreError {
        self.unavailable(Box::<dyn std::error::Error + Send + Sync>::from(source))
    }

    fn unavailable(&self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> StoreError {
        self.is_ready.store(false, Ordering::Release);
        StoreError::Unavailable { store: self.url.base(), source: source.into() }
    }

    fn foreign(&self, what: String) -> StoreError {
        StoreError::Foreign { store: self.url.base(), what }
    }
}

/// The configuration of the ILP client. It tries once: trying again is the writer's work. The protocol version is given,
/// so that nothing is asked of a server that may not be there yet; the third one has decimals.
fn conf(url: &QuestDbUrl) -> String {
    let scheme = if url.is_https { "https" } else { "http" };
    let timeout = REQUEST_TIMEOUT.as_millis();
    let mut conf =
        format!("{scheme}::addr={};protocol_version=3;retry_timeout=0;request_timeout={timeout};", url.address);
    if let Some((user, password)) = &url.login {
        let quoted = |text: &str| text.replace(';', ";;");
        conf.push_str(&format!("username={};password={};", quoted(user), quoted(password)));
    }
    conf
}
