//! Asks Stripe, and asks again with the same key where nothing is known of the first time.

use std::time::Duration;

use reqwest::{
    Method, Response, StatusCode, Url,
    header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER},
    redirect::Policy,
};
use serde::{Deserialize, de::DeserializeOwned};

use crate::{
    checkout::CheckoutRequest,
    error::{ConfigError, RequestError, StripeError},
    session::Session,
};

/// The version of the API whose requests and answers these are.
pub const API_VERSION: &str = "2026-10-28.endive";

const BODY_BYTES_MAX: usize = 8 << 20;
const KEY_BYTES_MAX: usize = 255;
const WORDS_MAX: usize = 500;
const ATTEMPTS_MAX: u32 = 10;
const WAIT_MAX: Duration = Duration::from_secs(8);
/// Longer than this nobody waits within a request, even if Stripe asks for it.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(30);

/// How long and how often to ask.
#[derive(Clone, Copy, Debug)]
pub struct RetryPolicy {
    /// Of one attempt, from connecting to the last byte.
    pub timeout: Duration,
    /// How many attempts, at least one and at most ten.
    pub attempts: u32,
    /// Before the second attempt; doubled each time, unless Stripe asks for more.
    pub first_wait: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self { timeout: Duration::from_secs(15), attempts: 3, first_wait: Duration::from_millis(500) }
    }
}

/// The name of one request that makes something: asked twice with the same name, Stripe makes it once. It forgets names after
/// 24 hours or later, <https://docs.stripe.com/api/idempotent_requests>.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdempotencyKey(HeaderValue);

impl IdempotencyKey {
    /// A name of 1 to 255 visible ASCII characters.
    pub fn new(text: &str) -> Option<Self> {
        let usable = (1..=KEY_BYTES_MAX).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
        HeaderValue::from_str(text).ok().filter(|_| usable).map(Self)
    }
}

/// A client of Stripe's API with one secret key, which no error and no log shows. A clone shares its connections.
#[derive(Clone)]
pub struct StripeClient {
    http: reqwest::Client,
    base: String,
    key: String,
    retry: RetryPolicy,
}

impl StripeClient {
    /// A client of the API at `base`, such as `https://api.stripe.com`.
    ///
    /// # Errors
    /// [`ConfigError`]
    pub fn new(base: &str, key: &str, retry: RetryPolicy) -> Result<Self, ConfigError> {
        let known = (key.starts_with("sk_") || key.starts_with("rk_")) && key.len() <= KEY_BYTES_MAX && is_id(key);
        if !known {
            return Err(ConfigError::Key);
        }
        let (base, local) = parse_base(base).ok_or_else(|| ConfigError::Base { base: base.to_owned() })?;
        let mut headers = HeaderMap::new();
        let mut bearer = HeaderValue::from_str(&format!("Bearer {key}")).map_err(|_| ConfigError::Key)?;
        bearer.set_sensitive(true);
        headers.insert(AUTHORIZATION, bearer);
        headers.insert("stripe-version", HeaderValue::from_static(API_VERSION));
        let http = reqwest::Client::builder()
            .default_headers(headers)
            .user_agent(concat!("kandle/", env!("CARGO_PKG_VERSION")))
            .redirect(Policy::none())
            .connect_timeout(retry.timeout)
            .timeout(retry.timeout);
        // A proxy of the environment is for the outside.
        let http = if local { http.no_proxy() } else { http };
        Ok(Self { http: http.build().map_err(ConfigError::Client)?, base, key: key.to_owned(), retry })
    }

    /// Whether the key moves real money. Sessions and events of the other mode are not ours.
    pub fn livemode(&self) -> bool {
        self.key.starts_with("sk_live_") || self.key.starts_with("rk_live_")
    }

    /// Makes a session, whose [`Session::url`] is where the customer pays.
    ///
    /// # Errors
    /// [`StripeError`]; if it is ambiguous there may be a session all the same, and the same request with the same key finds it.
    pub async fn create_session(
        &self,
        request: &CheckoutRequest<'_>,
        key: &IdempotencyKey,
    ) -> Result<Session, StripeError> {
        self.ask(Method::POST, "/v1/checkout/sessions", Some((request.form()?, key))).await
    }

