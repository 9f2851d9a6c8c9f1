//! What a client may choose on connecting, read byte by byte.

use node::NodeConfig;
use serde_json::json;

use crate::{
    raw::{Raw, check_stalled, packed},
    stage::Stage,
};

pub fn small_buffers() -> NodeConfig {
    NodeConfig { workers: 1, shards: 2, send_buffer_bytes: 4096, ..NodeConfig::default() }
}

fn is_of_trade(event: &serde_json::Value, id: u64) -> bool {
    event["channel"] == "trades.C0" && event["data"].as_array().unwrap().iter().any(|trade| trade["id"] == id)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_client_reads_only_arrays_of_the_same_ops() {
    let stage = Stage::start();
    let (mut plain, mut batch) = (Raw::connect(&stage, "").await, Raw::connect(&stage, "&batch=1").await);
    for client in [&mut plain, &mut batch] {
        client.hear("welcome").await;
        client.say(json!({"op": "subscribe", "channels": ["trades.C0", "trades.C1", "market.C0.1s"], "id": 1})).await;
        client.hear("subscribed").await;
        for _ in 0..3 {
            client.hear("snapshot").await;
        }
    }
    // A turn may carry several trades, and an event of them.
    let mut heard = Vec::new();
    for id in 1..=20 {
        stage.trade(id).await;
        heard.push(batch.hear("event").await);
    }
    while !heard.iter().any(|event| is_of_trade(event, 20)) {
        heard.push(batch.hear("event").await);
    }
    for event in heard.iter().filter(|event| event["channel"] == "trades.C0") {
        let same = loop {
            let other = plain.hear("event").await;
            if other["channel"] == "trades.C0" {
                break other;
            }
        };
        assert_eq!(same, *event);
    }
    batch.send(0x89, b"are you there").await;
    assert_eq!(batch.control().await, (0x8a, b"are you there".to_vec()));
    batch.send(0x81, b"\xff").await;
    assert_eq!(batch.close_code().await, 1007);
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_client_that_stops_reading_goes_on_without_damage() {
    for query in ["", "&batch=1"] {
        let stage = Stage::start_with(small_buffers(), 2);
        check_stalled(&stage, &mut Raw::connect(&stage, query).await).await;
        stage.end().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_compressing_client_reads_the_same_and_is_understood() {
    let stage = Stage::start();
    let offer = "permessage-deflate; server_max_window_bits=10, permessage-deflate; client_max_window_bits";
    let mut client = Raw::offering(&stage, "", Some(offer)).await;
    let terms = "permessage-deflate; server_no_context_takeover; client_no_context_takeover; server_max_window_bits=12";
    assert_eq!(client.extension.as_deref(), Some(terms));
    let mut plain = Raw::connect(&stage, "").await;
    assert_eq!(plain.extension, None);
    client.hear("welcome").await;
    let op = json!({"op": "subscribe", "channels": ["trades.C0", "market.C0.1m"], "id": 5, "unknown": "x".repeat(300)});
    client.send(0xc1, &packed(op.to_string().as_bytes())).await;
    assert_eq!(client.hear("subscribed").await["id"], op["id"]);
    plain.say(op).await;
    for client in [&mut client, &mut plain] {
        client.hear("snapshot").await;
        client.hear("snapshot").await;
    }
    for id in 1..=20 {
        stage.trade(id).await;
        let (one, other) = (client.hear("event").await, plain.hear("event").await);
        assert_eq!(one, other);
    }
    // A message that is not compressed is read as well.
    client.say(json!({"op": "ping", "id": 1})).await;
    assert_eq!(client.hear("pong").await["id"], 1);
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn compressed_clients_that_stop_reading_go_on_without_damage() {
    for query in ["", "&batch=1"] {
        let stage = Stage::start_with(small_buffers(), 2);
        let mut client = Raw::offering(&stage, query, Some("permessage-deflate")).await;
        check_stalled(&stage, &mut client).await;
        stage.end().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn compression_that_means_harm_closes_the_connection() {
    let stage = Stage::start();
    let bomb = packed(&vec![b' '; 5_000_000]);
    for (first, payload, code) in
        [(0xc1, &bomb[..], 1009), (0xc1, &[0xff; 50], 1007), (0xc9, b"x", 1002), (0xe1, b"x", 1002), (0xc0, b"x", 1002)]
    {
        let mut client = Raw::offering(&stage, "", Some("permessage-deflate")).await;
        client.send(first, payload).await;
        assert_eq!(client.close_code().await, code, "{first:x}");
    }
    // Nobody agreed on it.
    let mut client = Raw::offering(&stage, "", Some("permessage-deflate; nonsense=1")).await;
    assert_eq!(client.extension, None);
    client.send(0xc1, &packed(b"{}")).await;
    assert_eq!(client.close_code().await, 1002);
    stage.end().await;
    let stage = Stage::start_with(NodeConfig { deflate: false, ..NodeConfig::default() }, 2);
    assert_eq!(Raw::offering(&stage, "", Some("permessage-deflate")).await.extension, None);
    stage.end().await;
}
