//! The shapes of load: how many sessions, how many channels each, and when events are published.

use std::{fmt, str::FromStr};

/// When the next event of each channel is published.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Pace {
    /// As soon as fewer rounds than this are outstanding.
    Closed(u32),
    /// So many deliveries a second are intended, whatever comes back.
    Open(f64),
}

/// A shape: one event on every channel is a round.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Shape {
    pub(crate) sessions: usize,
    pub(crate) channels: usize,
    pub(crate) pace: Pace,
}

/// What 1,000 sessions are in the names of shapes.
const SESSIONS: usize = 1000;
const SESSIONS_MAX: usize = 15_000;
/// More channels than a session may have.
pub(crate) const CHANNELS_MAX: usize = 50;
pub(crate) const WINDOW_MAX: u32 = 256;

impl Shape {
    /// Deliveries of one round.
    pub(crate) fn round(&self) -> usize {
        self.sessions * self.channels
    }

    /// `sessions` × `channels`, bursts over all channels at a fixed rate of deliveries.
    pub(crate) fn open(sessions: usize, channels: usize, deliveries_per_s: f64) -> Self {
        Self { sessions, channels, pace: Pace::Open(deliveries_per_s) }
    }
}

/// `W8`: one channel, 8 outstanding. `B10`: 10 channels, one round outstanding. `B10x5000`: with 5,000 sessions.
impl FromStr for Shape {
    type Err = anyhow::Error;

    fn from_str(name: &str) -> anyhow::Result<Self> {
        let unknown = || anyhow::anyhow!("{name} is no shape: W8, B10, B10x5000");
        let (load, sessions) = match name.split_once('x') {
            Some((load, sessions)) => (load, sessions.parse()?),
            None => (name, SESSIONS),
        };
        let (kind, count) = load.split_at_checked(1).ok_or_else(unknown)?;
        let count: usize = count.parse().map_err(|_| unknown())?;
        let (channels, window) = match kind {
            "W" => (1, u32::try_from(count)?),
            "B" => (count, 1),
            _ => return Err(unknown()),
        };
        let bounds = (1..=SESSIONS_MAX).contains(&sessions) && (1..=CHANNELS_MAX).contains(&channels);
        anyhow::ensure!(bounds && (1..=WINDOW_MAX).contains(&window), "{name} is out of bounds");
        Ok(Self { sessions, channels, pace: Pace::Closed(window) })
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.pace {
            Pace::Closed(1) if self.channels > 1 => write!(f, "B{}", self.channels)?,
            Pace::Closed(window) => write!(f, "W{window}")?,
            Pace::Open(rate) => return write!(f, "F{}x{} at {:.0} k/s", self.sessions, self.channels, rate / 1e3),
        }
        if self.sessions == SESSIONS { Ok(()) } else { write!(f, "x{}", self.sessions) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_sessions_channels_and_what_is_outstanding() {
        let check = |name: &str, sessions, channels, window| {
            let shape: Shape = name.parse().unwrap();
            assert_eq!(shape, Shape { sessions, channels, pace: Pace::Closed(window) });
            assert_eq!((shape.to_string(), shape.round()), (name.to_owned(), sessions * channels));
        };
        check("W1", 1000, 1, 1);
        check("W64", 1000, 1, 64);
        check("B50", 1000, 50, 1);
        check("B10x5000", 5000, 10, 1);
        check("W8x100", 100, 1, 8);
    }

    #[test]
    fn what_would_not_fit_the_machine_is_refused() {
        for name in ["", "W", "X1", "W0", "W257", "B51", "B10x0", "B10x15001", "W1x", "é1"] {
            assert!(name.parse::<Shape>().is_err(), "{name}");
        }
    }
}
