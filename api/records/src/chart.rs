//! The chart of accounts: which account of the ledger belongs to whom, what transfers are for, and what they are called.

use ledger::{
    Account, AccountId, Balancing, Event, Kind, Limit, Micros, Outcome, Refusal, Settle, Transfer, TransferId, Void,
};
use sha2::{Digest, Sha256};

use crate::{
    database::Database,
    error::{Conflict, RecordsError},
};

/// A user: 1, 2, 3, … with gaps. 0 is nobody.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UserId(pub u64);

/// An API key: 1, 2, 3, … with gaps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(pub u64);

/// Fees and charges that were taken.
pub const REVENUE: AccountId = platform(1);
/// What was given: signup credit, play money, an operator's gifts.
pub const GRANTS: AccountId = platform(2);
/// What Stripe took in for us, and took back.
pub const STRIPE: AccountId = platform(3);
/// Where allowances come from and go to.
pub const POOL: AccountId = platform(4);

/// The most that moves at once: a thousand million KAI.
pub const AMOUNT_MAX: Micros = match Micros::new(1_000_000_000_000_000) {
    Some(max) => max,
    None => Micros::MAX,
};

const KAI: u32 = 1;
const ALLOWANCE: u32 = 2;

/// What a user has.
#[must_use]
pub const fn balance(user: UserId) -> AccountId {
    account(2, user.0)
}

/// What a user owes: what was taken back beyond the balance.
#[must_use]
pub const fn debt(user: UserId) -> AccountId {
    account(3, user.0)
}

/// What a user may still spend of the cap of 30 days.
#[must_use]
pub const fn allowance(user: UserId) -> AccountId {
    account(4, user.0)
}

/// What a key with a cap may still spend.
#[must_use]
pub const fn key_allowance(key: KeyId) -> AccountId {
    account(5, key.0)
}

const fn platform(number: u64) -> AccountId {
    account(1, number)
}

const fn account(kind: u8, number: u64) -> AccountId {
    AccountId((kind as u128) << 64 | number as u128)
}

/// Whose money it is, if it is a user's: a line of it belongs into a statement.
pub(crate) fn is_of_user(account: AccountId) -> bool {
    matches!(account.0 >> 64, 2 | 3)
}

/// What a transfer is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum Purpose {
    /// Use that was metered.
    Charge = 1,
    /// Credit for signing up.
    Signup = 2,
    /// Given by an operator.
    Gift = 3,
    /// Taken by an operator.
    Withdrawal = 4,
    /// Paid through Stripe.
    Payment = 5,
    /// Given back through Stripe, or taken back by a bank.
    Reversal = 6,
    /// A reversal that was taken back itself: a dispute that was won.
    Reinstatement = 7,
    /// What came in pays what is owed.
    Debt = 8,
    /// An allowance, not money.
    Allowance = 9,
}

impl Purpose {
    /// Every purpose.
    pub const ALL: &[Self] = &[
        Self::Charge,
        Self::Signup,
        Self::Gift,
        Self::Withdrawal,
        Self::Payment,
        Self::Reversal,
        Self::Reinstatement,
        Self::Debt,
        Self::Allowance,
    ];

    /// The purpose of a transfer's code.
    #[must_use]
    pub fn from_code(code: u16) -> Option<Self> {
        Self::ALL.iter().copied().find(|purpose| *purpose as u16 == code)
    }

    /// The name, such as `charge`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Charge => "charge",
            Self::Signup => "signup",
            Self::Gift => "gift",
            Self::Withdrawal => "withdrawal",
            Self::Payment => "payment",
            Self::Reversal => "reversal",
            Self::Reinstatement => "reinstatement",
            Self::Debt => "debt",
            Self::Allowance => "allowance",
        }
    }
}

/// A transfer id that says its cause, such as `hold:REQUEST:balance`: the same cause happens once.
///
/// Where the request's name has 32 hexadecimal digits, its id begins with the first 12 of them: if these are its time, as in a
/// UUID of version 7, the ids of one moment lie together in the index. A commit writes whole pages, so ids that lie anywhere
/// make it write one for each.
pub(crate) fn named(cause: &str) -> TransferId {
    const TIME: u128 = !(u128::MAX >> 48);
    let digest: [u8; 32] = Sha256::digest(cause).into();
    let id = digest.first_chunk().copied().map(u128::from_be_bytes).unwrap_or_default();
    let mut parts = cause.split([':', '-']).filter(|part| part.len() == 32);
    let number = parts.find_map(|part| u128::from_str_radix(part, 16).ok());
    TransferId(number.map_or(id, |number| number & TIME | id & !TIME))
}

