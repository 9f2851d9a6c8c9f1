//! Integration tests of the program: one binary, a module for each concern.

mod clients;
mod fixtures;
mod golden;
mod process;
mod shard;
mod support;
mod tidy;
