//! What holds whatever is asked in whatever order.

use std::collections::BTreeMap;

use ledger::{AccountId, Event, Fact, Kind, Ledger, Limit, Outcome, Refusal, State, Timestamp, TransferId, verify};
use proptest::prelude::*;

use crate::{
    play::{BANK, USERS, micros, open, opening, steps, timed, transfer},
    shelf::Shelf,
};

/// Money as signed sums, kept from the answers alone: posted, and held.
#[derive(Default)]
struct Model {
    posted: BTreeMap<AccountId, i128>,
    held: BTreeMap<AccountId, i128>,
    holds: BTreeMap<TransferId, (AccountId, AccountId, i128)>,
}

impl Model {
    fn move_between(sums: &mut BTreeMap<AccountId, i128>, debit: AccountId, credit: AccountId, amount: i128) {
        *sums.entry(debit).or_default() -= amount;
        *sums.entry(credit).or_default() += amount;
    }

    /// Takes in a chain that was answered.
    fn on_answers(&mut self, chain: &[Event], outcomes: &[Outcome]) {
        if outcomes.iter().any(Result::is_err) {
            return;
        }
        for (event, done) in chain.iter().zip(outcomes.iter().flatten()).filter(|(_, done)| !done.is_repeat) {
            let amount = i128::from(done.amount.get());
            match event {
                Event::Open(_) => {}
                Event::Transfer(transfer) if transfer.kind == Kind::Post => {
                    Self::move_between(&mut self.posted, transfer.debit, transfer.credit, amount);
                }
                Event::Transfer(transfer) => {
                    Self::move_between(&mut self.held, transfer.debit, transfer.credit, amount);
                    self.holds.insert(transfer.id, (transfer.debit, transfer.credit, amount));
                }
                Event::Settle(_) | Event::Void(_) | Event::Expire(_) => {
                    let (debit, credit, held) = self.holds.remove(&event.hold().unwrap()).unwrap();
                    Self::move_between(&mut self.held, debit, credit, -held);
                    if let Event::Settle(_) = event {
                        assert!(amount <= held);
                        Self::move_between(&mut self.posted, debit, credit, amount);
                    }
                }
            }
        }
    }

