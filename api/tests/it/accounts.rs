//! Users, keys and what they may do.

mod hostile;
mod keys;
mod limits;
mod login;
mod me;
mod once;
mod register;
mod secrets;
pub(crate) mod stage;
