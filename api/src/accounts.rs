//! Users and their money, as the routes need them: the records, and what proves who somebody is.

use std::sync::{Arc, Mutex};

use auth::{Attempts, HasherError, PasswordHasher, Sealer, Secret, Tokens, TooSoon};
use axum::http::StatusCode;
use records::{Conflict, Records, RecordsError, Word};

use crate::{billing::Cards, chat::Chat, once::InFlight, problem::Problem};

/// What new users get.
#[derive(Clone, Debug)]
pub struct SignupTerms {
    /// Whether anybody may register.
    pub is_open: bool,
    /// Their tier.
    pub tier: Word,
    /// What it may spend within 30 days.
    pub cap: ledger::Micros,
    /// Money, once.
    pub credit: ledger::Micros,
}

/// See the module.
pub struct Accounts {
    pub(crate) records: Arc<Records>,
    pub(crate) tokens: Tokens,
    pub(crate) sealer: Sealer,
    pub(crate) hasher: PasswordHasher,
    pub(crate) attempts: Mutex<Attempts>,
    /// Apart from those of logins: whoever makes accounts must not keep the neighbours out of theirs.
    pub(crate) registrations: Mutex<Attempts>,
    pub(crate) signup: SignupTerms,
    pub(crate) in_flight: Arc<InFlight>,
    cards: Option<Cards>,
    pub(crate) chat: Option<Arc<Chat>>,
}

impl Accounts {
    /// The accounts of a database. `secret` signs tokens and seals answers that are kept.
    #[must_use]
    pub fn new(records: Arc<Records>, secret: &Secret, hasher: PasswordHasher, signup: SignupTerms) -> Self {
        Self {
            records,
            tokens: Tokens::new(secret),
            sealer: Sealer::new(secret),
            hasher,
            attempts: Mutex::default(),
            registrations: Mutex::default(),
            signup,
            in_flight: Arc::default(),
            cards: None,
            chat: None,
        }
    }

    /// With language models, which are paid from the accounts.
    #[must_use]
    pub fn with_chat(self, chat: Chat) -> Self {
        Self { chat: Some(Arc::new(chat)), ..self }
    }

    /// Ends what is under way and writes what it cost. Nothing is begun any more.
    pub async fn close(&self) {
        if let Some(chat) = &self.chat {
            chat.close().await;
        }
    }

    /// Takes payments by card.
    #[must_use]
    pub fn with_cards(self, cards: Cards) -> Self {
        Self { cards: Some(cards), ..self }
    }

    /// Payments by card.
    ///
    /// # Errors
    /// 503 where there are none.
    pub(crate) fn cards(&self) -> Result<&Cards, Problem> {
        let message = "this server takes no cards; its configuration turns them on with [stripe]";
        let none = || Problem::new(StatusCode::SERVICE_UNAVAILABLE, "payments_disabled", message);
        self.cards.as_ref().ok_or_else(none)
    }
}

impl From<RecordsError> for Problem {
    fn from(error: RecordsError) -> Self {
        let unavailable =
            |message: &str| Self::new(StatusCode::SERVICE_UNAVAILABLE, "accounts_unavailable", message).retry_after(1);
        match error {
            RecordsError::Conflict(conflict) => conflict.into(),
            RecordsError::Busy { .. } | RecordsError::Contended { .. } => {
                unavailable("too many requests change accounts just now; try again")
            }
            RecordsError::Unavailable { .. } | RecordsError::Closed => {
                // What went wrong is for the operator: its text may name files and hosts.
                tracing::warn!(error = &error as &dyn std::error::Error, "accounts could not be read or written");
                unavailable("accounts cannot be read or written just now; try again with the same Idempotency-Key")
            }
            RecordsError::TooMuch { max, .. } => {
                let message = format!("the amount is beyond the largest, {} micros", max.get());
                Self::new(StatusCode::BAD_REQUEST, "invalid_parameter", message)
            }
            RecordsError::Schema { .. }
            | RecordsError::Foreign { .. }
            | RecordsError::Row { .. }
            | RecordsError::TooMany { .. } => {
                tracing::error!(error = &error as &dyn std::error::Error, "accounts hold something unexpected");
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the accounts hold something unexpected")
            }
        }
    }
}

impl From<Conflict> for Problem {
    fn from(conflict: Conflict) -> Self {
        let (status, code) = match conflict {
            Conflict::EmailTaken => (StatusCode::CONFLICT, "email_taken"),
            Conflict::UnknownUser => (StatusCode::NOT_FOUND, "unknown_user"),
            Conflict::UnknownKey => (StatusCode::NOT_FOUND, "unknown_api_key"),
            Conflict::KeysFull => (StatusCode::CONFLICT, "too_many_api_keys"),
            Conflict::UnknownCheckout => (StatusCode::NOT_FOUND, "unknown_checkout"),
            Conflict::InsufficientFunds => (StatusCode::PAYMENT_REQUIRED, "insufficient_funds"),
            Conflict::Kept => (StatusCode::CONFLICT, "idempotency_in_progress"),
            Conflict::Repeated | Conflict::Different | Conflict::Changed => (StatusCode::CONFLICT, "conflict"),
        };
        Self::new(status, code, conflict.to_string())
    }
}

impl From<HasherError> for Problem {
    fn from(error: HasherError) -> Self {
        match error {
            HasherError::Weak(weakness) => {
                Self::new(StatusCode::BAD_REQUEST, "weak_password", weakness.to_string()).field("password")
            }
            HasherError::Busy | HasherError::Stopped => {
                let message = "too many passwords are being checked; try again";
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "busy", message).retry_after(1)
            }
            HasherError::Random(_) | HasherError::Hash(_) => {
                tracing::error!(error = &error as &dyn std::error::Error, "a password cannot be hashed or compared");
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the password cannot be checked")
            }
        }
    }
}

impl From<TooSoon> for Problem {
    fn from(too_soon: TooSoon) -> Self {
        let problem = Self::new(StatusCode::TOO_MANY_REQUESTS, "too_many_attempts", too_soon.to_string());
        problem.retry_after(too_soon.seconds())
    }
}
