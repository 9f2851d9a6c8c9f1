//! The crate against vectors of the official library, a fake that this library judges, and hostile servers.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a failed test panics")]

mod bodies;
mod events;
mod golden;
mod hostile;
mod official;
mod retries;
mod stage;
mod vectors;
