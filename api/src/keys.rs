//! Keys of a user: made and shown once, listed, taken back.
//!
//! `mint` makes them, `list` tells of them, `revoke` takes them back; the keyring is told at once, the other processes by the
//! database.

mod list;
mod mint;
mod revoke;

use axum::routing::{delete, get};
use ledger::Micros;
use records::ApiKey;
use serde::Serialize;
use utoipa_axum::router::OpenApiRouter;

use crate::{access::stored_scope, moment, routes::App};

pub(crate) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .route("/v1/auth/api-keys", get(list::list).post(mint::mint))
        .route("/v1/auth/api-keys/{key_id}", delete(revoke::revoke))
}

/// A key, as its user sees it.
#[derive(Serialize)]
struct Key {
    key_id: u64,
    name: String,
    /// Its first characters, to tell it from others.
    prefix: String,
    scopes: &'static [&'static str],
    created_at: String,
    expires_at: Option<String>,
    /// As of some seconds ago.
    last_used_at: Option<String>,
    revoked_at: Option<String>,
    spend_cap_micros: Option<u64>,
    /// Of its cap; `null` if it has none.
    spent_micros: Option<u64>,
    allowed_ips: Vec<String>,
}

impl Key {
    fn new(key: &ApiKey, spent: Option<Micros>) -> Self {
        Self {
            key_id: key.id.0,
            name: key.name.to_string(),
            prefix: key.prefix.to_string(),
            scopes: stored_scope(key.scope).names(),
            created_at: moment::rfc3339(key.created),
            expires_at: key.expires.map(moment::rfc3339),
            last_used_at: key.last_used.map(moment::rfc3339),
            revoked_at: key.revoked.map(moment::rfc3339),
            spend_cap_micros: key.cap.map(Micros::get),
            spent_micros: spent.map(Micros::get),
            allowed_ips: key.cidrs.iter().map(ToString::to_string).collect(),
        }
    }
}
