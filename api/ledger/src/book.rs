//! The state that events are judged by: accounts and used ids, all of them or those that are loaded.

use std::collections::{BTreeSet, HashMap};

use crate::{
    account::{Account, AccountId, Balance, Side},
    error::{ApplyError, Missing, Stop},
    event::{Event, Fact, Kind, Record, State, TransferId},
    money::{Micros, Timestamp},
};

/// An account and what it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AccountState {
    /// What is fixed.
    pub account: Account,
    /// What changes.
    pub balance: Balance,
}

/// A value of the state before it was changed; the outer `None` is what was not loaded.
#[derive(Debug)]
enum Before {
    Account(AccountId, Option<Option<AccountState>>),
    Transfer(TransferId, Option<Option<Record>>),
}

#[derive(Debug, Default)]
pub(crate) struct Book {
    /// `None` is an account that is known not to exist.
    accounts: HashMap<AccountId, Option<AccountState>>,
    transfers: HashMap<TransferId, Option<Record>>,
    /// The open holds among `transfers`, by the time they end.
    due: BTreeSet<(Timestamp, TransferId)>,
    /// Whether what is not here does not exist.
    is_whole: bool,
    undo: Vec<Before>,
}

impl Book {
    pub(crate) fn whole() -> Self {
        Self { is_whole: true, ..Self::default() }
    }

    pub(crate) fn account(&self, id: AccountId) -> Result<Option<&AccountState>, Missing> {
        match self.accounts.get(&id) {
            Some(known) => Ok(known.as_ref()),
            None if self.is_whole => Ok(None),
            None => Err(Missing::Account(id)),
        }
    }

    pub(crate) fn transfer(&self, id: TransferId) -> Result<Option<&Record>, Missing> {
        match self.transfers.get(&id) {
            Some(known) => Ok(known.as_ref()),
            None if self.is_whole => Ok(None),
            None => Err(Missing::Transfer(id)),
        }
    }

    pub(crate) fn accounts(&self) -> impl Iterator<Item = &AccountState> {
        self.accounts.values().flatten()
    }

    pub(crate) fn len(&self) -> usize {
        self.accounts.len() + self.transfers.len()
    }

    /// Open holds that end at `now` or before, the first to end first.
    pub(crate) fn due(&self, now: Timestamp) -> impl Iterator<Item = TransferId> {
        self.due.range(..=(now, TransferId(u128::MAX))).map(|&(_, id)| id)
    }

    pub(crate) fn set_account(&mut self, id: AccountId, state: Option<AccountState>) {
        let before = self.accounts.insert(id, state);
        self.undo.push(Before::Account(id, before));
    }

    pub(crate) fn set_transfer(&mut self, id: TransferId, record: Option<Record>) {
        let before = self.swap_transfer(id, Some(record));
        self.undo.push(Before::Transfer(id, before));
    }

    /// From here on [`Book::rewind`] comes back to this state.
    pub(crate) fn mark(&mut self) {
        self.undo.clear();
    }

    pub(crate) fn rewind(&mut self) {
        while let Some(before) = self.undo.pop() {
            match before {
                Before::Account(id, Some(state)) => drop(self.accounts.insert(id, state)),
                Before::Account(id, None) => drop(self.accounts.remove(&id)),
                Before::Transfer(id, record) => drop(self.swap_transfer(id, record)),
            }
        }
    }

    /// Applies an event that was found right.
    pub(crate) fn absorb(&mut self, event: &Event, now: Timestamp) -> Result<(), Stop> {
        match event {
            Event::Open(account) => {
                self.set_account(account.id, Some(AccountState { account: *account, balance: Balance::default() }));
            }
            Event::Transfer(transfer) => {
                let state = match transfer.kind {
                    Kind::Post => State::Final,
                    Kind::Hold { .. } => State::Held,
                };
                self.on_both(transfer.debit, transfer.credit, |pending, posted| match transfer.kind {
                    Kind::Post => Some((pending, posted.checked_add(transfer.amount)?)),
                    Kind::Hold { .. } => Some((pending.checked_add(transfer.amount)?, posted)),
                })?;
                self.set_transfer(transfer.id, Some(Record { fact: Fact::Done(*event), time: now, state }));
            }
            Event::Settle(settle) => self.end(settle.hold, State::Settled, settle.amount.unwrap_or_default())?,
            Event::Void(void) => self.end(void.hold, State::Voided, Micros::ZERO)?,
            Event::Expire(hold) => self.end(*hold, State::Expired, Micros::ZERO)?,
        }
        if let (Some(id), Some(_)) = (event.transfer_id(), event.hold()) {
            self.set_transfer(id, Some(Record { fact: Fact::Done(*event), time: now, state: State::Final }));
        }
        Ok(())
    }

    fn end(&mut self, hold: TransferId, state: State, posted_now: Micros) -> Result<(), Stop> {
        let Some(&record) = self.transfer(hold)? else { return Err(Missing::Transfer(hold).into()) };
        let Fact::Done(Event::Transfer(held)) = record.fact else { return Err(Missing::Transfer(hold).into()) };
        self.on_both(held.debit, held.credit, |pending, posted| {
            Some((pending.checked_sub(held.amount)?, posted.checked_add(posted_now)?))
        })?;
        self.set_transfer(hold, Some(Record { state, ..record }));
        Ok(())
    }

    /// Changes the debit side of one account and the credit side of the other alike, so that all sums stay equal.
    fn on_both(
        &mut self,
        debit: AccountId,
        credit: AccountId,
        change: impl Fn(Micros, Micros) -> Option<(Micros, Micros)>,
    ) -> Result<(), Stop> {
        for (id, side) in [(debit, Side::Debit), (credit, Side::Credit)] {
            let Some(&AccountState { account, balance }) = self.account(id)? else {
                return Err(Missing::Account(id).into());
            };
            let Some(balance) = balance.with(side, &change) else { return Err(ApplyError::Damaged(id).into()) };
            self.set_account(id, Some(AccountState { account, balance }));
        }
        Ok(())
    }

    fn swap_transfer(&mut self, id: TransferId, record: Option<Option<Record>>) -> Option<Option<Record>> {
        let due = |record: Option<Option<Record>>| record.flatten().and_then(|record| record.expires_at());
        let after = due(record);
        let before = match record {
            Some(record) => self.transfers.insert(id, record),
            None => self.transfers.remove(&id),
        };
        if let Some(at) = due(before) {
            self.due.remove(&(at, id));
        }
        if let Some(at) = after {
            self.due.insert((at, id));
        }
        before
    }
}
