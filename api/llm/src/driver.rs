//! Sends a request to one target after another until one answers.
//!
//! Nothing is tried again once a token was seen. Before that: what may pass by itself is asked again of the same target
//! after a wait, what is the target's fault goes to the next one, what is the request's fault goes to nobody.

use std::{pin::pin, sync::Arc, time::Duration};

use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderValue};
use tokio::time::{Instant, sleep, timeout_at};

#[cfg(feature = "local")]
use crate::providers::local::Local;
use crate::{
    answer::{Answer, Source, deepest},
    attempt::{Attempt, Attempts, Outcome, Refused, Running},
    breaker::Breakers,
    catalog::Model,
    failure::{Failure, FailureKind},
    gate::Gated,
    providers::{Dialect, Endpoint, RequestError, Wire},
    request::ChatRequest,
    secret::Secret,
    sse,
};

/// The longest body of an error that is read.
const ERROR_BYTES_MAX: usize = 64 * 1024;

/// Connections to one provider that are kept for the next call.
const IDLE_CONNECTIONS_MAX: usize = 256;

/// How long and how often.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Until a connection stands.
    pub connect: Duration,
    /// From the begin of an attempt to the first visible token of its stream, over HTTP.
    pub first_token: Duration,
    /// Between two reads of a stream.
    pub idle: Duration,
    /// For a call with all its attempts.
    pub total: Duration,
    /// How often one target is asked again.
    pub retries: u32,
    /// How many attempts a call has, all targets together.
    pub attempts: u32,
    /// The first wait before asking again; it doubles with each retry.
    pub backoff: Duration,
    /// The longest wait: who asks for more is not asked again in this call.
    pub wait: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            first_token: Duration::from_secs(30),
            idle: Duration::from_secs(60),
            total: Duration::from_secs(600),
            retries: 2,
            attempts: 6,
            backoff: Duration::from_millis(500),
            wait: Duration::from_secs(8),
        }
    }
}

/// What is to be answered, and by whom.
pub struct Call {
    /// The request, with the reasoning of its route and its most tokens settled. With `stream`, also for a client that wants
    /// the whole: only a stream shows that a provider is silent, and how much came of an answer that was cut.
    pub request: Arc<ChatRequest>,
    /// Who is asked, in this order.
    pub targets: Vec<Arc<Model>>,
    /// The caller's own key, in place of ours; it is forgotten with the call. It is the key of the first target's provider,
    /// and targets of others are not asked.
    pub own_key: Option<Secret>,
    /// Spreads the waits of many calls.
    pub seed: u64,
    /// Who is told of each attempt.
    pub attempts: Arc<dyn Attempts>,
}

impl Call {
    /// Whether the caller's own key is none of `model`'s business.
    fn is_stranger(&self, model: &Model) -> bool {
        let first = self.targets.first().map(|first| &first.provider.name);
        self.own_key.is_some() && first != Some(&model.provider.name)
    }
}

/// Who is asked now, and where the numbers of attempts and the time stand.
pub(crate) struct Round<'a> {
    pub(crate) targets: &'a [Arc<Model>],
    /// The attempts before.
    pub(crate) after: u32,
    pub(crate) deadline: Instant,
    pub(crate) is_rescue: bool,
}

/// Sends calls. One for the process: it keeps the connections.
pub struct Driver {
    http: reqwest::Client,
    limits: Limits,
    breakers: Arc<Breakers>,
}

impl Driver {
    /// A driver without connections yet.
    ///
    /// # Errors
    /// If the system has no randomness for TLS.
    pub fn new(limits: Limits, breakers: Arc<Breakers>) -> Result<Self, reqwest::Error> {
        let http = reqwest::Client::builder()
            .connect_timeout(limits.connect)
            // A redirect would carry the key elsewhere; compression would hold back the pieces of a stream.
            .redirect(reqwest::redirect::Policy::none())
            .no_gzip()
            .tcp_nodelay(true)
            .pool_max_idle_per_host(IDLE_CONNECTIONS_MAX)
            .build()?;
        Ok(Self { http, limits, breakers })
    }

    /// Which models are not asked at the moment.
    #[must_use]
    pub fn breakers(&self) -> &Breakers {
        &self.breakers
    }

    /// Asks the targets in order and returns when the first visible token of an answer is here.
    ///
    /// # Errors
    /// The [`Failure`] of the last attempt, if no target answered.
    pub async fn open(&self, call: &Call) -> Result<Answer, Failure> {
        let deadline = Instant::now() + self.limits.total;
        self.ask(call, Round { targets: &call.targets, after: 0, deadline, is_rescue: false }).await
    }

