//! `GET /v1/audit`: who called what, with which key, from where, at what cost.

use axum::{
    Json,
    extract::{RawQuery, State},
    response::Response,
};
use records::{AUDIT_PAGE_MAX, AuditRow, Text};
use serde::Serialize;
use utoipa::{IntoParams, ToSchema};

use super::{kai::Usd, query};
use crate::{
    access::Member,
    error::{ApiError, echo},
    given::Given,
    moment,
    problem::Problem,
    routes::{App, fresh},
};

const KNOWN: [&str; 3] = ["limit", "cursor", "endpoint"];
const LIMIT_USUAL: usize = 100;

/// Requests, the newest first. A request is there some milliseconds after it was answered.
#[derive(Serialize, ToSchema)]
pub(crate) struct AuditPage {
    /// The requests.
    audit: Vec<AuditLine>,
    /// What to give as `cursor` for the next page; null behind the last row.
    next_cursor: Option<String>,
}

/// A request of the account. There is nothing secret in it.
#[derive(Serialize, ToSchema)]
struct AuditLine {
    /// The number of the row.
    id: u64,
    /// When the request came, RFC 3339.
    created_at: String,
    /// Such as `POST`.
    method: String,
    /// The path that was called.
    endpoint: String,
    /// The status of the answer.
    status: u16,
    /// What it cost, in US dollars.
    cost_usd: Usd,
    /// The same in micros.
    cost_micros: u64,
    /// With which key; null for a session that was logged in.
    key_id: Option<u64>,
    /// `x-request-id` of the answer.
    request_id: String,
    /// How long the answer took to begin.
    latency_ms: u64,
    /// Where the request came from.
    address: String,
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
    /// Only calls of this path.
    #[param(example = "/v1/me")]
    endpoint: Option<String>,
}

/// Who called what?
///
/// The newest first, with which key, from where, at what cost. A request is there some milliseconds after it was answered.
#[utoipa::path(
    get,
    path = "/v1/audit",
    tag = "billing",
    params(Query),
    responses((status = 200, description = "A page of requests.", body = AuditPage)),
)]
pub(crate) async fn audit(
    State(app): State<App>,
    member: Member,
    RawQuery(text): RawQuery,
) -> Result<Response, Problem> {
    let text = text.unwrap_or_default();
    let given = Given::parse(&text, &KNOWN)?;
    let (limit, after) = (given.limit(LIMIT_USUAL, AUDIT_PAGE_MAX)?, query::cursor(&given)?);
    let endpoint = given.get("endpoint").map(|text| {
        let wrong = || format!("endpoint is {:?}, and must be a path such as /v1/llm", echo(text));
        let path = Some(text).filter(|text| text.starts_with('/')).and_then(|text| Text::new(text).ok());
        path.ok_or_else(|| ApiError::invalid("endpoint", wrong()))
    });
    let rows = app.accounts()?.records.audit().page(member.user, endpoint.transpose()?.as_ref(), after, limit).await?;
    let next_cursor = query::next(rows.last().map(AuditRow::cursor), rows.len(), limit);
    Ok(fresh(Json(AuditPage { audit: rows.into_iter().map(AuditLine::from).collect(), next_cursor })))
}

impl From<AuditRow> for AuditLine {
    fn from(AuditRow { id, audit }: AuditRow) -> Self {
        Self {
            id,
            created_at: moment::rfc3339(audit.created),
            method: audit.method.into(),
            endpoint: audit.endpoint.into(),
            status: audit.status,
            cost_usd: Usd(audit.cost),
            cost_micros: audit.cost.get(),
            key_id: audit.key.map(|key| key.0),
            request_id: audit.request.into(),
            latency_ms: audit.latency_ms,
            address: audit.address.into(),
        }
    }
}
