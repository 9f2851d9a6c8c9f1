//! A user buys credits: the row first, then Stripe's page, and at any time how it stands.
//!
//! Whether Stripe has made a page is not always known, when the connection broke. Then the answer is 202 and the checkout is
//! `unknown`, until the reconciler has asked again under the same name; it is never begun twice for one Idempotency-Key.

use std::{future::Future, time::Duration};

use auth::Scope;
use axum::{
    Json,
    extract::State,
    http::{HeaderMap, Method, StatusCode, Uri},
    response::{Html, Response},
};
use ledger::Timestamp;
use records::{Checkout, CheckoutState, Conflict, RecordsError};
use serde::{Deserialize, Serialize};
use stripe::{StripeError, USD_CENTS_MAX, USD_CENTS_MIN};
use utoipa::ToSchema;

use super::{
    cards::{self, Page},
    fulfilment::{Effect, Fulfilment},
    kai::Kai,
};
use crate::{
    access::Member,
    accounts::Accounts,
    body::Exact,
    moment,
    once::{Asked, Once, Ticket},
    problem::Problem,
    routes::{App, fresh},
    segment::Segment,
};

/// How long Stripe is waited for within a request: less than a request may take.
const OPEN_WITHIN: Duration = Duration::from_secs(20);
/// The same for whoever only looks.
const LOOK_WITHIN: Duration = Duration::from_secs(5);

/// What a user wants to buy.
#[derive(Deserialize, ToSchema)]
#[schema(as = NewCheckout)]
pub(crate) struct Wish {
    /// How much, in US cents; 1 USD buys 1 KAI.
    #[schema(example = 2500, minimum = 50, maximum = 10_000_000)]
    amount_cents: u64,
}

/// A checkout that was begun.
#[derive(Serialize, ToSchema)]
#[schema(as = BegunCheckout)]
pub(crate) struct Begun {
    /// Its number, for `GET /v1/billing/checkouts/{id}`.
    checkout_id: u64,
    /// Where the user pays; null while it is not known whether there is a page.
    checkout_url: Option<String>,
    /// What Stripe calls it.
    session_id: Option<String>,
    /// What will be credited.
    amount_micros: u64,
    /// Until when it can be paid, RFC 3339.
    #[schema(format = DateTime)]
    expires_at: Option<String>,
    /// How it stands.
    status: Status,
}

/// Whether the money has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = PaymentStatus)]
#[serde(rename_all = "snake_case")]
enum Status {
    /// It has, and is credited.
    Settled,
    /// It has not.
    NotSettled,
    /// Stripe has to be asked.
    Unknown,
}

/// How a checkout stands.
#[derive(Serialize, ToSchema)]
#[schema(as = Checkout)]
pub(crate) struct Standing {
    /// Its number.
    checkout_id: u64,
    /// Whether the money has come.
    status: Status,
    /// `begun`, `open`, `credited`, `expired` or `failed`. What is begun or open can still be paid.
    state: &'static str,
    /// Where the user pays, while it is open.
    checkout_url: Option<String>,
    /// What Stripe calls it.
    session_id: Option<String>,
    /// What is credited.
    amount_micros: u64,
    /// The same in KAI, as an exact decimal.
    amount_kai: Kai,
    /// When it began, RFC 3339.
    #[schema(format = DateTime)]
    created_at: String,
    /// When it last changed, RFC 3339.
    #[schema(format = DateTime)]
    changed_at: String,
}

