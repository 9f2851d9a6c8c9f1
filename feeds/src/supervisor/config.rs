//! What the supervisor is told: venues, waits and where time and chance come from.

use std::{fmt, time::Duration};

use engine::market::{Symbol, Timestamp, Venue};

use super::Clock;
use crate::record::Recorder;

/// One venue.
#[derive(Clone, Debug)]
pub struct VenueConfig {
    /// Which one.
    pub venue: Venue,
    /// Base URL of its WebSocket interface.
    pub ws_url: String,
    /// Base URL of its REST interface.
    pub rest_url: String,
    /// What to follow there.
    pub symbols: Vec<Symbol>,
    /// Since when its feed is down, if an earlier run was fed: the shards know it, and the first connection mends it as after a
    /// cut.
    pub down_since: Option<Timestamp>,
}

/// The waits. [`Timings::default`] is for production; tests shorten them.
#[derive(Clone, Debug)]
pub struct Timings {
    /// TCP, TLS and WebSocket handshake together.
    pub connect: Duration,
    /// A connection without a trade or proof for so long, with a symbol silent far beyond its usual, is given up.
    pub stale_after: Duration,
    /// A connection whose first data do not come counts as live so long after its subscription.
    pub settle: Duration,
    /// How long the old connection goes on after its replacement is live.
    pub overlap: Duration,
    /// A shutdown notice within this age of a connection does not replace it: the notice would come again.
    pub notice_age: Duration,
    /// The first wait before a reconnect; doubles with each failure, with full jitter.
    pub backoff_min: Duration,
    /// The longest wait before a reconnect, unless the venue asks for more.
    pub backoff_max: Duration,
    /// A connection that lived so long resets the back-off.
    pub healthy: Duration,
    /// One REST request.
    pub rest: Duration,
    /// How long after its end a minute of the venue is taken as final.
    pub minute_settle: Duration,
}

impl Default for Timings {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            stale_after: Duration::from_secs(30),
            settle: Duration::from_secs(5),
            overlap: Duration::from_secs(2),
            notice_age: Duration::from_secs(30),
            backoff_min: Duration::from_millis(500),
            backoff_max: Duration::from_secs(32),
            healthy: Duration::from_secs(60),
            rest: Duration::from_secs(10),
            minute_settle: Duration::from_secs(3),
        }
    }
}

/// All of it.
#[derive(Clone)]
pub struct FeedsConfig {
    /// The venues.
    pub venues: Vec<VenueConfig>,
    /// The waits.
    pub timings: Timings,
    /// The program's clock.
    pub clock: Clock,
    /// For the jitter of the back-off.
    pub seed: u64,
    /// Where everything that comes is recorded, if it is.
    pub recorder: Option<Recorder>,
}

impl fmt::Debug for FeedsConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FeedsConfig")
            .field("venues", &self.venues)
            .field("timings", &self.timings)
            .finish_non_exhaustive()
    }
}
