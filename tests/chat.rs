//! Language models of the running program: official clients, a killed process, and a key that must be found nowhere.

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{
    accounts::with_accounts,
    clients::{python_with, script},
    model::{Model, await_let_in, let_in},
    process::{Kandle, tempdir},
};

const PLANTED: &str = "sk-planted-0123456789abcdef";
/// A call of the program's tests, its hold and its time to settle: `total_ms` and half a minute.
const HELD_AT_MOST: Duration = Duration::from_secs(40);

fn serve(model: &Model) -> Kandle {
    let folder = tempdir();
    let mut kandle = Kandle::serve(&format!("{}{}", with_accounts(&folder), model.config(&folder)));
    let_in(&mut kandle);
    kandle
}

/// Sends a request and gives what comes until `is_enough`, with the connection.
pub(crate) fn post(kandle: &Kandle, path: &str, body: &Value, is_enough: impl Fn(&str) -> bool) -> (TcpStream, String) {
    let address = kandle.url.strip_prefix("http://").unwrap();
    let mut socket = TcpStream::connect(address).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let (key, body) = (&kandle.key, body.to_string());
    let head =
        format!("POST {path} HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {key}\r\nconnection: close\r\n");
    write!(socket, "{head}content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}", body.len()).unwrap();
    let (mut text, mut buffer) = (String::new(), [0; 4096]);
    while !is_enough(&text) {
        let count = socket.read(&mut buffer).unwrap();
        if count == 0 {
            break;
        }
        text.push_str(std::str::from_utf8(&buffer[..count]).unwrap());
    }
    (socket, text)
}

/// What can be spent, and what is held.
pub(crate) fn balance(kandle: &Kandle) -> (u64, u64) {
    let balance = kandle.json("/v1/billing/balance");
    (balance["balance_micros"].as_u64().unwrap(), balance["held_micros"].as_u64().unwrap())
}

#[test]
fn a_killed_server_gives_no_held_money_back_before_its_time_and_all_of_it_then() {
    let model = Model::start();
    let mut kandle = serve(&model);
    let asked = json!({"model": "model", "stream": true, "messages": [{"role": "user", "content": "wait"}]});
    let (_socket, _) = post(&kandle, "/v1/chat/completions", &asked, |text| text.contains("first"));
    let (available, held) = balance(&kandle);
    assert!(held > 0 && available + held == 10_000_000, "{available} {held}");
    kandle.kill_and_start();
    kandle.await_answer();
    await_let_in(&kandle);
    assert_eq!(balance(&kandle), (available, held));
    // Whoever was asked has a row, from before it was asked.
    let status = |kandle: &Kandle| kandle.json("/v1/billing/usage")["usage"][0]["status"].clone();
    assert_eq!(status(&kandle), "open");
    let killed = Instant::now();
    while balance(&kandle) != (10_000_000, 0) {
        assert!(killed.elapsed() < HELD_AT_MOST, "it is still held: {:?}", balance(&kandle));
        // An hour-glass that tells nobody when it is empty.
        std::thread::sleep(Duration::from_millis(500));
    }
    assert_eq!(status(&kandle), "lost");
    kandle.beside(&["ledger", "verify"]);
    // And the next call is served and paid.
    let asked = json!({"model": "kai-fast", "messages": [{"role": "user", "content": "hi"}]});
    let (_, text) = post(&kandle, "/v1/chat/completions", &asked, |_| false);
    assert!(text.contains("Hello there, trader") && text.contains("x-kai-cost-micros: 31"), "{text}");
    assert_eq!(balance(&kandle), (10_000_000 - 31, 0));
    let metrics = kandle.get("/metrics").unwrap();
    for line in [
        "kandle_llm_attempts_total{provider=\"up\",model=\"model\",outcome=\"ok\"} 1",
        "kandle_llm_tokens_total{provider=\"up\",model=\"model\",kind=\"output\"} 5",
        "kandle_llm_cost_micros_total{provider=\"up\",model=\"model\"} 31",
        "kandle_llm_open 0",
    ] {
        assert!(metrics.contains(line), "no {line} in {metrics}");
    }
}

