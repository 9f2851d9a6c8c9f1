//! A store that forgets nothing and does no I/O: what a database is to the ledger.

use std::collections::BTreeMap;

use ledger::{
    AccountId, AccountState, Effects, Entry, Event, Head, Ledger, Missing, Outcome, Record, State, Timestamp,
    TransferId,
};

#[derive(Default)]
pub(crate) struct Shelf {
    pub(crate) accounts: BTreeMap<AccountId, AccountState>,
    pub(crate) transfers: BTreeMap<TransferId, Record>,
    pub(crate) journal: Vec<Entry>,
}

impl Shelf {
    pub(crate) fn head(&self) -> Head {
        self.journal.last().map(Entry::head).unwrap_or_default()
    }

    /// Loads what the events want, as often as more shows to be wanted, and returns in how many rounds.
    pub(crate) fn load(&self, ledger: &mut Ledger, events: &[Event]) -> usize {
        for round in 0.. {
            let missing = ledger.missing(events);
            if missing.is_empty() {
                return round;
            }
            for missing in missing {
                match missing {
                    Missing::Account(id) => ledger.load_account(id, self.accounts.get(&id).copied()),
                    Missing::Transfer(id) => ledger.load_transfer(id, self.transfers.get(&id).copied()),
                }
            }
        }
        unreachable!()
    }

    pub(crate) fn write(&mut self, effects: Effects) {
        for entry in &effects.entries {
            assert_eq!(entry.sequence, self.journal.len() as u64 + 1);
            self.journal.push(*entry);
        }
        self.accounts.extend(effects.accounts.into_iter().map(|state| (state.account.id, state)));
        self.transfers.extend(effects.transfers);
    }

    /// One chain, from loading to writing.
    pub(crate) fn apply(&mut self, ledger: &mut Ledger, now: Timestamp, chain: &[Event]) -> Vec<Outcome> {
        assert!(self.load(ledger, chain) <= 2);
        let outcomes = ledger.apply(now, chain).unwrap();
        self.write(ledger.take_effects());
        outcomes
    }

    /// Holds whose time is over, by what is stored.
    pub(crate) fn due(&self, now: Timestamp) -> Vec<TransferId> {
        let is_due = |record: &Record| {
            record.state == State::Held && record.expires_at().is_some_and(|expires_at| expires_at <= now)
        };
        self.transfers.iter().filter(|(_, record)| is_due(record)).map(|(id, _)| *id).collect()
    }

    pub(crate) fn expire_due(&mut self, ledger: &mut Ledger, now: Timestamp) {
        for hold in self.due(now) {
            let outcomes = self.apply(ledger, now, &[Event::Expire(hold)]);
            assert!(outcomes[0].is_ok(), "{hold:?}: {outcomes:?}");
        }
    }
}
