//! The mender's way with minutes: the venue's own candles replace those that a cut has spoilt.

use std::time::Duration;

use engine::{
    interval::Interval,
    market::{Symbol, Timestamp},
    message::Input,
};
use tokio::time::{Instant, sleep};

use super::{
    Sink,
    mender::{ATTEMPTS_MAX, Mender},
};
use crate::{
    record::Line,
    rest::RestError,
    venue::{Known, VenueCandle},
};

const MINUTE: i64 = 60_000_000_000;
/// The smallest page of candles that a venue gives.
const PAGE_MINUTES: i64 = 300;
/// A cut beyond this is not mended minute by minute.
const MINUTES_MAX: i64 = 1440;
/// How many minutes may wait for their end.
const OPEN_MAX: usize = 4096;

/// A minute that is to be mended once it is over.
#[derive(Clone, Copy, Debug)]
pub(super) struct Open {
    symbol: Symbol,
    open_time: i64,
}

impl<S: Sink> Mender<S> {
    /// Mends the minutes of a cut for all symbols; once one fails for good, the others get one attempt each.
    pub(super) async fn mend_all(&mut self, symbols: &[Symbol], from: Timestamp, to: Timestamp) {
        let mut attempts = ATTEMPTS_MAX;
        for symbol in symbols.iter().copied() {
            let is_mended = self.mend(symbol, from, to, attempts).await;
            if !is_mended {
                attempts = 1;
                self.context.record_gone(symbol, 0, 0);
                self.sink.send(Input::GapLost { symbol, first_id: 0, last_id: 0 }).await;
            }
            let metrics = &self.context.metrics;
            if is_mended {
                metrics.repairs_ok.inc()
            } else {
                metrics.repairs_failed.inc()
            };
        }
    }

    /// Sends the venue's minutes over `[from, to]`: those that are over now, the others once they are.
    pub(super) async fn mend(&mut self, symbol: Symbol, from: Timestamp, to: Timestamp, attempts: u32) -> bool {
        let now = (self.context.clock)();
        let settle = nanos(self.context.timings.minute_settle);
        let end = (to.0.div_euclid(MINUTE) + 1) * MINUTE;
        let closed = now.plus(-settle).0.div_euclid(MINUTE) * MINUTE;
        let first = from.0.div_euclid(MINUTE) * MINUTE;
        let mut start = first.max(end - MINUTES_MAX * MINUTE);
        let is_whole = start == first;
        for open_time in (start.max(closed)..end).step_by(usize::try_from(MINUTE).unwrap_or(usize::MAX)) {
            if self.open.len() >= OPEN_MAX {
                return false;
            }
            self.open.push(Open { symbol, open_time });
        }
        self.plan(now);
        while start < end.min(closed) {
            let stop = end.min(closed).min(start + PAGE_MINUTES * MINUTE);
            if !self.correct(symbol, start, stop, attempts).await {
                return false;
            }
            start = stop;
        }
        is_whole
    }

    /// Fetches the minutes that are over by now.
    pub(super) async fn mend_due(&mut self) {
        let now = (self.context.clock)();
        let ready = now.plus(-nanos(self.context.timings.minute_settle)).0;
        let is_ready = |open: &Open| open.open_time + MINUTE <= ready;
        let due: Vec<Open> = self.open.iter().filter(|open| is_ready(open)).copied().collect();
        self.open.retain(|open| !is_ready(open));
        for Open { symbol, open_time } in due {
            self.correct(symbol, open_time, open_time + MINUTE, ATTEMPTS_MAX).await;
        }
        self.plan((self.context.clock)());
    }

    fn plan(&mut self, now: Timestamp) {
        let settle = nanos(self.context.timings.minute_settle);
        let first = self.open.iter().map(|open| open.open_time).min();
        let wait = first.map(|open_time| (open_time + MINUTE + settle - now.0).max(1_000_000));
        let wait = wait.map(|wait| Duration::from_nanos(u64::try_from(wait).unwrap_or(0)));
        self.due = wait.map(|wait| Instant::now() + wait);
    }

    /// Sends the venue's minutes that open in `[from, to)`.
    async fn correct(&mut self, symbol: Symbol, from: i64, to: i64, attempts: u32) -> bool {
        let Some((name, known)) = self.known(symbol) else { return false };
        self.backoff.reset();
        for attempt in 0..attempts {
            if attempt > 0 {
                sleep(self.backoff.next(None)).await;
            }
            match self.candles(&name, &known, Timestamp(from), Timestamp(to)).await {
                Ok(candles) => {
                    for candle in candles.iter().filter(|candle| (from..to).contains(&candle.open_time.0)) {
                        self.sink.send(Input::Correction { symbol, minute: *candle }).await;
                    }
                    return true;
                }
                Err(error) => self.complain(&error),
            }
        }
        false
    }

    async fn candles(
        &mut self,
        name: &str,
        known: &Known,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Vec<VenueCandle>, RestError> {
        let feed = self.context.feed;
        let request = feed.candles_request(&self.context.config.rest_url, name, Interval::M1, from, to);
        let request = request.ok_or_else(|| RestError::Transport("the venue has no minutes".to_owned()))?;
        let mut body = self.rest.fetch(&request).await?;
        self.context.record(&Line::Minutes { name, from, to, page: &body });
        Ok(feed.parse_candles(&mut body, known)?.into_iter().flatten().collect())
    }
}

fn nanos(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}
