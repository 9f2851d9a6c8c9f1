//! Why an event could not be judged, which is something else than a refusal.

use crate::{account::AccountId, event::TransferId, refusal::Refusal};

/// Something that must be loaded before an event can be judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, thiserror::Error)]
pub enum Missing {
    /// An account.
    #[error("account {:032x} is not loaded", .0.0)]
    Account(AccountId),
    /// A transfer id.
    #[error("transfer {:032x} is not loaded", .0.0)]
    Transfer(TransferId),
}

/// The ledger could not judge a chain. Nothing has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    /// Load it, then apply the chain again.
    #[error(transparent)]
    Missing(#[from] Missing),
    /// The loaded state contradicts itself: it was not written by this crate. Trying again does not help.
    #[error("the sums of account {:032x} do not fit its transfers", .0.0)]
    Damaged(AccountId),
    /// The journal has no further numbers.
    #[error("the journal is full")]
    Full,
}

/// Why an event is not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    Refused(Refusal),
    Unable(ApplyError),
}

impl From<Missing> for Stop {
    fn from(missing: Missing) -> Self {
        Self::Unable(missing.into())
    }
}

impl From<ApplyError> for Stop {
    fn from(error: ApplyError) -> Self {
        Self::Unable(error)
    }
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}
