//! What was used: a row for each attempt at a provider, written with the hold before it begins and with the money that it
//! cost when it ends.

use ledger::{Micros, Timestamp};
use sqlx::{AnyConnection, any::AnyRow};

use crate::{
    access::Access,
    allowance::{self, Window},
    bounded,
    change::{Rows, Value, Write, bound},
    chart::{KeyId, UserId},
    database::Database,
    error::{Conflict, RecordsError},
    text::{Name, RequestName, Text, Word},
};

/// Rows of a page of usage.
pub const USAGE_PAGE_MAX: usize = 500;
/// Tokens that one attempt can count: more is somebody's mistake, and a sum of them must fit a column.
const TOKENS_MAX: u64 = 1 << 40;
/// Sums of one answer.
pub const SUMS_MAX: usize = 1000;

/// The status of an attempt that has begun.
pub const OPEN: &str = "open";
/// The status of an attempt whose hold has expired before anybody told how it ended.
pub const LOST: &str = "lost";

/// What is known of an attempt when it ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// 1, 2, 3, … within its request.
    pub number: u32,
    /// What was called, such as `/v1/chat/completions`.
    pub endpoint: Name,
    /// Who was asked.
    pub provider: Word,
    /// The model that was asked for.
    pub model: Name,
    /// What the provider calls it.
    pub upstream_model: Name,
    /// Tokens read, those from a cache included.
    pub tokens_in: u64,
    /// Tokens read from a cache.
    pub tokens_cached: u64,
    /// Tokens written, those of reasoning included.
    pub tokens_out: u64,
    /// Tokens of reasoning.
    pub tokens_reasoning: u64,
    /// How long it took.
    pub latency_ms: u64,
    /// How long its first token took.
    pub first_token_ms: Option<u64>,
    /// How it ended, such as `ok`; [`OPEN`] until then.
    pub status: Word,
    /// Who counted the tokens, such as `upstream`.
    pub source: Word,
    /// The provider's own words about it.
    pub raw: Option<Text<4096>>,
}

/// An attempt as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Usage {
    /// The number of the row.
    pub id: u64,
    /// Who pays.
    pub user: UserId,
    /// With which key.
    pub key: Option<KeyId>,
    /// The request that it was made for.
    pub request: RequestName,
    /// When it ended, or began if it has not.
    pub created: Timestamp,
    /// What was charged.
    pub cost: Micros,
    /// What is known of it.
    pub attempt: Attempt,
}

/// Where a page of newest rows goes on: behind this row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// Its time.
    pub created: Timestamp,
    /// Its number.
    pub id: u64,
}

/// Which rows are meant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UsageFilter {
    /// Of this key.
    pub key: Option<KeyId>,
    /// Of this model, as it was asked for.
    pub model: Option<Name>,
    /// Not before.
    pub from: Option<Timestamp>,
    /// Before.
    pub to: Option<Timestamp>,
}

/// What sums are taken over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grouping {
    /// A day in UTC.
    Day,
    /// A model, as it was asked for.
    Model,
    /// A key.
    Key,
}

/// One of the groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Group {
    /// Days since the epoch.
    Day(u64),
    /// A model.
    Model(Name),
    /// A key, or none.
    Key(Option<KeyId>),
}

/// The sums of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageSum {
    /// Which.
    pub group: Group,
    /// Attempts.
    pub attempts: u64,
    /// Tokens read.
    pub tokens_in: u64,
    /// Of these, from a cache.
    pub tokens_cached: u64,
    /// Tokens written.
    pub tokens_out: u64,
    /// Of these, for reasoning.
    pub tokens_reasoning: u64,
    /// What was charged.
    pub cost: Micros,
}

/// The usage. Cheap to clone.
#[derive(Clone)]
pub struct UsageRecords {
    pub(crate) access: Access,
}

const COLUMNS: &str = "id, user_id, key_id, request, attempt, created, endpoint, provider, model, upstream_model, \
                       tokens_in, tokens_cached, tokens_out, tokens_reasoning, cost, latency_ms, first_token_ms, \
                       status, source, raw";
const INSERT: &str = "INSERT INTO usage (id, user_id, key_id, request, attempt, created, day, endpoint, provider, model, \
                      upstream_model, tokens_in, tokens_cached, tokens_out, tokens_reasoning, cost, latency_ms, \
                      first_token_ms, status, source, raw, expires)";
