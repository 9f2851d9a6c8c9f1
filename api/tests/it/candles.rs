//! Which candles an answer has.

use engine::{
    candle::{Candle, State},
    frame::Form,
    interval::Interval,
    json::write_candle,
    market::{IdRule, Instrument, Price, Venue},
};

use crate::stage::{START, Stage, batch, candle, numbers, on_each_store, scales};

/// The text of a candle on the stream.
fn streamed(candle: &Candle, form: Form) -> String {
    let scales = scales(2, 5);
    let instrument = Instrument {
        venue: Venue::Binance,
        name: "BTCUSDT".into(),
        price_scale: scales.price,
        quantity_scale: scales.quantity,
        ids: IdRule::Contiguous,
    };
    let mut out = Vec::new();
    write_candle(&mut out, candle, &instrument, "BTC", form);
    String::from_utf8(out).unwrap()
}

#[tokio::test]
async fn a_candle_is_byte_for_byte_that_of_the_stream() {
    on_each_store(async |stage| {
        let mut silent = candle("1m", 1);
        silent.unknown = engine::candle::Unknown { sides: true, trades: true, quote: true };
        stage.write(batch([candle("1m", 0), silent])).await;
        for (query, form) in [("", Form::Number), ("&numbers=string", Form::Text)] {
            let text = stage.text(&format!("/v1/market/ohlcv/BTC?interval=1m{query}")).await;
            let rows = [candle("1m", 0), silent].map(|candle| streamed(&candle, form)).join(",");
            let head = r#"{"symbol":"BTC","source":"binance:BTCUSDT","interval":"1m","candles":["#;
            assert_eq!(text, format!(r#"{head}{rows}],"next_cursor":null}}"#));
        }
    })
    .await;
}

#[tokio::test]
async fn a_range_is_paged_with_cursors_and_without_a_start_the_newest_come() {
    on_each_store(async |stage| {
        stage.write(batch((0..95).map(|number| candle("1m", number)))).await;
        let (from, to) = (START + 5 * 60_000, START + 90 * 60_000);
        for limit in [1, 7, 85, 100] {
            let rows = stage
                .all_candles(&format!("/v1/market/ohlcv/BTC?interval=1m&start={from}&end={to}&limit={limit}"))
                .await;
            assert_eq!(numbers(&rows, "1m"), (5..90).collect::<Vec<_>>(), "{limit}");
        }
        let newest = stage.json(&format!("/v1/market/ohlcv/BTC?end={to}&limit=4")).await;
        assert_eq!(numbers(newest["candles"].as_array().unwrap(), "1m"), [86, 87, 88, 89]);
        assert!(newest["next_cursor"].is_null());
        // Times as people write them, and an end within a candle.
        let path = "/v1/market/ohlcv/BTC?interval=1m&start=2023-11-14T22:00:00Z&end=2023-11-14T22:02:00.001Z";
        let few = stage.json(path).await;
        assert_eq!(numbers(few["candles"].as_array().unwrap(), "1m"), [0, 1, 2]);
    })
    .await;
}

#[tokio::test]
async fn a_last_page_has_no_cursor_and_a_full_one_only_if_more_follows() {
    on_each_store(async |stage| {
        stage.write(batch((0..10).map(|number| candle("1m", number)))).await;
        for (limit, has_more) in [(9, true), (10, false), (11, false)] {
            let page = stage.json(&format!("/v1/market/ohlcv/BTC?interval=1m&start={START}&limit={limit}")).await;
            assert_eq!(page["next_cursor"].is_string(), has_more, "{limit}");
        }
    })
    .await;
}

#[tokio::test]
async fn holes_stay_holes_or_are_filled_flat_on_request() {
    on_each_store(async |stage| {
        stage.write(batch([2, 3, 6, 9].map(|number| candle("1m", number)))).await;
        let path = |fill: &str, from: i64, to: i64, limit: usize| {
            let (from, to) = (START + from * 60_000, START + to * 60_000);
            format!("/v1/market/ohlcv/BTC?interval=1m&start={from}&end={to}&limit={limit}&fill={fill}")
        };
        let rows = stage.all_candles(&path("none", 0, 12, 100)).await;
        assert_eq!(numbers(&rows, "1m"), [2, 3, 6, 9]);
        for limit in [1, 2, 3, 100] {
            let rows = stage.all_candles(&path("flat", 0, 12, limit)).await;
            assert_eq!(numbers(&rows, "1m"), (2..12).collect::<Vec<_>>(), "{limit}");
            let flat: Vec<_> = rows.iter().filter(|row| row["state"] == "flat").cloned().collect();
            assert_eq!(numbers(&flat, "1m"), [4, 5, 7, 8, 10, 11]);
            for row in flat {
                assert_eq!((&row["open"], &row["volume"], &row["trades"]), (&68000.07.into(), &0.into(), &0.into()));
            }
        }
        let within = stage.all_candles(&path("flat", 4, 6, 100)).await;
        assert_eq!(numbers(&within, "1m"), [4, 5]);
        let newest = stage.json(&format!("/v1/market/ohlcv/BTC?end={}&limit=3&fill=flat", START + 12 * 60_000)).await;
        assert_eq!(numbers(newest["candles"].as_array().unwrap(), "1m"), [9, 10, 11]);
    })
    .await;
}

#[tokio::test]
async fn what_is_not_stored_is_rolled_up_from_the_largest_parts_and_what_is_stored_wins() {
    on_each_store(async |stage| {
        let mut own = candle("15m", 1);
        own.close = Price(1);
        // The first quarter from 5m and 1m, the second is stored, the third has a hole, of the fourth there is nothing.
        let minutes = (0..5).chain(10..15).chain(15..37).map(|number| candle("1m", number));
        stage.write(batch(minutes.chain([candle("5m", 1), own]))).await;
        let end = START + 4 * 900_000;
        for query in [format!("start={START}&end={end}&limit=1"), format!("end={end}&limit=9")] {
            let rows = stage.all_candles(&format!("/v1/market/ohlcv/BTC?interval=15m&{query}")).await;
            assert_eq!(numbers(&rows, "15m"), [0, 1, 2]);
            let [first, second, third] = &rows[..] else { panic!("{rows:?}") };
            // 1m 0 to 4, 5m 1 and 1m 10 to 14.
            let volume = (0..5).chain(10..15).map(|number| 1_000_000 + number).sum::<i64>() + 1_000_001;
            assert_eq!(first["volume"].as_f64().unwrap(), volume as f64 / 1e5);
            assert_eq!((&first["state"], &first["trades"]), (&"complete".into(), &110.into()));
            assert_eq!((&first["open"], &first["first_id"]), (&68000.into(), &1000.into()));
            assert_eq!((&first["close"], &first["last_id"]), (&68000.07.into(), &1149.into()));
            assert_eq!(second["close"], 0.01);
            assert_eq!((&third["state"], &third["trades"]), (&"partial".into(), &70.into()));
        }
    })
    .await;
}

#[tokio::test]
async fn what_was_just_streamed_is_there_before_the_store_has_it() {
    on_each_store(async |stage| {
        stage.write(batch((0..10).map(|number| candle("1m", number)))).await;
        let mut corrected = candle("1m", 8);
        (corrected.revision, corrected.state) = (1, State::Repaired);
        let mut open = candle("1m", 12);
        (open.is_closed, open.state) = (false, State::Partial);
        let running = [corrected, candle("1m", 9), candle("1m", 10), candle("1m", 11), open];
        *stage.view.running.lock().unwrap() = running.to_vec();
        stage.view.now.store(START + 12 * 60_000 + 500, std::sync::atomic::Ordering::Relaxed);
        for query in [format!("start={START}"), "limit=12".to_owned(), format!("start={START}&limit=3&fill=flat")] {
            let rows = stage.all_candles(&format!("/v1/market/ohlcv/BTC?interval=1m&{query}")).await;
            assert_eq!(numbers(&rows, "1m"), (0..12).collect::<Vec<_>>(), "{query}");
            assert_eq!((&rows[8]["revision"], &rows[8]["state"]), (&1.into(), &"repaired".into()));
            let rows = stage.all_candles(&format!("/v1/market/ohlcv/BTC?interval=1m&open=true&{query}")).await;
            assert_eq!(rows.last().unwrap()["is_closed"], false, "{query}");
            assert_eq!(rows.last().unwrap()["ts"], START + 12 * 60_000);
        }
        // The parts of what is rolled up come from the engine as well.
        let rows = stage.all_candles(&format!("/v1/market/ohlcv/BTC?interval=3m&start={START}&limit=2")).await;
        assert_eq!(numbers(&rows, "3m"), [0, 1, 2, 3]);
        assert_eq!((&rows[3]["state"], &rows[2]["state"]), (&"complete".into(), &"repaired".into()));
        let rows = stage.all_candles(&format!("/v1/market/ohlcv/BTC?interval=3m&start={START}&open=true")).await;
        assert_eq!((&rows[4]["is_closed"], &rows[4]["state"]), (&false.into(), &"partial".into()));
    })
    .await;
}

#[tokio::test]
async fn a_candle_that_is_not_closed_yet_is_neither_told_nor_made_up() {
    let stage = Stage::embedded().await;
    stage.write(batch((0..3).map(|number| candle("1m", number)))).await;
    let mut late = candle("1m", 3);
    late.is_closed = false;
    *stage.view.running.lock().unwrap() = vec![candle("1m", 2), late];
    // Its end has passed, and the engine still waits for trades.
    stage.view.now.store(START + 4 * 60_000 + 50, std::sync::atomic::Ordering::Relaxed);
    for fill in ["none", "flat"] {
        let rows = stage.all_candles(&format!("/v1/market/ohlcv/BTC?interval=1m&start={START}&fill={fill}")).await;
        assert_eq!(numbers(&rows, "1m"), [0, 1, 2], "{fill}");
    }
}

#[tokio::test]
async fn an_engine_without_a_store_tells_what_it_holds() {
    let stage = Stage::on(None).await;
    *stage.view.running.lock().unwrap() = (0..5).map(|number| candle("1m", number)).collect();
    stage.view.now.store(START + 5 * 60_000, std::sync::atomic::Ordering::Relaxed);
    let rows = stage.all_candles("/v1/market/ohlcv/BTC?interval=1m").await;
    assert_eq!(numbers(&rows, "1m"), [0, 1, 2, 3, 4]);
}

#[tokio::test]
async fn a_year_of_seconds_is_paged_and_each_page_is_bounded_in_work() {
    let stage = Stage::embedded().await;
    // Three hours, of which the middle one is missing, within a year that is asked for.
    let hours = (0..3600).chain(7200..10_800);
    stage.write(batch(hours.map(|number| candle("1s", number)))).await;
    let (from, to) = (START - 180 * 86_400_000, START + 185 * 86_400_000);
    let range = format!("start={from}&end={to}");
    let rows = stage.all_candles(&format!("/v1/market/ohlcv/BTC?interval=1s&{range}&limit=5000")).await;
    assert_eq!(rows.len(), 7200);
    let rows = stage.all_candles(&format!("/v1/market/ohlcv/BTC?interval=1m&{range}&limit=10000")).await;
    assert_eq!(numbers(&rows, "1m"), (0..60).chain(120..180).collect::<Vec<_>>());
    // Flat seconds from the first candle to the end of the year would be sixteen million: one page is one page.
    let path = format!("/v1/market/ohlcv/BTC?interval=1s&{range}&limit=10000&fill=flat");
    let page = stage.json(&path).await;
    assert_eq!(page["candles"].as_array().unwrap().len(), 10_000);
    assert!(page["next_cursor"].is_string());
}

#[tokio::test]
async fn a_page_that_costs_too_much_ends_early_with_a_cursor() {
    let stage = Stage::embedded().await;
    let count = 30 * 3600;
    stage.view.now.store(START + count * 1000, std::sync::atomic::Ordering::Relaxed);
    for first in (0..count).step_by(10_000) {
        stage.write(batch((first..(first + 10_000).min(count)).map(|number| candle("1s", number)))).await;
    }
    let end = START + count * 1000;
    let path = format!("/v1/market/ohlcv/BTC?interval=1m&start={START}&end={end}&limit=10000");
    let page = stage.json(&path).await;
    let few = page["candles"].as_array().unwrap();
    assert!(few.len() < 1800 && page["next_cursor"].is_string(), "{}", few.len());
    let rows = stage.all_candles(&path).await;
    assert_eq!(numbers(&rows, "1m"), (0..1800).collect::<Vec<_>>());
    assert!(rows.iter().all(|row| row["state"] == "complete" && row["trades"] == 600));
}

#[tokio::test]
async fn every_interval_answers_at_both_ends_of_time() {
    let stage = Stage::embedded().await;
    stage.write(batch([candle("1m", 0)])).await;
    for interval in Interval::ALL {
        for query in ["start=0&end=0", "start=0&end=7258118400000", "end=1", "start=7258118400000", "end=7258118400000"]
        {
            for fill in ["none", "flat"] {
                let path = format!("/v1/market/ohlcv/BTC?interval={}&{query}&fill={fill}&limit=9", interval.name());
                assert!(stage.json(&path).await["candles"].as_array().unwrap().len() <= 9, "{path}");
            }
        }
    }
}
