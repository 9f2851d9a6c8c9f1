//! One page of trades: what is stored, and behind it what only the engine's ring holds.

use std::collections::BTreeMap;

use engine::market::Timestamp;
use store::{PAGE_ROWS_MAX, Store, StoredTrade, TradeFrom, TradePlace};

use super::{cursor, query::Trades, subject::Subject};
use crate::{error::ApiError, view::View};

/// The newest trades that the ring is asked for.
const RING_MAX: usize = 10_000;

/// Trades, oldest first.
#[derive(Debug)]
pub(crate) struct Page {
    /// The rows.
    pub(crate) rows: Vec<StoredTrade>,
    /// The last one of them, if more follow.
    pub(crate) next: Option<TradePlace>,
}

impl Page {
    /// Reads the page that a query asks for: from `start` or the cursor on, or else the newest.
    ///
    /// # Errors
    /// [`ApiError`] if the cursor is of another instrument or the store fails.
    pub(crate) async fn read(
        view: &dyn View,
        store: Option<&Store>,
        subject: &Subject,
        query: &Trades,
    ) -> Result<Self, ApiError> {
        let limit = query.shape.limit;
        // One more row than is shown says whether there is more.
        let ask = (limit + 1).min(PAGE_ROWS_MAX);
        let from = match &query.cursor {
            Some(text) => Some(TradeFrom::Behind(cursor::parse_trades(text, &subject.source)?)),
            None => query.start.map(TradeFrom::Time),
        };
        let stored = match (store, from) {
            (None, _) => Vec::new(),
            (Some(store), Some(from)) => store.trades(&subject.source, from, ask).await?,
            (Some(store), None) => store.newest_trades(&subject.source, ask).await?,
        };
        let is_cut = stored.len() == ask;
        let ring = ring(view, subject);
        let mut rows = match from {
            // Behind a page that was cut, the store has older ones than the ring.
            Some(from) => merged(stored, ring, |place, last| is_from(place, from) && (!is_cut || place <= last)),
            // Before one, the ring has none that count.
            None => merged(stored, ring, |_, _| true),
        };
        if from.is_none() {
            rows.drain(..rows.len().saturating_sub(limit));
            return Ok(Self { rows, next: None });
        }
        let has_more = rows.len() > limit || (is_cut && rows.len() == limit);
        rows.truncate(limit);
        let next = rows.last().map(StoredTrade::place).filter(|_| has_more);
        Ok(Self { rows, next })
    }
}

fn ring(view: &dyn View, subject: &Subject) -> Vec<StoredTrade> {
    let Some((symbol, scales)) = subject.served else { return Vec::new() };
    view.newest_trades(symbol, RING_MAX).iter().map(|trade| StoredTrade::new(scales, trade)).collect()
}

fn is_from(place: TradePlace, from: TradeFrom) -> bool {
    match from {
        TradeFrom::Time(time) => place.ts_event >= time,
        TradeFrom::Behind(before) => place > before,
    }
}

/// Both in the order of their places, each trade once; of the ring those that `counts`, given the last stored place.
fn merged(
    stored: Vec<StoredTrade>,
    ring: Vec<StoredTrade>,
    counts: impl Fn(TradePlace, TradePlace) -> bool,
) -> Vec<StoredTrade> {
    let last = stored.last().map_or(TradePlace { ts_event: Timestamp(i64::MIN), id: 0 }, StoredTrade::place);
    let ring = ring.into_iter().filter(|trade| counts(trade.place(), last));
    let all: BTreeMap<_, _> = stored.into_iter().chain(ring).map(|trade| (trade.place(), trade)).collect();
    all.into_values().collect()
}