/// Buy credits.
///
/// The answer says where to pay by card; once that is done, the credits are added. If it is not known whether there is such a
/// page, the answer is 202, and `GET /v1/billing/checkouts/{id}` has the page a minute or two later. It takes the scope write.
#[utoipa::path(
    post,
    path = "/v1/billing/stripe/checkout",
    operation_id = "begin_checkout",
    tag = "billing",
    params(("Idempotency-Key" = Option<String>, Header,
        description = "A name of this request, 1 to 255 characters: if it comes again, it gets the answer that it got.")),
    request_body = Wish,
    responses(
        (status = 201, description = "Where to pay.", body = Begun),
        (status = 202, description = "It is begun, and not yet known where to pay.", body = Begun),
        (status = 409, description = "`idempotency_in_progress`: ask again."),
        (status = 422, description = "`idempotency_key_reused`: the name was given to another request."),
        (status = 502, description = "`payments_refused`: the operator's account at the payment provider is not in order."),
        (status = 503, description = "`payments_unavailable`: nothing was begun, try again; or `payments_disabled`."),
    ),
)]
pub(crate) async fn begin(
    State(app): State<App>,
    member: Member,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    Exact { bytes, value: Wish { amount_cents } }: Exact<Wish>,
) -> Result<Response, Problem> {
    let user = member.needs(Scope::Write)?.user;
    let accounts = app.accounts()?;
    let cards = accounts.cards()?;
    let wrong = || {
        let message = format!("amount_cents must be a number of US cents from {USD_CENTS_MIN} to {USD_CENTS_MAX}");
        Problem::new(StatusCode::BAD_REQUEST, "invalid_parameter", message).field("amount_cents")
    };
    let is_within = (USD_CENTS_MIN..=USD_CENTS_MAX).contains(&amount_cents);
    let micros = cards::micros(amount_cents).filter(|_| is_within).ok_or_else(wrong)?;
    let asked = Asked { user, realm: "", method: &method, path: uri.path(), body: &bytes };
    let ticket = match Once::begin(accounts, &headers, asked).await? {
        Once::First(ticket) => ticket,
        Once::Again(answer) => return Ok(answer),
    };
    let email = accounts.records.users().by_id(user).await?.ok_or(Conflict::UnknownUser)?.email;
    let checkout = accounts.records.payments().begin(user, micros).await?;
    match patiently(OPEN_WITHIN, cards.open(&checkout, email.as_str())).await {
        Ok(page) => opened(accounts, &ticket, app.now(), &checkout, page).await,
        Err(error) if error.is_ambiguous() => {
            tracing::warn!(error = &error as &dyn std::error::Error, checkout = checkout.id, "is there a page?");
            unknown(accounts, &ticket, app.now(), &checkout).await
        }
        Err(error) => {
            accounts.records.payments().abandon(checkout.id).await?;
            Err(unopened(&error))
        }
    }
}

/// How does a checkout stand?
///
/// `settled`, `not_settled`, or `unknown` while Stripe has to be asked. Stripe is asked at once, if it answers in time.
#[utoipa::path(
    get,
    path = "/v1/billing/checkouts/{id}",
    operation_id = "checkout",
    tag = "billing",
    params(("id" = u64, Path, description = "`checkout_id` of the answer that began it.", example = 1)),
    responses(
        (status = 200, description = "How it stands.", body = Standing),
        (status = 404, description = "`unknown_checkout`: there is none, or it is another user's."),
    ),
)]
pub(crate) async fn checkout(
    State(app): State<App>,
    member: Member,
    Segment(id): Segment,
) -> Result<Response, Problem> {
    let accounts = app.accounts()?;
    let payments = accounts.records.payments();
    // What is no number that a row can have is the number of none.
    let id: u64 = id.parse().ok().filter(|id| i64::try_from(*id).is_ok()).ok_or(Conflict::UnknownCheckout)?;
    let own = |checkout: Option<Checkout>| {
        checkout.filter(|checkout| checkout.user == member.user).ok_or(Conflict::UnknownCheckout)
    };
    let mut checkout = own(payments.checkout(id).await?)?;
    let mut status = Status::of(checkout.state);
    if checkout.state == CheckoutState::Open {
        let cards = accounts.cards()?;
        let fulfilment = Fulfilment::new(&accounts.records, cards);
        match tokio::time::timeout(LOOK_WITHIN, fulfilment.ask(&checkout)).await {
            Ok(Ok(effect)) => {
                checkout = own(payments.checkout(id).await?)?;
                status = match effect {
                    Effect::Nothing => Status::NotSettled,
                    _ => Status::of(checkout.state),
                };
            }
            Ok(Err(error)) => tracing::warn!(error = &error as &dyn std::error::Error, checkout = id, "how it stands"),
            Err(_) => tracing::warn!(checkout = id, "Stripe does not say in time how it stands"),
        }
    }
    Ok(fresh(Json(Standing::new(checkout, status))))
}

/// Where a customer comes back to who has paid.
#[utoipa::path(
    get,
    path = "/v1/billing/stripe/done",
    operation_id = "checkout_done",
    tag = "billing",
    security((), ("key" = [])),
    responses((status = 200, description = "A page for people.", body = String, content_type = "text/html")),
)]
pub(crate) async fn done() -> Html<&'static str> {
    Html(
        "<!doctype html><meta charset=\"utf-8\"><title>Thank you</title><h1>Thank you</h1>\
         <p>Your credits are added as soon as the payment has come, mostly within a minute. You can close this page.</p>",
    )
}

