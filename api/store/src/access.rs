//! One interface to both stores.

use std::{future::Future, sync::Arc, time::Duration};

use engine::market::Timestamp;

use crate::{
    batch::{self, Batch},
    embedded::Embedded,
    error::StoreError,
    holes::{self, Holes},
    questdb::QuestDb,
    row::{FeedPosition, Series, SeriesSpan, Source, StoredCandle, StoredTrade, TradePlace},
    url::StoreUrl,
};

/// The most rows that one call returns.
pub const PAGE_ROWS_MAX: usize = 10_000;

/// What is kept, and for how long. Candles of a minute and more are kept for ever.
#[derive(Clone, Copy, Debug)]
pub struct Keep {
    /// The most trades of one instrument; the oldest go first. QuestDB keeps by age alone.
    pub trades_max: usize,
    /// The oldest trade, counted back from the newest one of its instrument. QuestDB drops whole hours, counted from the
    /// newest trade of all instruments.
    pub trades_age: Duration,
    /// The oldest candle that is shorter than a minute, counted back from the newest one of its series; `None` keeps all. QuestDB
    /// drops whole days, counted from the newest one of all instruments.
    pub seconds_age: Option<Duration>,
}

impl Default for Keep {
    fn default() -> Self {
        Self { trades_max: 200_000, trades_age: Duration::from_hours(48), seconds_age: None }
    }
}

/// Candles, trades, feed positions and small values, in a file or on a server. Clones share one store.
///
/// Reads are pages of at most [`PAGE_ROWS_MAX`] rows, so that a long range never stands in memory: ask on from behind the
/// last row. They block no runtime thread. What was written can be read at once, on QuestDB after [`Store::settled`].
#[derive(Clone, Debug)]
pub enum Store {
    /// A file of the embedded store.
    Embedded(Arc<Embedded>),
    /// A QuestDB server.
    QuestDb(Arc<QuestDb>),
}

impl Store {
    /// Opens the store of a URL. A file is created where there is none. A server need not answer yet: tables are created
    /// with the first call that reaches it.
    ///
    /// # Errors
    /// [`StoreError`] if the file cannot be opened, or is in use or of another kind.
    pub async fn open(url: &StoreUrl, keep: Keep) -> Result<Self, StoreError> {
        match url {
            StoreUrl::Redb(path) => {
                let path = path.clone();
                let open = move || Embedded::open(path, keep);
                Ok(Self::Embedded(Arc::new(blocking(open).await?)))
            }
            StoreUrl::QuestDb(url) => Ok(Self::QuestDb(Arc::new(QuestDb::new(url.clone(), keep)?))),
        }
    }

    /// Writes a batch durably. Writing it again changes nothing, so after an error the same batch may be written again.
    ///
    /// The embedded store keeps all of it or nothing. QuestDB keeps all candles of up to 30 s, of up to 30 min, from 1 h on,
    /// all trades and all values together, in this order: a position never says more than was stored before it.
    ///
    /// # Errors
    /// [`StoreError`] if it is not known to be stored.
    pub async fn write(&self, batch: &Arc<Batch>) -> Result<(), StoreError> {
        if batch.is_empty() {
            return Ok(());
        }
        let batch = Arc::clone(batch);
        match self {
            Self::Embedded(store) => on(store, move |store| store.write(&batch)).await,
            Self::QuestDb(store) => store.write(batch).await,
        }
    }

    /// Returns once everything written before can be read.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] if the server does not get there within ten seconds.
    pub async fn settled(&self) -> Result<(), StoreError> {
        match self {
            Self::Embedded(_) => Ok(()),
            Self::QuestDb(store) => store.settled().await,
        }
    }

    /// Up to `limit` candles whose open time lies in `[from, to)`, oldest first: of each open time the one of the highest
    /// revision. The next page begins a nanosecond behind the last open time.
    ///
    /// # Errors
    /// [`StoreError`] if the store fails or `limit` is above [`PAGE_ROWS_MAX`].
    pub async fn candles(
        &self,
        series: &Series,
        from: Timestamp,
        to: Timestamp,
        limit: usize,
    ) -> Result<Vec<StoredCandle>, StoreError> {
        checked(limit)?;
        match self {
            Self::Embedded(store) => {
                let series = series.clone();
                on(store, move |store| store.candles(&series, from, to, limit)).await
            }
            Self::QuestDb(store) => store.candles(series, from, to, limit).await,
        }
    }

    /// The last `limit` candles that open before `before`, oldest first.
    ///
    /// # Errors
    /// [`StoreError`] if the store fails or `limit` is above [`PAGE_ROWS_MAX`].
    pub async fn newest_candles(
        &self,
        series: &Series,
        before: Timestamp,
        limit: usize,
    ) -> Result<Vec<StoredCandle>, StoreError> {
        checked(limit)?;
        match self {
            Self::Embedded(store) => {
                let series = series.clone();
                on(store, move |store| store.newest_candles(&series, before, limit)).await
            }
            Self::QuestDb(store) => store.newest_candles(series, before, limit).await,
        }
    }

