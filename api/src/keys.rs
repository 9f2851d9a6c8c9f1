//! Keys of a user: made and shown once, listed, taken back.
//!
//! `mint` makes them, `list` tells of them, `revoke` takes them back; the keyring is told at once, the other processes by the
//! database.

mod list;
mod mint;
mod revoke;

use ledger::Micros;
use records::ApiKey;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{access::stored_scope, moment, openapi::ApiScope, routes::App};

pub(crate) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(list::list, mint::mint)).routes(routes!(revoke::revoke))
}

/// A key, as its user sees it.
#[derive(Serialize, ToSchema)]
#[schema(as = ApiKey)]
struct Key {
    key_id: u64,
    name: String,
    /// Its first characters, to tell it from others.
    #[schema(example = "kai-9fQz")]
    prefix: String,
    #[schema(value_type = Vec<ApiScope>)]
    scopes: &'static [&'static str],
    #[schema(format = DateTime)]
    created_at: String,
    #[schema(format = DateTime)]
    expires_at: Option<String>,
    /// As of some seconds ago.
    #[schema(format = DateTime)]
    last_used_at: Option<String>,
    #[schema(format = DateTime)]
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
