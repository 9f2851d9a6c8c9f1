//! Six fake venues, each with its own words, and what may go wrong with them.

use std::{sync::atomic::Ordering::SeqCst, time::Duration};

use engine::market::Venue;
use feeds::supervisor::Timings;

use crate::{
    fake::{Exchange, Visit, closed_door, slow_line, words},
    harness::{Harness, Told, timings},
};

const WITH_PROOF: [Venue; 4] = [Venue::Binance, Venue::Coinbase, Venue::Kraken, Venue::Okx];

async fn live(venue: Venue, timings: Timings) -> (std::sync::Arc<Exchange>, Harness) {
    let exchange = Exchange::open(venue).await;
    let mut harness = Harness::with(&exchange, timings);
    exchange.listeners(1).await;
    exchange.trade(10, harness.now_ms());
    harness.has_all(&exchange).await;
    (exchange, harness)
}

#[tokio::test]
async fn a_cut_loses_no_id_and_is_told_in_order() {
    for venue in WITH_PROOF {
        let (exchange, mut harness) = live(venue, timings()).await;
        exchange.cut();
        exchange.trade_unheard(7, harness.now_ms());
        exchange.listeners(1).await;
        exchange.trade(5, harness.now_ms());
        harness.has_all(&exchange).await;
        harness.until("up", |harness| harness.count(&Told::Up) == 1).await;
        assert_eq!(harness.told, [Told::Down, Told::Up], "{venue}");
        assert!(harness.supervisor.status()[0].reconnects >= 1);
        harness.end().await;
    }
}

#[tokio::test]
async fn a_planned_cut_is_bridged_by_a_second_connection() {
    for venue in [Venue::Binance, Venue::Kraken, Venue::Okx] {
        let (exchange, mut harness) = live(venue, timings()).await;
        harness.listen(Duration::from_millis(50)).await;
        exchange.say(&words::notice(venue));
        exchange.listeners(2).await;
        let mut visits = exchange.visits.subscribe();
        for _ in 0..40 {
            exchange.trade(3, harness.now_ms());
            harness.listen(Duration::from_millis(15)).await;
        }
        visits.wait_for(|visits| visits.contains(&Visit::Closed(0))).await.unwrap();
        exchange.trade(3, harness.now_ms());
        harness.has_all(&exchange).await;
        assert_eq!(*visits.borrow(), [Visit::Opened(0), Visit::Opened(1), Visit::Closed(0)], "{venue}");
        assert_eq!(harness.told, [], "{venue}");
        assert_eq!(harness.supervisor.status()[0].reconnects, 0);
        harness.end().await;
    }
}

#[tokio::test]
async fn a_venue_without_proof_mends_its_minutes() {
    for venue in [Venue::Bybit, Venue::Hyperliquid] {
        let (exchange, mut harness) = live(venue, timings()).await;
        exchange.cut();
        exchange.trade_unheard(7, harness.now_ms());
        exchange.listeners(1).await;
        exchange.trade(1, harness.now_ms());
        harness.until("up", |harness| harness.count(&Told::Up) == 1).await;
        let is_correction = |told: &Told| matches!(told, Told::Correction(_));
        harness.until("a correction", |harness| harness.told.iter().any(is_correction)).await;
        let minutes: Vec<_> = harness
            .told
            .iter()
            .filter_map(|told| if let Told::Correction(minute) = told { Some(*minute) } else { None })
            .collect();
        let sum: u64 = exchange.history().iter().map(|trade| trade.quantity).sum();
        // Thousandths in units of eight decimals.
        assert_eq!(minutes[0].volume, u128::from(sum) * 100_000, "{venue}");
        assert_eq!(
            harness.told.iter().filter(|told| !is_correction(told)).cloned().collect::<Vec<_>>(),
            [Told::Down, Told::Up]
        );
        harness.end().await;
    }
}

#[tokio::test]
async fn what_the_venue_does_not_give_is_lost_and_its_minute_mended() {
    let (exchange, mut harness) = live(Venue::Coinbase, timings()).await;
    exchange.rest_is_empty.store(true, SeqCst);
    let (first, last) = (exchange.last_id() + 1, exchange.last_id() + 7);
    exchange.trade_unheard(7, harness.now_ms());
    exchange.trade(1, harness.now_ms());
    harness.until("loss", |harness| harness.told.contains(&Told::Lost(first, last))).await;
    harness.until("a correction", |harness| harness.told.iter().any(|told| matches!(told, Told::Correction(_)))).await;
    harness.end().await;
}

