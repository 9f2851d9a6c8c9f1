//! Trades and tickers.

use serde_json::{Value, json};

use crate::stage::{START, Stage, on_each_store, trade, trades};

fn ids(rows: &Value) -> Vec<u64> {
    rows.as_array().unwrap().iter().map(|row| row["id"].as_u64().unwrap()).collect()
}

#[tokio::test]
async fn stored_trades_and_those_of_the_ring_are_one_sequence() {
    on_each_store(async |stage| {
        let row = |id: u64| trade(id, id as i64 / 3);
        stage.write(trades((0..50).map(row))).await;
        *stage.view.ring.lock().unwrap() = (40..60).map(row).collect();
        for limit in [1, 7, 50, 60, 100] {
            let (mut found, mut next) = (Vec::new(), String::new());
            loop {
                let path = format!("/v1/market/trades/BTC?start={START}&limit={limit}{next}");
                let page = stage.json(&path).await;
                found.extend(ids(&page["trades"]));
                let Some(cursor) = page["next_cursor"].as_str() else { break };
                next = format!("&cursor={cursor}");
            }
            assert_eq!(found, (0..60).collect::<Vec<_>>(), "{limit}");
        }
        let newest = stage.json("/v1/market/trades/BTC?limit=12").await;
        assert_eq!(ids(&newest["trades"]), (48..60).collect::<Vec<_>>());
        let some = stage.json(&format!("/v1/market/trades/BTC?start={}", START + 18)).await;
        assert_eq!(ids(&some["trades"]), (54..60).collect::<Vec<_>>());
        let first = stage.text(&format!("/v1/market/trades/BTC?start={START}&limit=1&numbers=string")).await;
        let want = format!(r#""trades":[{{"id":0,"ts":{START},"price":"68000","quantity":"0.12345","side":"buy"}}]"#);
        assert!(first.contains(&want), "{first}");
    })
    .await;
}

#[tokio::test]
async fn a_ticker_has_the_shape_of_the_stream_and_the_name_it_was_asked_by() {
    let stage = Stage::embedded().await;
    for (query, symbol) in [("", "BTC"), ("?symbol=binance:BTCUSDT", "binance:BTCUSDT")] {
        let tickers = stage.json(&format!("/v1/market/ticker{query}")).await;
        let [ticker] = &tickers["tickers"].as_array().unwrap()[..] else { panic!("{tickers}") };
        assert_eq!((&ticker["symbol"], &ticker["source"]), (&json!(symbol), &json!("binance:BTCUSDT")));
        assert_eq!((&ticker["last"], &ticker["change_percent"]), (&json!(102), &json!(2)));
    }
    let both = stage.json("/v1/market/ticker?symbol=BTC,binance:BTCUSDT&numbers=string").await;
    assert_eq!(
        (&both["tickers"][0]["last"], &both["tickers"][1]["symbol"]),
        (&json!("102"), &json!("binance:BTCUSDT"))
    );
}