/// Where a customer comes back to who has not paid.
#[utoipa::path(
    get,
    path = "/v1/billing/stripe/cancelled",
    operation_id = "checkout_cancelled",
    tag = "billing",
    security((), ("key" = [])),
    responses((status = 200, description = "A page for people.", body = String, content_type = "text/html")),
)]
pub(crate) async fn cancelled() -> Html<&'static str> {
    Html(
        "<!doctype html><meta charset=\"utf-8\"><title>Not paid</title><h1>Not paid</h1>\
         <p>Nothing was charged. You can close this page.</p>",
    )
}

async fn opened(
    accounts: &Accounts,
    ticket: &Ticket,
    now: Timestamp,
    checkout: &Checkout,
    page: Page,
) -> Result<Response, Problem> {
    let begun = Begun {
        checkout_id: checkout.id,
        checkout_url: Some(page.url.to_string()),
        session_id: Some(page.session.to_string()),
        amount_micros: checkout.micros.get(),
        expires_at: Some(moment::rfc3339(page.expires)),
        status: Status::NotSettled,
    };
    let mut answer = ticket.compose(accounts, now, StatusCode::CREATED, &begun)?;
    let payments = accounts.records.payments();
    let written = payments.opened(checkout.id, &page.session, &page.url, answer.kept.take()).await;
    answered(accounts, ticket, checkout, written, || answer.into_response()).await
}

async fn unknown(
    accounts: &Accounts,
    ticket: &Ticket,
    now: Timestamp,
    checkout: &Checkout,
) -> Result<Response, Problem> {
    let begun = Begun {
        checkout_id: checkout.id,
        checkout_url: None,
        session_id: None,
        amount_micros: checkout.micros.get(),
        expires_at: None,
        status: Status::Unknown,
    };
    let mut answer = ticket.compose(accounts, now, StatusCode::ACCEPTED, &begun)?;
    let written = match answer.kept.take() {
        Some(kept) => accounts.records.kept().keep(kept).await,
        None => Ok(()),
    };
    answered(accounts, ticket, checkout, written, || answer.into_response()).await
}

/// The answer, or the one that another server gave to the same request meanwhile.
async fn answered(
    accounts: &Accounts,
    ticket: &Ticket,
    checkout: &Checkout,
    written: Result<(), RecordsError>,
    answer: impl FnOnce() -> Response,
) -> Result<Response, Problem> {
    match written {
        Ok(()) => Ok(answer()),
        Err(RecordsError::Conflict(Conflict::Kept)) => {
            accounts.records.payments().abandon(checkout.id).await?;
            ticket.replay(accounts).await?.ok_or_else(|| Conflict::Kept.into())
        }
        Err(error) => Err(error.into()),
    }
}

/// What Stripe answers within that time; nobody knows what it does after it.
async fn patiently<T>(within: Duration, asked: impl Future<Output = Result<T, StripeError>>) -> Result<T, StripeError> {
    match tokio::time::timeout(within, asked).await {
        Ok(answer) => answer,
        Err(_) => Err(StripeError::Unanswered { why: "it took too long".to_owned() }),
    }
}

/// There is no page, and none will be made.
fn unopened(error: &StripeError) -> Problem {
    if error.is_terminal() {
        tracing::error!(error = error as &dyn std::error::Error, "Stripe refuses a checkout");
        let message = "the payment provider refuses this checkout; its operator finds the reason in the log";
        return Problem::new(StatusCode::BAD_GATEWAY, "payments_refused", message);
    }
    tracing::warn!(error = error as &dyn std::error::Error, "a checkout could not begin");
    let message = "the payment provider cannot be reached just now, and nothing was begun; try again";
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "payments_unavailable", message).retry_after(5)
}

impl Status {
    fn of(state: CheckoutState) -> Self {
        match state {
            CheckoutState::Credited => Self::Settled,
            CheckoutState::Expired | CheckoutState::Failed => Self::NotSettled,
            CheckoutState::Begun | CheckoutState::Open => Self::Unknown,
        }
    }
}

impl Standing {
    fn new(checkout: Checkout, status: Status) -> Self {
        let state = match checkout.state {
            CheckoutState::Begun => "begun",
            CheckoutState::Open => "open",
            CheckoutState::Credited => "credited",
            CheckoutState::Expired => "expired",
            CheckoutState::Failed => "failed",
        };
        let is_open = checkout.state == CheckoutState::Open;
        Self {
            checkout_id: checkout.id,
            status,
            state,
            checkout_url: checkout.url.filter(|_| is_open).map(Into::into),
            session_id: checkout.session.map(Into::into),
            amount_micros: checkout.micros.get(),
            amount_kai: checkout.micros.into(),
            created_at: moment::rfc3339(checkout.created),
            changed_at: moment::rfc3339(checkout.changed),
        }
    }
}
