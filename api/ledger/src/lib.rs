//! Money, decided by pure functions: no I/O, no clock, no async, no SQL. Time is an argument, amounts are integers.
//!
//! `money` and `account` → `event` (what can be asked) → `refusal` and `error` (why not) → `book` (the state) → `decide`
//! (the rules) → `ledger` (chains of events in, outcomes and rows out) → `journal` and `codec` (hash-chained bytes) →
//! `verify` (the same rules, read from the journal). `tariff` stands alone. Read `decide` first.
//!
//! - **Double entry.** Each transfer takes from one account what it gives to another; the sums over all accounts are equal
//!   after every event. An account with a [`Limit`] is never beyond it, whatever comes in whatever order.
//! - **Two phases.** A charge is a hold, then a settlement of at most what is held, or a void. A hold whose time is over
//!   cannot be settled, from that moment on; [`Event::Expire`] frees what it set aside.
//! - **Once.** Whoever asks names each transfer. The same id again changes nothing and says what came of it; with other
//!   contents it is refused; and an id that was refused for want of money stays refused.
//! - **Sealed.** What happens is an [`Entry`] of the journal, chained by SHA-256. [`verify`] recomputes all of it offline.
//!
//! # A store behind it
//!
//! One writer owns a [`Ledger`]. For a batch of chains it asks [`Ledger::missing`], loads that until nothing is missing,
//! applies the chains in order, writes [`Ledger::take_effects`] in one transaction, and only then answers the callers. If
//! the transaction fails it forgets the ledger and resumes from what is stored. The same code without a store is
//! [`Ledger::in_memory`].
//!
//! ```
//! use ledger::{
//!     Account, AccountId, Balancing, Event, Kind, Ledger, Limit, Micros, Refusal, Settle, Timestamp, Transfer, TransferId,
//! };
//!
//! let (bank, user, revenue) = (AccountId(1), AccountId(2), AccountId(3));
//! let open = |id, limit| Event::Open(Account { id, ledger: 1, code: 1, reference: 0, limit });
//! let transfer = |id, debit, credit, amount, kind| {
//!     let (id, amount) = (TransferId(id), Micros::new(amount).unwrap_or_default());
//!     let balancing = Balancing::default();
//!     Event::Transfer(Transfer { id, debit, credit, amount, balancing, kind, ledger: 1, code: 1, reference: 0 })
//! };
//! let now = Timestamp::new(1_700_000_000_000_000_000).unwrap_or_default();
//!
//! let mut ledger = Ledger::in_memory();
//! let open_all =
//!     [open(bank, Limit::None), open(user, Limit::DebitsMustNotExceedCredits), open(revenue, Limit::None)];
//! ledger.apply(now, &open_all)?;
//! ledger.apply(now, &[transfer(10, bank, user, 100, Kind::Post)])?;
//!
//! let hold = transfer(11, user, revenue, 80, Kind::Hold { timeout_s: 60 });
//! assert!(ledger.apply(now, &[hold])?[0].is_ok_and(|done| !done.is_repeat));
//! assert!(ledger.apply(now, &[hold])?[0].is_ok_and(|done| done.is_repeat));
//! let more = transfer(12, user, revenue, 21, Kind::Hold { timeout_s: 60 });
//! assert_eq!(ledger.apply(now, &[more])?, [Err(Refusal::ExceedsCredits)]);
//!
//! let amount = Micros::new(30);
//! ledger.apply(now, &[Event::Settle(Settle { id: TransferId(13), hold: TransferId(11), amount, reference: 0 })])?;
//! assert_eq!(ledger.account(user).map(|state| state.balance.available().get()), Some(70));
//!
//! let journal = ledger.take_effects().entries;
//! let verified = ledger::verify(journal.iter().map(Into::into), Some(&ledger.head()))?;
//! assert_eq!(verified.posted(), (130, 130));
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! ```
//!
//! # What is shared with TigerBeetle
//!
//! Two-phase transfers, limits, balancing and linked transfers, idempotence and the names and precedence of results are
//! those of [TigerBeetle](https://docs.tigerbeetle.com), and its own tables judge this crate (`tests/it/tables.rs`). Not
//! shared, and why:
//!
//! | there | here |
//! |---|---|
//! | flags that exclude each other, fields that must be zero, reserved bits | types that cannot say it |
//! | settlements and voids name accounts, unit, code; a void an amount | they are the hold's |
//! | three fields for the user's data | one reference, of 128 bits (`user_data_128`) |
//! | sums of 128 bits | of 63: what a column of a database holds, and 9.2 × 10¹² KAI |
//! | `linked` on each event of a chain but the last | a chain is a slice, so none is left open; an account or transfer does not remember that it was linked |
//! | closing transfers, closed accounts | who may not spend is stopped by the program, at its door |
//! | imported events, time stamps of clients, history | the time is the writer's, the history is the journal |
//! | batches have one kind of event | a chain can open accounts and move money |

#![deny(clippy::float_arithmetic)]

mod account;
mod book;
mod codec;
mod decide;
mod error;
mod event;
mod journal;
mod ledger;
mod money;
mod refusal;
mod tariff;
mod verify;

pub use account::{Account, AccountId, Balance, Limit, Side};
pub use book::AccountState;
pub use codec::DecodeError;
pub use error::{ApplyError, Missing};
pub use event::{Balancing, Event, Fact, Kind, Record, Settle, State, Transfer, TransferId, Void};
pub use journal::{Entry, Hash, Head};
pub use ledger::{Done, Effects, Ledger, Outcome};
pub use money::{Micros, Timestamp};
pub use refusal::Refusal;
pub use tariff::{Tariff, Usage};
pub use verify::{Fault, Sealed, Verified, Verifier, Wrong, verify};
