//! `GET /v1/billing/usage`: a row for each attempt at a provider, or sums over them.

use axum::{
    Json,
    extract::{RawQuery, State},
    response::Response,
};
use ledger::Timestamp;
use records::{Group, Grouping, KeyId, Name, SUMS_MAX, USAGE_PAGE_MAX, Usage, UsageFilter, UsageSum};
use serde::Serialize;
use utoipa::{IntoParams, ToSchema};

use super::{kai::Kai, query};
use crate::{
    access::Member,
    error::{ApiError, echo},
    given::Given,
    moment,
    problem::Problem,
    routes::{App, fresh},
};

const KNOWN: [&str; 7] = ["limit", "cursor", "key_id", "model", "from", "to", "group_by"];
const LIMIT_USUAL: usize = 100;
const DAY_NANOS: u64 = 24 * 60 * 60 * 1_000_000_000;
const DATE_CHARS: usize = "2026-01-15".len();
const GROUPINGS: [(&str, Grouping); 3] = [("day", Grouping::Day), ("key", Grouping::Key), ("model", Grouping::Model)];

/// Rows, the newest first.
#[derive(Serialize, ToSchema)]
pub(crate) struct UsagePage {
    /// The rows.
    usage: Vec<UsageRow>,
    /// What to give as `cursor` for the next page; null behind the last row.
    next_cursor: Option<String>,
}

/// An attempt at a provider.
#[derive(Serialize, ToSchema)]
struct UsageRow {
    /// The request that it was made for.
    request_id: String,
    /// 1, 2, 3, … within its request.
    attempt: u32,
    /// When it ended, or began if it has not, RFC 3339.
    created_at: String,
    /// What was called.
    endpoint: String,
    /// Who was asked.
    provider: String,
    /// The model that was asked for.
    model: String,
    /// What the provider calls it.
    upstream_model: String,
    /// Tokens read, those from a cache included.
    tokens_in: u64,
    /// Tokens written, those of reasoning included.
    tokens_out: u64,
    /// Tokens read from a cache.
    tokens_cached: u64,
    /// Tokens of reasoning.
    tokens_reasoning: u64,
    /// What was charged.
    cost_micros: u64,
    /// The same in KAI, as an exact decimal.
    cost_kai: Kai,
    /// How long it took.
    latency_ms: u64,
    /// How long its first token took.
    first_token_ms: Option<u64>,
    /// How it ended, such as `ok`: `open` until then, `lost` if a server died before it could tell.
    status: String,
    /// Who counted the tokens, such as `upstream`.
    usage_source: String,
    /// With which key; null for a session that was logged in.
    key_id: Option<u64>,
}

/// Sums over rows.
#[derive(Serialize, ToSchema)]
pub(crate) struct UsageSums {
    /// `day`, `key` or `model`.
    group_by: &'static str,
    /// Days and keys in order, the dearest models first.
    sums: Vec<Sum>,
    /// Whether there are more groups than one answer has.
    truncated: bool,
}

/// The sums of a group, which has one of the first three fields.
#[derive(Serialize, ToSchema)]
struct Sum {
    /// A day in UTC.
    #[serde(skip_serializing_if = "Option::is_none")]
    day: Option<String>,
    /// A key, null for sessions that were logged in.
    #[serde(skip_serializing_if = "Option::is_none")]
    key_id: Option<Option<u64>>,
    /// A model, as it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<String>,
    /// Rows.
    attempts: u64,
    /// Tokens read, those from a cache included.
    tokens_in: u64,
    /// Tokens written, those of reasoning included.
    tokens_out: u64,
    /// Tokens read from a cache.
    tokens_cached: u64,
    /// Tokens of reasoning.
    tokens_reasoning: u64,
    /// What was charged.
    cost_micros: u64,
    /// The same in KAI, as an exact decimal.
    cost_kai: Kai,
}

/// What can be asked.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "it describes what `Given` reads")]
struct Query {
    /// Rows of a page.
    #[param(default = 100, minimum = 1, maximum = 500)]
    limit: Option<u32>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
    /// Only with this key.
    #[param(minimum = 1)]
    key_id: Option<u64>,
    /// Only of this model, as it was asked for.
    #[param(max_length = 128)]
    model: Option<String>,
    /// Not before: milliseconds since 1970 or RFC 3339.
    from: Option<String>,
    /// Before.
    to: Option<String>,
    /// Sums over `day`, `key` or `model` in the place of rows; without `limit` and `cursor`.
    #[param(pattern = "^(day|key|model)$")]
    group_by: Option<String>,
}