    /// The session as it is now.
    ///
    /// # Errors
    /// [`StripeError`]
    pub async fn session(&self, id: &str) -> Result<Session, StripeError> {
        self.ask(Method::GET, &format!("/v1/checkout/sessions/{}", checked(id)?), None).await
    }

    /// Closes an open session, so that nobody can pay any more.
    ///
    /// # Errors
    /// [`StripeError`]; it is refused if the session is not open.
    pub async fn expire_session(&self, id: &str, key: &IdempotencyKey) -> Result<Session, StripeError> {
        let path = format!("/v1/checkout/sessions/{}/expire", checked(id)?);
        self.ask(Method::POST, &path, Some((String::new(), key))).await
    }

    /// Asks until there is an answer, a refusal or no patience left.
    pub(crate) async fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        form: Option<(String, &IdempotencyKey)>,
    ) -> Result<T, StripeError> {
        let attempts = self.retry.attempts.clamp(1, ATTEMPTS_MAX);
        let mut wait = self.retry.first_wait.min(WAIT_MAX);
        let (mut attempt, mut sent_before) = (1, false);
        loop {
            let Failure { error, again, wait_asked } = match self.attempt(method.clone(), path, form.as_ref()).await {
                Ok(body) => return serde_json::from_slice(&body).map_err(|error| unreadable(&error)),
                Err(failure) => failure,
            };
            if !again || attempt >= attempts {
                // What an attempt before this one has done, a later refusal does not undo.
                let unknown = sent_before && !error.is_ambiguous();
                return Err(if unknown { StripeError::Unanswered { why: error.to_string() } } else { error });
            }
            attempt += 1;
            sent_before |= error.is_ambiguous();
            tokio::time::sleep(wait.max(wait_asked.min(RETRY_AFTER_MAX))).await;
            wait = wait.saturating_mul(2).min(WAIT_MAX);
        }
    }

    async fn attempt(
        &self,
        method: Method,
        path: &str,
        form: Option<&(String, &IdempotencyKey)>,
    ) -> Result<Vec<u8>, Failure> {
        let mut request = self.http.request(method, format!("{}{path}", self.base));
        if let Some((form, key)) = form {
            request = request.header(CONTENT_TYPE, "application/x-www-form-urlencoded");
            request = request.header("idempotency-key", key.0.clone()).body(form.clone());
        }
        let response = request.send().await.map_err(network)?;
        let (status, headers) = (response.status(), response.headers().clone());
        let body = read(response).await?;
        if status.is_success() { Ok(body) } else { Err(self.failure(status, &headers, &body)) }
    }

    fn failure(&self, status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Failure {
        let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let wait_asked = header(RETRY_AFTER.as_str()).and_then(|text| text.trim().parse().ok());
        let again =
            status == StatusCode::CONFLICT || status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error();
        let again = match header("stripe-should-retry") {
            Some("true") => true,
            Some("false") => false,
            _ => again,
        };
        let request_id = header("request-id").map(|id| self.words(id));
        let error = if status == StatusCode::TOO_MANY_REQUESTS {
            StripeError::Limited
        } else if status == StatusCode::CONFLICT || status.is_server_error() {
            // 409: the same request is under way elsewhere.
            StripeError::Unanswered { why: format!("{status}, request {}", request_id.as_deref().unwrap_or("unknown")) }
        } else {
            let Refusal { kind, code, param, message } =
                serde_json::from_slice(body).map(|ErrorBody { error }| error).unwrap_or_default();
            StripeError::Refused {
                status: status.as_u16(),
                kind: self.words(kind.as_deref().unwrap_or("unknown")),
                code: self.words(code.as_deref().unwrap_or_default()),
                param: param.map(|param| self.words(&param)),
                message: self.words(message.as_deref().unwrap_or_default()),
                request_id,
            }
        };
        Failure { error, again, wait_asked: Duration::from_secs(wait_asked.unwrap_or(0)) }
    }

    /// What was answered, short enough for a log and without our key, whoever answered.
    fn words(&self, text: &str) -> String {
        text.replace(&self.key, "the secret key").chars().filter(|c| !c.is_control()).take(WORDS_MAX).collect()
    }
}

/// An attempt that failed, and what Stripe says of another one.
struct Failure {
    error: StripeError,
    again: bool,
    wait_asked: Duration,
}

