//! Stripe's routes: who asks, what was asked before, what is answered, and answers that are spoilt on purpose.

use std::time::Duration;

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{DefaultBodyLimit, State},
    http::{HeaderMap, Method, Response, Uri},
    response::IntoResponse,
};
use serde_json::{Value, json};

use crate::{Shared, control, form::Form, refusal::Refusal, world::World};

pub(crate) const FAULTS_MAX: usize = 1000;
const REQUESTS_MAX: usize = 1000;
const BODY_BYTES_MAX: usize = 1 << 20;
const PAGE_DEFAULT: u64 = 10;
const PAGE_MAX: u64 = 100;

/// A request to one of Stripe's routes, as it came.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// `GET` or `POST`.
    pub method: String,
    /// With its query.
    pub path: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    /// Its bytes.
    pub body: String,
}

impl Recorded {
    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// How an answer is spoilt, as a gateway before Stripe would: what it spoils is not kept for the idempotency key.
#[derive(Clone, Copy, Debug, Default)]
pub struct Fault {
    /// The status instead of the answer; 0 breaks the connection, 200 leaves the answer as it is.
    pub status: u16,
    /// Whether what was asked is done all the same.
    pub done: bool,
    /// How long the answer takes.
    pub delay: Duration,
    /// What `Retry-After` says.
    pub retry_after: Option<u64>,
}

pub(crate) fn router(shared: Shared) -> Router {
    let limit = DefaultBodyLimit::max(BODY_BYTES_MAX);
    Router::new().fallback(handle).layer(limit).with_state(shared)
}

async fn handle(
    State(shared): State<Shared>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response<Body> {
    if let Some(path) = uri.path().strip_prefix("/_fake/") {
        return match control::answer(&shared, &method, path, &body).await {
            Ok(value) => reply(200, &value),
            Err(refusal) => reply(refusal.status, &refusal.body()),
        };
    }
    let (fault, answer) = {
        let mut world = shared.world();
        world.record(&method, &uri, &headers, &body);
        let fault = world.faults.pop_front();
        let skipped = fault.is_some_and(|fault| !fault.done && fault.status != 200);
        (fault, if skipped { Ok((Value::Null, false)) } else { world.answer(&method, &uri, &headers, &body) })
    };
    if let Some(fault) = fault {
        tokio::time::sleep(fault.delay).await;
        if fault.status != 200 {
            return spoilt(&fault);
        }
    }
    match answer {
        Ok((value, replayed)) => {
            let mut response = reply(200, &value);
            if replayed {
                response.headers_mut().insert("idempotent-replayed", axum::http::HeaderValue::from_static("true"));
            }
            response
        }
        Err(refusal) => reply(refusal.status, &refusal.body()),
    }
}

fn reply(status: u16, body: &Value) -> Response<Body> {
    let response = Response::builder().status(status).header("content-type", "application/json");
    let response = response.header("request-id", "req_fake").header("stripe-version", "2026-10-28.endive");
    response.body(Body::from(format!("{body:#}\n"))).unwrap_or_default()
}

fn spoilt(fault: &Fault) -> Response<Body> {
    if fault.status == 0 {
        let broken = futures_util::stream::iter([Ok(Bytes::from_static(b"{")), Err(std::io::Error::other("spoilt"))]);
        return Body::from_stream(broken).into_response();
    }
    let error = json!({ "error": { "message": "Spoilt on purpose", "type": "api_error" } });
    let mut response = reply(fault.status, &error);
    if let Some(seconds) = fault.retry_after {
        response.headers_mut().insert("retry-after", seconds.into());
    }
    response
}

impl World {
    fn record(&mut self, method: &Method, uri: &Uri, headers: &HeaderMap, body: &Bytes) {
        if self.requests.len() >= REQUESTS_MAX {
            self.requests.pop_front();
        }
        let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
        self.requests.push_back(Recorded {
            method: method.to_string(),
            path: uri.to_string(),
            headers: headers.iter().map(|(name, value)| (name.to_string(), text(value.as_bytes()))).collect(),
            body: text(body),
        });
    }

    fn answer(
        &mut self,
        method: &Method,
        uri: &Uri,
        headers: &HeaderMap,
        body: &Bytes,
    ) -> Result<(Value, bool), Refusal> {
        self.admit(headers)?;
        let segments: Vec<&str> = uri.path().split('/').skip(1).collect();
        let form = Form::parse(if method == Method::POST { body } else { uri.query().unwrap_or_default().as_bytes() })?;
        let fingerprint = format!("{} {}", uri.path(), form.fingerprint());
        let key = headers.get("idempotency-key").map(|key| String::from_utf8_lossy(key.as_bytes()).into_owned());
        let read = |value| Ok((value, false));
        match (method.as_str(), segments.as_slice()) {
            ("POST", ["v1", "checkout", "sessions"]) => {
                self.once(key.as_deref(), fingerprint, |world| world.create_session(form))
            }
            ("POST", ["v1", "checkout", "sessions", id, "expire"]) => self.once(key.as_deref(), fingerprint, |world| {
                form.finish()?;
                world.act(id, crate::Action::Expire)?;
                world.session(id, Form::parse(b"")?)
            }),
            ("GET", ["v1", "checkout", "sessions"]) => read(self.sessions(form)?),
            ("GET", ["v1", "checkout", "sessions", id]) => read(self.session(id, form)?),
            ("GET", ["v1", "events"]) => read(self.events(form)?),
            ("GET", ["v1", "events", id]) => read(self.event(id)?.clone()),
            (_, _) => {
                let message = format!("Unrecognized request URL ({method}: {}).", uri.path());
                Err(Refusal::new(404, None, message))
            }
        }
    }

    /// Stripe takes requests without a version as of the account's own; this fake wants it said.
    fn admit(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        let header = |name| headers.get(name).and_then(|value| value.to_str().ok());
        match header("authorization").map(|value| value.strip_prefix("Bearer ").unwrap_or_default()) {
            None => return Err(Refusal::new(401, None, "You did not provide an API key.")),
            Some(key) if key != self.key => return Err(Refusal::new(401, None, "Invalid API Key provided: sk_****")),
            Some(_) => {}
        }
        let version = header("stripe-version").unwrap_or_default();
        if is_version(version) {
            Ok(())
        } else {
            Err(Refusal::new(400, None, format!("Invalid Stripe API version: {version}")))
        }
    }

    /// `GET /v1/checkout/sessions`
    fn sessions(&self, mut form: Form) -> Result<Value, Refusal> {
        let (limit, payment) = (page_size(&mut form)?, form.take("payment_intent"));
        form.finish()?;
        let bodies = self.sessions.values().map(|session| &session.body);
        let of_payment = |body: &&Value| payment.is_none() || body["payment_intent"].as_str() == payment.as_deref();
        Ok(list("/v1/checkout/sessions", bodies.filter(of_payment).collect(), limit, false))
    }

    /// `GET /v1/events`: newest first; a cursor gives the events next to it.
    fn events(&self, mut form: Form) -> Result<Value, Refusal> {
        let limit = page_size(&mut form)?;
        let (older, newer) = (form.take("starting_after"), form.take("ending_before"));
        let from = form.integer("created[gte]")?.unwrap_or(0);
        let mut kinds: Vec<String> = form.take_below("types").into_iter().map(|(_, kind)| kind).collect();
        kinds.extend(form.take("type"));
        form.finish()?;
        if older.is_some() && newer.is_some() {
            return Err(Refusal::new(400, None, "You cannot parameterize both ending_before and starting_after."));
        }
        let position = |id: &str| {
            let found = self.events.iter().position(|event| event["id"].as_str() == Some(id));
            found.ok_or_else(|| {
                Refusal::missing("event", id, if older.is_some() { "starting_after" } else { "ending_before" })
            })
        };
        let end = older.as_deref().map(position).transpose()?.unwrap_or(self.events.len());
        let start = newer.as_deref().map(position).transpose()?.map_or(0, |at| at + 1);
        let wanted = |event: &&Value| {
            let kind = event["type"].as_str().unwrap_or_default();
            event["created"].as_u64() >= Some(from) && (kinds.is_empty() || kinds.iter().any(|known| known == kind))
        };
        let found: Vec<&Value> = self.events.iter().take(end).skip(start).filter(wanted).rev().collect();
        Ok(list("/v1/events", found, limit, newer.is_some()))
    }
}

/// The first of what was found, or the last if a page lies just before something.
fn list(url: &str, mut found: Vec<&Value>, limit: usize, from_the_end: bool) -> Value {
    let has_more = found.len() > limit;
    if from_the_end {
        found.drain(..found.len().saturating_sub(limit));
    }
    found.truncate(limit);
    json!({ "object": "list", "data": found, "has_more": has_more, "url": url })
}

fn page_size(form: &mut Form) -> Result<usize, Refusal> {
    let limit = form.integer("limit")?.unwrap_or(PAGE_DEFAULT);
    let outside = || Refusal::of_param("parameter_invalid_integer", "limit", "This value must be between 1 and 100.");
    if (1..=PAGE_MAX).contains(&limit) { usize::try_from(limit).map_err(|_| outside()) } else { Err(outside()) }
}

/// A date, and since 2024 the name of a release.
fn is_version(text: &str) -> bool {
    let (date, name) = text.split_once('.').unwrap_or((text, "acacia"));
    let digits = |part: &str, count| part.len() == count && part.bytes().all(|byte| byte.is_ascii_digit());
    let mut parts = date.split('-');
    let dated = [4, 2, 2].iter().all(|count| parts.next().is_some_and(|part| digits(part, *count)));
    dated && parts.next().is_none() && !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase())
}
