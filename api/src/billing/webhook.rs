//! `POST /v1/billing/stripe/webhook`: Stripe tells what happened. The signature proves who tells it, over the very bytes of the
//! body. The answer is 2xx once the effect is on the disk; until then Stripe tells it again.

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::Response,
};
use serde::Serialize;
use stripe::Event;
use utoipa::ToSchema;

use super::fulfilment::{Effect, Fulfilment};
use crate::{
    body::Raw,
    problem::Problem,
    routes::{App, fresh},
};

const NANOS_PER_SECOND: u64 = 1_000_000_000;

/// What Stripe is answered.
#[derive(Serialize, ToSchema)]
#[schema(as = WebhookReceived)]
pub(crate) struct Received {
    /// Always true.
    received: bool,
}

/// Stripe tells what happened.
///
/// For Stripe alone, whose signature is asked for in the place of a key. The answer is 200 once the effect is kept for good.
#[utoipa::path(
    post,
    path = "/v1/billing/stripe/webhook",
    operation_id = "stripe_webhook",
    tag = "billing",
    params(("Stripe-Signature" = Option<String>, Header, description = "When and by whom the body was signed.")),
    request_body(content = Object, description = "An event, as Stripe describes it."),
    responses(
        (status = 200, description = "It had its effect, now or before, or has none.", body = Received),
        (status = 400, description = "`invalid_signature`, `invalid_event`, or `wrong_mode`: test money and real money differ."),
        (status = 422, description = "`payment_mismatch`: what was paid is not what was agreed, and is credited by nobody."),
        (status = 503, description = "It could not be kept for good: tell it again. Or `payments_disabled`, `webhook_disabled`."),
    ),
)]
pub(crate) async fn webhook(State(app): State<App>, headers: HeaderMap, Raw(body): Raw) -> Result<Response, Problem> {
    let accounts = app.accounts()?;
    let cards = accounts.cards()?;
    let endpoint = cards.endpoint.as_ref().ok_or_else(|| {
        let message = "this server has no webhook secret; its configuration sets one in [stripe]";
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "webhook_disabled", message)
    })?;
    let refused = |code, message: String| Problem::new(StatusCode::BAD_REQUEST, code, message);
    let signature = headers.get("stripe-signature").and_then(|value| value.to_str().ok()).unwrap_or_default();
    endpoint
        .verify(signature, &body, app.now().nanos() / NANOS_PER_SECOND)
        .map_err(|error| refused("invalid_signature", error.to_string()))?;
    let event = Event::parse(&body).map_err(|error| {
        tracing::error!(error = &error as &dyn std::error::Error, "a signed webhook cannot be read");
        refused("invalid_event", error.to_string())
    })?;
    let (id, kind) = (event.id.as_str(), event.kind.name());
    match Fulfilment::new(&accounts.records, cards).event(&event).await {
        Ok(Effect::Done) => tracing::info!(event = id, kind, "a payment moved money or ended"),
        Ok(effect) => tracing::debug!(event = id, kind, ?effect, "a webhook without effect"),
        Err(error) => {
            let cause = &error as &dyn std::error::Error;
            if error.is_terminal() {
                tracing::error!(error = cause, event = id, kind, "an event of Stripe that somebody must look at");
            } else {
                tracing::warn!(error = cause, event = id, kind, "an event of Stripe waits to be told again");
            }
            return Err(error.into());
        }
    }
    Ok(fresh(Json(Received { received: true })))
}
