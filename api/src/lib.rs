//! HTTP sidecar: the market, accounts, money, health and metrics. It asks a [`View`], a store and the records, and knows neither
//! feeds nor shards.
//!
//! `routes` (which path asks what, in the `shell` that all answers have) → `access` (who asks, and how often: `limits`, `tiers`)
//! → one folder for each kind of question: `market` (candles and trades, stored and running; `view` is the running system),
//! `users` and `keys` with `accounts`, `billing`, `chat` (language models, paid from the accounts). What they share: `given` and
//! `body` (what is asked), `once` (asked again),
//! `problem` and `error` (what is answered otherwise), `moment`. `openapi` says it all. Read `routes` first.

mod access;
mod accounts;
pub mod billing;
mod body;
pub mod chat;
mod error;
mod given;
mod keys;
pub mod limits;
mod market;
mod moment;
mod once;
mod openapi;
mod problem;
pub mod routes;
mod segment;
mod shell;
pub mod tiers;
mod users;
pub mod view;

pub use access::{Access, Follower};
pub use accounts::{Accounts, SignupTerms};
pub use chat::Chat;
pub use routes::{App, router};
pub use view::View;
