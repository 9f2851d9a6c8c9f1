//! A password for a token. What is wrong is not said, and an address that nobody has takes as long as a wrong password.

use std::sync::PoisonError;

use auth::{Email, KeyRefusal, Password, Verdict};
use axum::{Json, extract::State, http::StatusCode, response::Response};
use records::{PasswordHash, Text, User};
use serde::Deserialize;
use utoipa::ToSchema;

use super::session::{Profile, Session};
use crate::{
    access::{Caller, refused_key},
    accounts::Accounts,
    body,
    problem::Problem,
    routes::{App, fresh},
};

/// Who somebody is.
// Has no `Debug`.
#[derive(Deserialize, ToSchema)]
pub(super) struct Credentials {
    #[schema(example = "jenny.rosen@example.com")]
    email: String,
    #[schema(example = "a-long-password", format = Password)]
    password: String,
}

/// Get a token.
///
/// A token is good for a quarter of an hour, and may do all that the account may.
#[utoipa::path(
    post,
    path = "/v1/auth/login",
    tag = "accounts",
    request_body = Credentials,
    responses(
        (status = 200, description = "A token.", body = Session),
        (status = 401, description = "`invalid_credentials`: the address or the password is wrong."),
        (status = 403, description = "`account_disabled`, with the right password."),
        (status = 429, description = "`too_many_attempts` from this address or on it."),
    ),
)]
pub(super) async fn login(
    State(app): State<App>,
    caller: Caller,
    body::Json(Credentials { email, password }): body::Json<Credentials>,
) -> Result<Response, Problem> {
    let accounts = app.accounts()?;
    let email = Email::parse(&email).map_err(|_| wrong())?;
    let password = Password::new(password).ok_or_else(wrong)?;
    let now = app.now();
    let began = auth::Timestamp::from_nanos(now.nanos());
    let attempts = || accounts.attempts.lock().unwrap_or_else(PoisonError::into_inner);
    attempts().begin(&email, caller.address, began)?;

    let login = accounts.records.users().by_email(email.as_str()).await?;
    let stored = login.as_ref().and_then(|login| login.password.as_ref());
    let verdict = accounts.hasher.verify(password, stored.map(|hash| hash.0.as_str())).await?;
    let (Some(login), Verdict::Right { new_hash }) = (login, verdict) else { return Err(wrong()) };
    attempts().succeed(&email, caller.address, began);
    if login.user.disabled.is_some() {
        return Err(refused_key(KeyRefusal::Disabled));
    }
    if let Some(hash) = new_hash {
        renew(accounts, &login.user, hash).await;
    }
    let session = Session::begin(accounts, Profile::from(&login.user), now)?;
    Ok(fresh(Json(session)))
}

/// Keeps the hash that today's settings give. If that fails, the old one is as good as it was.
async fn renew(accounts: &Accounts, user: &User, hash: String) {
    let Ok(hash) = Text::new(hash).map(PasswordHash) else { return };
    if let Err(error) = accounts.records.users().set_password(user.id, &hash).await {
        tracing::warn!(error = &error as &dyn std::error::Error, user = user.id.0, "a password's hash is not renewed");
    }
}

fn wrong() -> Problem {
    Problem::new(StatusCode::UNAUTHORIZED, "invalid_credentials", "the e-mail address or the password is wrong")
}
