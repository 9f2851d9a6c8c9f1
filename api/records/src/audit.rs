//! The audit: a row for each request that named its user. Noted without waiting, written in batches.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use ledger::{Micros, Timestamp};
use sqlx::any::AnyRow;
use tokio::{
    sync::mpsc,
    time::{interval, timeout},
};

use crate::{
    access::{Access, Counter},
    bounded,
    change::{Rows, Write},
    chart::{KeyId, UserId},
    error::RecordsError,
    kept::KeptAnswers,
    payments::Payments,
    text::{RequestName, Text, Word},
    usage::Cursor,
};

/// Rows of a page of the audit.
pub const AUDIT_PAGE_MAX: usize = 500;
/// Rows that wait to be written; what comes when these are full is lost, and counted.
const NOTED_MAX: usize = 8192;
/// Rows that are written together.
const BATCH_MAX: usize = 256;
/// How long rows gather.
const GATHER: Duration = Duration::from_millis(100);
/// How often what is old is thrown away.
const SWEEP_EVERY: Duration = Duration::from_secs(600);

/// Nanoseconds for which a provider's events are remembered: 60 days, and it tells them for 30.
const EVENTS_KEPT_FOR: u64 = 60 * 24 * 60 * 60 * 1_000_000_000;

static ROWS: Rows = Rows {
    head: "INSERT INTO audit (id, user_id, key_id, request, created, method, endpoint, status, cost, latency_ms, address)",
    columns: 11,
    tail: "",
};

/// The same key may have been used in several batches that come together.
static LAST_USED: Rows = Rows {
    head: "UPDATE api_keys SET last_used = used.at FROM (SELECT column1 AS key, MAX(column2) AS at FROM (",
    columns: 2,
    tail: ") AS noted GROUP BY column1) AS used \
           WHERE api_keys.id = used.key AND (api_keys.last_used IS NULL OR api_keys.last_used < used.at)",
};

/// What a request was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Audit {
    /// Who called.
    pub user: UserId,
    /// With which key.
    pub key: Option<KeyId>,
    /// The name of the request.
    pub request: RequestName,
    /// When it came.
    pub created: Timestamp,
    /// Such as `POST`.
    pub method: Word,
    /// What was called, without what identifies or proves somebody.
    pub endpoint: Text<256>,
    /// The HTTP status.
    pub status: u16,
    /// What it cost.
    pub cost: Micros,
    /// How long it took.
    pub latency_ms: u64,
    /// Where it came from.
    pub address: Text<64>,
}

/// A row of the audit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditRow {
    /// The number of the row.
    pub id: u64,
    /// What it says.
    pub audit: Audit,
}

/// The audit. Cheap to clone.
#[derive(Clone)]
pub struct AuditLog {
    access: Access,
    noted: mpsc::Sender<Audit>,
    lost: Arc<AtomicU64>,
}

/// Writes what is noted, and throws away what was kept long enough.
pub(crate) struct Keeper {
    log: AuditLog,
    noted: mpsc::Receiver<Audit>,
}

impl AuditLog {
    pub(crate) fn new(access: Access) -> (Self, Keeper) {
        let (sender, noted) = mpsc::channel(NOTED_MAX);
        let log = Self { access, noted: sender, lost: Arc::default() };
        (log.clone(), Keeper { log, noted })
    }

    /// Takes a row to be written soon. If too many wait already it is lost, and counted.
    pub fn note(&self, audit: Audit) {
        if self.noted.try_send(audit).is_err() {
            self.lose(1);
        }
    }

    /// How many rows were lost since the records were opened.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// Rows of a user, the newest first, at most `limit`, of one endpoint if one is named; behind `after`, the last row of
    /// the page before. A row is there some milliseconds after it was noted.
    ///
    /// # Errors
    /// If they cannot be read, or more than [`AUDIT_PAGE_MAX`] are asked for.
    pub async fn page(
        &self,
        user: UserId,
        endpoint: Option<&Text<256>>,
        after: Option<Cursor>,
        limit: usize,
    ) -> Result<Vec<AuditRow>, RecordsError> {
        bounded("rows of the audit", AUDIT_PAGE_MAX, limit)?;
        let sql = "SELECT id, user_id, key_id, request, created, method, endpoint, status, cost, latency_ms, address \
                   FROM audit WHERE user_id = $1 AND ($2 IS NULL OR endpoint = $2) \
                   AND (created < $3 OR (created = $3 AND id < $4)) ORDER BY created DESC, id DESC LIMIT $5";
        let [created, id] = Cursor::values(after);
        let rows = self.access.rows(sql, &[user.into(), endpoint.into(), created, id, (limit as u64).into()]).await?;
        rows.iter().map(|row| read(&self.access, row)).collect()
    }

