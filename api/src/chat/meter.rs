//! The money of one call: set aside before the first byte leaves, taken or given back when the call is over.
//!
//! Each attempt has its row before it is asked: the first is written with the hold, so that not even a server that is killed
//! has asked somebody without a trace.
//!
//! There is one hold for a call, not one for each attempt. At most one attempt of a call is ever paid (nothing is tried again
//! once a token was seen), and the hold covers the dearest target that may be asked: so it is never raised, a failover waits
//! for no second commit, and the settlement is one transaction with the row of the attempt that answered.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::future::BoxFuture;
use ledger::Micros;
use llm::{Attempts, End, Outcome, Refused, Source, Tokens, Usage};
use records::{
    Attempt, Charges, Conflict, Hold, HoldError, Kept, Name, OPEN, Payer, RecordsError, RequestName, SettleError, Text,
    Word,
};
use tokio::time::sleep;

use super::{Terms, metrics::ChatMetrics};

/// How often writing is tried while the database is away.
const TRIES: u32 = 10;
const WAIT: Duration = Duration::from_millis(50);
const WAIT_MAX: Duration = Duration::from_secs(5);
/// How much longer money is set aside than a call can take.
const HOLD_MARGIN: Duration = Duration::from_secs(30);

/// See the module.
pub(super) struct Meter {
    charges: Charges,
    metrics: ChatMetrics,
    order: Order,
    state: Arc<Mutex<State>>,
}

/// Who pays how much for what.
pub(super) struct Order {
    pub(super) payer: Payer,
    pub(super) request: RequestName,
    pub(super) amount: Micros,
    pub(super) endpoint: &'static str,
    /// The model as it was asked for.
    pub(super) model: String,
    pub(super) terms: Terms,
}

#[derive(Default)]
struct State {
    hold: Option<Hold>,
    refusal: Option<HoldError>,
    ended: Vec<(llm::Attempt, End)>,
}

/// What a call costs, and what for.
#[derive(Clone)]
pub(super) struct Bill {
    /// All of it, no more than was held.
    pub(super) cost: Micros,
    /// The part for tokens that were read.
    pub(super) input: Micros,
    /// The part for tokens that were written.
    pub(super) output: Micros,
    /// The part that does not depend on tokens.
    pub(super) fee: Micros,
    /// The tokens.
    pub(super) tokens: Tokens,
    /// How long the attempt took that answered.
    pub(super) latency: Duration,
}

impl Meter {
    pub(super) fn new(charges: Charges, metrics: ChatMetrics, order: Order) -> Self {
        Self { charges, metrics, order, state: Arc::default() }
    }

    /// Why nothing was set aside.
    pub(super) fn take_refusal(&self) -> Option<HoldError> {
        lock(&self.state).refusal.take()
    }

    /// What is held at the moment.
    pub(super) fn held(&self) -> Micros {
        lock(&self.state).hold.as_ref().map_or(Micros::ZERO, |hold| hold.amount)
    }

    /// What has to be paid, once all attempts have ended; `None` if nothing.
    pub(super) fn bill(&self) -> Option<Bill> {
        let state = lock(&self.state);
        let (attempt, end, usage) = state.ended.iter().rev().find_map(|(attempt, end)| {
            is_paid(attempt, end).then_some(end.usage.as_ref()).flatten().map(|usage| (attempt, end, usage))
        })?;
        Some(self.order.bill(attempt, end, usage))
    }

    /// Writes a row for each attempt, takes what has to be paid and frees the rest. `kept` is the answer for whoever asks again.
    ///
    /// What cannot be written is told to the log: the client has its answer, and the hold expires.
    pub(super) async fn close(&self, kept: Option<Kept>) {
        let (hold, mut ended) = {
            let mut state = lock(&self.state);
            (state.hold.take(), std::mem::take(&mut state.ended))
        };
        let Some(hold) = hold else { return };
        // The paid attempt is the last one, for nothing is tried after it.
        let last = ended.pop();
        for (attempt, end) in &ended {
            let row = self.order.row(attempt, Some(end));
            self.written("an attempt", insist(|| self.charges.note(&hold, row.clone())).await);
        }
        let Some((attempt, end)) = last else {
            return self.written("a void", insist(|| self.charges.void(&hold, None)).await);
        };
        let row = self.order.row(&attempt, Some(&end));
        let bill = end.usage.as_ref().filter(|_| is_paid(&attempt, &end));
        match bill.map(|usage| self.order.bill(&attempt, &end, usage).cost) {
            Some(cost) => self.settle(&hold, &attempt, cost, row, kept).await,
            None => self.written("a void", insist(|| self.charges.void(&hold, Some(row.clone()))).await),
        }
    }

    async fn settle(&self, hold: &Hold, attempt: &llm::Attempt, cost: Micros, row: Attempt, kept: Option<Kept>) {
        let settle = || async {
            match self.charges.settle(hold, cost, row.clone(), kept.clone()).await {
                Err(SettleError::Records(error)) => Err(error),
                settled => Ok(settled),
            }
        };
        match insist(settle).await {
            // Another server has answered the same Idempotency-Key: a request is paid once.
            Err(RecordsError::Conflict(Conflict::Kept)) => {
                self.written("a void", insist(|| self.charges.void(hold, Some(row.clone()))).await);
            }
            Ok(Err(error)) => {
                self.metrics.unwritten.inc();
                tracing::error!(%error, request = %hold.request, "a call is not paid");
            }
            Ok(Ok(settlement)) => self.metrics.charge(attempt, settlement.charged),
            Err(error) => self.written("a settlement", Err::<(), _>(error)),
        }
    }

