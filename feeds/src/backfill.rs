//! Candles of the past: pages of a venue's own closed candles, at its pace, and proof of intervals without trades.
//!
//! `quiet` fills what a venue leaves out. Nothing here knows of a store: the caller says which candles it wants.

use std::{fmt, time::Duration};

use engine::{
    interval::Interval,
    market::{Timestamp, Venue},
};
use tokio::time::sleep;

pub use self::quiet::Quiet;
use crate::{
    backoff::Backoff,
    rest::{Rest, RestError},
    supervisor::Clock,
    venue::{CandleLimits, CandleRow, FeedError, Known, VenueFeed, feed},
};

mod quiet;

/// How often a page is asked for before it is given up. The waits between grow to [`WAIT_MAX`].
const ATTEMPTS_MAX: u32 = 8;
/// The same where the venue answers with an error of its own: most of those mean the question.
const WORDS_MAX: u32 = 4;
const WAIT_MIN: Duration = Duration::from_millis(500);
const WAIT_MAX: Duration = Duration::from_secs(30);
/// One request.
const REQUEST_MAX: Duration = Duration::from_secs(20);
/// How long after its end a candle of a venue is taken as final.
const SETTLE: i64 = 3_000_000_000;

/// Why candles cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum BackfillError {
    /// The venue has no such page at all.
    #[error("{venue} has no {interval} candles of the past: {have}", interval = .interval.name())]
    Interval {
        /// Which venue.
        venue: Venue,
        /// What was asked for.
        interval: Interval,
        /// What it has.
        have: String,
    },
    /// The venue has no live feed, and so no candles that we know how to ask for.
    #[error("{venue} has no candles to ask for")]
    Venue {
        /// Which venue.
        venue: Venue,
    },
    /// It did not answer, or not with candles.
    #[error("{venue} gives no {interval} candles of {name}, asked {attempts} times", interval = .interval.name())]
    Answer {
        /// Which venue.
        venue: Venue,
        /// Its name of the instrument.
        name: String,
        /// How long the candles are.
        interval: Interval,
        /// How often it was asked.
        attempts: u32,
        /// What it said last.
        source: PageError,
    },
}

impl BackfillError {
    /// Whether asking again cannot help: the venue does not have what was asked for.
    pub fn is_terminal(&self) -> bool {
        match self {
            Self::Interval { .. } | Self::Venue { .. } => true,
            Self::Answer { source, .. } => source.0.is_terminal(),
        }
    }
}

/// What a venue said instead of candles.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct PageError(#[from] RestError);

/// Waits of a [`CandleClient`]. [`Pace::of`] is what its venue allows; tests shorten it.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Between two requests.
    pub pause: Duration,
    /// Before the second attempt; doubles with each further one, with full jitter.
    pub wait_min: Duration,
    /// The longest wait, unless the venue asks for more.
    pub wait_max: Duration,
}

impl Pace {
    /// What the venue of this feed allows.
    pub fn of(feed: &dyn VenueFeed) -> Self {
        Self { pause: feed.candle_limits().pause, wait_min: WAIT_MIN, wait_max: WAIT_MAX }
    }
}

/// Asks one venue for candles, one page at a time. All that ask a venue share one, so that its pace holds.
pub struct CandleClient {
    venue: Venue,
    feed: &'static dyn VenueFeed,
    base: String,
    rest: Rest,
    backoff: Backoff,
    clock: Clock,
    /// Fewer once a page was given up, until the venue answers again.
    attempts_max: u32,
}

impl fmt::Debug for CandleClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CandleClient").field("venue", &self.venue).field("base", &self.base).finish_non_exhaustive()
    }
}

/// Which instrument, as its venue and its store know it.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// The venue's own name.
    pub name: &'a str,
    /// Its scales.
    pub known: &'a Known,
    /// How long the candles are.
    pub interval: Interval,
}