    /// Throws away rows from before `before`.
    ///
    /// # Errors
    /// If it cannot be written.
    pub async fn sweep(&self, before: Timestamp) -> Result<(), RecordsError> {
        self.access.write(vec![Write::new("DELETE FROM audit WHERE created < $1").bind(before)]).await
    }

    async fn write(&self, batch: &[Audit]) -> Result<(), RecordsError> {
        let mut insert = Write::rows(&ROWS);
        let mut used = BTreeMap::new();
        for audit in batch {
            insert = insert.bind(self.access.next(Counter::Audit).await?).bind(audit.user).bind(audit.key);
            insert = insert.bind(&audit.request).bind(audit.created).bind(&audit.method).bind(&audit.endpoint);
            insert = insert.bind(u64::from(audit.status)).bind(audit.cost).bind(audit.latency_ms).bind(&audit.address);
            if let Some(key) = audit.key {
                let last = used.entry(key).or_insert(audit.created);
                *last = audit.created.max(*last);
            }
        }
        let last_used = used.into_iter().fold(Write::rows(&LAST_USED), |write, (key, at)| write.bind(key).bind(at));
        let last_used = Some(last_used).filter(|_| batch.iter().any(|audit| audit.key.is_some()));
        self.access.write([insert].into_iter().chain(last_used).collect()).await
    }

    fn lose(&self, rows: u64) {
        self.lost.fetch_add(rows, Ordering::Relaxed);
    }
}

impl Keeper {
    /// Serves until `stop` is told or dropped, and then what has been noted.
    pub(crate) async fn run(mut self, mut stop: tokio::sync::oneshot::Receiver<()>) {
        let (mut batch, mut sweeps) = (Vec::with_capacity(BATCH_MAX), interval(SWEEP_EVERY));
        loop {
            tokio::select! {
                taken = self.noted.recv_many(&mut batch, BATCH_MAX) => {
                    if taken == 0 {
                        break;
                    }
                    if let Err(error) = self.log.write(&batch).await {
                        self.log.lose(taken as u64);
                        tracing::warn!(error = &error as &dyn std::error::Error, rows = taken, "writing the audit");
                    }
                    batch.clear();
                    // Nobody waits for these rows, and each commit makes others wait: what comes now shares the next.
                    if taken < BATCH_MAX {
                        let _ = timeout(GATHER, &mut stop).await.map(|_| self.noted.close());
                    }
                }
                _ = sweeps.tick() => {
                    if let Err(error) = self.sweep().await {
                        tracing::warn!(error = &error as &dyn std::error::Error, "forgetting what is old");
                    }
                }
                _ = &mut stop, if !self.noted.is_closed() => self.noted.close(),
            }
        }
    }

    /// The audit itself is kept until an operator says otherwise.
    async fn sweep(&self) -> Result<(), RecordsError> {
        let access = &self.log.access;
        KeptAnswers { access: access.clone() }.sweep().await?;
        let oldest = access.now().nanos().saturating_sub(EVENTS_KEPT_FOR);
        Payments { access: access.clone() }.sweep(Timestamp::new(oldest).unwrap_or_default()).await
    }
}

impl AuditRow {
    /// Where the page behind this row begins.
    #[must_use]
    pub fn cursor(&self) -> Cursor {
        Cursor { created: self.audit.created, id: self.id }
    }
}

fn read(access: &Access, row: &AnyRow) -> Result<AuditRow, RecordsError> {
    let fields = access.fields(row);
    let audit = Audit {
        user: fields.user("user_id")?,
        key: fields.maybe_key("key_id")?,
        request: fields.text("request")?,
        created: fields.time("created")?,
        method: fields.text("method")?,
        endpoint: fields.text("endpoint")?,
        status: fields.small("status")?,
        cost: fields.micros("cost")?,
        latency_ms: fields.number("latency_ms")?,
        address: fields.text("address")?,
    };
    Ok(AuditRow { id: fields.number("id")?, audit })
}