const INSERTED: usize = 22;
static BEGUN: Rows = Rows { head: INSERT, columns: INSERTED, tail: "ON CONFLICT (request, attempt) DO NOTHING" };
/// The end of an attempt that was never told to have begun is a row as well. What has ended once stays as it is.
static ENDED: Rows = Rows {
    head: INSERT,
    columns: INSERTED,
    tail: "ON CONFLICT (request, attempt) DO UPDATE SET created = excluded.created, day = excluded.day, \
           tokens_in = excluded.tokens_in, tokens_cached = excluded.tokens_cached, tokens_out = excluded.tokens_out, \
           tokens_reasoning = excluded.tokens_reasoning, cost = excluded.cost, latency_ms = excluded.latency_ms, \
           first_token_ms = excluded.first_token_ms, status = excluded.status, source = excluded.source, \
           raw = excluded.raw, expires = NULL \
           WHERE usage.expires IS NOT NULL OR usage.status = 'lost'",
};
/// One statement may not touch a row twice, so what comes together is summed first. `WHERE true` keeps SQLite from taking
/// `ON` for a part of `FROM`.
static DAYS: Rows = Rows {
    head: "INSERT INTO usage_days (user_id, day, micros) SELECT column1, column2, SUM(column3) FROM (",
    columns: 3,
    tail: ") AS charged WHERE true GROUP BY column1, column2 \
           ON CONFLICT (user_id, day) DO UPDATE SET micros = usage_days.micros + excluded.micros",
};
const FILTER: &str = "user_id = $1 AND ($2 IS NULL OR key_id = $2) AND ($3 IS NULL OR model = $3) \
                      AND created >= $4 AND created < $5";

impl UsageRecords {
    /// Rows of a user, the newest first, at most `limit`; behind `after`, the last row of the page before.
    ///
    /// # Errors
    /// If they cannot be read, or more than [`USAGE_PAGE_MAX`] are asked for.
    pub async fn page(
        &self,
        user: UserId,
        filter: &UsageFilter,
        after: Option<Cursor>,
        limit: usize,
    ) -> Result<Vec<Usage>, RecordsError> {
        bounded("rows of usage", USAGE_PAGE_MAX, limit)?;
        let sql = format!(
            "SELECT {COLUMNS} FROM usage WHERE {FILTER} AND (created < $6 OR (created = $6 AND id < $7)) \
             ORDER BY created DESC, id DESC LIMIT $8"
        );
        let mut values = filter.values(user);
        values.extend(Cursor::values(after));
        values.push((limit as u64).into());
        let rows = self.access.rows(&sql, &values).await?;
        rows.iter().map(|row| read(&self.access, row)).collect()
    }

    /// Sums over the rows of a user: days and keys in order, the dearest models first, at most [`SUMS_MAX`].
    ///
    /// # Errors
    /// If they cannot be read.
    pub async fn sums(&self, user: UserId, filter: &UsageFilter, by: Grouping) -> Result<Vec<UsageSum>, RecordsError> {
        let (column, order) = match by {
            Grouping::Day => ("day", "day"),
            Grouping::Model => ("model", "SUM(cost) DESC, model"),
            Grouping::Key => ("key_id", "key_id"),
        };
        let sql = format!(
            "SELECT {column}, COUNT(*) AS attempts, CAST(SUM(tokens_in) AS BIGINT) AS tokens_in, \
             CAST(SUM(tokens_cached) AS BIGINT) AS tokens_cached, CAST(SUM(tokens_out) AS BIGINT) AS tokens_out, \
             CAST(SUM(tokens_reasoning) AS BIGINT) AS tokens_reasoning, CAST(SUM(cost) AS BIGINT) AS cost \
             FROM usage WHERE {FILTER} GROUP BY {column} ORDER BY {order} LIMIT $6"
        );
        let mut values = filter.values(user);
        values.push((SUMS_MAX as u64).into());
        let rows = self.access.rows(&sql, &values).await?;
        let sum = |row: &AnyRow| {
            let fields = self.access.fields(row);
            let group = match by {
                Grouping::Day => Group::Day(fields.number("day")?),
                Grouping::Model => Group::Model(fields.text("model")?),
                Grouping::Key => Group::Key(fields.maybe_key("key_id")?),
            };
            Ok(UsageSum {
                group,
                attempts: fields.number("attempts")?,
                tokens_in: fields.number("tokens_in")?,
                tokens_cached: fields.number("tokens_cached")?,
                tokens_out: fields.number("tokens_out")?,
                tokens_reasoning: fields.number("tokens_reasoning")?,
                cost: fields.micros("cost")?,
            })
        };
        rows.iter().map(sum).collect()
    }

    /// How much of the cap of 30 days is left.
    ///
    /// # Errors
    /// [`Conflict::UnknownUser`], or if it cannot be read.
    pub async fn window(&self, user: UserId) -> Result<Window, RecordsError> {
        let today = allowance::day(self.access.now());
        Ok(allowance::standing(&self.access, user, today).await?.window(today))
    }

