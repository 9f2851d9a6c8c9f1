//! Laws over random rows: what is written comes back equal, in whatever order, however often.

use std::{collections::BTreeMap, sync::Arc};

use engine::{interval::Interval, market::Timestamp};
use proptest::{collection::vec, prelude::*, sample::select, strategy::ValueTree, test_runner::TestRunner};
use store::{Batch, Keep, Series, StoredCandle, StoredTrade, TradeFrom};

use crate::stage::{Stage, all, on_each_store, source};

#[path = "../../src/sample.rs"]
#[expect(dead_code, reason = "shared with the unit tests")]
mod sample;

/// Candles that often meet at one open time: twelve hours of a few intervals, in batches.
fn batches() -> impl Strategy<Value = Vec<Vec<StoredCandle>>> {
    let intervals = select([Interval::S30, Interval::M30, Interval::H4].as_slice());
    vec(vec(sample::candles_in(intervals, 1_700_000_000..1_700_043_200), 1..20), 1..5)
}

/// As a store decides, in memory.
fn model(batches: &[Vec<StoredCandle>]) -> BTreeMap<(Interval, Timestamp), StoredCandle> {
    let mut model = BTreeMap::<_, StoredCandle>::new();
    for stored in batches.iter().flatten() {
        let key = (stored.candle.interval, stored.candle.open_time);
        if model.get(&key).is_none_or(|old| old.rank() <= stored.rank()) {
            model.insert(key, *stored);
        }
    }
    model
}

async fn check_candles(stage: &Stage, name: &str, batches: &[Vec<StoredCandle>]) {
    let source = source(name);
    for candles in batches {
        let mut batch = Batch::new();
        for candle in candles {
            batch.candle(&source, *candle).unwrap();
        }
        stage.store.write(&Arc::new(batch.clone())).await.unwrap();
        // Once more, as after a crash.
        stage.store.write(&Arc::new(batch)).await.unwrap();
    }
    stage.store.settled().await.unwrap();
    let mut found = BTreeMap::new();
    for interval in [Interval::S30, Interval::M30, Interval::H4] {
        for stored in all(&stage.store, &Series { source: source.clone(), interval }).await {
            assert_eq!(found.insert((interval, stored.candle.open_time), stored), None);
        }
    }
    assert_eq!(found, model(batches));
}

#[tokio::test]
async fn prop_candles_come_back_as_the_last_of_the_highest_rank() {
    on_each_store(Keep::default(), async |stage| {
        let mut runner = TestRunner::deterministic();
        for case in 0..10 {
            let batches = batches().new_tree(&mut runner).unwrap().current();
            check_candles(stage, &format!("sim:X{case}"), &batches).await;
        }
    })
    .await;
}

#[tokio::test]
async fn prop_trades_come_back_equal_in_the_order_of_time_and_id() {
    on_each_store(
        Keep { trades_max: 1000, trades_age: std::time::Duration::from_hours(24 * 8), ..Keep::default() },
        async |stage| {
            let mut runner = TestRunner::deterministic();
            for case in 0..12 {
                let trades = vec(sample::trades(), 1..40).new_tree(&mut runner).unwrap().current();
                let source = source(&format!("sim:Y{case}"));
                let mut batch = Batch::new();
                let mut model = BTreeMap::<_, StoredTrade>::new();
                for trade in trades {
                    batch.trade(&source, trade).unwrap();
                    model.insert(trade.place(), trade);
                }
                stage.write(&batch).await;
                let found = stage.store.trades(&source, TradeFrom::Time(Timestamp(0)), 1000).await.unwrap();
                assert_eq!(found, model.into_values().collect::<Vec<_>>());
            }
        },
    )
    .await;
}