    /// Up to `limit` open times of closed candles in `[from, to)`, ascending: what exists.
    ///
    /// # Errors
    /// [`StoreError`] if the store fails or `limit` is above [`PAGE_ROWS_MAX`].
    pub async fn open_times(
        &self,
        series: &Series,
        from: Timestamp,
        to: Timestamp,
        limit: usize,
    ) -> Result<Vec<Timestamp>, StoreError> {
        checked(limit)?;
        match self {
            Self::Embedded(store) => {
                let series = series.clone();
                on(store, move |store| store.open_times(&series, from, to, limit)).await
            }
            Self::QuestDb(store) => store.open_times(series, from, to, limit).await,
        }
    }

    /// The ranges in `[from, to)` for which no closed candle is stored. One call looks at no more than [`PAGE_ROWS_MAX`]
    /// candles; [`Holes::next`] says where to ask on.
    ///
    /// # Errors
    /// [`StoreError`] if the store fails.
    pub async fn holes(&self, series: &Series, from: Timestamp, to: Timestamp) -> Result<Holes, StoreError> {
        let times = self.open_times(series, from, to, PAGE_ROWS_MAX).await?;
        Ok(holes::between(series.interval, from, to, &times, times.len() < PAGE_ROWS_MAX))
    }

    /// Up to `limit` series behind `after` in the order of source and interval, with their first and last open time. On
    /// QuestDB this looks at every row: ask seldom.
    ///
    /// # Errors
    /// [`StoreError`] if the store fails or `limit` is above [`PAGE_ROWS_MAX`].
    pub async fn series(&self, after: Option<&Series>, limit: usize) -> Result<Vec<SeriesSpan>, StoreError> {
        checked(limit)?;
        match self {
            Self::Embedded(store) => {
                let after = after.cloned();
                on(store, move |store| store.series(after.as_ref(), limit)).await
            }
            Self::QuestDb(store) => store.series(after, limit).await,
        }
    }

    /// Up to `limit` trades of an instrument from `from` on, oldest first. The next page begins behind the place of the
    /// last one.
    ///
    /// # Errors
    /// [`StoreError`] if the store fails or `limit` is above [`PAGE_ROWS_MAX`].
    pub async fn trades(&self, source: &Source, from: TradeFrom, limit: usize) -> Result<Vec<StoredTrade>, StoreError> {
        checked(limit)?;
        match self {
            Self::Embedded(store) => {
                let source = source.clone();
                on(store, move |store| store.trades(&source, from, limit)).await
            }
            Self::QuestDb(store) => store.trades(source, from, limit).await,
        }
    }

    /// The last `limit` trades of an instrument, oldest first.
    ///
    /// # Errors
    /// [`StoreError`] if the store fails or `limit` is above [`PAGE_ROWS_MAX`].
    pub async fn newest_trades(&self, source: &Source, limit: usize) -> Result<Vec<StoredTrade>, StoreError> {
        checked(limit)?;
        match self {
            Self::Embedded(store) => {
                let source = source.clone();
                on(store, move |store| store.newest_trades(&source, limit)).await
            }
            Self::QuestDb(store) => store.newest_trades(source, limit).await,
        }
    }

    /// How far the trades of an instrument were proven when its position was last written.
    ///
    /// # Errors
    /// [`StoreError`] if the store fails.
    pub async fn position(&self, source: &Source) -> Result<Option<FeedPosition>, StoreError> {
        let text = self.text(batch::position_name(source)).await?;
        Ok(text.and_then(|text| batch::parse_position(&text)))
    }

    /// A small text by its name.
    ///
    /// # Errors
    /// [`StoreError`] if the store fails.
    pub async fn value(&self, name: &str) -> Result<Option<String>, StoreError> {
        self.text(batch::value_name(name)).await
    }

    async fn text(&self, name: String) -> Result<Option<String>, StoreError> {
        match self {
            Self::Embedded(store) => on(store, move |store| store.value(&name)).await,
            Self::QuestDb(store) => store.value(&name).await,
        }
    }
}

/// Where a page of trades begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TradeFrom {
    /// With the first trade at or after this moment.
    Time(Timestamp),
    /// Behind this trade.
    Behind(TradePlace),
}

fn checked(limit: usize) -> Result<(), StoreError> {
    if limit > PAGE_ROWS_MAX { Err(StoreError::Page { asked: limit, max: PAGE_ROWS_MAX }) } else { Ok(()) }
}

/// Runs a call of the embedded store on a thread that may wait for the disk.
fn on<T: Send + 'static>(
    store: &Arc<Embedded>,
    call: impl FnOnce(&Embedded) -> Result<T, StoreError> + Send + 'static,
) -> impl Future<Output = Result<T, StoreError>> {
    let store = Arc::clone(store);
    blocking(move || call(&store))
}

pub(crate) async fn blocking<T: Send + 'static>(
    call: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    // A call that panics, or a runtime that ends: nothing is known to be done.
    let outcome = tokio::task::spawn_blocking(call).await;
    outcome.unwrap_or_else(|error| Err(StoreError::Unavailable { store: "store".to_owned(), source: Box::new(error) }))
}