    fn written<T>(&self, what: &str, result: Result<T, RecordsError>) {
        if let Err(error) = result {
            self.metrics.unwritten.inc();
            tracing::error!(error = &error as &dyn std::error::Error, what, "what a call used is not written");
        }
    }
}

impl Attempts for Meter {
    fn begin(&self, attempt: &llm::Attempt) -> BoxFuture<'static, Result<(), Refused>> {
        let (charges, state, row) = (self.charges.clone(), Arc::clone(&self.state), self.order.row(attempt, None));
        let Order { payer, ref request, amount, terms, .. } = self.order;
        let (request, hold_s) = (request.clone(), (terms.total + terms.drain + HOLD_MARGIN).as_secs());
        let (held, metrics) = (lock(&self.state).hold.clone(), self.metrics.clone());
        metrics.begin();
        Box::pin(async move {
            if let Some(hold) = held {
                let begun = insist(|| charges.begin(&hold, row.clone())).await.inspect_err(|_| metrics.forget());
                return begun.map_err(|error| Refused(format!("its row cannot be written: {error}")));
            }
            let hold_s = u32::try_from(hold_s).unwrap_or(u32::MAX);
            let held = charges.hold(payer, request, amount, hold_s, Some(row)).await;
            let mut state = lock(&state);
            match held {
                Ok(hold) => {
                    state.hold = Some(hold);
                    Ok(())
                }
                Err(error) => {
                    state.refusal = Some(error);
                    metrics.forget();
                    metrics.unpaid.inc();
                    Err(Refused("there is no money for it".to_owned()))
                }
            }
        })
    }

    fn end(&self, attempt: &llm::Attempt, end: &End) {
        self.metrics.end(attempt, end);
        lock(&self.state).ended.push((attempt.clone(), end.clone()));
    }
}

impl Order {
    fn bill(&self, attempt: &llm::Attempt, end: &End, usage: &Usage) -> Bill {
        let micros = |micros: Option<u64>| micros.and_then(Micros::new).unwrap_or(Micros::MAX);
        let (tokens, latency) = (usage.tokens, end.latency);
        let price = &attempt.model.config.price;
        let (fee, all, input) = if attempt.is_own_key {
            (self.terms.own_key_fee, Micros::ZERO, Micros::ZERO)
        } else {
            let read = Tokens { output: 0, reasoning: 0, ..tokens };
            (self.terms.fee, micros(price.cost(&tokens)), micros(price.cost(&read)))
        };
        let cost = all.checked_add(fee).unwrap_or(Micros::MAX).min(self.amount);
        // The parts add up to the whole, also where the whole is less for want of more held.
        let fee = fee.min(cost);
        let input = input.min(cost.saturating_sub(fee));
        let output = cost.saturating_sub(fee).saturating_sub(input);
        Bill { cost, input, output, fee, tokens, latency }
    }

    /// The row of an attempt, as far as it is known.
    fn row(&self, attempt: &llm::Attempt, end: Option<&End>) -> Attempt {
        let usage = end.and_then(|end| end.usage.as_ref());
        let tokens = usage.map(|usage| usage.tokens).unwrap_or_default();
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let raw = usage.map(|usage| &usage.raw).filter(|raw| !raw.is_null());
        Attempt {
            number: attempt.number,
            endpoint: Name::cut(self.endpoint),
            provider: Word::cut(&attempt.model.config.provider),
            model: Name::cut(&self.model),
            upstream_model: Name::cut(&attempt.model.config.upstream),
            tokens_in: tokens.input_total(),
            tokens_cached: tokens.cache_read,
            tokens_out: tokens.output_total(),
            tokens_reasoning: tokens.reasoning,
            latency_ms: end.map_or(0, |end| millis(end.latency)),
            first_token_ms: end.and_then(|end| end.first_token).map(millis),
            status: Word::cut(end.map_or(OPEN, |end| end.outcome.as_str())),
            source: Word::cut(match usage.map(|usage| usage.source) {
                Some(Source::Upstream) => "upstream",
                Some(Source::Counted) => "counted",
                Some(Source::Estimated) => "estimated",
                None => "none",
            }),
            raw: raw.map(|raw| Text::cut(&raw.to_string())),
        }
    }
}

/// Only what a client could see is paid: the last attempt, if it answered. Of an answer that is not streamed nothing is seen
/// unless it is whole.
fn is_paid(attempt: &llm::Attempt, end: &End) -> bool {
    let is_whole = !matches!(end.outcome, Outcome::Failed(_));
    end.first_token.is_some() && (attempt.request.stream || is_whole)
}

/// Tries until it is written, or is not going to be.
async fn insist<T, F>(act: impl Fn() -> F) -> Result<T, RecordsError>
where
    F: Future<Output = Result<T, RecordsError>>,
{
    let mut wait = WAIT;
    for _ in 1..TRIES {
        match act().await {
            Err(RecordsError::Unavailable { .. } | RecordsError::Busy { .. } | RecordsError::Contended { .. }) => {
                sleep(wait).await;
                wait = (wait * 2).min(WAIT_MAX);
            }
            done => return done,
        }
    }
    act().await
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