/// Chains that this crate composes so that they cannot be refused.
pub(crate) fn all_done(database: &Database, outcomes: &[Outcome]) -> Result<(), RecordsError> {
    match outcomes.iter().find_map(|outcome| outcome.err().filter(|why| *why != Refusal::LinkedEventFailed)) {
        Some(why) => Err(database.foreign(format!("accounts that refuse what they should allow: {why}"))),
        None => Ok(()),
    }
}

/// Whether a chain whose first event names its cause happened now, and not before. An id can be spent on one reason only:
/// `spent`.
pub(crate) fn is_done_now(outcomes: &[Outcome], spent: Conflict) -> Result<bool, RecordsError> {
    match outcomes.iter().find(|outcome| **outcome != Err(Refusal::LinkedEventFailed)) {
        Some(Ok(done)) => Ok(!done.is_repeat),
        Some(Err(Refusal::IdAlreadyFailed)) => Err(spent.into()),
        Some(Err(Refusal::ExceedsCredits)) => Err(Conflict::InsufficientFunds.into()),
        Some(Err(Refusal::DebitAccountNotFound | Refusal::CreditAccountNotFound)) => Err(Conflict::UnknownUser.into()),
        Some(Err(_)) => Err(Conflict::Different.into()),
        None => Ok(false),
    }
}

pub(crate) fn open(id: AccountId) -> Event {
    let (ledger, limit) = match id.0 >> 64 {
        2 => (KAI, Limit::DebitsMustNotExceedCredits),
        3 => (KAI, Limit::CreditsMustNotExceedDebits),
        4 | 5 => (ALLOWANCE, Limit::DebitsMustNotExceedCredits),
        _ if id == POOL => (ALLOWANCE, Limit::None),
        _ => (KAI, Limit::None),
    };
    // The code is the kind: what the high half of the id says.
    let code = u16::try_from(id.0 >> 64).unwrap_or(u16::MAX);
    Event::Open(Account { id, ledger, code, reference: 0, limit })
}

/// Money or allowance that moves, in the unit of its accounts.
pub(crate) fn post(cause: &str, debit: AccountId, credit: AccountId, amount: Micros, purpose: Purpose) -> Transfer {
    let ledger = match (debit.0 >> 64, credit.0 >> 64) {
        (4 | 5, _) | (_, 4 | 5) => ALLOWANCE,
        _ => KAI,
    };
    let (id, balancing, kind) = (named(cause), Balancing::default(), Kind::Post);
    Transfer { id, debit, credit, amount, balancing, kind, ledger, code: purpose as u16, reference: 0 }
}

pub(crate) fn hold(cause: &str, debit: AccountId, credit: AccountId, amount: Micros, timeout_s: u32) -> Event {
    let transfer = post(cause, debit, credit, amount, Purpose::Charge);
    Event::Transfer(Transfer { kind: Kind::Hold { timeout_s }, ..transfer })
}

/// Pays what is owed from the balance, as far as both go.
pub(crate) fn pay_debt(cause: &str, user: UserId, at_most: Micros) -> Event {
    let balancing = Balancing { debit: true, credit: true };
    Event::Transfer(Transfer { balancing, ..post(cause, balance(user), debt(user), at_most, Purpose::Debt) })
}

pub(crate) fn settle(cause: &str, hold: &str, amount: Micros) -> Event {
    Event::Settle(Settle { id: named(cause), hold: named(hold), amount: Some(amount), reference: 0 })
}

pub(crate) fn void(cause: &str, hold: &str) -> Event {
    Event::Void(Void { id: named(cause), hold: named(hold), reference: 0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_and_causes_have_their_numbers_for_good() {
        assert_eq!(REVENUE.0, 0x1_0000_0000_0000_0001);
        assert_eq!(key_allowance(KeyId(7)).0, 0x5_0000_0000_0000_0007);
        // As `sha256sum` says it.
        assert_eq!(named("signup:1").0, 0x04c8_728f_a5ae_32e5_c290_6ef7_33a4_f8a6);
        let of_request = named("hold:chatcmpl-0190163d8694739bb4c9da2e2b0cd2a5:balance").0;
        assert_eq!(of_request, 0x0190_163d_8694_2f66_d252_5245_803e_baa6);
        assert_eq!(Purpose::from_code(5), Some(Purpose::Payment));
        assert_eq!(Purpose::from_code(10), None);
    }
}
