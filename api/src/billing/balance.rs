//! `GET /v1/billing/balance`: what a user can spend.

use axum::{Json, extract::State, response::Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::kai::Kai;
use crate::{
    access::Member,
    problem::Problem,
    routes::{App, fresh},
};

/// What a user has and owes. 1 KAI is 1,000,000 micros.
#[derive(Serialize, ToSchema)]
pub(crate) struct Balance {
    /// What can be spent.
    balance_micros: u64,
    /// The same in KAI, as an exact decimal.
    balance_kai: Kai,
    /// What is set aside for requests that have not ended.
    held_micros: u64,
    /// What is owed since a payment was taken back; the next payment pays it first.
    owed_micros: u64,
    /// Always `KAI`.
    currency: &'static str,
}

/// What can I spend?
#[utoipa::path(
    get,
    path = "/v1/billing/balance",
    tag = "billing",
    responses((status = 200, description = "What the account has and owes.", body = Balance)),
)]
pub(crate) async fn balance(State(app): State<App>, member: Member) -> Result<Response, Problem> {
    let funds = app.accounts()?.records.users().funds(member.user).await?;
    Ok(fresh(Json(Balance {
        balance_micros: funds.available.get(),
        balance_kai: funds.available.into(),
        held_micros: funds.held.get(),
        owed_micros: funds.debt.get(),
        currency: "KAI",
    })))
}
