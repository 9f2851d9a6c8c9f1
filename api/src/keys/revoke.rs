//! A key taken back: from that moment on it opens nothing, and its streams end.

use auth::Scope;
use axum::{Json, extract::State, response::Response};
use records::{Conflict, Grant, KeyId, Word};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    access::{Member, apply_key},
    moment,
    problem::Problem,
    routes::{App, fresh},
    segment::Segment,
};

/// What was revoked, and when: by this request or by an earlier one.
#[derive(Serialize, ToSchema)]
#[schema(as = RevokedApiKey)]
pub(super) struct Revoked {
    key_id: u64,
    #[schema(format = DateTime)]
    revoked_at: Option<String>,
}

/// Revoke a key.
///
/// From that moment on it opens nothing, and its streams end within a second. Twice is fine. A key may always revoke itself;
/// others need the scope admin.
#[utoipa::path(
    delete,
    path = "/v1/auth/api-keys/{key_id}",
    operation_id = "revoke_api_key",
    tag = "accounts",
    params(("key_id" = u64, Path, description = "The key's number.", example = 1)),
    responses(
        (status = 200, description = "It is revoked, by this request or an earlier one.", body = Revoked),
        (status = 404, description = "`unknown_api_key`: there is none, or it is another user's."),
    ),
)]
pub(super) async fn revoke(
    State(app): State<App>,
    member: Member,
    Segment(key_id): Segment,
) -> Result<Response, Problem> {
    let accounts = app.accounts()?;
    // What is no number is no key, and needs no other answer.
    let number = key_id.parse().ok().filter(|number| i64::try_from(*number).is_ok());
    let key = number.map(KeyId).ok_or(Conflict::UnknownKey)?;
    // A key that has leaked can be stopped with itself.
    let member = if member.key == Some(key) { member } else { member.needs(Scope::Admin)? };
    let revoked = accounts.records.keys().revoke(key, Some(member.user)).await?;
    let answer = Revoked { key_id: revoked.id.0, revoked_at: revoked.revoked.map(moment::rfc3339) };
    let (version, tier) = (revoked.version, Word::cut(&member.tier));
    apply_key(app.access.keyring(), &Grant { key: revoked, tier, is_user_disabled: false }, version);
    Ok(fresh(Json(answer)))
}
