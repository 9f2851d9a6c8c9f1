//! A page of keys, in the order in which they were made, revoked ones included.

use auth::Scope;
use axum::{
    Json,
    extract::{RawQuery, State},
    response::Response,
};
use records::KeyId;
use serde::Serialize;
use utoipa::{IntoParams, ToSchema};

use super::Key;
use crate::{
    access::Member,
    error::{ApiError, echo},
    given::Given,
    problem::Problem,
    routes::{App, fresh},
};

const LIMIT_MAX: usize = 100;
const LIMIT_DEFAULT: usize = 50;

/// Keys, in the order in which they were made.
#[derive(Serialize, ToSchema)]
#[schema(as = ApiKeyPage)]
pub(super) struct Page {
    api_keys: Vec<Key>,
    /// What to ask for the next page with; `null` on the last.
    next_cursor: Option<String>,
}

/// What can be asked.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "it describes what `Given` reads")]
struct Query {
    /// Keys of a page.
    #[param(default = 50, minimum = 1, maximum = 100)]
    limit: Option<u32>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// My keys.
///
/// Revoked ones are among them. None is shown whole.
#[utoipa::path(
    get,
    path = "/v1/auth/api-keys",
    operation_id = "list_api_keys",
    tag = "accounts",
    params(Query),
    responses((status = 200, description = "A page of keys.", body = Page)),
)]
pub(super) async fn list(
    State(app): State<App>,
    member: Member,
    RawQuery(text): RawQuery,
) -> Result<Response, Problem> {
    let member = member.needs(Scope::Read)?;
    let text = text.unwrap_or_default();
    let given = Given::parse(&text, &["cursor", "limit"])?;
    let limit = given.limit(LIMIT_DEFAULT, LIMIT_MAX)?;
    let wrong = |text: &str| {
        let message =
            format!("cursor is {:?}, and must be the next_cursor of another page; or leave it out", echo(text));
        ApiError::invalid("cursor", message)
    };
    let number = |text: &str| text.parse().ok().filter(|number| i64::try_from(*number).is_ok());
    let after = given.get("cursor").map(|text| number(text).map(KeyId).ok_or_else(|| wrong(text))).transpose()?;

    let keys = app.accounts()?.records.keys();
    // One more than is shown says whether there is more.
    let mut page = keys.of_user(member.user, after, limit + 1).await?;
    let has_more = page.len() > limit;
    page.truncate(limit);
    let ids: Vec<_> = page.iter().map(|key| key.id).collect();
    let spent = keys.spent(&ids).await?;
    let next_cursor = page.last().filter(|_| has_more).map(|key| key.id.0.to_string());
    let api_keys = page.iter().map(|key| Key::new(key, spent.get(&key.id).copied())).collect();
    Ok(fresh(Json(Page { api_keys, next_cursor })))
}
