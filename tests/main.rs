//! Integration tests of the program: one binary, a module for each concern.

mod golden;
mod support;
