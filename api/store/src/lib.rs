//! Candles and trades that survive: in a file of this machine, or on a QuestDB server. One interface, a URL chooses.
//!
//! `row` (what is stored) → `batch` (what is written at once) → `access` (the one interface) → `embedded` and `questdb`
//! (the two stores) → `writer` (the queue before them) → `spill` (where it waits while a store is down) → `journal` (what outlives a kill). Read `access` first.
//!
//! - **Exact.** Numbers are integers with the scales of their row, sums have 128 bits, nothing passes through a float, and
//!   what is read is what was written. A change of an instrument's scales leaves old rows as they are.
//! - **Once.** A candle is known by source, interval and open time; a higher revision replaces a lower one, in whatever
//!   order they come, and to write the same batch again changes nothing.
//! - **Safe.** [`Store::write`] returns after fsync. A process that is killed at any moment leaves every batch that was
//!   acknowledged, and of the embedded store no half one. On QuestDB a batch is one transaction a table, and fsync is its
//!   `cairo.commit.mode=sync`.
//! - **Bounded.** Reads are pages, the writer's queue and its spill folder have bounds, and what does not fit is counted.
//!
//! ```
//! use engine::{candle::Candle, interval::Interval, market::{Price, Timestamp}, number::Scale};
//! use store::{Batch, Keep, Scales, Series, Source, SpillConfig, Store, StoreUrl, StoredCandle, Writer, WriterConfig};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # tokio::runtime::Runtime::new()?.block_on(async {
//! # let folder = tempfile::tempdir()?;
//! # let folder = folder.path().display();
//! let url = StoreUrl::parse(&format!("redb:{folder}/history.redb"))?; // or questdb:http://127.0.0.1:9000
//! let store = Store::open(&url, Keep::default()).await?;
//! let spill = SpillConfig::new(format!("{folder}/spill"));
//! let writer = Writer::start(store.clone(), WriterConfig::new(spill, || Timestamp(0 /* the clock */)))?;
//!
//! let source = Source::parse("binance:BTCUSDT")?;
//! let scales = Scales { price: Scale::new(2).ok_or("scale")?, quantity: Scale::new(5).ok_or("scale")? };
//! let mut candle = Candle::flat(Interval::M1, Timestamp(0), Price(6_812_345)); // or one that was streamed
//! candle.is_closed = true;
//! let mut batch = Batch::new();
//! batch.candle(&source, StoredCandle { scales, candle })?;
//! writer.try_send(batch)?; // never waits
//! writer.flush().await;
//!
//! let series = Series { source, interval: Interval::M1 };
//! let page = store.candles(&series, Timestamp(0), Timestamp(i64::MAX), 1000).await?;
//! assert_eq!(page, [StoredCandle { scales, candle }]);
//! let holes = store.holes(&series, Timestamp(0), Timestamp(180_000_000_000)).await?;
//! assert_eq!(holes.ranges, [Timestamp(60_000_000_000)..Timestamp(180_000_000_000)]);
//! writer.close().await;
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! # })
//! # }
//! ```

#[cfg(test)]
extern crate self as store;

mod access;
mod batch;
mod codec;
mod embedded;
mod error;
mod holes;
mod journal;
mod questdb;
mod row;
#[cfg(test)]
mod sample;
mod spill;
mod url;
mod writer;

pub use access::{Keep, PAGE_ROWS_MAX, Store, TradeFrom};
pub use batch::{Batch, NAME_BYTES_MAX, TEXT_BYTES_MAX};
pub use embedded::Embedded;
pub use error::{RowError, StoreError};
pub use holes::Holes;
pub use journal::{Journal, Rotation, recover};
pub use questdb::QuestDb;
pub use row::{
    FeedPosition, SOURCE_BYTES_MAX, Scales, Series, SeriesSpan, Source, StoredCandle, StoredTrade, TradePlace,
};
pub use spill::{SpillConfig, SpillError};
pub use url::{QuestDbUrl, StoreUrl, UrlError};
pub use writer::{SendError, Sink, Writer, WriterConfig, WriterState, WriterStatus};