    pub(crate) async fn ask(&self, call: &Call, round: Round<'_>) -> Result<Answer, Failure> {
        let mut number = round.after;
        let mut last: Option<Failure> = None;
        let mut context_above = 0;
        for (place, model) in round.targets.iter().enumerate() {
            if model.config.context_tokens <= context_above || call.is_stranger(model) {
                continue;
            }
            let is_last = place + 1 == round.targets.len();
            for retry in 0..=self.limits.retries {
                if number == self.limits.attempts {
                    return Err(last.unwrap_or_else(nobody));
                }
                if let Err(blocked) = self.enter(call, model) {
                    last = last.or(Some(blocked));
                    break;
                }
                number += 1;
                let failure = match self.attempt(call, model, number, &round).await {
                    Ok(answer) => return Ok(answer),
                    Err(failure) if failure.kind.fails_over() => failure,
                    Err(failure) => return Err(failure),
                };
                if failure.kind == FailureKind::ContextLength {
                    context_above = model.config.context_tokens;
                }
                let wait = self.wait(call, retry, number, is_last, &failure);
                last = Some(failure);
                match wait {
                    Some(wait) if Instant::now() + wait < round.deadline => sleep(wait).await,
                    _ => break,
                }
            }
        }
        Err(last.unwrap_or_else(nobody))
    }

    fn enter(&self, call: &Call, model: &Model) -> Result<(), Failure> {
        if call.own_key.is_some() {
            return Ok(());
        }
        self.breakers.enter(&model.config.id, Instant::now().into_std()).map_err(|open| {
            let kind = if open.last == FailureKind::RateLimited { open.last } else { FailureKind::Unavailable };
            let message = "the providers of this model have failed lately and are left alone for now";
            Failure { retry_after: Some(open.wait), ..Failure::new(kind, message) }
        })
    }

    /// How long to wait before the same target is asked again; `None` if it is not.
    fn wait(&self, call: &Call, retry: u32, number: u32, is_last: bool, failure: &Failure) -> Option<Duration> {
        // Where another target stands by, nobody waits for one that is full.
        let is_full = matches!(failure.kind, FailureKind::RateLimited) && !is_last;
        if !failure.kind.is_retryable() || is_full || retry == self.limits.retries {
            return None;
        }
        let backoff = self.limits.backoff.saturating_mul(1 << retry.min(16)).min(self.limits.wait);
        // A wish to come back at once is none.
        let wait = failure.retry_after.filter(|asked| !asked.is_zero()).unwrap_or(backoff);
        // Up to a quarter more, so that calls which failed together do not come back together.
        let jitter = backoff.mul_f64(f64::from(scatter(call.seed, number)) / f64::from(u16::MAX) / 4.0);
        (wait <= self.limits.wait).then(|| wait + jitter)
    }

    async fn attempt(
        &self,
        call: &Call,
        model: &Arc<Model>,
        number: u32,
        round: &Round<'_>,
    ) -> Result<Answer, Failure> {
        let deadline = round.deadline;
        let attempt = Attempt {
            number,
            model: Arc::clone(model),
            request: Arc::clone(&call.request),
            is_own_key: call.own_key.is_some(),
            is_rescue: round.is_rescue,
        };
        // A full queue in this process empties by itself: its circuit stays closed.
        let has_circuit = !attempt.is_own_key && model.provider.is_remote();
        let breakers = has_circuit.then(|| Arc::clone(&self.breakers));
        let key = call.own_key.as_ref().or(model.provider.key()).cloned();
        let prepared = self.prepare(call, model, key.as_ref())?;
        // A model in this process is never lost: it reads a long prompt, or answers those who came before.
        let first_token_by =
            if model.provider.is_remote() { deadline.min(Instant::now() + self.limits.first_token) } else { deadline };
        let mut running = Running::new(attempt, Arc::clone(&call.attempts), breakers);
        let late = if call.request.stream && first_token_by < deadline {
            Late { by: first_token_by, kind: FailureKind::FirstToken }
        } else {
            Late { by: deadline, kind: FailureKind::Total }
        };
        let source = match prepared {
            Prepared::Http { request, body, dialect } => {
                let leave = running.begin();
                match dispatch(*request, body, leave, &late).await {
                    Ok(Ok(response)) => receive(response, dialect, call.request.stream, late.by).await,
                    Ok(Err(refused)) => {
                        running.forget();
                        return Err(Failure::new(FailureKind::Refused, refused.0));
                    }
                    Err(failure) => Err(failure),
                }
                .map_err(|failure| failure.without(key.as_ref()))
            }
            #[cfg(feature = "local")]
            Prepared::Local(local) => {
                if let Err(refused) = running.begin().await {
                    running.forget();
                    return Err(Failure::new(FailureKind::Refused, refused.0));
                }
                local.submit(Arc::clone(&call.request), &model.config).map(Source::Channel)
            }
        };
        let source = source.inspect_err(|failure| running.end(Outcome::Failed(failure.clone())))?;
        let mut answer = Answer::new(source, running, key, self.limits, first_token_by, deadline);
        answer.prime().await?;
        Ok(answer)
    }

