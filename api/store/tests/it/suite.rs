//! What both stores promise.

use std::{sync::Arc, time::Duration};

use engine::{
    candle::State,
    market::{Price, Timestamp},
};
use store::{Batch, FeedPosition, Keep, PAGE_ROWS_MAX, SeriesSpan, Store, StoreError, TradeFrom};

use crate::stage::{MINUTE, START, all, batch_of, candle, on_each_store, scales, series, source, trade};

#[tokio::test]
async fn a_range_is_read_oldest_first_in_pages_and_the_newest_can_be_asked_for() {
    on_each_store(Keep::default(), async |stage| {
        let (btc, eth) = (source("binance:BTCUSDT"), source("binance:ETHUSDT"));
        let mut batch = batch_of(&btc, &(0..100).rev().map(|number| candle("1m", number, 0)).collect::<Vec<_>>());
        batch.append(batch_of(&eth, &[candle("1m", 3, 0)]));
        batch.append(batch_of(&btc, &[candle("1s", 3, 0), candle("1h", 0, 0)]));
        stage.write(&batch).await;
        let (store, minutes) = (&stage.store, series(&btc, "1m"));
        let whole: Vec<_> = (0..100).map(|number| candle("1m", number, 0)).collect();
        assert_eq!(all(store, &minutes).await, whole);
        assert_eq!(all(store, &series(&eth, "1m")).await, [candle("1m", 3, 0)]);
        assert_eq!(all(store, &series(&eth, "1h")).await, []);
        let (from, to) = (START.plus(10 * MINUTE), START.plus(20 * MINUTE));
        assert_eq!(store.candles(&minutes, from, to, 100).await.unwrap(), whole[10..20]);
        assert_eq!(store.candles(&minutes, from, to, 3).await.unwrap(), whole[10..13]);
        assert_eq!(store.candles(&minutes, to, from, 3).await.unwrap(), []);
        assert_eq!(store.candles(&minutes, from, to, 0).await.unwrap(), []);
        assert_eq!(store.newest_candles(&minutes, to, 5).await.unwrap(), whole[15..20]);
        assert_eq!(store.newest_candles(&minutes, Timestamp(i64::MAX), 1000).await.unwrap(), whole);
        let asked = store.candles(&minutes, from, to, PAGE_ROWS_MAX + 1).await;
        assert!(matches!(asked, Err(StoreError::Page { .. })), "{asked:?}");
    })
    .await;
}

#[tokio::test]
async fn a_higher_revision_replaces_a_lower_one_in_whatever_order_they_come() {
    on_each_store(Keep::default(), async |stage| {
        let btc = source("binance:BTCUSDT");
        let revised = |number, revision| {
            let mut stored = candle("1m", number, revision);
            stored.candle.close = Price(1000 + i64::from(revision));
            stored.candle.state = State::Repaired;
            stored
        };
        let open = |number| {
            let mut stored = candle("1m", number, 0);
            stored.candle.is_closed = false;
            stored
        };
        stage.write(&batch_of(&btc, &[revised(0, 0), revised(1, 2), open(2), revised(3, 0), revised(4, 1)])).await;
        stage.write(&batch_of(&btc, &[revised(0, 2), revised(1, 0), revised(2, 0), open(3), revised(4, 1)])).await;
        stage.write(&batch_of(&btc, &[revised(0, 1), revised(1, 1)])).await;
        let want = [revised(0, 2), revised(1, 2), revised(2, 0), revised(3, 0), revised(4, 1)];
        let minutes = series(&btc, "1m");
        assert_eq!(all(&stage.store, &minutes).await, want);
        // Pages of one row meet each open time once, however many revisions it has.
        for (number, want) in want.iter().enumerate() {
            let from = START.plus(number as i64 * MINUTE);
            assert_eq!(stage.store.candles(&minutes, from, Timestamp(i64::MAX), 1).await.unwrap(), [*want]);
            assert_eq!(stage.store.newest_candles(&minutes, from.plus(1), 1).await.unwrap(), [*want]);
        }
    })
    .await;
}