impl CandleClient {
    /// A client of the REST interface at `base`.
    ///
    /// # Errors
    /// [`BackfillError::Venue`] if the venue has none.
    pub fn new(venue: Venue, base: &str, pace: Option<Pace>, clock: Clock, seed: u64) -> Result<Self, BackfillError> {
        let feed = feed(venue).ok_or(BackfillError::Venue { venue })?;
        let pace = pace.unwrap_or_else(|| Pace::of(feed));
        let rest = Rest::new(REQUEST_MAX, pace.pause);
        let backoff = Backoff::new(seed, pace.wait_min, pace.wait_max);
        Ok(Self {
            venue,
            feed,
            base: base.trim_end_matches('/').to_owned(),
            rest,
            backoff,
            clock,
            attempts_max: ATTEMPTS_MAX,
        })
    }

    /// What the venue allows.
    pub fn limits(&self) -> CandleLimits {
        self.feed.candle_limits()
    }

    /// The time of its clock.
    pub fn now(&self) -> Timestamp {
        (self.clock)()
    }

    /// The first moment behind the newest candle that is over and settled.
    pub fn closed_by(&self, interval: Interval) -> Timestamp {
        interval.open_time(self.now().plus(-SETTLE))
    }

    /// The first open time that the venue still has.
    pub fn reach(&self, interval: Interval) -> Timestamp {
        let Some(newest) = self.limits().newest else { return Timestamp(0) };
        // The newest one is open. A month is never short of one of the few intervals with so small a reach.
        let nanos = interval.nanos().unwrap_or(28 * 86_400_000_000_000);
        let back = nanos.saturating_mul(i64::from(newest) - 1);
        interval.open_time(self.now().plus(-back))
    }

    /// Whether the venue has candles of this length.
    ///
    /// # Errors
    /// [`BackfillError::Interval`] names those that it has.
    pub fn check(&self, interval: Interval) -> Result<(), BackfillError> {
        let has = |interval: &Interval| {
            let request = self.feed.candles_request(&self.base, "X", *interval, Timestamp(0), Timestamp(1_000_000_000));
            request.is_some()
        };
        if has(&interval) {
            return Ok(());
        }
        let have: Vec<_> =
            Interval::ALL.iter().filter(|interval| has(interval)).map(|interval| interval.name()).collect();
        Err(BackfillError::Interval { venue: self.venue, interval, have: format!("ask for {}", have.join(" ")) })
    }

    /// The closed candles that open in `[from, to)`, oldest first, and those that cannot be read. The range must not be
    /// longer than a page: see [`CandleLimits::rows`].
    ///
    /// # Errors
    /// [`BackfillError`] if the venue does not give them, at once where it says that it never will.
    pub async fn page(
        &mut self,
        asked: Asked<'_>,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Vec<CandleRow>, BackfillError> {
        let Asked { name, known, interval } = asked;
        let request = self.feed.candles_request(&self.base, name, interval, from, to);
        let Some(request) = request else { return self.check(interval).map(|()| Vec::new()) };
        self.backoff.reset();
        let mut attempts = 1;
        let source = loop {
            let answer = match self.rest.fetch(&request).await {
                Ok(mut body) => self.feed.parse_candles(&mut body, known).map_err(RestError::Page),
                Err(error) => Err(error),
            };
            match answer {
                Ok(mut rows) => {
                    self.attempts_max = ATTEMPTS_MAX;
                    let end = to.min(self.closed_by(interval));
                    rows.retain(|row| (from..end).contains(&open_time(row)));
                    return Ok(rows);
                }
                Err(error) if error.is_terminal() => break error,
                Err(error @ RestError::Page(FeedError::Venue { .. })) if attempts >= WORDS_MAX => break error,
                Err(error) if attempts >= self.attempts_max => {
                    self.attempts_max = 1;
                    break error;
                }
                Err(error) => {
                    tracing::debug!(venue = %self.venue, name, %error, attempts, "no page of candles");
                    // A venue that asks for patience is left alone by `Rest`, for as long as it asks.
                    sleep(self.backoff.next(None)).await;
                }
            }
            attempts += 1;
        };
        let (venue, name) = (self.venue, name.to_owned());
        Err(BackfillError::Answer { venue, name, interval, attempts, source: source.into() })
    }
}

/// When a row opens.
pub fn open_time(row: &CandleRow) -> Timestamp {
    row.as_ref().map_or_else(|refused| refused.open_time, |candle| candle.open_time)
}