    fn prepare(&self, call: &Call, model: &Model, key: Option<&Secret>) -> Result<Prepared, Failure> {
        let not_offered = |error: RequestError| Failure {
            status: Some(400),
            ..Failure::new(FailureKind::InvalidRequest, error.message)
        };
        match &model.provider.endpoint {
            Endpoint::Http { dialect, base_url, .. } => {
                let Wire { path, body } = dialect.encode(&call.request, &model.config).map_err(not_offered)?;
                let mut headers: HeaderMap = dialect.headers(key).into_iter().collect();
                headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
                let accept = if call.request.stream { "text/event-stream" } else { "application/json" };
                headers.insert(ACCEPT, HeaderValue::from_static(accept));
                let request = Box::new(self.http.post(format!("{base_url}{path}")).headers(headers));
                Ok(Prepared::Http { request, body, dialect: *dialect })
            }
            #[cfg(feature = "local")]
            Endpoint::Local(local) => {
                Local::check(&call.request).map_err(not_offered)?;
                Ok(Prepared::Local(local.clone()))
            }
        }
    }
}

enum Prepared {
    Http {
        request: Box<reqwest::RequestBuilder>,
        body: Vec<u8>,
        dialect: Dialect,
    },
    #[cfg(feature = "local")]
    Local(Local),
}

/// By when an answer must have begun, and what it is if it has not.
struct Late {
    by: Instant,
    kind: FailureKind,
}

/// Connects and asks leave at once; the body follows when both are there. Leave is always waited for, so that
/// whoever gives it also hears of the end.
async fn dispatch(
    request: reqwest::RequestBuilder,
    body: Vec<u8>,
    leave: impl Future<Output = Result<(), Refused>>,
    late: &Late,
) -> Result<Result<reqwest::Response, Refused>, Failure> {
    let (open, body) = Gated::new(body);
    let mut leave = pin!(leave);
    let mut sent = pin!(timeout_at(late.by, request.body(reqwest::Body::wrap(body)).send()));
    // Leave first: where it is there at once, headers and body share a packet.
    let response = tokio::select! {
        biased;
        leave = &mut leave => match leave {
            Ok(()) => {
                // A request that has failed meanwhile does not listen any more.
                let _ = open.send(());
                sent.await
            }
            Err(refused) => return Ok(Err(refused)),
        },
        response = &mut sent => match leave.await {
            Ok(()) => response,
            Err(refused) => return Ok(Err(refused)),
        },
    };
    match response {
        Ok(Ok(response)) => Ok(Ok(response)),
        Ok(Err(error)) => Err(Failure::new(FailureKind::Connect, deepest(&error))),
        Err(_) => Err(Failure::new(late.kind, "the provider did not answer in time")),
    }
}

/// Takes an answer whose headers are here.
async fn receive(
    mut response: reqwest::Response,
    dialect: Dialect,
    is_stream: bool,
    by: Instant,
) -> Result<Source, Failure> {
    let status = response.status().as_u16();
    if response.status().is_success() {
        let decoder = dialect.decoder();
        // A server that does not stream answers with a whole, whatever was asked.
        let is_json =
            response.headers().get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"application/json"));
        return Ok(if is_stream && !is_json {
            Source::Stream { response, parser: sse::Parser::default(), decoder, bytes: 0, malformed: 0 }
        } else {
            Source::Whole { response, decoder }
        });
    }
    let retry_after = retry_after(response.headers());
    let mut body = Vec::new();
    while body.len() < ERROR_BYTES_MAX
        && let Ok(Ok(Some(chunk))) = timeout_at(by, response.chunk()).await
    {
        body.extend_from_slice(&chunk);
    }
    let failure = dialect.failure(status, &body);
    Err(Failure { retry_after: retry_after.or(failure.retry_after), ..failure })
}

/// `retry-after-ms`, else `retry-after` in seconds. A date is not read: it is as good as no wish.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let number = |name: &str| headers.get(name)?.to_str().ok()?.trim().parse::<f64>().ok();
    let seconds =
        number("retry-after-ms").map(|milliseconds| milliseconds / 1000.0).or_else(|| number("retry-after"))?;
    Duration::try_from_secs_f64(seconds).ok()
}

fn nobody() -> Failure {
    Failure::new(FailureKind::Unavailable, "no provider can be asked")
}

/// Bits that differ for each call and attempt: the finalizer of SplitMix64.
fn scatter(seed: u64, number: u32) -> u16 {
    let mut bits = seed.wrapping_add(u64::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (bits >> 48) as u16
}