#[derive(Deserialize)]
struct ErrorBody {
    error: Refusal,
}

#[derive(Default, Deserialize)]
struct Refusal {
    #[serde(rename = "type")]
    kind: Option<String>,
    code: Option<String>,
    param: Option<String>,
    message: Option<String>,
}

fn network(error: reqwest::Error) -> Failure {
    let error = error.without_url();
    let error = if error.is_connect() {
        StripeError::Unreachable(error)
    } else {
        let why = if error.is_timeout() { "it took too long" } else { "the connection broke" };
        StripeError::Unanswered { why: why.to_owned() }
    };
    Failure { error, again: true, wait_asked: Duration::ZERO }
}

async fn read(mut response: Response) -> Result<Vec<u8>, Failure> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(network)? {
        if body.len() + chunk.len() > BODY_BYTES_MAX {
            let why = format!("it is longer than {BODY_BYTES_MAX} bytes");
            return Err(Failure { error: StripeError::Unreadable { why }, again: false, wait_asked: Duration::ZERO });
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

fn unreadable(error: &serde_json::Error) -> StripeError {
    StripeError::Unreadable { why: error.to_string().chars().take(WORDS_MAX).collect() }
}

/// `https://host[:port]`, and whether it is this machine; only there the wire may be in clear.
fn parse_base(text: &str) -> Option<(String, bool)> {
    let url = Url::parse(text).ok()?;
    let local = matches!(url.host_str()?, "127.0.0.1" | "[::1]" | "localhost");
    let bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
    let nobody = url.username().is_empty() && url.password().is_none();
    let safe = url.scheme() == "https" || (url.scheme() == "http" && local);
    (bare && nobody && safe).then(|| (url.as_str().trim_end_matches('/').to_owned(), local))
}

/// An id fit for a path.
pub(crate) fn checked(id: &str) -> Result<&str, RequestError> {
    if is_id(id) { Ok(id) } else { Err(RequestError::Field { field: "id" }) }
}

fn is_id(text: &str) -> bool {
    let letter = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    (1..=KEY_BYTES_MAX).contains(&text.len()) && text.bytes().all(letter)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_goes_nowhere_in_clear_but_to_this_machine() {
        let policy = RetryPolicy::default();
        for base in [
            "https://api.stripe.com",
            "https://api.stripe.com/",
            "http://127.0.0.1:12111",
            "http://[::1]:1",
            "http://localhost",
        ] {
            assert!(StripeClient::new(base, "sk_test_x", policy).is_ok(), "{base}");
        }
        for base in [
            "",
            "api.stripe.com",
            "http://api.stripe.com",
            "ftp://127.0.0.1",
            "https://api.stripe.com/v1",
            "https://u:p@api.stripe.com",
            "https://api.stripe.com?x",
            "http://127.0.0.1.example.com",
        ] {
            let refused = StripeClient::new(base, "sk_test_x", policy).err();
            assert!(matches!(refused, Some(ConfigError::Base { .. })), "{base}");
        }
    }

    #[test]
    fn only_a_secret_key_is_taken_and_no_error_repeats_it() {
        let long = format!("sk_test_{}", "x".repeat(KEY_BYTES_MAX));
        for key in ["", "pk_test_abc", "sk_test_abc\r\nx: y", "sk_test_ü", "sk-test", &long] {
            let error = StripeClient::new("https://api.stripe.com", key, RetryPolicy::default()).err().unwrap();
            assert!(matches!(error, ConfigError::Key), "{key}");
            assert!(key.is_empty() || !format!("{error} {error:?}").contains(key), "{key}");
        }
        let live = |key| StripeClient::new("https://api.stripe.com", key, RetryPolicy::default()).unwrap().livemode();
        assert!(live("sk_live_x") && live("rk_live_x") && !live("sk_test_x"));
    }

    #[test]
    fn a_name_of_a_request_is_visible_and_short() {
        assert!(IdempotencyKey::new("topup-01J").is_some() && IdempotencyKey::new(&"k".repeat(255)).is_some());
        for text in ["", "a b", "a\nb", "é", &"k".repeat(256)] {
            assert!(IdempotencyKey::new(text).is_none(), "{text}");
        }
    }
}
