//! What a caller is and may do: for a program that checks its key before it trades.

use axum::{Json, extract::State, response::Response};
use records::{CAP_MAX, Conflict};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    access::Member,
    moment,
    openapi::ApiScope,
    problem::Problem,
    routes::{App, fresh},
};

/// What a caller is and may do.
#[derive(Serialize, ToSchema)]
pub(super) struct Me {
    user_id: u64,
    username: String,
    email: String,
    #[schema(value_type = Vec<ApiScope>)]
    scopes: &'static [&'static str],
    /// `null` for one who has logged in.
    key_id: Option<u64>,
    key_name: Option<String>,
    /// When the key ends.
    #[schema(format = DateTime)]
    expires_at: Option<String>,
    /// From where the key may be used; from anywhere if there are none.
    allowed_ips: Vec<String>,
    /// What the key may ever spend.
    spend_cap_micros: Option<u64>,
    /// From where this request came.
    #[schema(example = "192.0.2.1")]
    address: String,
    tier: String,
    limits: Limits,
    #[schema(format = DateTime)]
    created_at: String,
}

/// What the tier allows; `null` for what it does not limit.
#[derive(Serialize, ToSchema)]
struct Limits {
    requests_per_minute: Option<u32>,
    burst: Option<u32>,
    connections: Option<u32>,
    runs: Option<u32>,
    /// Within 30 days.
    cap_micros: Option<u64>,
}

/// What am I?
///
/// For a program that checks its key before it trades: the account, the scopes, and every limit of the key.
#[utoipa::path(
    get,
    path = "/v1/me",
    tag = "accounts",
    responses((status = 200, description = "The caller.", body = Me)),
)]
pub(super) async fn me(State(app): State<App>, member: Member) -> Result<Response, Problem> {
    let records = &app.accounts()?.records;
    let user = records.users().by_id(member.user).await?.ok_or(Conflict::UnknownUser)?;
    let key = match member.key {
        Some(key) => records.keys().by_id(key).await?.map(|grant| grant.key),
        None => None,
    };
    let tier = app.access.tiers().get(&member.tier);
    let quota = tier.and_then(|tier| tier.quota);
    let me = Me {
        user_id: user.id.0,
        username: user.username.into(),
        email: user.email.into(),
        scopes: member.scope.names(),
        key_id: member.key.map(|key| key.0),
        expires_at: key.as_ref().and_then(|key| key.expires).map(moment::rfc3339),
        allowed_ips: key.iter().flat_map(|key| &key.cidrs).map(ToString::to_string).collect(),
        spend_cap_micros: key.as_ref().and_then(|key| key.cap).map(ledger::Micros::get),
        key_name: key.map(|key| key.name.into()),
        address: member.address.to_string(),
        tier: member.tier.to_string(),
        limits: Limits {
            requests_per_minute: quota.map(|quota| quota.per_minute()),
            burst: quota.map(|quota| quota.burst()),
            connections: tier.and_then(|tier| tier.connections),
            runs: tier.and_then(|tier| tier.runs),
            cap_micros: Some(user.cap).filter(|cap| *cap < CAP_MAX).map(ledger::Micros::get),
        },
        created_at: moment::rfc3339(user.created),
    };
    Ok(fresh(Json(me)))
}