#[tokio::test]
async fn a_moment_with_more_revisions_than_a_page_has_rows_is_read_all_the_same() {
    on_each_store(Keep::default(), async |stage| {
        let btc = source("binance:BTCUSDT");
        let mut candles: Vec<_> = (0..120).map(|revision| candle("1m", 1, revision)).collect();
        candles.extend([candle("1m", 0, 0), candle("1m", 2, 0)]);
        stage.write(&batch_of(&btc, &candles)).await;
        let want = [candle("1m", 0, 0), candle("1m", 1, 119), candle("1m", 2, 0)];
        let minutes = series(&btc, "1m");
        assert_eq!(all(&stage.store, &minutes).await, want);
        assert_eq!(stage.store.newest_candles(&minutes, Timestamp(i64::MAX), 2).await.unwrap(), want[1..]);
    })
    .await;
}

#[tokio::test]
async fn a_change_of_scales_leaves_old_rows_as_they_are() {
    on_each_store(Keep::default(), async |stage| {
        let btc = source("binance:BTCUSDT");
        let mut finer = candle("1m", 1, 0);
        finer.scales = scales(18, 18);
        (finer.candle.open, finer.candle.quote_volume) = (Price(i64::MAX), u128::MAX);
        let mut coarser = candle("1m", 2, 0);
        coarser.scales = scales(0, 0);
        (coarser.candle.open, coarser.candle.volume) = (Price(i64::MAX), u128::MAX);
        let rows = [candle("1m", 0, 0), finer, coarser];
        for row in rows {
            stage.write(&batch_of(&btc, &[row])).await;
        }
        assert_eq!(all(&stage.store, &series(&btc, "1m")).await, rows);
    })
    .await;
}

#[tokio::test]
async fn missing_candles_are_found_and_open_ones_do_not_count() {
    on_each_store(Keep::default(), async |stage| {
        let btc = source("binance:BTCUSDT");
        let mut open = candle("1m", 7, 0);
        open.candle.is_closed = false;
        let rows = [candle("1m", 1, 0), candle("1m", 2, 3), candle("1m", 5, 0), candle("1m", 6, 0), open];
        stage.write(&batch_of(&btc, &rows)).await;
        let at = |minute: i64| START.plus(minute * MINUTE);
        let minutes = series(&btc, "1m");
        let holes = stage.store.holes(&minutes, at(0), at(8)).await.unwrap();
        assert_eq!(holes.ranges, [at(0)..at(1), at(3)..at(5), at(7)..at(8)]);
        assert_eq!(holes.next, None);
        let times = stage.store.open_times(&minutes, at(0), at(100), 3).await.unwrap();
        assert_eq!(times, [at(1), at(2), at(5)]);
        let nowhere = stage.store.holes(&series(&btc, "5m"), at(0), at(0)).await.unwrap();
        assert_eq!(nowhere.ranges, []);
    })
    .await;
}

#[tokio::test]
async fn all_series_are_listed_with_their_span() {
    on_each_store(Keep::default(), async |stage| {
        let sources = [source("binance:BTCUSDT"), source("coinbase:BTC-USD"), source("kraken:BTC/USD")];
        let mut want = Vec::new();
        for source in &sources {
            for interval in ["1s", "30s", "1m", "5m", "1h", "1d"] {
                let rows = [candle(interval, 1, 0), candle(interval, 4, 0), candle(interval, 9, 0)];
                stage.write(&batch_of(source, &rows)).await;
                let (first, last) = (rows[0].candle.open_time, rows[2].candle.open_time);
                want.push(SeriesSpan { series: series(source, interval), first, last });
            }
        }
        assert_eq!(stage.store.series(None, 100).await.unwrap(), want);
        let (mut paged, mut after) = (Vec::new(), None);
        loop {
            let page = stage.store.series(after.as_ref(), 4).await.unwrap();
            let Some(last) = page.last() else { break };
            assert!(page.len() <= 4);
            after = Some(last.series.clone());
            paged.extend(page);
        }
        assert_eq!(paged, want);
    })
    .await;
}

