//! Real clients against the running program: the documentation's example, PyPI websockets, a browser's WebSocket.

use std::path::PathBuf;

use crate::process::Kandle;

/// A configuration without feeds: every venue off, one key.
pub(crate) const QUIET: &str = r#"
[venues.binance]
enabled = false
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

fn script(name: &str) -> String {
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
