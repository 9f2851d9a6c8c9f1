//! Events as they come in life, and as they should not: few accounts and few ids, so that they meet.

use ledger::{
    Account, AccountId, Balancing, Event, Kind, Limit, Micros, Settle, Timestamp, Transfer, TransferId, Void,
};
use proptest::{collection::vec, prelude::*, sample::select};

/// A chain, and how long it comes after the one before it.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub(crate) wait_ns: u64,
    pub(crate) chain: Vec<Event>,
    /// Whether somebody comes by to expire holds before it.
    pub(crate) is_swept: bool,
}

pub(crate) const BANK: AccountId = AccountId(1);
pub(crate) const USERS: [AccountId; 3] = [AccountId(2), AccountId(3), AccountId(4)];
const REVENUE: AccountId = AccountId(5);
const DEBTOR: AccountId = AccountId(6);
const ABSENT: AccountId = AccountId(7);

pub(crate) fn micros(micros: u64) -> Micros {
    Micros::new(micros).unwrap()
}

pub(crate) fn open(id: AccountId, limit: Limit) -> Event {
    Event::Open(Account { id, ledger: 1, code: 1, reference: 0, limit })
}

pub(crate) fn transfer(id: u128, debit: AccountId, credit: AccountId, amount: u64, kind: Kind) -> Event {
    let (id, amount, balancing) = (TransferId(id), micros(amount), Balancing::default());
    Event::Transfer(Transfer { id, debit, credit, amount, balancing, kind, ledger: 1, code: 1, reference: 0 })
}

/// Opens all accounts but one, and gives the users 100 each.
pub(crate) fn opening() -> Step {
    let users = USERS.map(|user| open(user, Limit::DebitsMustNotExceedCredits));
    let others = [open(BANK, Limit::None), open(REVENUE, Limit::None), open(DEBTOR, Limit::CreditsMustNotExceedDebits)];
    let gifts = USERS.map(|user| transfer(1000 + user.0, BANK, user, 100, Kind::Post));
    Step { wait_ns: 0, chain: [&users[..], &others, &gifts].concat(), is_swept: false }
}

fn events() -> impl Strategy<Value = Event> {
    let id = || (1..40_u128).prop_map(TransferId);
    let account = || select(vec![BANK, USERS[0], USERS[1], USERS[2], REVENUE, DEBTOR, ABSENT]);
    let amount = || prop_oneof![8 => 0..80_u64, 1 => Just(Micros::MAX.get())].prop_map(micros);
    let kind = prop_oneof![1 => Just(Kind::Post), 2 => (0..4_u32).prop_map(|timeout_s| Kind::Hold { timeout_s })];
    let balancing = (prop::bool::weighted(0.2), prop::bool::weighted(0.1));
    let reference = || 0..2_u128;
    let transfers = (id(), account(), account(), amount(), kind, balancing, 1..3_u16, reference()).prop_map(
        |(id, debit, credit, amount, kind, (by_debit, by_credit), code, reference)| {
            let balancing = Balancing { debit: by_debit, credit: by_credit };
            Event::Transfer(Transfer { id, debit, credit, amount, balancing, kind, ledger: 1, code, reference })
        },
    );
    let settles = (id(), id(), prop::option::of(amount()), reference())
        .prop_map(|(id, hold, amount, reference)| Event::Settle(Settle { id, hold, amount, reference }));
    let voids = (id(), id(), reference()).prop_map(|(id, hold, reference)| Event::Void(Void { id, hold, reference }));
    let opens = (2..9_u128, 1..3_u32).prop_map(|(id, ledger)| {
        let limit = Limit::DebitsMustNotExceedCredits;
        Event::Open(Account { id: AccountId(id), ledger, code: 1, reference: 0, limit })
    });
    prop_oneof![8 => transfers, 6 => settles, 3 => voids, 1 => opens, 1 => id().prop_map(Event::Expire)]
}

pub(crate) fn steps() -> impl Strategy<Value = Vec<Step>> {
    let chain = prop_oneof![4 => vec(events(), 1), 1 => vec(events(), 2..5)];
    let step = (prop_oneof![Just(0), 0..3_000_000_000_u64], chain, any::<bool>());
    let steps = vec(step.prop_map(|(wait_ns, chain, is_swept)| Step { wait_ns, chain, is_swept }), 1..80);
    steps.prop_map(|mut steps| {
        steps.insert(0, opening());
        steps
    })
}

/// The steps with the moment at which each comes.
pub(crate) fn timed(steps: &[Step]) -> impl Iterator<Item = (Timestamp, &Step)> {
    steps.iter().scan(1_700_000_000_000_000_000, |nanos, step| {
        *nanos += step.wait_ns;
        Some((Timestamp::new(*nanos).unwrap(), step))
    })
}