#[test]
fn a_client_that_hangs_up_is_noticed_and_pays_for_what_came() {
    let model = Model::start();
    let kandle = serve(&model);
    let asked = json!({"model": "model", "stream": true, "messages": [{"role": "user", "content": "wait"}]});
    let (socket, _) = post(&kandle, "/v1/chat/completions", &asked, |text| text.contains("first"));
    drop(socket);
    let left = Instant::now();
    while balance(&kandle).1 > 0 {
        assert!(left.elapsed() < Duration::from_secs(5), "it is still held");
        std::thread::sleep(Duration::from_millis(10));
    }
    let row = &kandle.json("/v1/billing/usage")["usage"][0];
    // Not `call_timeout`, which would have ended it a second after its begin.
    assert_eq!((&row["status"], &row["usage_source"]), (&json!("cancelled"), &json!("estimated")), "{row}");
    let (read, written) = (row["tokens_in"].as_u64().unwrap(), row["tokens_out"].as_u64().unwrap());
    assert_eq!((written, row["cost_micros"].as_u64()), (2, Some(read + 2 * written + 10)), "{row}");
    kandle.beside(&["ledger", "verify"]);
}

#[test]
fn a_key_of_the_callers_own_is_in_no_log_and_no_file() {
    let model = Model::start();
    let folder = tempdir();
    let log = folder.join("log");
    let mut kandle = Kandle::serve_logging(&format!("{}{}", with_accounts(&folder), model.config(&folder)), &log);
    let_in(&mut kandle);
    for prompt in ["hi", "rate", "long"] {
        let asked = json!({"prompt": prompt, "byo_key": PLANTED, "byo_provider": "up"});
        let (_, text) = post(&kandle, "/v1/llm", &asked, |_| false);
        assert!(!text.contains(PLANTED), "{text}");
    }
    let seen = model.upstream.seen();
    assert!(seen.len() >= 3 && seen.iter().all(|seen| seen.head.contains(PLANTED)));
    kandle.terminate();
    let written = everything_below(&folder);
    let has = |text: &str| written.windows(text.len()).any(|window| window == text.as_bytes());
    assert!(has("/v1/llm") && has("INSERT INTO usage"), "the search finds nothing");
    assert!(!has(PLANTED), "the key was written");
}

fn everything_below(folder: &Path) -> Vec<u8> {
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    files.filter(|path| path.is_file()).flat_map(|path| fs::read(path).unwrap()).collect()
}

#[test]
fn the_official_python_client_works_unchanged() {
    let Some(python) = python_with("openai") else { return };
    let model = Model::start();
    let kandle = serve(&model);
    let (ok, output) = kandle.client(&python, &[&script("openai_sdk.py"), &format!("{}/v1", kandle.url)], 60);
    assert!(ok && output.contains("openai for Python: all as with OpenAI"), "{output}");
}

#[test]
fn the_official_javascript_client_works_unchanged() {
    let (node, package) = (std::env::var("KANDLE_NODE").ok(), std::env::var("KANDLE_OPENAI_JS").ok());
    let (Some(node), Some(package)) = (node, package) else {
        assert!(std::env::var_os("KANDLE_REQUIRE_CLIENTS").is_none(), "KANDLE_NODE or KANDLE_OPENAI_JS is not set");
        eprintln!("skipped: run tests/run.sh, which installs openai of npm");
        return;
    };
    let model = Model::start();
    let kandle = serve(&model);
    let (ok, output) = kandle.client(&node, &[&script("openai_sdk.mjs"), &format!("{}/v1", kandle.url), &package], 60);
    assert!(ok && output.contains("openai for JavaScript: all as with OpenAI"), "{output}");
}

/// Every test of the judge that a model without reasoning summaries can pass.
#[test]
fn an_independent_judge_of_openais_format_finds_nothing_wrong() {
    let Some(python) = python_with("llm_comply") else { return };
    let model = Model::start();
    let kandle = serve(&model);
    let judge = Path::new(&python).with_file_name("llm-comply");
    let output = Command::new(judge)
        .args([
            "--format",
            "openai-chat",
            "-u",
            &format!("{}/v1", kandle.url),
            "-k",
            &kandle.key,
            "-m",
            "model",
            "--json",
        ])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let report: Value = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{text}"));
    let results = report["results"].as_array().unwrap();
    let with = |status: &str| results.iter().filter(|result| result["status"] == status).count();
    assert_eq!((with("passed"), with("failed")), (8, 0), "{report:#}");
}
