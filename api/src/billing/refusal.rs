//! What a client is told when money for its request cannot be set aside.

use axum::http::StatusCode;
use records::HoldError;

use super::{cap::percent, kai::Kai};
use crate::problem::Problem;

/// The window of a cap moves once a day; somebody may give more at any time.
const CAP_RETRY_AFTER_S: u64 = 3600;

impl From<HoldError> for Problem {
    fn from(error: HoldError) -> Self {
        match error {
            HoldError::InsufficientFunds { available } => {
                let message = format!(
                    "the balance has {} KAI, which is less than this request may cost; \
                     add some with POST /v1/billing/stripe/checkout",
                    Kai::from(available)
                );
                Self::new(StatusCode::PAYMENT_REQUIRED, "insufficient_funds", message)
                    .with("available_micros", available.get())
            }
            HoldError::UsageCapReached(window) => {
                let message = format!(
                    "the cap of 30 days leaves {} KAI, which is less than this request may cost; see GET /v1/usage",
                    Kai::from(window.remaining)
                );
                Self::new(StatusCode::TOO_MANY_REQUESTS, "usage_cap_reached", message)
                    .with("percent", percent(&window))
                    .with("cap_micros", window.cap.get())
                    .with("used_micros", window.used.get())
                    .with("remaining_micros", window.remaining.get())
                    .retry_after(CAP_RETRY_AFTER_S)
            }
            // The cap of a key is for good: waiting does not help.
            HoldError::KeyCapReached { remaining } => {
                let message = format!(
                    "the cap of this key leaves {} KAI, which is less than this request may cost; use another key",
                    Kai::from(remaining)
                );
                Self::new(StatusCode::PAYMENT_REQUIRED, "key_cap_reached", message)
                    .with("remaining_micros", remaining.get())
            }
            HoldError::Records(error) => error.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::response::IntoResponse;
    use http_body_util::BodyExt;
    use ledger::Micros;
    use records::{Conflict, Window};

    use super::*;

    async fn check(error: HoldError, status: u16, retry_after: Option<&str>, members: &[(&str, u64)]) {
        let response = Problem::from(error).into_response();
        let told = response.headers().get("retry-after").map(|value| value.to_str().unwrap().to_owned());
        assert_eq!((response.status().as_u16(), told.as_deref()), (status, retry_after));
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        for (name, value) in members {
            assert_eq!(body[*name], *value, "{body}");
        }
    }

    #[tokio::test]
    async fn each_reason_has_its_status_and_says_what_is_left() {
        let micros = |micros| Micros::new(micros).unwrap();
        let window = Window { cap: micros(1000), used: micros(857), held: micros(140), remaining: micros(3) };
        check(HoldError::InsufficientFunds { available: micros(5) }, 402, None, &[("available_micros", 5)]).await;
        let members = [("percent", 85), ("cap_micros", 1000), ("used_micros", 857), ("remaining_micros", 3)];
        check(HoldError::UsageCapReached(window), 429, Some("3600"), &members).await;
        check(HoldError::KeyCapReached { remaining: micros(2) }, 402, None, &[("remaining_micros", 2)]).await;
        check(Conflict::UnknownUser.into(), 404, None, &[]).await;
    }
}
