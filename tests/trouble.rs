//! What operators run into: a port that is taken, wrong settings, silent feeds, the end of the process.

use std::time::Duration;

use crate::{
    clients::QUIET,
    process::{Kandle, command, tempdir},
};

/// Runs the program, which must fail, and returns what it said.
fn fails(arguments: &[&str], environment: &[(&str, &str)]) -> String {
    let output = command(arguments).envs(environment.iter().copied()).output().unwrap();
    assert!(!output.status.success(), "{arguments:?}");
    String::from_utf8(output.stderr).unwrap()
}

fn check(config: &str, environment: &[(&str, &str)], parts: &[&str]) {
    let file = tempdir().join("kandle.toml");
    std::fs::write(&file, config).unwrap();
    let said = fails(&["serve", "--config", file.to_str().unwrap()], environment);
    for part in parts {
        assert!(said.contains(part), "{part:?} is not in: {said}");
    }
    assert!(!said.contains("panicked"), "{said}");
}

#[test]
fn a_wrong_setting_names_file_line_and_remedy() {
    check("\n\n[limits]\noutbox_byte = 5\n", &[], &["kandle.toml", "4", "outbox_byte", "outbox_bytes"]);
    check("[limits]\nlate_window_ms = -1\n", &[], &["kandle.toml", "late_window_ms"]);
    check("[symbols]\nBTC = \"ftx:BTC\"\n", &[], &["ftx", "binance"]);
    check("listen = \n", &[], &["kandle.toml", "1"]);
    check("", &[("KANDLE_LIMITS__OUTBOX_BITES", "1")], &["KANDLE_LIMITS__OUTBOX_BITES", "outbox_bytes"]);
    check("", &[("KANDLE_LIMITS__OUTBOX_BYTES", "many")], &["KANDLE_LIMITS__OUTBOX_BYTES"]);
}

#[test]
fn certificates_that_cannot_be_used_are_named_before_listening() {
    let folder = tempdir();
    let missing = folder.join("missing.pem");
    let missing = missing.to_str().unwrap();
    let said = fails(&["serve", "--tls-cert", missing, "--tls-key", missing], &[]);
    assert!(said.contains(missing) && said.contains("PEM") && !said.contains("panicked"), "{said}");
    let said = fails(&["serve", "--tls-cert", missing], &[]);
    assert!(said.contains("--tls-key"), "{said}");
    check("[tls]\ncert = \"a.pem\"\n", &[], &["[tls]", "give both"]);
    check("[tls]\ncret = \"a.pem\"\n", &[], &["line 2", "did you mean `cert`"]);
}

#[test]
fn a_port_that_is_taken_is_named_with_a_remedy() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let said = fails(&["demo", "--listen", &address], &[]);
    assert!(said.contains(&address) && said.contains("--listen") && !said.contains("panicked"), "{said}");
}

#[test]
fn a_running_demo_is_healthy_and_ends_within_ten_seconds() {
    let mut kandle = Kandle::demo();
    assert_eq!(kandle.json("/v1/ping")["pong"], true);
    // The history of the first minutes is still on its way for a moment.
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    while kandle.json("/v1/health")["status"] != "ok" {
        assert!(std::time::Instant::now() < deadline, "{}", kandle.json("/v1/health"));
        std::thread::sleep(Duration::from_millis(50));
    }
    let symbols = kandle.json("/v1/market/symbols");
    let btc = symbols["symbols"].as_array().unwrap().iter().find(|row| row["symbol"] == "BTC").unwrap().clone();
    assert_eq!(btc["source"], "binance:BTCUSDT", "{btc}");
    let metrics = kandle.get("/metrics").unwrap();
    assert!(metrics.contains("# TYPE") && metrics.contains("trades"), "{metrics}");
    assert!(kandle.terminate() < Duration::from_secs(10));
}

#[test]
fn feeds_whose_host_does_not_resolve_are_degraded_by_name() {
    let config = QUIET.replace("ws://127.0.0.1:9", "ws://no-such-host.invalid");
    let config = format!("{config}\n[symbols]\nBTC = \"binance:BTCUSDT\"\n");
    let kandle = Kandle::serve(&config);
    let deadline = std::time::Instant::now() + Duration::from_secs(30);
    loop {
        let health = kandle.json("/v1/health");
        let feeds = health["feeds"].as_array().unwrap();
        let binance = feeds.iter().find(|feed| feed["venue"] == "binance").unwrap();
        if health["status"] == "degraded" && binance["state"] != "ok" && binance["error"].is_string() {
            assert!(health["since"].is_i64() || binance["since"].is_i64(), "{health}");
            break;
        }
        assert!(std::time::Instant::now() < deadline, "{health}");
        std::thread::sleep(Duration::from_millis(200));
    }
}

#[test]
fn a_server_out_of_descriptors_says_so_and_recovers() {
    let kandle = Kandle::serve_with_descriptors(QUIET, 64);
    let address = kandle.url.strip_prefix("http://").unwrap().to_owned();
    let crowd: Vec<_> = (0..100).filter_map(|_| std::net::TcpStream::connect(&address).ok()).collect();
    std::thread::sleep(Duration::from_millis(500));
    drop(crowd);
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    loop {
        let errors = kandle.get("/metrics").and_then(|text| {
            let line = text.lines().find(|line| line.starts_with("kandle_accept_errors_total"))?.to_owned();
            line.split_whitespace().nth(1)?.parse::<f64>().ok()
        });
        if let Some(errors) = errors {
            assert!(errors > 0.0, "nothing was counted");
            break;
        }
        assert!(std::time::Instant::now() < deadline, "the server did not recover");
        std::thread::sleep(Duration::from_millis(100));
    }
}
