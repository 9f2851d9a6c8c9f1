//! `Idempotency-Key`: a request that comes again with the same name gets the answer that it got, and has no second effect.
//!
//! The name is the caller's, 1 to 255 printable characters, quoted or bare, as the [IETF draft] has it. Answers are kept for at least 24
//! hours, in the transaction of their effect. The same name with another request is refused with 422; while the first is still
//! being served, the second gets 409.
//!
//! [IETF draft]: https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/

use std::sync::Arc;

use axum::{
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use dashmap::DashSet;
use ledger::Timestamp;
use rand::rngs::OsRng;
use records::{Kept, UserId};
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::{accounts::Accounts, problem::Problem};

const NAME: &str = "idempotency-key";
const NAME_BYTES_MAX: usize = 255;
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// Names of requests that are being served.
pub(crate) type InFlight = DashSet<(UserId, [u8; 32])>;

/// A request that may have come before.
pub(crate) enum Once {
    /// It has not: serve it.
    First(Ticket),
    /// It has, and this was the answer.
    Again(Response),
}

/// What a request is, so that a repetition is known.
pub(crate) struct Asked<'a> {
    /// Whose name it is; nobody's for a request that makes the user.
    pub(crate) user: UserId,
    /// Tells names of nobody apart, such as by an e-mail address; empty for those of users.
    pub(crate) realm: &'a str,
    pub(crate) method: &'a Method,
    pub(crate) path: &'a str,
    pub(crate) body: &'a Bytes,
}

/// A request's right to be the first of its name; without a name it keeps nothing.
pub(crate) struct Ticket(Option<Named>);

struct Named {
    text: String,
    fingerprint: [u8; 32],
    place: Place,
}

/// A name while its request is served; dropped, it is free.
struct Place {
    user: UserId,
    name: [u8; 32],
    in_flight: Arc<InFlight>,
}

/// An answer in JSON, and what is kept of it.
pub(crate) struct Composed {
    pub(crate) kept: Option<Kept>,
    status: StatusCode,
    body: Vec<u8>,
}

impl Once {
    /// Looks whether the request has been answered.
    ///
    /// # Errors
    /// 400 for a name that is none, 409 while it is served, 422 if it was given to another request.
    pub(crate) async fn begin(accounts: &Accounts, headers: &HeaderMap, asked: Asked<'_>) -> Result<Self, Problem> {
        let Some(text) = name(headers)? else { return Ok(Self::First(Ticket(None))) };
        let name = digest(&[asked.realm.as_bytes(), text.as_bytes()]);
        let request = digest(&[asked.method.as_str().as_bytes(), asked.path.as_bytes(), asked.body]);
        let fingerprint = accounts.sealer.fingerprint(&request);
        let place = Place::take(&accounts.in_flight, asked.user, name).ok_or_else(busy)?;
        let ticket = Ticket(Some(Named { text, fingerprint, place }));
        Ok(match ticket.replay(accounts).await? {
            Some(answer) => Self::Again(answer),
            None => Self::First(ticket),
        })
    }
}

impl Ticket {
    /// Whether the request has a name, so that somebody may come again for its answer.
    pub(crate) fn is_named(&self) -> bool {
        self.0.is_some()
    }

    /// The answer that was kept, if one was.
    ///
    /// # Errors
    /// 422 if the name was given to another request.
    pub(crate) async fn replay(&self, accounts: &Accounts) -> Result<Option<Response>, Problem> {
        let Some(Named { text, fingerprint, place }) = &self.0 else { return Ok(None) };
        let Some(kept) = accounts.records.kept().find(place.user, &place.name).await? else { return Ok(None) };
        if kept.fingerprint != *fingerprint {
            let message = "this Idempotency-Key was used for another request; use a new one for each";
            return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "idempotency_key_reused", message));
        }
        let body = accounts.sealer.open(text, fingerprint, &kept.answer).map_err(|error| {
            tracing::error!(%error, "an answer that was kept cannot be read");
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the answer that was given cannot be read")
        })?;
        let status = StatusCode::from_u16(kept.status).unwrap_or(StatusCode::OK);
        let mut response = json(status, body.to_vec());
        response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
        Ok(Some(response))
    }

    /// Puts an answer into the form in which it is sent and, where the request has a name, kept.
    ///
    /// # Errors
    /// 500 if it cannot be sealed.
    pub(crate) fn compose<T: Serialize>(
        &self,
        accounts: &Accounts,
        now: Timestamp,
        status: StatusCode,
        answer: &T,
    ) -> Result<Composed, Problem> {
        let broken = |error: &(dyn std::error::Error + 'static)| {
            tracing::error!(error, "an answer cannot be composed");
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the answer cannot be composed")
        };
        let body = serde_json::to_vec(answer).map_err(|error| broken(&error))?;
        let kept = match &self.0 {
            None => None,
            Some(Named { text, fingerprint, place }) => {
                let sealed = accounts.sealer.seal(text, fingerprint, &body, &mut OsRng);
                let answer = sealed.map_err(|error| broken(&error))?;
                let (user, name, fingerprint) = (place.user, place.name, *fingerprint);
                Some(Kept { user, name, fingerprint, status: status.as_u16(), answer, created: now })
            }
        };
        Ok(Composed { kept, status, body })
    }
}

impl Composed {
    /// The answer, once its effect is written.
    pub(crate) fn into_response(self) -> Response {
        json(self.status, self.body)
    }
}

impl Place {
    fn take(in_flight: &Arc<InFlight>, user: UserId, name: [u8; 32]) -> Option<Self> {
        in_flight.insert((user, name)).then(|| Self { user, name, in_flight: Arc::clone(in_flight) })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.in_flight.remove(&(self.user, self.name));
    }
}

fn json(status: StatusCode, body: Vec<u8>) -> Response {
    let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")];
    (status, headers, body).into_response()
}

fn name(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let Some(value) = headers.get(NAME) else { return Ok(None) };
    let text = value.to_str().unwrap_or_default().trim();
    let bare = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
    if bare.is_empty() || bare.len() > NAME_BYTES_MAX {
        let message = "an Idempotency-Key has 1 to 255 printable characters; a random UUID is a good one";
        return Err(Problem::new(StatusCode::BAD_REQUEST, "invalid_idempotency_key", message).field("Idempotency-Key"));
    }
    Ok(Some(bare.to_owned()))
}

fn busy() -> Problem {
    let message = "a request with this Idempotency-Key is being served; ask again for its answer";
    Problem::new(StatusCode::CONFLICT, "idempotency_in_progress", message).retry_after(1)
}

/// SHA-256 over the parts, each with its length, so that no two lists of parts give the same bytes.
fn digest(parts: &[&[u8]]) -> [u8; 32] {
    let mut digest = Sha256::new();
    for part in parts {
        digest.update((part.len() as u64).to_be_bytes());
        digest.update(part);
    }
    digest.finalize().into()
}
