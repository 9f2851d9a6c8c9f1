//! The load test against a server of its own, small and short: every scenario, by its JSON report; and servers that err.

use std::{
    io::{BufRead, BufReader, Write},
    net::TcpListener,
    process::Output,
    thread,
};

use serde_json::Value;

use crate::process::command;

fn loadtest(arguments: &str) -> Output {
    command(&["loadtest"]).args(arguments.split(' ')).args(["--json", "-"]).output().unwrap()
}

/// The report of a run in which everything held.
fn report(arguments: &str) -> Value {
    let output = loadtest(arguments);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    assert!(output.status.success(), "{}\n{report:#}", String::from_utf8_lossy(&output.stderr));
    report
}

fn events(report: &Value, phase: usize) -> u64 {
    report["phases"][phase]["counts"]["events"].as_u64().unwrap()
}

fn held(report: &Value, check: &str) -> bool {
    report["checks"].as_array().unwrap().iter().any(|one| one["name"] == check && one["ok"] == true)
}

const CANDLES: &str = "snapshot and events give the server's candles";

#[test]
fn fanout_delivers_every_event_to_every_session_at_the_rate_that_was_asked_for() {
    let report = report("fanout --connections 100 --symbols 2 --channels 4 --rate 200 --seconds 2");
    let phase = &report["phases"][0];
    // Each trade is an event of the second's candle and of the trades; closed candles come on top.
    let seconds = phase["seconds"].as_f64().unwrap();
    let due = 100.0 * 2.0 * 200.0 * seconds;
    let got = events(&report, 0) as f64;
    assert!((due * 0.5..due * 1.2).contains(&got), "{got} of {due}");
    let trades = phase["latency_us"]["count"].as_f64().unwrap();
    assert!((due * 0.9..due * 1.1).contains(&trades), "each trade counts on each channel: {trades} of {due}");
    assert!(held(&report, CANDLES) && phase["server_us_per_event"].as_f64().unwrap() > 0.0, "{report:#}");
}

#[test]
fn a_ramp_ends_with_the_highest_rate_within_its_bound() {
    let report = report("fanout --ramp --p99-ms 500 --connections 5 --rate 50000 --channels 1 --symbols 1 --seconds 1");
    let best = report["numbers"]["trades_per_second_max"].as_f64().unwrap();
    let within = |phase: &Value| phase["latency_us"]["p99"].as_u64().unwrap() <= 500_000;
    let phases = report["phases"].as_array().unwrap();
    assert!(phases.iter().any(|phase| phase["rate"].as_f64() == Some(best) && within(phase)), "{report:#}");
}

#[test]
fn many_channels_and_bursts_are_whole() {
    let many = report("many-channels --connections 100 --symbols 20 --channels 10 --seconds 1");
    assert!(events(&many, 0) > 100 && held(&many, CANDLES), "{many:#}");
    let burst = report("burst --connections 50 --symbols 2 --channels 4 --seconds 3");
    // The loudest second of the recording has 950 trades, on both symbols at once, and each of them counts.
    let trades = burst["phases"][0]["latency_us"]["count"].as_u64().unwrap();
    assert!(trades > 50 * 2 * 950 && held(&burst, CANDLES), "{burst:#}");
}

#[test]
fn visitors_come_and_go_without_a_trace() {
    let report = report("churn --connections 50 --per-second 200 --seconds 2");
    assert!(held(&report, "every visitor had its snapshots") && held(&report, "no descriptor leaks"), "{report:#}");
}

#[test]
fn slow_sessions_are_conflated_told_and_closed() {
    let report = report("slow --connections 30 --write-deadline-ms 3000 --ratio-max 1000000 --rate 1000 --seconds 1");
    for number in ["slow_conflated", "slow_gaps", "slow_lost"] {
        assert!(report["numbers"][number].as_f64().unwrap() > 0.0, "{number} {report:#}");
    }
    assert_eq!(report["numbers"]["slow_closed_4408"], 3.0, "{report:#}");
}

#[test]
fn after_a_storm_everybody_goes_on_without_a_hole() {
    let report = report("reconnect-storm --connections 300 --seconds 1");
    assert!(held(&report, "all go on where they left off"), "{report:#}");
    assert_eq!(report["numbers"]["sessions_cut"], 300.0);
}

#[test]
fn idle_sessions_stay_and_their_memory_is_told() {
    // Fewer sessions would say little beside what a process takes on its first turns.
    let report = report("idle --connections 1500 --seconds 1");
    let bytes = |name: &str| report["numbers"][name].as_f64().unwrap();
    assert!(bytes("bytes_per_session_50_channels") > bytes("bytes_per_session_1_channels"), "{report:#}");
}

#[test]
fn a_soak_tells_how_memory_goes() {
    let report = report("soak --connections 40 --seconds 3 --growth-max-kib 10000000");
    assert!(held(&report, "memory is flat") && held(&report, "no descriptor leaks"), "{report:#}");
}

#[test]
fn it_goes_beyond_loopback_only_if_told_to() {
    let output = loadtest("follow trades.BTC --address 192.0.2.1:80 --key kai-test-key");
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("--allow-remote"));
}

/// A server that speaks just enough: one client, a snapshot up to 5, then these events.
fn faulty(events: &'static [&'static str]) -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        let (mut socket, _) = listener.accept().unwrap();
        let mut request = BufReader::new(socket.try_clone().unwrap());
        let mut line = String::new();
        while line != "\r\n" {
            line.clear();
            request.read_line(&mut line).unwrap();
        }
        let head = "HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
        socket.write_all(head.as_bytes()).unwrap();
        let snapshot = r#"{"op":"snapshot","channel":"trades.X","epoch":"a","seq":5,"recovered":false,"data":[]}"#;
        for text in [snapshot].iter().chain(events) {
            let length = u8::try_from(text.len()).unwrap();
            assert!(length < 126);
            socket.write_all(&[&[0x81, length], text.as_bytes()].concat()).unwrap();
        }
        // Until the client is done.
        let _ = std::io::copy(&mut request, &mut std::io::sink());
    });
    address
}

#[test]
fn a_server_that_leaves_an_event_out_is_found_out() {
    let check = |events: &'static [&'static str], says: Option<&str>| {
        let address = faulty(events);
        let line = format!("follow trades.X --connections 1 --seconds 1 --address {address} --key kai-test-key");
        let output = loadtest(&line);
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(i32::from(says.is_some())), "{text}");
        assert!(text.contains(says.unwrap_or_default()), "{text}");
    };
    const AGAIN: &str = r#"{"op":"snapshot","channel":"trades.X","epoch":"a","seq":8,"data":[]}"#;
    const SIX: &str = r#"{"op":"event","channel":"trades.X","seq":6,"ts":1,"data":[]}"#;
    const EIGHT: &str = r#"{"op":"event","channel":"trades.X","seq":8,"ts":1,"data":[]}"#;
    const TOLD: &str = r#"{"op":"event","channel":"trades.X","seq":8,"ts":1,"skipped":1,"data":[]}"#;
    check(&[SIX, TOLD], None);
    check(&[SIX, EIGHT], Some("1 events missing between 6 and 8"));
    check(&[SIX, AGAIN], Some("2 events, 1 fresh snapshots"));
    check(&[SIX, SIX], Some("event 6 after 6"));
    check(&[], Some("events came: 0"));
}
