//! Real clients against the running program: the documentation's example, PyPI websockets, a browser's WebSocket.

use std::path::PathBuf;

use crate::process::Kandle;

/// A configuration whose only venue is a closed port, so that its symbols are served and never trade; one key.
pub(crate) const QUIET: &str = r#"
[venues.binance]
ws_url = "ws://127.0.0.1:9"
rest_url = "http://127.0.0.1:9"
[venues.coinbase]
enabled = false
[venues.kraken]
enabled = false
[venues.bybit]
enabled = false
[venues.okx]
enabled = false
[venues.hyperliquid]
enabled = false
[[keys]]
key = "kai-test-key"
connections = 10
"#;

pub(crate) fn script(name: &str) -> String {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/clients").join(name).to_str().unwrap().to_owned()
}

/// The Python with `websockets` that `tests/run.sh` prepares; without it (a bare `cargo test`) these tests are skipped,
/// and with `KANDLE_REQUIRE_CLIENTS=1` they fail instead.
fn python() -> Option<String> {
    let python = std::env::var("KANDLE_PYTHON").ok();
    assert!(python.is_some() || std::env::var_os("KANDLE_REQUIRE_CLIENTS").is_none(), "KANDLE_PYTHON is not set");
    if python.is_none() {
        eprintln!("skipped: run tests/run.sh, which prepares the clients");
    }
    python
}

/// The same, if it has this package as well.
pub(crate) fn python_with(package: &str) -> Option<String> {
    let python = python()?;
    let asked = std::process::Command::new(&python).args(["-c", &format!("import {package}")]).output().unwrap();
    let has_it = asked.status.success();
    assert!(has_it || std::env::var_os("KANDLE_REQUIRE_CLIENTS").is_none(), "{python} has no {package}");
    has_it.then_some(python)
}

#[test]
fn the_documented_example_runs_unchanged() {
    let Some(python) = python() else { return };
    let kandle = Kandle::demo();
    let (_, output) = kandle.client(&python, &[&script("seed_example.py")], 8);
    assert!(output.contains("'op': 'welcome'"), "{output}");
    assert!(output.contains("snapshot market.BTC.1m: "), "{output}");
    assert!(output.contains("market.BTC.1m c="), "{output}");
    assert!(!output.contains("Traceback"), "{output}");
}

#[test]
fn a_dropped_python_client_resumes_without_a_hole() {
    let Some(python) = python() else { return };
    let kandle = Kandle::demo();
    let (ok, output) = kandle.client(&python, &[&script("resume.py")], 90);
    assert!(ok && output.contains("without a hole"), "{output}");
    print!("{output}");
}

#[test]
fn compressed_and_batched_clients_read_the_same_events() {
    let Some(python) = python() else { return };
    let kandle = Kandle::demo();
    let (ok, output) = kandle.client(&python, &[&script("wire.py")], 60);
    assert!(ok && output.contains("the same in each form"), "{output}");
    print!("{output}");
}

#[test]
fn a_python_client_connects_by_tls_and_not_without() {
    let Some(python) = python() else { return };
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let folder = crate::process::tempdir();
    let (cert, key) = (folder.join("cert.pem"), folder.join("key.pem"));
    std::fs::write(&cert, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let mut kandle = Kandle::serve(&format!("{QUIET}\n[tls]\ncert = {cert:?}\nkey = {key:?}\n"));
    kandle.ws_url = kandle.ws_url.replace("ws://", "wss://");
    let (ok, output) = kandle.client(&python, &[&script("tls.py"), cert.to_str().unwrap()], 60);
    assert!(ok && output.contains("refused without it"), "{output}");
}

#[test]
fn refusals_have_the_documented_codes() {
    let Some(python) = python() else { return };
    let kandle = Kandle::serve(QUIET);
    let (ok, output) = kandle.client(&python, &[&script("refusals.py")], 60);
    assert!(ok && output.contains("as documented"), "{output}");
}

#[test]
fn a_browsers_websocket_works_and_sees_the_close_codes() {
    let Some(node) = std::env::var("KANDLE_NODE").ok() else {
        assert!(std::env::var_os("KANDLE_REQUIRE_CLIENTS").is_none(), "KANDLE_NODE is not set");
        eprintln!("skipped: run tests/run.sh, which finds Node");
        return;
    };
    let kandle = Kandle::demo();
    let (ok, output) = kandle.client(&node, &["--experimental-websocket", &script("browser.mjs")], 60);
    assert!(ok && output.contains("browser: welcome"), "{output}");
}

#[test]
fn the_load_test_client_finds_no_hole_in_the_demo() {
    let kandle = Kandle::demo();
    let address = kandle.url.strip_prefix("http://").unwrap();
    let output = crate::process::command(&["loadtest", "follow", "market.BTC.1s", "trades.BTC", "ticker.BTC"])
        .args(["--connections", "8", "--seconds", "4", "--json", "-", "--address", address, "--key", &kandle.key])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let phase = &report["phases"][0];
    assert_eq!((&phase["sessions"], &phase["counts"]["holes"]), (&8.into(), &0.into()), "{report}");
    assert!(phase["counts"]["events"].as_u64().unwrap() > 50, "{report}");
}