#[tokio::test]
async fn trades_are_read_by_time_and_place_and_their_duplicates_are_one() {
    on_each_store(Keep::default(), async |stage| {
        let (btc, eth) = (source("binance:BTCUSDT"), source("binance:ETHUSDT"));
        // Many of one moment, with ids against the order of arrival.
        let trades: Vec<_> = (0..100_u64).map(|id| trade(id, START.plus(id as i64 / 40))).collect();
        let mut batch = Batch::new();
        for trade in trades.iter().rev().chain(&trades[..50]) {
            batch.trade(&btc, *trade).unwrap();
        }
        batch.trade(&eth, trades[0]).unwrap();
        stage.write(&batch).await;
        stage.write(&batch).await;
        let store = &stage.store;
        let mut paged = store.trades(&btc, TradeFrom::Time(START), 7).await.unwrap();
        while let Some(last) = paged.last() {
            let page = store.trades(&btc, TradeFrom::Behind(last.place()), 7).await.unwrap();
            if page.is_empty() {
                break;
            }
            paged.extend(page);
        }
        assert_eq!(paged, trades);
        assert_eq!(store.trades(&btc, TradeFrom::Time(START.plus(1)), 1000).await.unwrap(), trades[40..]);
        assert_eq!(store.newest_trades(&btc, 25).await.unwrap(), trades[75..]);
        assert_eq!(store.newest_trades(&eth, 25).await.unwrap(), trades[..1]);
    })
    .await;
}

#[tokio::test]
async fn old_trades_are_dropped() {
    let keep = Keep { trades_max: 1000, trades_age: Duration::from_hours(2), ..Keep::default() };
    on_each_store(keep, async |stage| {
        let btc = source("binance:BTCUSDT");
        let hour = 60 * MINUTE;
        for number in 0..10 {
            let mut batch = Batch::new();
            batch.trade(&btc, trade(number, START.plus(number as i64 * hour))).unwrap();
            stage.write(&batch).await;
        }
        let kept = stage.store.newest_trades(&btc, 100).await.unwrap();
        assert!((3..=4).contains(&kept.len()), "{kept:?}");
        assert_eq!(kept.last(), Some(&trade(9, START.plus(9 * hour))));
    })
    .await;
}

#[tokio::test]
async fn candles_shorter_than_a_minute_go_after_their_age_and_others_stay() {
    let keep = Keep { seconds_age: Some(Duration::from_hours(48)), ..Keep::default() };
    on_each_store(keep, async |stage| {
        let btc = source("binance:BTCUSDT");
        let each_day = |interval: &str, seconds: i64| {
            (0..10).map(|day| candle(interval, day * 86_400 / seconds, 0)).collect::<Vec<_>>()
        };
        for (day, (short, long)) in each_day("1s", 1).into_iter().zip(each_day("1m", 60)).enumerate() {
            stage.write(&batch_of(&btc, &[short, long])).await;
            assert_eq!(all(&stage.store, &series(&btc, "1m")).await.len(), day + 1);
        }
        let kept = all(&stage.store, &series(&btc, "1s")).await;
        assert!((3..=4).contains(&kept.len()), "{kept:?}");
        assert_eq!(kept.last(), each_day("1s", 1).last());
    })
    .await;
}

#[tokio::test]
async fn positions_and_values_are_those_written_last() {
    on_each_store(Keep::default(), async |stage| {
        let btc = source("binance:BTCUSDT");
        let store = &stage.store;
        assert_eq!(store.position(&btc).await.unwrap(), None);
        assert_eq!(store.value("it's").await.unwrap(), None);
        for number in [5, u64::MAX, 7] {
            let mut batch = Batch::new();
            batch.position(&btc, FeedPosition { last_id: number, ts_event: START });
            batch.value("it's", &format!("\"{number}\" \\ é\n")).unwrap();
            batch.value("other", "x").unwrap();
            stage.write(&batch).await;
        }
        assert_eq!(store.position(&btc).await.unwrap(), Some(FeedPosition { last_id: 7, ts_event: START }));
        assert_eq!(store.value("it's").await.unwrap().as_deref(), Some("\"7\" \\ é\n"));
        assert_eq!(store.position(&source("binance:ETHUSDT")).await.unwrap(), None);
    })
    .await;
}

