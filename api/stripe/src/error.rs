//! Why a request got no answer that can be used, by what the caller does next.

use crate::checkout::{USD_CENTS_MAX, USD_CENTS_MIN};

/// Stripe was asked in vain.
#[derive(Debug, thiserror::Error)]
pub enum StripeError {
    /// The request is beyond its bounds and was not sent.
    #[error("the request is not valid")]
    Request(#[from] RequestError),
    /// No connection: nothing was sent. Ask again later.
    #[error("Stripe cannot be reached")]
    Unreachable(#[source] reqwest::Error),
    /// Too many requests: nothing was done. Ask again later.
    #[error("Stripe takes no more requests at the moment")]
    Limited,
    /// The request was sent, and what came of it is unknown. Ask again with the same key.
    #[error("Stripe did not answer: {why}")]
    Unanswered {
        /// A status, or what the network said.
        why: String,
    },
    /// It was done, but the answer cannot be read. Ask again with the same key, or look for what was made.
    #[error("the answer of Stripe cannot be read: {why}")]
    Unreadable {
        /// What is wrong with it.
        why: String,
    },
    /// Stripe says no; asked again it says the same.
    #[error("Stripe refused with status {status}, {kind}/{code}: {message}")]
    Refused {
        /// The status of its answer: 401 is about our key, 404 about an id.
        status: u16,
        /// `invalid_request_error`, `idempotency_error` and so on.
        kind: String,
        /// A stable code, such as `resource_missing`; empty if there is none.
        code: String,
        /// The parameter that it is about, if one.
        param: Option<String>,
        /// What Stripe says, for the log and not for the customer.
        message: String,
        /// Stripe's own name for the request, which its support asks for.
        request_id: Option<String>,
    },
}

impl StripeError {
    /// Whether asking again cannot help.
    pub fn is_terminal(&self) -> bool {
        matches!(self, Self::Request(_) | Self::Refused { .. })
    }

    /// Whether what was asked may have happened all the same, if it was to make or change something.
    pub fn is_ambiguous(&self) -> bool {
        matches!(self, Self::Unanswered { .. } | Self::Unreadable { .. })
    }
}

/// A request that Stripe would refuse, or that we would rather not send.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// Too little or too much.
    #[error("{cents} cents are not between {USD_CENTS_MIN} and {USD_CENTS_MAX}")]
    Amount {
        /// What was asked for.
        cents: u64,
    },
    /// A field that is empty, too long or not what it should be.
    #[error("{field} is not valid")]
    Field {
        /// By its name at Stripe.
        field: &'static str,
    },
}

/// A client cannot be made of this configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The secret would go elsewhere, or over the wire in clear.
    #[error("the base of Stripe's API is `https://host`, or `http://` of this machine, without a path: {base:?}")]
    Base {
        /// What was given.
        base: String,
    },
    /// Not a secret key, or a publishable one; it is not repeated here.
    #[error("a secret key of Stripe begins with `sk_` or `rk_` and has up to 255 letters, digits and `_`")]
    Key,
    /// TLS cannot be set up.
    #[error("the HTTP client cannot be made")]
    Client(#[source] reqwest::Error),
}
