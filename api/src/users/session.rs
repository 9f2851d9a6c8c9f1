//! What whoever has proved to be a user gets: a token for a quarter of an hour.

use axum::http::StatusCode;
use ledger::Timestamp;
use records::UserId;
use serde::Serialize;
use utoipa::ToSchema;

use crate::{accounts::Accounts, moment, problem::Problem};

/// A token for a quarter of an hour, and whose it is.
// Has no `Debug`.
#[derive(Serialize, ToSchema)]
pub(super) struct Session {
    /// To be sent as `Authorization: Bearer …`.
    access_token: String,
    /// The same, under the name that some clients look for.
    token: String,
    #[schema(example = "Bearer")]
    token_type: &'static str,
    /// In seconds.
    expires_in: u64,
    user: Profile,
}

/// A user, as the user sees it.
#[derive(Serialize, ToSchema)]
pub(super) struct Profile {
    pub(super) user_id: u64,
    pub(super) email: String,
    pub(super) username: String,
    pub(super) tier: String,
    #[schema(format = DateTime)]
    pub(super) created_at: String,
}

impl Session {
    /// Begins one now.
    ///
    /// # Errors
    /// 500 if no token can be written.
    pub(super) fn begin(accounts: &Accounts, user: Profile, now: Timestamp) -> Result<Self, Problem> {
        let now = auth::Timestamp::from_nanos(now.nanos());
        let token = accounts.tokens.issue(user.user_id, now).map_err(|error| {
            tracing::error!(%error, "a token cannot be written");
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "no token can be written")
        })?;
        let life = token.life();
        let token = token.reveal().to_owned();
        let expires_in = life.expires_at.since(life.issued_at).as_secs();
        Ok(Self { access_token: token.clone(), token, token_type: "Bearer", expires_in, user })
    }
}

impl From<&records::User> for Profile {
    fn from(user: &records::User) -> Self {
        let UserId(user_id) = user.id;
        Self {
            user_id,
            email: user.email.to_string(),
            username: user.username.to_string(),
            tier: user.tier.to_string(),
            created_at: moment::rfc3339(user.created),
        }
    }
}
