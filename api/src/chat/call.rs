//! One call, from its hold to the first token of its answer.

use std::sync::Arc;

use axum::http::{HeaderName, HeaderValue, Response, StatusCode};
use ledger::{Micros, Timestamp};
use llm::{Answer, ChatRequest, Completion, Failure, FailureKind, Model, Secret, reply::Reply, routing::Route};
use records::{HoldError, RequestName};
use tokio::sync::{OwnedSemaphorePermit, watch};

use super::{
    Chat,
    budget::{Plan, TooDear},
    meter::{Bill, Meter, Order},
    refusal::of_own_key,
};
use crate::{access::Member, accounts::Accounts, billing::Kai, problem::Problem, routes::App};

/// How often a call is planned anew because there is less money than it was planned for.
const PLANS_MAX: usize = 3;

const COST: HeaderName = HeaderName::from_static("x-kai-cost-micros");
const BALANCE: HeaderName = HeaderName::from_static("x-kai-balance-micros");
const MODEL: HeaderName = HeaderName::from_static("x-kai-model");
const PROVIDER: HeaderName = HeaderName::from_static("x-kai-provider");
const OUTPUT_MAX: HeaderName = HeaderName::from_static("x-kai-output-tokens-max");

/// What a route asks for.
pub(super) struct Wish {
    /// Who asks.
    pub(super) member: Member,
    /// Where, for the rows.
    pub(super) endpoint: &'static str,
    /// What.
    pub(super) request: ChatRequest,
    /// Of whom.
    pub(super) route: Route,
    /// With the caller's own key.
    pub(super) own_key: Option<Secret>,
    /// The most that it may cost, in micros.
    pub(super) cost_max: Option<u64>,
}

/// A call that may be made.
pub(super) struct Call {
    pub(super) accounts: Arc<Accounts>,
    pub(super) chat: Arc<Chat>,
    pub(super) now: Timestamp,
    member: Member,
    endpoint: &'static str,
    request: Arc<ChatRequest>,
    /// The most tokens that were asked for.
    wanted: Option<u32>,
    targets: Vec<Arc<Model>>,
    own_key: Option<Secret>,
    cost_max: Option<u64>,
    _permit: OwnedSemaphorePermit,
}

/// A call that is being answered.
pub(super) struct Opened {
    pub(super) answer: Answer,
    pub(super) meter: Arc<Meter>,
    pub(super) facts: Facts,
}

/// What is known of an answer before it is over.
#[derive(Clone)]
pub(super) struct Facts {
    /// `chatcmpl-…`: also the name of its rows of usage.
    pub(super) id: String,
    /// In seconds.
    pub(super) created: u64,
    /// As the client named it.
    pub(super) asked: String,
    /// Our id of the model that answers.
    pub(super) model: String,
    /// Who serves it.
    pub(super) provider: String,
    /// The most tokens, where money made them fewer than were asked for.
    pub(super) clamped: Option<u32>,
}

/// An answer that is over.
pub(super) struct Done {
    pub(super) facts: Facts,
    pub(super) completion: Completion,
    /// `None` if nothing has to be paid.
    pub(super) bill: Option<Bill>,
    /// What can be spent after it.
    pub(super) balance: Micros,
}

impl Call {
    /// A call of `wish`.
    ///
    /// # Errors
    /// 503 if too many are under way.
    pub(super) fn new(app: &App, wish: Wish) -> Result<Self, Problem> {
        let chat = Arc::clone(app.chat()?);
        let permit = chat.enter()?;
        let Wish { member, endpoint, request, route, own_key, cost_max } = wish;
        let wanted = request.output_tokens_max;
        let request = Arc::new(ChatRequest { reasoning: route.reasoning, ..request });
        let (accounts, now, targets) = (Arc::clone(app.accounts()?), app.now(), route.targets);
        Ok(Self { accounts, chat, now, member, endpoint, request, wanted, targets, own_key, cost_max, _permit: permit })
    }

    /// Turns true when the server ends.
    pub(super) fn stop(&self) -> watch::Receiver<bool> {
        self.chat.stop.subscribe()
    }