    /// All rows of a request, the first attempt first, at most [`USAGE_PAGE_MAX`].
    ///
    /// # Errors
    /// If they cannot be read.
    pub async fn of_request(&self, request: &RequestName) -> Result<Vec<Usage>, RecordsError> {
        let sql = format!("SELECT {COLUMNS} FROM usage WHERE request = $1 ORDER BY attempt LIMIT $2");
        let rows = self.access.rows(&sql, &[request.into(), (USAGE_PAGE_MAX as u64).into()]).await?;
        rows.iter().map(|row| read(&self.access, row)).collect()
    }
}

impl Usage {
    /// Where the page behind this row begins.
    #[must_use]
    pub fn cursor(&self) -> Cursor {
        Cursor { created: self.created, id: self.id }
    }

    /// The statement that writes the row of an attempt which has begun, and may end until `expires`.
    pub(crate) fn begin(&self, expires: Timestamp) -> Write {
        self.insert(&BEGUN, Some(expires))
    }

    /// The statements that write how the attempt ended and what that adds to its day.
    pub(crate) fn end(&self) -> Vec<Write> {
        let mut writes = vec![self.insert(&ENDED, None).or(Conflict::Repeated)];
        if self.cost > Micros::ZERO {
            writes.push(Write::rows(&DAYS).bind(self.user).bind(allowance::day(self.created)).bind(self.cost));
        }
        writes
    }

    fn insert(&self, rows: &'static Rows, expires: Option<Timestamp>) -> Write {
        let (attempt, day) = (&self.attempt, allowance::day(self.created));
        let insert = Write::rows(rows).bind(self.id).bind(self.user).bind(self.key).bind(&self.request);
        let insert = insert.bind(u64::from(attempt.number)).bind(self.created).bind(day).bind(&attempt.endpoint);
        let insert = insert.bind(&attempt.provider).bind(&attempt.model).bind(&attempt.upstream_model);
        let tokens = |tokens: u64| tokens.min(TOKENS_MAX);
        let insert = insert.bind(tokens(attempt.tokens_in)).bind(tokens(attempt.tokens_cached));
        let insert = insert.bind(tokens(attempt.tokens_out)).bind(tokens(attempt.tokens_reasoning));
        let insert = insert.bind(self.cost).bind(attempt.latency_ms);
        let insert = insert.bind(attempt.first_token_ms).bind(&attempt.status).bind(&attempt.source);
        insert.bind(attempt.raw.as_ref()).bind(expires)
    }
}

/// What becomes of attempts whose holds have expired: nobody has told how they ended.
pub(crate) fn lose(now: Timestamp) -> Write {
    let sql = "UPDATE usage SET status = $1, created = $2, day = $3, expires = NULL WHERE expires <= $4";
    Write::new(sql).bind(LOST).bind(now).bind(allowance::day(now)).bind(now)
}

/// Whether there are any.
pub(crate) async fn is_any_lost(
    database: &Database,
    connection: &mut AnyConnection,
    now: Timestamp,
) -> Result<bool, RecordsError> {
    let sql = "SELECT 1 FROM usage WHERE expires <= $1 LIMIT 1";
    let found = bound(sqlx::query(sql), &[now.into()]).fetch_optional(connection).await;
    found.map(|row| row.is_some()).map_err(|error| database.unavailable(error))
}

impl Cursor {
    /// The place to go on from; without one the end, behind which nothing is.
    pub(crate) fn values(after: Option<Self>) -> [Value; 2] {
        let end = u64::MAX;
        after.map_or([end.into(), end.into()], |cursor| [cursor.created.into(), cursor.id.into()])
    }
}

impl UsageFilter {
    fn values(&self, user: UserId) -> Vec<Value> {
        let from = self.from.unwrap_or(Timestamp::ZERO).into();
        vec![user.into(), self.key.into(), self.model.as_ref().into(), from, self.to.unwrap_or(Timestamp::MAX).into()]
    }
}

fn read(access: &Access, row: &AnyRow) -> Result<Usage, RecordsError> {
    let fields = access.fields(row);
    Ok(Usage {
        id: fields.number("id")?,
        user: fields.user("user_id")?,
        key: fields.maybe_key("key_id")?,
        request: fields.text("request")?,
        created: fields.time("created")?,
        cost: fields.micros("cost")?,
        attempt: Attempt {
            number: fields.small("attempt")?,
            endpoint: fields.text("endpoint")?,
            provider: fields.text("provider")?,
            model: fields.text("model")?,
            upstream_model: fields.text("upstream_model")?,
            tokens_in: fields.number("tokens_in")?,
            tokens_cached: fields.number("tokens_cached")?,
            tokens_out: fields.number("tokens_out")?,
            tokens_reasoning: fields.number("tokens_reasoning")?,
            latency_ms: fields.number("latency_ms")?,
            first_token_ms: fields.maybe_number("first_token_ms")?,
            status: fields.text("status")?,
            source: fields.text("source")?,
            raw: fields.maybe_text("raw")?,
        },
    })
}
