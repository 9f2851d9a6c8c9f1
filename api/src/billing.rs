//! Money over HTTP: what a user has, used and may still spend, who called what, and cards by Stripe.
//!
//! `kai` (how amounts are written) and `query` (what is asked) → `balance`, `usage`, `statement`, `cap`, `audit` (one route each) →
//! `refusal` (why a charge is refused). Cards: `cards` (what Stripe is asked for) → `checkout` (the routes of those who pay) →
//! `fulfilment` (what an event of Stripe does) → `webhook` (who tells it) → `reconciler` (who asks, after a downtime).

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

use axum::{extract::DefaultBodyLimit, routing::get};
use stripe::EVENT_BYTES_MAX;
use utoipa_axum::{
    router::{OpenApiRouter, UtoipaMethodRouterExt},
    routes,
};

pub use self::{cards::Cards, reconciler::Reconciler};
use crate::routes::App;

/// The routes.
pub(crate) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .route("/v1/billing/balance", get(balance::balance))
        .route("/v1/billing/usage", get(usage::usage))
        .route("/v1/billing/statement", get(statement::statement))
        .routes(routes!(checkout::begin))
        .routes(routes!(checkout::checkout))
        .routes(routes!(checkout::done))
        .routes(routes!(checkout::cancelled))
        .routes(routes!(webhook::webhook).layer(DefaultBodyLimit::max(EVENT_BYTES_MAX)))
        .route("/v1/usage", get(cap::cap))
        .route("/v1/audit", get(audit::audit))
}