/// One of both, by `group_by`.
#[derive(ToSchema)]
#[schema(as = BillingUsage)]
#[expect(dead_code, reason = "it describes what is written")]
#[serde(untagged)]
enum Answer {
    Rows(UsagePage),
    Sums(UsageSums),
}

/// What was spent on what?
///
/// A row for each attempt at a provider, the newest first, or sums over them.
#[utoipa::path(
    get,
    path = "/v1/billing/usage",
    tag = "billing",
    params(Query),
    responses((status = 200, description = "A page of rows, or sums.", body = Answer)),
)]
pub(crate) async fn usage(
    State(app): State<App>,
    member: Member,
    RawQuery(text): RawQuery,
) -> Result<Response, Problem> {
    let text = text.unwrap_or_default();
    let given = Given::parse(&text, &KNOWN)?;
    let filter = filter(&given)?;
    let (limit, after) = (given.limit(LIMIT_USUAL, USAGE_PAGE_MAX)?, query::cursor(&given)?);
    let usage = app.accounts()?.records.usage();
    if let Some(by) = given.one_of("group_by", &GROUPINGS)? {
        if let Some(name) = ["limit", "cursor"].into_iter().find(|name| given.get(name).is_some()) {
            return Err(ApiError::invalid(name, format!("{name} is for rows; leave it out with group_by")).into());
        }
        let sums = usage.sums(member.user, &filter, by).await?;
        let truncated = sums.len() == SUMS_MAX;
        let group_by = GROUPINGS.iter().find(|(_, known)| *known == by).map_or("", |(name, _)| name);
        let sums = sums.into_iter().map(Sum::from).collect();
        return Ok(fresh(Json(UsageSums { group_by, sums, truncated })));
    }
    let rows = usage.page(member.user, &filter, after, limit).await?;
    let next_cursor = query::next(rows.last().map(Usage::cursor), rows.len(), limit);
    Ok(fresh(Json(UsagePage { usage: rows.into_iter().map(UsageRow::from).collect(), next_cursor })))
}

fn filter(given: &Given<'_>) -> Result<UsageFilter, ApiError> {
    let model = given.get("model").map(|text| {
        let wrong = |_| ApiError::invalid("model", format!("model is {:?}, and must be a model's name", echo(text)));
        Name::new(text).map_err(wrong)
    });
    let key = query::number(given, "key_id")?.map(KeyId);
    let (from, to) = query::span(given)?;
    Ok(UsageFilter { key, model: model.transpose()?, from, to })
}

impl From<Usage> for UsageRow {
    fn from(usage: Usage) -> Self {
        let Usage { key, request, created, cost, attempt, .. } = usage;
        Self {
            request_id: request.into(),
            attempt: attempt.number,
            created_at: moment::rfc3339(created),
            endpoint: attempt.endpoint.into(),
            provider: attempt.provider.into(),
            model: attempt.model.into(),
            upstream_model: attempt.upstream_model.into(),
            tokens_in: attempt.tokens_in,
            tokens_out: attempt.tokens_out,
            tokens_cached: attempt.tokens_cached,
            tokens_reasoning: attempt.tokens_reasoning,
            cost_micros: cost.get(),
            cost_kai: cost.into(),
            latency_ms: attempt.latency_ms,
            first_token_ms: attempt.first_token_ms,
            status: attempt.status.into(),
            usage_source: attempt.source.into(),
            key_id: key.map(|key| key.0),
        }
    }
}

impl From<UsageSum> for Sum {
    fn from(sum: UsageSum) -> Self {
        let (day, key_id, model) = match sum.group {
            Group::Day(day) => (Some(date(day)), None, None),
            Group::Key(key) => (None, Some(key.map(|key| key.0)), None),
            Group::Model(model) => (None, None, Some(model.into())),
        };
        Self {
            day,
            key_id,
            model,
            attempts: sum.attempts,
            tokens_in: sum.tokens_in,
            tokens_out: sum.tokens_out,
            tokens_cached: sum.tokens_cached,
            tokens_reasoning: sum.tokens_reasoning,
            cost_micros: sum.cost.get(),
            cost_kai: sum.cost.into(),
        }
    }
}

/// A day from the epoch, such as `2026-01-15`.
fn date(day: u64) -> String {
    let midnight = Timestamp::new(day.saturating_mul(DAY_NANOS)).unwrap_or(Timestamp::MAX);
    moment::rfc3339(midnight).chars().take(DATE_CHARS).collect()
}
