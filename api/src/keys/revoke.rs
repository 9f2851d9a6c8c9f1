//! A key taken back: from that moment on it opens nothing, and its streams end.

use auth::Scope;
use axum::{Json, extract::State, response::Response};
use records::{Conflict, Grant, KeyId, Word};
use serde::Serialize;

use crate::{
    access::{Member, apply_key},
    moment,
    problem::Problem,
    routes::{App, fresh},
    segment::Segment,
};

/// What was revoked, and when: by this request or by an earlier one.
#[derive(Serialize)]
pub(super) struct Revoked {
    key_id: u64,
    revoked_at: Option<String>,
}

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
