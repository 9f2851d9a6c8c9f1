//! Reads a journal from its first entry and says whether everything in it can have happened.

use crate::{
    book::{AccountState, Book},
    codec::DecodeError,
    decide::{Verdict, decide},
    error::Stop,
    event::{Event, Fact, Record, State},
    journal::{Entry, Hash, Head, chain},
    money::{Micros, Timestamp},
    refusal::Refusal,
};

/// An entry as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealed {
    /// [`Entry::bytes`].
    pub bytes: Vec<u8>,
    /// [`Entry::hash`].
    pub hash: Hash,
}

impl From<&Entry> for Sealed {
    fn from(entry: &Entry) -> Self {
        Self { bytes: entry.bytes(), hash: entry.hash }
    }
}

/// The first entry that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("entry {position} of the journal: {why}")]
pub struct Fault {
    /// Counted from 1, also where the entry itself says another number.
    pub position: u64,
    /// What is wrong with it.
    #[source]
    pub why: Wrong,
}

/// What is wrong with an entry.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Wrong {
    /// It cannot be read.
    #[error(transparent)]
    Unreadable(#[from] DecodeError),
    /// Entries are missing, repeated or in another order.
    #[error("its number is {found}")]
    Number {
        /// The number that it says.
        found: u64,
    },
    /// Its bytes or its hash, or the entry before it, were changed.
    #[error("its hash does not follow from the entry before it and its bytes")]
    Hash,
    /// It is older than the entry before it.
    #[error("its time is before that of the entry before it")]
    Time,
    /// It cannot have happened.
    #[error("it cannot have happened: {0}")]
    Refused(Refusal),
    /// It happened before, or not with this amount.
    #[error("it says something else than what was done")]
    Different,
    /// The journal ends here, and a journal with the expected head does not.
    #[error("the journal does not end as expected")]
    End,
}

/// What a journal without a fault comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// Its end.
    pub head: Head,
    /// Every account and its sums, by id: what a store's tables must say as well.
    pub accounts: Vec<AccountState>,
    /// What all open holds set aside.
    pub held: u128,
}

/// Recomputes the chain of hashes and every balance from the first entry, and checks each entry by the rules that decided
/// it. Takes one entry after the other, so that a journal can be read in pages.
///
/// Memory grows with the number of transfers (about 300 bytes each), for no id may be used twice.
#[derive(Debug)]
pub struct Verifier {
    book: Book,
    head: Head,
    expected: Option<Head>,
}

impl Verifier {
    /// Stands before the first entry. `expected` is a head that was kept elsewhere: without it nobody can tell that the last
    /// entries were taken away, or that all hashes were made anew.
    #[must_use]
    pub fn new(expected: Option<&Head>) -> Self {
        let head = Head::default();
        Self { book: Book::whole(), head, expected: expected.copied().filter(|expected| *expected != head) }
    }

    /// Checks the next entry.
    ///
    /// # Errors
    /// What is wrong with it. Nothing behind it says anything then.
    pub fn check(&mut self, sealed: &Sealed) -> Result<(), Fault> {
        let position = self.head.sequence + 1;
        self.head = check(&mut self.book, &self.head, sealed).map_err(|why| Fault { position, why })?;
        if self.expected == Some(self.head) {
            self.expected = None;
        }
        Ok(())
    }

    /// What the journal comes to, if it ends here.
    ///
    /// # Errors
    /// The expected head did not come.
    pub fn finish(self) -> Result<Verified, Fault> {
        if self.expected.is_some() {
            return Err(Fault { position: self.head.sequence + 1, why: Wrong::End });
        }
        let mut accounts: Vec<_> = self.book.accounts().copied().collect();
        accounts.sort_by_key(|state| state.account.id);
        let held = accounts.iter().map(|state| u128::from(state.balance.debits_pending.get())).sum();
        Ok(Verified { head: self.head, accounts, held })
    }
}

/// Verifies a whole journal: see [`Verifier`].
///
/// # Errors
/// The first entry that is wrong, and why.
pub fn verify(journal: impl IntoIterator<Item = Sealed>, expected: Option<&Head>) -> Result<Verified, Fault> {
    let mut verifier = Verifier::new(expected);
    journal.into_iter().try_for_each(|sealed| verifier.check(&sealed))?;
    verifier.finish()
}

fn check(book: &mut Book, head: &Head, sealed: &Sealed) -> Result<Head, Wrong> {
    let entry = Entry::decode(&sealed.bytes, sealed.hash)?;
    if Some(entry.sequence) != head.sequence.checked_add(1) {
        return Err(Wrong::Number { found: entry.sequence });
    }
    if chain(&head.hash, &sealed.bytes) != sealed.hash {
        return Err(Wrong::Hash);
    }
    if entry.time < head.time {
        return Err(Wrong::Time);
    }
    book.mark();
    match entry.fact {
        Fact::Done(event) => redo(book, &event, entry.time)?,
        Fact::Refused { id, why } => {
            if !why.is_transient() || book.transfer(id).is_ok_and(|known| known.is_some()) {
                return Err(Wrong::Different);
            }
            book.set_transfer(id, Some(Record { fact: entry.fact, time: entry.time, state: State::Final }));
        }
    }
    Ok(entry.head())
}

/// What was done is decided again: the rules must allow it, and give the same.
fn redo(book: &mut Book, event: &Event, time: Timestamp) -> Result<(), Wrong> {
    let wrong = |stop| match stop {
        Stop::Refused(refusal) => Wrong::Refused(refusal),
        // A whole book misses nothing, and its sums are its own.
        Stop::Unable(_) => Wrong::Different,
    };
    match decide(book, event, time).map_err(wrong)? {
        Verdict::New(decided) if decided == *event => book.absorb(event, time).map_err(wrong),
        Verdict::New(_) | Verdict::Repeat(_) => Err(Wrong::Different),
    }
}

impl Verified {
    /// The sum of everything that was taken and everything that was given, over all accounts; equal, or money was made.
    #[must_use]
    pub fn posted(&self) -> (u128, u128) {
        let sum = |of: fn(&AccountState) -> Micros| self.accounts.iter().map(|state| u128::from(of(state).get())).sum();
        (sum(|state| state.balance.debits_posted), sum(|state| state.balance.credits_posted))
    }
}
