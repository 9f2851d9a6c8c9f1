//! A new user: an address that nobody has, and a password that is hard to guess.

use std::sync::PoisonError;

use auth::{Email, Password};
use axum::{
    extract::State,
    http::{HeaderMap, Method, StatusCode, Uri},
    response::Response,
};
use ledger::Timestamp;
use records::{Conflict, Name, NewUser, PasswordHash, RecordsError, Text, UserId};
use serde::Deserialize;
use utoipa::ToSchema;

use super::session::{Profile, Session};
use crate::{
    access::Caller,
    accounts::Accounts,
    body::Exact,
    moment,
    once::{Asked, Once, Ticket},
    problem::Problem,
    routes::App,
};

/// A new user.
// Has no `Debug`.
#[derive(Deserialize, ToSchema)]
pub(super) struct Registration {
    #[schema(example = "jenny.rosen@example.com", max_length = 254)]
    email: String,
    /// At least 10 characters that are hard to guess: a few words that do not belong together.
    #[schema(example = "a-long-password", min_length = 10, max_length = 128, format = Password)]
    password: String,
    /// The part before the `@` without it.
    #[schema(min_length = 1, max_length = 128, pattern = r"^[^\x00-\x1f\x7f-\x9f]+$")]
    username: Option<String>,
}

/// Make an account.
///
/// The token that comes back is good for a quarter of an hour: make a key with it.
#[utoipa::path(
    post,
    path = "/v1/auth/register",
    tag = "accounts",
    params(("Idempotency-Key" = Option<String>, Header, description = "A name of this request, 1 to 255 characters: if it comes again, it gets the answer that it got.")),
    request_body = Registration,
    responses(
        (status = 201, description = "The account is made.", body = Session),
        (status = 400, description = "`invalid_email`, `weak_password` with what would be better, or another member is wrong."),
        (status = 403, description = "`registration_closed`: this server takes no new accounts."),
        (status = 409, description = "`email_taken`: somebody has this address; or `idempotency_in_progress`."),
        (status = 422, description = "`idempotency_key_reused`: the name was given to another request."),
        (status = 429, description = "`too_many_attempts` from this address or on it."),
    ),
)]
pub(super) async fn register(
    State(app): State<App>,
    caller: Caller,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    Exact { bytes, value }: Exact<Registration>,
) -> Result<Response, Problem> {
    let accounts = app.accounts()?;
    if !accounts.signup.is_open {
        let message = "this server takes no new accounts; its operator can make one";
        return Err(Problem::new(StatusCode::FORBIDDEN, "registration_closed", message));
    }
    let Registration { email, password, username } = value;
    let invalid = |code, message: String| Problem::new(StatusCode::BAD_REQUEST, code, message);
    let email = Email::parse(&email).map_err(|error| invalid("invalid_email", error.to_string()).field("email"))?;
    let username = Name::new(username.unwrap_or_else(|| email.local_part().to_owned()))
        .map_err(|error| invalid("invalid_parameter", error.to_string()).field("username"))?;
    let too_long = || {
        let message = "this password is longer than any may be: use at most 128 characters";
        invalid("weak_password", message.to_owned()).field("password")
    };
    let password = Password::new(password).ok_or_else(too_long)?;

    let asked = Asked { user: UserId(0), realm: email.as_str(), method: &method, path: uri.path(), body: &bytes };
    let ticket = match Once::begin(accounts, &headers, asked).await? {
        Once::First(ticket) => ticket,
        Once::Again(answer) => return Ok(answer),
    };
    let now = app.now();
    // Not given back to those who succeed: nobody needs many accounts.
    let began = auth::Timestamp::from_nanos(now.nanos());
    accounts.registrations.lock().unwrap_or_else(PoisonError::into_inner).begin(&email, caller.address, began)?;
    // Asked first, because a hash is dear; who comes in between is found by the database.
    if accounts.records.users().by_email(email.as_str()).await?.is_some() {
        return again(accounts, &ticket, Conflict::EmailTaken).await;
    }
    let password = accounts.hasher.hash(password, &email).await?;
    welcome(accounts, &ticket, now, &email, username, password).await
}

/// Makes the user, once.
async fn welcome(
    accounts: &Accounts,
    ticket: &Ticket,
    now: Timestamp,
    email: &Email,
    username: Name,
    password: String,
) -> Result<Response, Problem> {
    let users = accounts.records.users();
    let id = users.next_id().await?;
    let signup = &accounts.signup;
    let profile = Profile {
        user_id: id.0,
        email: email.as_str().to_owned(),
        username: username.to_string(),
        tier: signup.tier.to_string(),
        created_at: moment::rfc3339(now),
    };
    let session = Session::begin(accounts, profile, now)?;
    let mut answer = ticket.compose(accounts, now, StatusCode::CREATED, &session)?;
    let unfit = |_| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the account cannot be stored");
    let user = NewUser {
        id,
        email: Text::new(email.as_str()).map_err(unfit)?,
        username,
        password: Some(PasswordHash(Text::new(password).map_err(unfit)?)),
        tier: signup.tier.clone(),
        cap: signup.cap,
        signup_credit: signup.credit,
        created: now,
    };
    match users.create(user, answer.kept.take()).await {
        Ok(_) => Ok(answer.into_response()),
        Err(RecordsError::Conflict(conflict)) => again(accounts, ticket, conflict).await,
        Err(error) => Err(error.into()),
    }
}

/// Who is refused may be the same client, which another server of this database has answered.
async fn again(accounts: &Accounts, ticket: &Ticket, conflict: Conflict) -> Result<Response, Problem> {
    ticket.replay(accounts).await?.ok_or_else(|| conflict.into())
}
