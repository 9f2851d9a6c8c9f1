//! Why an attempt failed, by what is to be done next.

use std::time::Duration;

use crate::secret::Secret;

/// The longest message of a provider that is told further.
const MESSAGE_BYTES_MAX: usize = 2048;

/// What went wrong, by what may be done about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// The provider calls the request wrong. Nobody else would call it right.
    InvalidRequest,
    /// The request is longer than the model reads. A model that reads more may answer.
    ContextLength,
    /// The provider will not answer this content. It is not carried to the next one.
    ContentFilter,
    /// The provider does not take our key.
    Authentication,
    /// The provider does not serve this model, region or key.
    Permission,
    /// The provider does not know the model.
    ModelNotFound,
    /// Our account at the provider is used up.
    QuotaExhausted,
    /// Too many requests for now.
    RateLimited,
    /// The provider is overloaded for now.
    Overloaded,
    /// The provider failed.
    Server,
    /// No connection, or it was lost before the answer began.
    Connect,
    /// No first token in time.
    FirstToken,
    /// The stream stood still for too long.
    Stalled,
    /// The answer took longer than a call may.
    Total,
    /// The stream ended before the model had finished.
    Cut,
    /// What came is not what the provider's wire allows.
    Malformed,
    /// Whoever owns the attempts did not allow this one: no money, no time. Nothing was sent.
    Refused,
    /// No provider is left that could be asked now.
    Unavailable,
}

impl FailureKind {
    /// Whether the same target may be asked again, if nothing was seen of its answer.
    #[must_use]
    pub fn is_retryable(self) -> bool {
        matches!(self, Self::RateLimited | Self::Overloaded | Self::Server | Self::Connect)
    }

    /// Whether another target may be asked, if nothing was seen of the answer.
    #[must_use]
    pub fn fails_over(self) -> bool {
        !matches!(self, Self::InvalidRequest | Self::ContentFilter | Self::Total | Self::Refused | Self::Unavailable)
    }

    /// Whether it says something of the target's health, so that its circuit counts it.
    #[must_use]
    pub fn is_of_target(self) -> bool {
        self.fails_over() && self != Self::ContextLength
    }

    /// A stable name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InvalidRequest => "invalid_request",
            Self::ContextLength => "context_length_exceeded",
            Self::ContentFilter => "content_policy_violation",
            Self::Authentication => "provider_authentication",
            Self::Permission => "provider_permission",
            Self::ModelNotFound => "provider_model_not_found",
            Self::QuotaExhausted => "provider_quota_exhausted",
            Self::RateLimited => "rate_limit_exceeded",
            Self::Overloaded => "provider_overloaded",
            Self::Server => "provider_error",
            Self::Connect => "provider_unreachable",
            Self::FirstToken => "first_token_timeout",
            Self::Stalled => "stream_stalled",
            Self::Total => "call_timeout",
            Self::Cut => "stream_cut",
            Self::Malformed => "provider_malformed",
            Self::Refused => "refused",
            Self::Unavailable => "no_provider_available",
        }
    }
}

/// One failed attempt, or a call of which every attempt failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {message}", kind.as_str())]
pub struct Failure {
    /// What may be done.
    pub kind: FailureKind,
    /// The status of the provider's answer, if there was one.
    pub status: Option<u16>,
    /// What the provider said, without its key, cut to a bound; or what we say of it.
    pub message: String,
    /// How long the provider wants us to wait.
    pub retry_after: Option<Duration>,
}

impl Failure {
    /// A failure of `kind`, in the words of `message`.
    #[must_use]
    pub fn new(kind: FailureKind, message: impl Into<String>) -> Self {
        let mut message = message.into();
        message.truncate(message.floor_char_boundary(MESSAGE_BYTES_MAX));
        Self { kind, status: None, message, retry_after: None }
    }

    /// Without the key, which providers quote.
    pub(crate) fn without(self, key: Option<&Secret>) -> Self {
        match key {
            Some(key) => Self { message: key.redact(self.message), ..self },
            None => self,
        }
    }
}

/// What a status says where the body says nothing more.
#[must_use]
pub(crate) fn kind_of_status(status: u16) -> FailureKind {
    match status {
        401 => FailureKind::Authentication,
        402 => FailureKind::QuotaExhausted,
        403 => FailureKind::Permission,
        404 => FailureKind::ModelNotFound,
        413 => FailureKind::ContextLength,
        429 => FailureKind::RateLimited,
        503 | 529 => FailureKind::Overloaded,
        408 | 409 | 500..=599 => FailureKind::Server,
        400..=499 => FailureKind::InvalidRequest,
        _ => FailureKind::Malformed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_may_pass_by_itself_is_asked_again_of_the_same_target() {
        let retried: Vec<u16> = (100..600).filter(|status| kind_of_status(*status).is_retryable()).collect();
        let expected: Vec<u16> = [408, 409, 429].into_iter().chain(500..600).collect();
        assert_eq!(retried, expected);
    }

    #[test]
    fn a_message_is_cut_between_characters() {
        let failure = Failure::new(FailureKind::Server, "ü".repeat(MESSAGE_BYTES_MAX));
        assert_eq!(failure.message.len(), MESSAGE_BYTES_MAX);
        let failure = Failure::new(FailureKind::Server, format!("x{}", "ü".repeat(MESSAGE_BYTES_MAX)));
        assert_eq!(failure.message.len(), MESSAGE_BYTES_MAX - 1);
    }
}
