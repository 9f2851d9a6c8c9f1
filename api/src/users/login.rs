//! A password for a token. What is wrong is not said, and an address that nobody has takes as long as a wrong password.

use std::sync::PoisonError;

use auth::{Email, KeyRefusal, Password, Verdict};
use axum::{Json, extract::State, http::StatusCode, response::Response};
use records::{PasswordHash, Text, User};
use serde::Deserialize;

use super::session::{Profile, Session};
use crate::{
    access::{Caller, refused_key},
    accounts::Accounts,
    body,
    problem::Problem,
    routes::{App, fresh},
};

/// Has no `Debug`.
#[derive(Deserialize)]
pub(super) struct Credentials {
    email: String,
    password: String,
}

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