#[tokio::test]
async fn garbage_is_counted_and_slow_bytes_are_no_matter() {
    for venue in Venue::LIVE {
        let exchange = Exchange::open(venue).await;
        let slow = slow_line(exchange.ws).await;
        let rest = format!("http://{}", exchange.rest);
        let mut harness = Harness::start(venue, &[exchange.name], format!("ws://{slow}"), rest, timings());
        exchange.listeners(1).await;
        for garbage in
            ["", "{", "null", "[1,2", "{\"channel\":\"trade\",\"data\":{}", "\u{fffd}\u{0}", "{\"e\":\"trade\"}"]
        {
            exchange.trade(2, harness.now_ms());
            exchange.say(garbage);
        }
        let large = format!("{{\"x\":\"{}\"}}", "y".repeat(20_000));
        exchange.say(&large);
        exchange.trade(2, harness.now_ms());
        harness.has_all(&exchange).await;
        let errors = harness.metrics.venue(venue).frame_errors.get();
        assert!(errors >= 4, "{venue}: {errors}");
        assert_eq!(harness.told, []);
        harness.end().await;
    }
}

#[tokio::test]
async fn a_frame_beyond_the_bound_ends_the_connection_and_not_the_feed() {
    let (exchange, mut harness) = live(Venue::Okx, timings()).await;
    exchange.say(&"x".repeat(2 << 20));
    harness.until("down", |harness| harness.count(&Told::Down) == 1).await;
    exchange.heard_by(1).await;
    exchange.trade(5, harness.now_ms());
    harness.has_all(&exchange).await;
    harness.end().await;
}

#[tokio::test]
async fn heartbeats_on_a_dead_subscription_do_not_deceive() {
    let short = Timings { stale_after: Duration::from_millis(600), ..timings() };
    for venue in [Venue::Kraken, Venue::Okx, Venue::Hyperliquid] {
        let (exchange, mut harness) = live(venue, short.clone()).await;
        exchange.trade(60, harness.now_ms());
        harness.has_all(&exchange).await;
        for _ in 0..20 {
            exchange.say(&words::heartbeat(venue, exchange.name, 0));
            harness.listen(Duration::from_millis(50)).await;
        }
        harness.until("down", |harness| harness.count(&Told::Down) == 1).await;
        assert!(harness.supervisor.status()[0].last_error.as_ref().unwrap().contains("nothing"));
        exchange.heard_by(1).await;
        exchange.trade(5, harness.now_ms());
        harness.has_all(&exchange).await;
        harness.end().await;
    }
}

#[tokio::test]
async fn a_heartbeat_with_an_id_proves_the_tail() {
    let short = Timings { stale_after: Duration::from_millis(600), ..timings() };
    let (exchange, mut harness) = live(Venue::Coinbase, short).await;
    for _ in 0..20 {
        exchange.say(&words::heartbeat(Venue::Coinbase, exchange.name, exchange.last_id()));
        harness.listen(Duration::from_millis(50)).await;
    }
    assert_eq!(harness.told, [], "a quiet symbol is not a dead one");
    exchange.trade_unheard(4, harness.now_ms());
    exchange.say(&words::heartbeat(Venue::Coinbase, exchange.name, exchange.last_id()));
    harness.has_all(&exchange).await;
    harness.end().await;
}

#[tokio::test]
async fn a_host_without_an_address_is_named_and_tried_again() {
    let url = "ws://no-such-venue.invalid:9".to_owned();
    let mut harness = Harness::start(Venue::Kraken, &["BTC/USD"], url.clone(), url, timings());
    harness.until("down", |harness| harness.count(&Told::Down) == 1).await;
    while harness.supervisor.status()[0].reconnects < 2 {
        harness.listen(Duration::from_millis(20)).await;
    }
    let status = harness.supervisor.status().remove(0);
    assert!(status.last_error.as_ref().unwrap().contains("no-such-venue.invalid"), "{status:?}");
    assert!(status.down_since.is_some() && status.connected == 0);
    assert!(harness.metrics.venue(Venue::Kraken).unresolved.get() >= 2);
    assert_eq!(harness.told, [Told::Down]);
    harness.end().await;
}

#[tokio::test]
async fn a_refusal_is_honoured_for_as_long_as_the_venue_asks() {
    let (address, mut times) = closed_door("429 Too Many Requests", "retry-after: 1\r\n").await;
    let url = format!("ws://{address}");
    let harness = Harness::start(Venue::Okx, &["BTC-USDT"], url.clone(), url, timings());
    let times = times.wait_for(|times| times.len() >= 2).await.unwrap().clone();
    assert!(times[1] - times[0] >= Duration::from_secs(1));
    assert!(harness.supervisor.status()[0].last_error.as_ref().unwrap().contains("429"));
    harness.end().await;
}

#[tokio::test]
async fn a_tls_address_without_tls_fails_without_harm() {
    let exchange = Exchange::open(Venue::Bybit).await;
    let url = format!("wss://localhost:{}", exchange.ws.port());
    let mut harness = Harness::start(Venue::Bybit, &["BTCUSDT"], url.clone(), url, timings());
    harness.until("down", |harness| harness.count(&Told::Down) == 1).await;
    harness.end().await;
}
