//! Card payments by Stripe: what is asked of it, what it answers, and the webhooks that it signs. No SQL, no routes.
//!
//! `money` → `signature` (who sent a webhook) → `event` and `session` (what it says) → `checkout` (what a payment asks for) →
//! `error` → `client` (asks, again if need be) → `list` (events and sessions of the past).
//!
//! - **Credit a session once.** Webhooks come twice, late and in any order: a credit is keyed by [`Session::id`], never by
//!   [`Event::id`], and only for a session that [`Session::is_paid`].
//! - **Unanswered is not refused.** [`StripeError::is_ambiguous`] says whether what was asked may have happened. Ask again with the same
//!   [`IdempotencyKey`]: Stripe gives the first answer for at least 24 hours.
//! - **Missed webhooks** are read from [`StripeClient::events`], which goes back 30 days.
//!
//! The wire is that of API version [`API_VERSION`]: <https://docs.stripe.com/api>.

mod checkout;
mod client;
mod error;
mod event;
mod list;
mod money;
mod session;
mod signature;

pub use checkout::{CheckoutRequest, USD_CENTS_MAX, USD_CENTS_MIN};
pub use client::{API_VERSION, IdempotencyKey, RetryPolicy, StripeClient};
pub use error::{ConfigError, RequestError, StripeError};
pub use event::{
    Charge, CheckoutStage, Dispute, DisputeStage, DisputeStatus, EVENT_BYTES_MAX, Event, EventError, Kind, TYPES,
};
pub use list::{Cursor, EventsQuery, PAGE_EVENTS_MAX, Page};
pub use money::{Amount, Currency};
pub use session::{Metadata, PaymentStatus, Session, SessionStatus};
pub use signature::{Endpoint, SignatureError, TOLERANCE_SECONDS};