    fn check(&self, ledger: &Ledger) {
        for state in ledger.accounts() {
            let (id, balance) = (state.account.id, &state.balance);
            let net =
                |credits: ledger::Micros, debits: ledger::Micros| i128::from(credits.get()) - i128::from(debits.get());
            let posted = net(balance.credits_posted, balance.debits_posted);
            let held = net(balance.credits_pending, balance.debits_pending);
            assert_eq!(posted, self.posted.get(&id).copied().unwrap_or_default(), "{state:?}");
            assert_eq!(held, self.held.get(&id).copied().unwrap_or_default(), "{state:?}");
            let (debits, credits) =
                (i128::from(balance.debits_pending.get()), i128::from(balance.credits_pending.get()));
            match state.account.limit {
                Limit::None => {}
                Limit::DebitsMustNotExceedCredits => assert!(posted - debits >= 0, "{state:?}"),
                Limit::CreditsMustNotExceedDebits => assert!(posted + credits <= 0, "{state:?}"),
            }
        }
        assert_eq!(self.posted.values().sum::<i128>(), 0);
        assert_eq!(self.held.values().sum::<i128>(), 0);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn prop_money_is_conserved_and_every_bound_kept_at_every_step(steps in steps()) {
        let (mut ledger, mut model) = (Ledger::in_memory(), Model::default());
        for (now, step) in timed(&steps) {
            let due = if step.is_swept { ledger.due(now, 100) } else { Vec::new() };
            for chain in due.iter().map(|hold| vec![Event::Expire(*hold)]).chain([step.chain.clone()]) {
                let outcomes = ledger.apply(now, &chain).unwrap();
                model.on_answers(&chain, &outcomes);
                model.check(&ledger);
            }
        }
    }

    #[test]
    fn prop_what_is_asked_again_changes_nothing(steps in steps()) {
        let mut ledger = Ledger::in_memory();
        for (now, step) in timed(&steps) {
            let first = ledger.apply(now, &step.chain).unwrap();
            let head = ledger.head();
            let again = ledger.apply(now, &step.chain).unwrap();
            prop_assert_eq!(ledger.head(), head);
            if let ([first], [again]) = (&first[..], &again[..]) {
                match first {
                    Ok(done) if matches!(step.chain[0], Event::Expire(_)) => prop_assert!(!done.is_repeat),
                    Ok(done) => prop_assert_eq!(again.map(|again| (again.amount, again.is_repeat)), Ok((done.amount, true))),
                    Err(why) if why.is_transient() && step.chain[0].transfer_id().is_some() =>
                        prop_assert_eq!(*again, Err(Refusal::IdAlreadyFailed)),
                    Err(why) => prop_assert_eq!(*again, Err(*why)),
                }
            }
        }
    }

    #[test]
    fn prop_a_ledger_that_loads_what_it_wants_decides_like_one_that_has_all(steps in steps(), forgets in any::<u64>()) {
        let (mut whole, mut shelf) = (Ledger::in_memory(), Shelf::default());
        let mut loaded = Ledger::resume(shelf.head());
        for (n, (now, step)) in timed(&steps).enumerate() {
            if forgets >> (n % 64) & 1 == 1 {
                loaded = Ledger::resume(shelf.head());
            }
            if step.is_swept {
                let due = whole.due(now, usize::MAX);
                let mut stored = shelf.due(now);
                for hold in &due {
                    whole.apply(now, &[Event::Expire(*hold)]).unwrap();
                    shelf.apply(&mut loaded, now, &[Event::Expire(*hold)]);
                }
                stored.retain(|hold| !due.contains(hold));
                prop_assert!(stored.is_empty());
            }
            prop_assert_eq!(whole.apply(now, &step.chain).unwrap(), shelf.apply(&mut loaded, now, &step.chain));
            prop_assert_eq!(whole.head(), loaded.head());
        }
        let effects = whole.take_effects();
        prop_assert_eq!(&effects.entries, &shelf.journal);
        prop_assert!(effects.accounts.iter().eq(shelf.accounts.values()));
        prop_assert!(effects.transfers.into_iter().eq(shelf.transfers));
    }

    #[test]
    fn prop_a_hold_ends_once_and_when_its_time_is_over_nothing_is_left_of_it(steps in steps(), late_s in 0..4_u32) {
        let (mut ledger, mut last) = (Ledger::in_memory(), Timestamp::ZERO);
        for (now, step) in timed(&steps) {
            ledger.apply(now, &step.chain).unwrap();
            last = now.after(late_s).unwrap();
        }
        for hold in ledger.due(last, usize::MAX) {
            // Nobody came by to expire it: it is over all the same.
            let late = [Event::Void(ledger::Void { id: TransferId(hold.0 + 5000), hold, reference: 0 })];
            prop_assert_eq!(ledger.apply(last, &late).unwrap(), [Err(Refusal::PendingTransferExpired)]);
            prop_assert!(ledger.apply(last, &[Event::Expire(hold)]).unwrap()[0].is_ok());
            prop_assert_eq!(ledger.apply(last, &[Event::Expire(hold)]).unwrap(), [Err(Refusal::PendingTransferExpired)]);
        }
        let journal = ledger.take_effects().entries;
        let (mut open, mut ends) = (BTreeMap::new(), BTreeMap::<_, u32>::new());
        for entry in &journal {
            let Fact::Done(event) = entry.fact else { continue };
            if let Some(hold) = event.hold() {
                *ends.entry(hold).or_default() += 1;
                prop_assert!(open.remove(&hold).is_some());
            }
            if let Event::Transfer(hold) = event && let Kind::Hold { timeout_s } = hold.kind {
                let ends_at = if timeout_s == 0 { None } else { entry.time.after(timeout_s) };
                open.insert(hold.id, (ends_at, hold.amount.get()));
            }
        }
        prop_assert!(ends.values().all(|count| *count == 1));
        prop_assert!(open.values().all(|(ends_at, _)| ends_at.is_none_or(|at| at > last)));
        let held: u128 = open.values().map(|(_, amount)| u128::from(*amount)).sum();
        prop_assert_eq!(verify(journal.iter().map(Into::into), None).unwrap().held, held);
    }
}

#[test]
fn of_a_thousand_holds_against_money_for_a_hundred_a_hundred_are_granted() {
    let mut ledger = Ledger::in_memory();
    ledger.apply(Timestamp::ZERO, &opening().chain).unwrap();
    let hold = |id| transfer(id, USERS[0], BANK, 1, Kind::Hold { timeout_s: 60 });
    let granted = (5000..6000).filter(|id| ledger.apply(Timestamp::ZERO, &[hold(*id)]).unwrap()[0].is_ok()).count();
    assert_eq!(granted, 100);
    assert_eq!(ledger.account(USERS[0]).unwrap().balance.available(), micros(0));
}

#[test]
fn time_does_not_go_back() {
    let mut ledger = Ledger::in_memory();
    let at = |seconds: u32| Timestamp::ZERO.after(seconds).unwrap();
    ledger.apply(at(100), &opening().chain).unwrap();
    let hold = transfer(5000, USERS[0], BANK, 1, Kind::Hold { timeout_s: 5 });
    ledger.apply(at(10), &[hold]).unwrap();
    assert_eq!(ledger.transfer(TransferId(5000)).unwrap().expires_at(), Some(at(105)));
    assert_eq!(ledger.due(at(104), 9), []);
    assert_eq!(ledger.due(at(105), 9), [TransferId(5000)]);
}

#[test]
fn what_is_not_loaded_is_asked_for_and_never_taken_for_absent() {
    let mut ledger = Ledger::resume(ledger::Head::default());
    let event = transfer(5000, USERS[0], BANK, 1, Kind::Post);
    let missing = ledger::Missing::Transfer(TransferId(5000));
    assert_eq!(ledger.apply(Timestamp::ZERO, &[event]), Err(ledger::ApplyError::Missing(missing)));
    ledger.load_transfer(TransferId(5000), None);
    ledger.load_account(USERS[0], None);
    // A chain that stops half way leaves nothing.
    let chain = [open(AccountId(50), Limit::None), event];
    ledger.load_account(AccountId(50), None);
    assert_eq!(
        ledger.apply(Timestamp::ZERO, &chain).unwrap(),
        [Err(Refusal::LinkedEventFailed), Err(Refusal::DebitAccountNotFound)]
    );
    assert_eq!(ledger.account(AccountId(50)), None);
    assert_eq!(ledger.transfer(TransferId(5000)).unwrap().state, State::Final);
}
