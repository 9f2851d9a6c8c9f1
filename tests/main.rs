//! Integration tests of the program: one binary, a module for each concern.

mod clients;
mod fixtures;
mod golden;
mod hostile;
mod process;
mod replay;
mod shard;
mod support;
mod tidy;
mod trouble;
