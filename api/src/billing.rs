//! Money over HTTP: what a user has, used and may still spend, who called what, and cards by Stripe.
//!
//! `kai` (how amounts are written) and `query` (what is asked) → `balance`, `usage`, `statement`, `cap`, `audit` (one route each) →
//! `refusal` (why a charge is refused). Cards: `cards` (what Stripe is asked for) → `checkout` (the routes of those who pay) →
//! `effect` (what an event of Stripe does) → `webhook` (who tells it) → `reconciler` (who asks, after a downtime).

mod audit;
mod balance;
mod cap;
mod cards;
mod checkout;
mod fulfilment;
mod kai;
mod query;
mod reconciler;
mod refusal;
mod statement;
mod usage;
mod webhook;

use axum::extract::DefaultBodyLimit;
use stripe::EVENT_BYTES_MAX;
use utoipa_axum::{
    router::{OpenApiRouter, UtoipaMethodRouterExt},
    routes,
};

pub use self::{cards::Cards, kai::Kai, reconciler::Reconciler, statement::StatementSpan};
use crate::routes::App;
pub(crate) use kai::Usd;

/// The routes.
pub(crate) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(balance::balance))
        .routes(routes!(usage::usage))
        .routes(routes!(statement::statement))
        .routes(routes!(checkout::begin))
        .routes(routes!(checkout::checkout))
        .routes(routes!(checkout::done))
        .routes(routes!(checkout::cancelled))
        .routes(routes!(webhook::webhook).layer(DefaultBodyLimit::max(EVENT_BYTES_MAX)))
        .routes(routes!(cap::cap))
        .routes(routes!(audit::audit))
}
