//! What can be asked of the ledger.

use crate::{
    account::{Account, AccountId},
    money::{Micros, Timestamp},
    refusal::Refusal,
};

/// Names a transfer, and makes it happen once: whoever asks chooses it and asks again with the same. 0 and the largest
/// number are not allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TransferId(pub u128);

/// Moves money from one account to another, at once or later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transfer {
    /// Its name.
    pub id: TransferId,
    /// Who gives.
    pub debit: AccountId,
    /// Who receives.
    pub credit: AccountId,
    /// How much; the most that it may be if it is balancing.
    pub amount: Micros,
    /// Whether less is taken where less is there.
    pub balancing: Balancing,
    /// Whether the money moves or is set aside.
    pub kind: Kind,
    /// The unit of both accounts: named again, so that an amount in the wrong unit is refused.
    pub ledger: u32,
    /// What it is for, not 0; the meaning is the program's.
    pub code: u16,
    /// Ties it to a row of the program: a request, a payment.
    pub reference: u128,
}

/// Whether the money moves or is set aside.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// It moves.
    #[default]
    Post,
    /// It is set aside until a [`Settle`] or a [`Void`] of this transfer, or for `timeout_s` seconds; 0 is for good.
    Hold {
        /// How long it is set aside.
        timeout_s: u32,
    },
}

/// Takes less than asked where an account has less: amounts are cut to what keeps a side below the other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Balancing {
    /// Cut to what the giving account has.
    pub debit: bool,
    /// Cut to what the receiving account owes.
    pub credit: bool,
}

impl Balancing {
    pub(crate) fn is_any(self) -> bool {
        self.debit || self.credit
    }
}

/// Moves what a hold has set aside, or a part of it, and frees the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settle {
    /// A name of its own.
    pub id: TransferId,
    /// The hold.
    pub hold: TransferId,
    /// At most what was set aside; `None` is all of it.
    pub amount: Option<Micros>,
    /// 0 takes over that of the hold.
    pub reference: u128,
}

/// Frees what a hold has set aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Void {
    /// A name of its own.
    pub id: TransferId,
    /// The hold.
    pub hold: TransferId,
    /// 0 takes over that of the hold.
    pub reference: u128,
}

/// One thing to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Opens an account.
    Open(Account),
    /// Moves money, or sets it aside.
    Transfer(Transfer),
    /// Ends a hold by moving it.
    Settle(Settle),
    /// Ends a hold by freeing it.
    Void(Void),
    /// Ends a hold whose time is over.
    Expire(TransferId),
}

impl Event {
    /// The name that makes a transfer happen once.
    #[must_use]
    pub fn transfer_id(&self) -> Option<TransferId> {
        match self {
            Self::Transfer(transfer) => Some(transfer.id),
            Self::Settle(settle) => Some(settle.id),
            Self::Void(void) => Some(void.id),
            Self::Open(_) | Self::Expire(_) => None,
        }
    }

    /// The hold that it ends.
    #[must_use]
    pub fn hold(&self) -> Option<TransferId> {
        match self {
            Self::Settle(settle) => Some(settle.hold),
            Self::Void(void) => Some(void.hold),
            Self::Expire(hold) => Some(*hold),
            Self::Open(_) | Self::Transfer(_) => None,
        }
    }
}

/// What happened: an event as it was done, or an id that is spent without effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fact {
    /// It was done. Amounts and references stand as they were applied: asked again like this, it would be the same.
    Done(Event),
    /// It was refused for a reason that may pass. The id stays spent, so that a late repetition cannot succeed.
    Refused {
        /// The id.
        id: TransferId,
        /// The reason.
        why: Refusal,
    },
}

/// Where a transfer stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Nothing more will happen to it: money that moved, the end of a hold, a refusal.
    Final,
    /// A hold that is open.
    Held,
    /// A hold that was settled.
    Settled,
    /// A hold that was voided.
    Voided,
    /// A hold whose time was over.
    Expired,
}

/// A transfer id that was used: what came of it, when, and where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// What came of it.
    pub fact: Fact,
    /// When.
    pub time: Timestamp,
    /// Where it stands.
    pub state: State,
}

impl Record {
    /// When an open hold is over, if ever.
    #[must_use]
    pub fn expires_at(&self) -> Option<Timestamp> {
        match self {
            Self {
                fact: Fact::Done(Event::Transfer(Transfer { kind: Kind::Hold { timeout_s: timeout_s @ 1.. }, .. })),
                state: State::Held,
                time,
            } => time.after(*timeout_s),
            _ => None,
        }
    }
}
