//! The layer before the routes: who asks, whether there is room for one more request, and a line in the audit.

use std::sync::Arc;

use auth::Timestamp;
use axum::{
    extract::{Request, State},
    http::{HeaderValue, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use futures_util::future::Shared;
use ledger::Micros;
use records::{Audit, Text};
use tokio::sync::oneshot;

use super::{
    caller::{Caller, Identity},
    client,
};
use crate::{
    limits::{Who, tell},
    problem::Problem,
    routes::App,
    shell::RequestId,
    tiers::{ANONYMOUS, Tier},
};

/// What an answer says it has cost, for the audit.
#[derive(Clone, Copy)]
pub(crate) struct Cost(pub(crate) Micros);

/// The same of an answer that goes on after its head: it is told at its end.
#[derive(Clone)]
pub(crate) struct CostLater(pub(crate) Shared<oneshot::Receiver<Micros>>);

/// Routes that everybody may ask at any time: they tell nothing of anybody and cost nothing, or prove by other means who asks.
const OPEN: [&str; 5] = ["/v1/health", "/v1/ping", "/metrics", "/v1/openapi.json", "/v1/billing/stripe/webhook"];

/// Routes where people prove who they are: a credential that comes along is not looked at, so that an old one keeps nobody
/// from getting a new one.
const PROVING: [&str; 2] = ["/v1/auth/login", "/v1/auth/register"];

/// Whether everybody may ask this path at any time.
pub(crate) fn is_open(path: &str) -> bool {
    OPEN.contains(&path)
}

/// Whether people prove there who they are.
pub(crate) fn is_proving(path: &str) -> bool {
    PROVING.contains(&path)
}

pub(crate) async fn gate(State(app): State<App>, mut request: Request, next: Next) -> Response {
    if is_open(request.uri().path()) {
        return next.run(request).await;
    }
    let access = &app.access;
    let now_ms = app.view.now_ms();
    let now_ns = u64::try_from(now_ms).unwrap_or(0) * 1_000_000;
    let address = client::address(request.extensions(), request.headers(), &access.proxies);
    let caller = if is_proving(request.uri().path()) {
        Ok(Caller::anonymous(address))
    } else {
        Caller::of(access, request.headers(), address, Timestamp::from_nanos(now_ns)).await
    };
    // Whoever tries keys is counted as one who has none.
    let (who, name) = match &caller {
        Ok(caller) => (caller.who(), caller.tier.to_string()),
        Err(_) => (Who::address(address), ANONYMOUS.to_owned()),
    };
    let quota = access.tiers.get(&name).map_or_else(|| access.tiers.get(ANONYMOUS), Some).map(|tier: &Tier| tier.quota);
    let taken = quota.flatten().map(|quota| (quota, access.buckets.take(who, quota, now_ns)));
    let mut response = match (taken, caller) {
        (Some((_, taken)), _) if !taken.is_allowed => {
            let message = format!("too many requests for the tier {name}; wait as long as Retry-After says");
            Problem::new(StatusCode::TOO_MANY_REQUESTS, "rate_limited", message).into_response()
        }
        (_, Err(problem)) => problem.into_response(),
        (_, Ok(caller)) => {
            let row = noted(&request, &caller, now_ns);
            request.extensions_mut().insert(caller);
            let mut response = next.run(request).await;
            if let Some(row) = row {
                note(&app, row, &response);
                // What belongs to one user is nobody else's.
                response.headers_mut().append(header::VARY, HeaderValue::from_static("authorization"));
            }
            response
        }
    };
    if let Some((quota, taken)) = taken {
        tell(response.headers_mut(), &name, quota, taken, now_ms);
    }
    response
}

/// What the audit says of a request once it has ended; nothing of those without an account.
fn noted(request: &Request, caller: &Caller, now_ns: u64) -> Option<Audit> {
    if matches!(caller.identity, Identity::Anonymous) {
        return None;
    }
    let member = caller.member().ok()?;
    let id = request.extensions().get::<RequestId>().map_or("-", RequestId::as_str);
    Some(Audit {
        user: member.user,
        key: member.key,
        request: Text::cut(id),
        created: ledger::Timestamp::new(now_ns)?,
        method: Text::cut(request.method().as_str()),
        endpoint: Text::cut(request.uri().path()),
        address: Text::cut(&caller.address.to_string()),
        status: 0,
        cost: Micros::ZERO,
        latency_ms: 0,
    })
}

fn note(app: &App, mut row: Audit, response: &Response) {
    let Some(accounts) = app.access.accounts().cloned() else { return };
    let view = Arc::clone(&app.view);
    row.status = response.status().as_u16();
    let write = move |cost: Micros| {
        let began_ms = row.created.nanos() / 1_000_000;
        let latency_ms = u64::try_from(view.now_ms()).unwrap_or(0).saturating_sub(began_ms);
        accounts.records.audit().note(Audit { cost, latency_ms, ..row });
    };
    if let Some(CostLater(cost)) = response.extensions().get().cloned() {
        tokio::spawn(async move { write(cost.await.unwrap_or_default()) });
    } else {
        write(response.extensions().get().map_or(Micros::ZERO, |Cost(cost)| *cost));
    }
}
