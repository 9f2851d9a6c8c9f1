//! Chains of events in, outcomes and what is to be written out.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    account::AccountId,
    book::{AccountState, Book},
    decide::{Verdict, decide},
    error::{ApplyError, Missing, Stop},
    event::{Event, Fact, Record, State, TransferId},
    journal::{Entry, Head},
    money::{Micros, Timestamp},
    refusal::Refusal,
};

/// An event that took effect, now or before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Done {
    /// The money that moved or is held; what a void frees; 0 for an account.
    pub amount: Micros,
    /// Whether the same event had happened before, so that nothing happened now (`exists`).
    pub is_repeat: bool,
}

/// What comes of one event.
pub type Outcome = Result<Done, Refusal>;

/// What a store writes, in one transaction, before anybody hears an outcome.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Effects {
    /// What happened, in order: opened accounts and used ids are new rows.
    pub entries: Vec<Entry>,
    /// The accounts that changed, as they are now.
    pub accounts: Vec<AccountState>,
    /// The used ids that are new or changed, as they are now.
    pub transfers: Vec<(TransferId, Record)>,
}

/// Accounts and transfers under one writer.
#[derive(Debug)]
pub struct Ledger {
    book: Book,
    head: Head,
    entries: Vec<Entry>,
}

impl Ledger {
    /// An empty ledger that keeps all its state in memory: what is not there does not exist.
    #[must_use]
    pub fn in_memory() -> Self {
        Self { book: Book::whole(), head: Head::default(), entries: Vec::new() }
    }

    /// A ledger that goes on where a stored journal ends. Its state is loaded as it is asked for.
    #[must_use]
    pub fn resume(head: Head) -> Self {
        Self { book: Book::default(), head, entries: Vec::new() }
    }