    /// Sets money aside and waits for the first token. Where there is less money than the longest answer may cost, a shorter
    /// one is asked for.
    ///
    /// # Errors
    /// Why there is no answer; what was attempted is written then.
    pub(super) async fn open(&mut self) -> Result<Opened, Problem> {
        let mut budget = self.cost_max;
        let mut short: Option<HoldError> = None;
        for _ in 0..PLANS_MAX {
            // Nobody else has the request: a prompt may be long, and is not copied.
            Arc::make_mut(&mut self.request).output_tokens_max = self.wanted;
            let is_own_key = self.own_key.is_some();
            let plan = match Plan::new(&self.targets, &self.request, is_own_key, &self.chat.terms, budget) {
                Ok(plan) => plan,
                Err(dear) => return Err(short.map_or_else(|| too_dear(dear), Problem::from)),
            };
            match self.attempt(plan).await {
                Err(Missed::Money(error)) => {
                    let Some(left) = left(&error) else { return Err(error.into()) };
                    budget = Some(budget.unwrap_or(left).min(left));
                    short = Some(error);
                }
                Err(Missed::Answer(problem)) => return Err(problem),
                Ok(opened) => return Ok(opened),
            }
        }
        let busy =
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, "overloaded", "the balance changes too fast; try again");
        Err(short.map_or(busy, Problem::from))
    }

    async fn attempt(&mut self, plan: Plan) -> Result<Opened, Missed> {
        let id = format!("chatcmpl-{:032x}", name(self.now, rand::random()));
        let order = Order {
            payer: self.member.payer(),
            request: RequestName::cut(&id),
            amount: Micros::new(plan.amount).unwrap_or(Micros::MAX),
            endpoint: self.endpoint,
            model: self.request.model.clone(),
            terms: self.chat.terms,
        };
        let meter = Arc::new(Meter::new(self.accounts.records.charges(), self.chat.metrics.clone(), order));
        Arc::make_mut(&mut self.request).output_tokens_max = Some(plan.output_tokens);
        let call = llm::Call {
            request: Arc::clone(&self.request),
            targets: plan.targets,
            own_key: self.own_key.clone(),
            seed: rand::random(),
            attempts: Arc::clone(&meter) as Arc<dyn llm::Attempts>,
        };
        let mut stop = self.stop();
        let opened = tokio::select! {
            biased;
            opened = self.chat.driver.open(&call) => opened,
            _ = stop.wait_for(|stop| *stop) => Err(closing()),
        };
        let answer = match opened {
            Ok(answer) => answer,
            Err(failure) if failure.kind == FailureKind::Refused && meter.held() == Micros::ZERO => {
                let refusal = meter.take_refusal();
                return Err(refusal.map_or_else(|| Missed::Answer(self.refused(failure)), Missed::Money));
            }
            Err(failure) => {
                meter.close(None).await;
                return Err(Missed::Answer(self.refused(failure)));
            }
        };
        let config = &answer.attempt().model.config;
        let facts = Facts {
            id,
            created: self.now.nanos() / 1_000_000_000,
            asked: self.request.model.clone(),
            model: config.id.clone(),
            provider: config.provider.clone(),
            clamped: plan.is_clamped.then_some(plan.output_tokens),
        };
        Ok(Opened { answer, meter, facts })
    }

    /// Why there is no answer.
    pub(super) fn refused(&self, failure: Failure) -> Problem {
        if self.own_key.is_some() { of_own_key(failure) } else { failure.into() }
    }

    /// What an answer came to, once its attempt has ended: before it is paid, so that it can be kept with what it says of that.
    pub(super) async fn done(&self, meter: &Meter, facts: Facts, completion: Completion) -> Result<Done, Problem> {
        let bill = meter.bill();
        let available = self.accounts.records.users().available_lately(self.member.user).await?;
        let cost = bill.as_ref().map_or(Micros::ZERO, |bill| bill.cost);
        let free = available.checked_add(meter.held()).unwrap_or(Micros::MAX);
        Ok(Done { facts, completion, bill, balance: free.saturating_sub(cost) })
    }
}

impl Done {
    pub(super) fn cost(&self) -> Micros {
        self.bill.as_ref().map_or(Micros::ZERO, |bill| bill.cost)
    }

    /// Says of an answer what it cost and who gave it.
    pub(super) fn tell<B>(&self, response: &mut Response<B>) {
        let headers = response.headers_mut();
        headers.insert(COST, self.cost().get().into());
        headers.insert(BALANCE, self.balance.get().into());
        self.facts.tell(response);
    }
}

impl Facts {
    /// Writes its answer as OpenAI does.
    pub(super) fn reply(&self, include_usage: bool) -> Reply {
        Reply::new(&self.id, self.created, &self.asked, include_usage)
    }

    /// Says of an answer who gives it.
    pub(super) fn tell<B>(&self, response: &mut Response<B>) {
        let headers = response.headers_mut();
        let named = [(MODEL, &self.model), (PROVIDER, &self.provider)];
        headers.extend(named.into_iter().filter_map(|(name, text)| Some((name, HeaderValue::try_from(text).ok()?))));
        if let Some(tokens) = self.clamped {
            headers.insert(OUTPUT_MAX, tokens.into());
        }
    }
}

/// The number of a call: its milliseconds, then chance, so that rows of calls of one moment are written side by side.
fn name(now: Timestamp, chance: u128) -> u128 {
    u128::from(now.nanos() / 1_000_000) << 80 | chance >> 48
}

/// Why a call is not answered.
enum Missed {
    /// There is less money than it was planned for.
    Money(HoldError),
    /// No provider answered.
    Answer(Problem),
}

/// What could still be set aside.
fn left(error: &HoldError) -> Option<u64> {
    match error {
        HoldError::InsufficientFunds { available } => Some(available.get()),
        HoldError::UsageCapReached(window) => Some(window.remaining.get()),
        HoldError::KeyCapReached { remaining } => Some(remaining.get()),
        HoldError::Records(_) => None,
    }
}

pub(super) fn closing() -> Failure {
    Failure::new(FailureKind::Unavailable, "the server ends; try again")
}

pub(super) fn too_dear(dear: TooDear) -> Problem {
    let needed = Micros::new(dear.needed).unwrap_or(Micros::MAX);
    let message = format!("even a short answer may cost {} KAI, more than max_cost_micros allows", Kai::from(needed));
    Problem::new(StatusCode::BAD_REQUEST, "max_cost_too_low", message)
        .field("max_cost_micros")
        .with("needed_micros", dear.needed)
}
