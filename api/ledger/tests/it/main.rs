//! The ledger before judges that are not ours (`tables`), and laws that hold for any events in any order (`laws`, `sealed`).

#![expect(clippy::unwrap_used, clippy::panic, reason = "a failed test panics")]

mod laws;
mod play;
mod sealed;
mod shelf;
mod tables;
