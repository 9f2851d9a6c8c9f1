//! Recorded frames, read again by the venues' own parsers.
//!
//! `frames` (lines of a file) → `reader` (frames → events, with a [`Tally`]) → `pace` (as fast as they came, or faster) →
//! `cycle` (a recording that goes on forever in the present) ; `names` finds the instruments of a file.

use std::path::PathBuf;

pub use self::{
    cycle::Cycle,
    frames::{LINE_BYTES_MAX, RawFrame, RawFrames},
    names::discover,
    pace::{Speed, TimeShift, run},
    reader::{Reader, Tally},
};

mod cycle;
mod frames;
mod names;
mod pace;
mod reader;

/// Why a recording cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The file cannot be opened or read.
    #[error("cannot read {path}")]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A line is of none of the known forms.
    #[error("line {line} of {path} {what}")]
    Line {
        /// Of which file.
        path: PathBuf,
        /// Which line, from 1.
        line: u64,
        /// What is wrong.
        what: &'static str,
    },
    /// There is nothing to replay.
    #[error("{path} holds no trade of {venue}")]
    Empty {
        /// Which file.
        path: PathBuf,
        /// Of which venue.
        venue: engine::market::Venue,
    },
}
