//! Who holds money: an account and its four sums.

use crate::money::Micros;

/// Names an account. Chosen by whoever opens it; 0 and the largest number are not allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AccountId(pub u128);

/// Which sum of an account may not outgrow the other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Limit {
    /// Neither: what stands outside, such as a clearing account of a payment provider.
    #[default]
    None,
    /// The holder cannot spend what is not there: `debits_pending + debits_posted <= credits_posted`.
    DebitsMustNotExceedCredits,
    /// The other way round: `credits_pending + credits_posted <= debits_posted`.
    CreditsMustNotExceedDebits,
}

/// What is fixed when an account is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Account {
    /// Its name.
    pub id: AccountId,
    /// The unit that it counts in, not 0: money moves only between accounts of one unit.
    pub ledger: u32,
    /// What kind of account it is, not 0; the meaning is the program's.
    pub code: u16,
    /// Ties it to a row of the program.
    pub reference: u128,
    /// Its bound.
    pub limit: Limit,
}

/// One of the two sides of an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// What leaves the holder.
    Debit,
    /// What comes to the holder.
    Credit,
}

/// The four sums of an account. They only grow, but for the pending ones, which fall when a hold ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Balance {
    /// Held to be taken.
    pub debits_pending: Micros,
    /// Taken.
    pub debits_posted: Micros,
    /// Held to be given.
    pub credits_pending: Micros,
    /// Given.
    pub credits_posted: Micros,
}

impl Balance {
    /// What the holder of an account that must not exceed its credits can still spend.
    #[must_use]
    pub fn available(&self) -> Micros {
        self.room(Side::Debit)
    }

    /// How much one side can grow before it exceeds what is posted on the other.
    #[must_use]
    pub fn room(&self, side: Side) -> Micros {
        let (pending, posted) = self.side(side);
        let (_, bound) = self.side(side.other());
        bound.saturating_sub(posted).saturating_sub(pending)
    }

    /// Pending and posted of one side.
    #[must_use]
    pub fn side(&self, side: Side) -> (Micros, Micros) {
        match side {
            Side::Debit => (self.debits_pending, self.debits_posted),
            Side::Credit => (self.credits_pending, self.credits_posted),
        }
    }

    /// As it was, with pending and posted of one side as `change` makes them.
    pub(crate) fn with(
        mut self,
        side: Side,
        change: impl FnOnce(Micros, Micros) -> Option<(Micros, Micros)>,
    ) -> Option<Self> {
        let (pending, posted) = self.side(side);
        let changed = change(pending, posted)?;
        match side {
            Side::Debit => (self.debits_pending, self.debits_posted) = changed,
            Side::Credit => (self.credits_pending, self.credits_posted) = changed,
        }
        Some(self)
    }
}

impl Side {
    pub(crate) fn other(self) -> Self {
        match self {
            Self::Debit => Self::Credit,
            Self::Credit => Self::Debit,
        }
    }
}
