//! Money over HTTP: what a user has, used and may still spend, who called what, and cards by Stripe.
//!
//! `kai` (how amounts are written) → `balance`, `usage`, `statement`, `cap`, `audit` (one route each) →
//! `refusal` (why a charge is refused). Cards: `cards` (what Stripe is asked for) → `checkout` (the routes of those who pay) →
//! `effect` (what an event of Stripe does) → `webhook` (who tells it) → `reconciler` (who asks, after a downtime).

mod audit;
mod balance;
mod cap;
mod kai;
mod page;
mod refusal;
mod statement;
mod usage;

use axum::routing::get;
use utoipa_axum::router::OpenApiRouter;

use crate::{moment, routes::App};

/// The routes.
pub(crate) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .route("/v1/billing/balance", get(balance::balance))
        .route("/v1/billing/usage", get(usage::usage))
        .route("/v1/billing/statement", get(statement::statement))
        .route("/v1/usage", get(cap::cap))
        .route("/v1/audit", get(audit::audit))
}