    /// What must be loaded before `events` can be applied. Some of it shows only when the rest is there: load until
    /// nothing is missing, which takes two rounds.
    #[must_use]
    pub fn missing<'a>(&self, events: impl IntoIterator<Item = &'a Event>) -> BTreeSet<Missing> {
        let mut missing = BTreeSet::new();
        let account = |id, missing: &mut BTreeSet<_>| missing.extend(self.book.account(id).err());
        for event in events {
            match event {
                Event::Open(opened) => account(opened.id, &mut missing),
                Event::Transfer(transfer) => {
                    account(transfer.debit, &mut missing);
                    account(transfer.credit, &mut missing);
                }
                Event::Settle(_) | Event::Void(_) | Event::Expire(_) => {}
            }
            missing.extend(event.transfer_id().and_then(|id| self.book.transfer(id).err()));
            match event.hold().map(|hold| self.book.transfer(hold)) {
                Some(Ok(Some(Record { fact: Fact::Done(Event::Transfer(hold)), .. }))) => {
                    account(hold.debit, &mut missing);
                    account(hold.credit, &mut missing);
                }
                Some(Err(hold)) => missing.extend([hold]),
                Some(Ok(_)) | None => {}
            }
        }
        missing
    }

    /// Tells what a store knows of an account: its state, or that there is none. What is known already stays, for it may
    /// have changed since.
    pub fn load_account(&mut self, id: AccountId, state: Option<AccountState>) {
        if self.book.account(id).is_err() {
            self.book.set_account(id, state);
        }
    }

    /// Tells what a store knows of a transfer id, as [`Ledger::load_account`] does.
    pub fn load_transfer(&mut self, id: TransferId, record: Option<Record>) {
        if self.book.transfer(id).is_err() {
            self.book.set_transfer(id, record);
        }
    }

    /// Applies the events of a chain in order, all or none, and returns what came of each. A repetition of something that
    /// was done is [`Done::is_repeat`]; in a chain of several events it ends the chain like a refusal.
    ///
    /// A `now` before the last entry counts as the time of that entry: the ledger's time does not go back.
    ///
    /// # Errors
    /// See [`ApplyError`]; the state is then as before.
    pub fn apply(&mut self, now: Timestamp, chain: &[Event]) -> Result<Vec<Outcome>, ApplyError> {
        let now = now.max(self.head.time);
        let (head, entries) = (self.head, self.entries.len());
        self.book.mark();
        let mut outcomes = Vec::with_capacity(chain.len());
        for event in chain {
            let last = match self.step(now, event) {
                Ok(done) if chain.len() == 1 || !done.is_repeat => {
                    outcomes.push(Ok(done));
                    continue;
                }
                last => last,
            };
            self.book.rewind();
            self.entries.truncate(entries);
            self.head = head;
            let last = match last {
                Ok(repeat) => Ok(repeat),
                Err(Stop::Refused(why)) => Err(why),
                Err(Stop::Unable(error)) => return Err(error),
            };
            if let (Err(why), Some(id)) = (last, event.transfer_id())
                && why.is_transient()
            {
                self.spend(now, id, why)?;
            }
            outcomes.fill(Err(Refusal::LinkedEventFailed));
            outcomes.push(last);
            outcomes.resize(chain.len(), Err(Refusal::LinkedEventFailed));
            break;
        }
        Ok(outcomes)
    }

    /// Open holds among those loaded whose time is over, the first to end first, at most `max`: each wants an
    /// [`Event::Expire`].
    #[must_use]
    pub fn due(&self, now: Timestamp, max: usize) -> Vec<TransferId> {
        self.book.due(now.max(self.head.time)).take(max).collect()
    }

    /// What is to be written since the last time this was asked.
    pub fn take_effects(&mut self) -> Effects {
        let entries = std::mem::take(&mut self.entries);
        let (mut accounts, mut transfers) = (BTreeMap::new(), BTreeMap::new());
        for entry in &entries {
            let ids = match &entry.fact {
                Fact::Done(event) => [event.transfer_id(), event.hold()],
                Fact::Refused { id, .. } => [Some(*id), None],
            };
            if let Fact::Done(Event::Open(account)) = &entry.fact {
                accounts.insert(account.id, self.book.account(account.id));
            }
            for id in ids.into_iter().flatten() {
                let Ok(Some(&record)) = self.book.transfer(id) else { continue };
                transfers.insert(id, record);
                if let Fact::Done(Event::Transfer(transfer)) = record.fact {
                    for id in [transfer.debit, transfer.credit] {
                        accounts.insert(id, self.book.account(id));
                    }
                }
            }
        }
        let accounts = accounts.into_values().filter_map(|account| account.ok().flatten().copied()).collect();
        Effects { entries, accounts, transfers: transfers.into_iter().collect() }
    }

    /// The end of the journal.
    #[must_use]
    pub fn head(&self) -> Head {
        self.head
    }

    /// The state of an account that is loaded.
    #[must_use]
    pub fn account(&self, id: AccountId) -> Option<&AccountState> {
        self.book.account(id).ok().flatten()
    }

    /// All accounts that are loaded, in no order.
    pub fn accounts(&self) -> impl Iterator<Item = &AccountState> {
        self.book.accounts()
    }

    /// What is known of a transfer id that is loaded.
    #[must_use]
    pub fn transfer(&self, id: TransferId) -> Option<&Record> {
        self.book.transfer(id).ok().flatten()
    }

    /// How many accounts and ids are loaded. A store that resumed starts anew with [`Ledger::resume`] when these are too
    /// many, between two batches.
    #[must_use]
    pub fn loaded(&self) -> usize {
        self.book.len()
    }

    fn step(&mut self, now: Timestamp, event: &Event) -> Result<Done, Stop> {
        let event = match decide(&self.book, event, now)? {
            Verdict::Repeat(amount) => return Ok(Done { amount, is_repeat: true }),
            Verdict::New(event) => event,
        };
        let amount = match &event {
            Event::Transfer(transfer) => transfer.amount,
            Event::Settle(settle) => settle.amount.unwrap_or_default(),
            Event::Void(_) | Event::Expire(_) => self.held_by(&event),
            Event::Open(_) => Micros::ZERO,
        };
        self.book.absorb(&event, now)?;
        self.write(now, Fact::Done(event))?;
        Ok(Done { amount, is_repeat: false })
    }

    fn held_by(&self, event: &Event) -> Micros {
        match event.hold().and_then(|hold| self.transfer(hold)) {
            Some(Record { fact: Fact::Done(Event::Transfer(hold)), .. }) => hold.amount,
            _ => Micros::ZERO,
        }
    }

    /// Keeps an id from ever taking effect.
    fn spend(&mut self, now: Timestamp, id: TransferId, why: Refusal) -> Result<(), ApplyError> {
        let fact = Fact::Refused { id, why };
        self.write(now, fact)?;
        self.book.set_transfer(id, Some(Record { fact, time: now, state: State::Final }));
        Ok(())
    }

    fn write(&mut self, now: Timestamp, fact: Fact) -> Result<(), ApplyError> {
        let entry = Entry::behind(&self.head, now, fact).ok_or(ApplyError::Full)?;
        self.head = entry.head();
        self.entries.push(entry);
        Ok(())
    }
}
