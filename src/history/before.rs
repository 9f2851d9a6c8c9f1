//! What the store tells a new run: closed candles and the newest trades of each instrument, and since when its feed is down.

use engine::{
    interval::Interval,
    market::{Timestamp, Trade},
    message::Input,
    seed::Seed,
};
use futures_util::{StreamExt, TryStreamExt, stream};
use store::{Series, Store, StoreError};

use super::Kept;

/// Instruments that are read at once.
const PARALLEL: usize = 8;
/// Closed candles of each interval: as many as a shard keeps.
const CANDLES: usize = engine::aggregator::HISTORY;
/// A day of minutes, for the ticker.
const MINUTES: usize = 1440;
/// Trades that a ring holds.
const TRADES: usize = 4096;
/// What is older than this tells nothing of the present.
const AGE_MAX: i64 = 31 * 86_400 * 1_000_000_000;

pub(super) async fn load(store: &Store, instruments: &[Kept], now: Timestamp) -> Result<Vec<Input>, StoreError> {
    store.settled().await?;
    let each = stream::iter(instruments.iter().map(|kept| of_instrument(store, kept, now)));
    let inputs: Vec<Vec<Input>> = each.buffer_unordered(PARALLEL).try_collect().await?;
    Ok(inputs.into_iter().flatten().collect())
}

async fn of_instrument(store: &Store, kept: &Kept, now: Timestamp) -> Result<Vec<Input>, StoreError> {
    let mut candles = Vec::new();
    for interval in Interval::ALL {
        let series = Series { source: kept.source.clone(), interval };
        let limit = if interval == Interval::M1 { MINUTES } else { CANDLES };
        let stored = store.newest_candles(&series, now, limit).await?;
        // After a change of scales, history begins anew: the integers would not fit together.
        let of_these_scales = stored.into_iter().filter(|stored| stored.scales == kept.scales);
        candles.extend(of_these_scales.map(|stored| stored.candle).filter(|candle| candle.is_closed));
    }
    candles.retain(|candle| candle.close_time.plus(AGE_MAX) > now);
    let Some(since) = candles.iter().map(|candle| candle.close_time).max() else { return Ok(Vec::new()) };
    let stored = store.newest_trades(&kept.source, TRADES).await?;
    let of_these_scales = stored.iter().filter(|trade| trade.scales == kept.scales);
    let trades: Vec<Trade> = of_these_scales.map(|trade| trade.trade(kept.symbol)).collect();
    let seed = Input::Seed(Box::new(Seed { symbol: kept.symbol, now, candles, trades }));
    Ok(vec![seed, Input::FeedDown { symbols: [kept.symbol].into(), since }])
}