#[tokio::test]
async fn what_was_written_is_there_after_the_store_is_opened_anew() {
    on_each_store(Keep::default(), async |stage| {
        let btc = source("binance:BTCUSDT");
        stage.write(&batch_of(&btc, &[candle("1m", 0, 0)])).await;
        // A file has one owner; on a server there may be several.
        if let Store::Embedded(_) = &stage.store {
            let second = Store::open(&stage.url, Keep::default()).await;
            assert!(matches!(second, Err(StoreError::InUse { .. })), "{second:?}");
        } else {
            let second = Store::open(&stage.url, Keep::default()).await.unwrap();
            assert_eq!(all(&second, &series(&btc, "1m")).await, [candle("1m", 0, 0)]);
        }
    })
    .await;
}

#[tokio::test]
async fn the_embedded_store_keeps_so_many_trades_and_no_more() {
    let keep = Keep { trades_max: 10, trades_age: Duration::from_hours(2), ..Keep::default() };
    let stage = crate::stage::Stage::embedded(keep).await;
    let (btc, eth) = (source("binance:BTCUSDT"), source("binance:ETHUSDT"));
    for number in 0..8_u64 {
        let mut batch = Batch::new();
        for id in number * 4..number * 4 + 4 {
            batch.trade(&btc, trade(id, START.plus(id as i64))).unwrap();
        }
        batch.trade(&eth, trade(number, START)).unwrap();
        stage.write(&batch).await;
    }
    let kept = stage.store.trades(&btc, TradeFrom::Time(Timestamp(0)), 100).await.unwrap();
    assert_eq!(kept, (22..32).map(|id| trade(id, START.plus(id as i64))).collect::<Vec<_>>());
    assert_eq!(stage.store.newest_trades(&eth, 100).await.unwrap().len(), 8);
}

#[tokio::test]
async fn a_file_of_another_kind_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let url = crate::stage::file_url(folder.path());
    let path = folder.path().join("history.redb");
    std::fs::write(&path, b"SQLite format 3\0, or something else of some length").unwrap();
    let opened = Store::open(&url, Keep::default()).await;
    assert!(matches!(opened, Err(StoreError::Foreign { .. })), "{opened:?}");
    assert!(std::fs::read(&path).unwrap().starts_with(b"SQLite"));
}

#[tokio::test]
async fn a_server_that_is_not_there_is_said_to_be_unavailable_and_a_table_of_another_shape_foreign() {
    // Bound and closed at once: nobody listens on that port.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let url = store::StoreUrl::parse(&format!("questdb:http://me:secret@127.0.0.1:{port}")).unwrap();
    let store = Store::open(&url, Keep::default()).await.unwrap();
    let outcome = store.write(&Arc::new(batch_of(&source("binance:BTCUSDT"), &[candle("1m", 0, 0)]))).await;
    let Err(StoreError::Unavailable { store, .. }) = &outcome else { panic!("{outcome:?}") };
    assert_eq!(*store, format!("http://127.0.0.1:{port}"));
    assert!(!format!("{outcome:?}").contains("secret"));
    let Some(address) = crate::stage::questdb_address() else { return };
    let stage = crate::stage::Stage::questdb(&address, Keep::default()).await;
    let store::StoreUrl::QuestDb(_) = &stage.url else { panic!("another store") };
    let prefix = stage.url.to_string().split_once("tables=").unwrap().1.to_owned();
    let sql = format!("CREATE TABLE {prefix}candles_m (ts TIMESTAMP, open DOUBLE) TIMESTAMP(ts) PARTITION BY DAY WAL");
    reqwest::Client::new().get(format!("{address}/exec")).query(&[("query", sql)]).send().await.unwrap();
    let outcome = stage.store.value("x").await;
    let Err(StoreError::Foreign { what, .. }) = &outcome else { panic!("{outcome:?}") };
    assert!(what.contains("column ts is TIMESTAMP, not TIMESTAMP_NS"), "{what}");
    stage.strike().await;
}
