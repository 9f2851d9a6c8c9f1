//! [llmock](https://pypi.org/project/llmock/) as the provider of a running server, in three languages: it fails as scripted,
//! keeps a journal of what it was asked, and judges whoever asked. Our rows of usage must be its journal, line for line.
//!
//! `KANDLE_LLMOCK` names its program, which `tests/run.sh` installs; with `KANDLE_REQUIRE_CLIENTS=1` its absence is a failure.

use std::{
    collections::BTreeMap,
    fmt::Write,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
};

use serde_json::{Value, json};

use crate::{
    accounts::with_accounts,
    chat::{balance, post},
    model::let_in,
    process::{Kandle, tempdir},
};

/// Name of the provider, its language and where it is spoken.
const PROVIDERS: [(&str, &str, &str); 3] =
    [("openai", "openai", "/v1"), ("anthropic", "anthropic", "/anthropic/v1"), ("google", "gemini", "/gemini/v1beta")];
const FEE: u64 = 10;

/// What a provider does, and the rows that must come of it, one for each attempt.
struct Case {
    name: &'static str,
    fault: Option<Value>,
    is_stream: bool,
    status: u16,
    rows: &'static [&'static str],
}

fn cases() -> Vec<Case> {
    let fail = |status: u16, times: u32| Some(json!({"type": "fail", "status": status, "times": times}));
    let cut = |kind: &str| Some(json!({"type": "stream_fault", "kind": kind, "after_chunks": 4}));
    let limited = Some(json!({"type": "fail", "status": 429, "retry_after": 0.3, "times": 2}));
    let case = |name, fault, is_stream, status, rows| Case { name, fault, is_stream, status, rows };
    vec![
        case("whole", None, false, 200, &["ok"]),
        case("stream", None, true, 200, &["ok"]),
        case("limited", limited, false, 200, &["rate_limit_exceeded", "rate_limit_exceeded", "ok"]),
        case("recovers", fail(503, 2), true, 200, &["provider_overloaded", "provider_overloaded", "ok"]),
        case("broken", fail(500, 3), false, 502, &["provider_error", "provider_error", "provider_error"]),
        case("wrong", fail(400, 1), false, 400, &["invalid_request"]),
        case("locked", fail(401, 1), true, 502, &["provider_authentication"]),
        // What a stream lacks is told to the client. To ask again is up to it, and these clients do.
        case("disconnect", cut("disconnect"), true, 200, &["stream_cut", "ok"]),
        case("truncate", cut("truncate"), true, 200, &["stream_cut", "ok"]),
        case("stall", cut("stall"), true, 200, &["stream_stalled", "ok"]),
    ]
}

/// The running judge.
struct Llmock {
    program: PathBuf,
    url: String,
    process: Child,
}

impl Llmock {
    fn start() -> Option<Self> {
        let Some(program) = std::env::var_os("KANDLE_LLMOCK").map(PathBuf::from) else {
            assert!(std::env::var_os("KANDLE_REQUIRE_CLIENTS").is_none(), "KANDLE_LLMOCK is not set");
            eprintln!("skipped: run tests/run.sh, which installs llmock");
            return None;
        };
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut process = Command::new(&program)
            .args(["serve", "--port", &port.to_string()])
            .env("PYTHONUNBUFFERED", "1")
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stderr.take().unwrap()).lines();
        let is_up = lines.any(|line| line.unwrap().contains("Uvicorn running"));
        // Whatever else it says is read, so that it never waits for us.
        thread::spawn(move || lines.for_each(drop));
        let llmock = Self { program, url: format!("http://127.0.0.1:{port}"), process };
        assert!(is_up, "llmock does not start");
        Some(llmock)
    }

    fn control(&self, path: &str, body: Option<&Value>) -> Value {
        let mut curl = Command::new("curl");
        curl.args(["-fsS", "--max-time", "20", &format!("{}/_llmock/{path}", self.url)]);
        if let Some(body) = body {
            curl.args(["-H", "content-type: application/json", "-d", &body.to_string()]);
        }
        let output = curl.output().unwrap();
        assert!(output.status.success(), "{path}: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// The next requests for `upstream` are answered so.
    fn script(&self, upstream: &str, fault: &Value) {
        let mut fault = fault.clone();
        fault["match"] = json!({"model": upstream});
        self.control("scenario", Some(&json!({"behaviors": [fault]})));
    }

    /// `[llm]` with it as three providers, and a model for each of their cases: each has a circuit of its own.
    fn config(&self, folder: &Path) -> String {
        let mut text = format!("[llm]\nfee_micros = {FEE}\nidle_ms = 1000\ntotal_ms = 20000\ndrain_ms = 0\n");
        let key = folder.join("provider.key");
        std::fs::write(&key, "sk-any\n").unwrap();
        for (name, dialect, path) in PROVIDERS {
            let url = format!("{}{path}", self.url);
            let provider = format!("dialect = \"{dialect}\"\nbase_url = \"{url}\"\nkey_file = {key:?}");
            writeln!(text, "[llm.providers.{name}]\n{provider}").unwrap();
        }
        for (provider, id) in PROVIDERS.iter().flat_map(|(name, ..)| {
            let ids = cases().into_iter().map(|case| case.name).chain(["down", "up"]);
            ids.map(move |id| (name, format!("{name}-{id}")))
        }) {
            let price = "{ input = 1000000, cache_read = 1000000, cache_write = 1000000, output = 2000000 }";
            let room = "context_tokens = 100000\noutput_tokens_max = 4000\ngrade = 2";
            let names = format!("id = \"{id}\"\nprovider = \"{provider}\"\nupstream = \"{id}\"");
            writeln!(text, "[[llm.models]]\n{names}\nprice = {price}\n{room}").unwrap();
        }
        text + "[[llm.aliases]]\nid = \"kai-fast\"\nmodels = [\"openai-down\", \"anthropic-up\"]\nreasoning = \"off\"\n"
    }

    /// The attempts that it saw, in the order of their begin: of which model, and whether it answered to the end.
    fn journal(&self) -> BTreeMap<String, Vec<bool>> {
        let mut journal = BTreeMap::<_, Vec<_>>::new();
        for request in self.control("requests", None)["requests"].as_array().unwrap() {
            let is_answered = request["status"] == 200 && request["fault"].is_null();
            journal.entry(request["model"].as_str().unwrap().to_owned()).or_default().push(is_answered);
        }
        journal
    }
}

impl Drop for Llmock {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn ask(kandle: &Kandle, model: &str, is_stream: bool) -> (u16, String) {
    let options = if is_stream { json!({"include_usage": true}) } else { Value::Null };
    // What is said differs by model, for the judge knows a request that comes again by its body.
    let said = json!([{"role": "user", "content": format!("What of {model}?")}]);
    let asked = json!({"model": model, "messages": said, "stream": is_stream, "stream_options": options});
    let (_, text) = post(kandle, "/v1/chat/completions", &asked, |_| false);
    (text.split(' ').nth(1).unwrap().parse().unwrap(), text)
}

/// One request of a client, and the one after it where the first ended in the midst of its answer.
fn play(kandle: &Kandle, llmock: &Llmock, provider: &str, case: &Case) {
    let model = format!("{provider}-{}", case.name);
    if let Some(fault) = &case.fault {
        llmock.script(&model, fault);
    }
    let (status, text) = ask(kandle, &model, case.is_stream);
    assert_eq!(status, case.status, "{model}: {text}");
    let is_cut = status == 200 && case.rows[0].starts_with("stream_");
    assert_eq!(text.contains("data: {\"error\":"), is_cut, "{model}: {text}");
    assert_eq!(text.contains("data: [DONE]"), status == 200 && case.is_stream && !is_cut, "{model}: {text}");
    if is_cut {
        let (status, text) = ask(kandle, &model, case.is_stream);
        assert!(status == 200 && text.contains("data: [DONE]"), "{model}: {text}");
    }
}

#[test]
fn a_judge_of_clients_finds_nothing_to_say_and_its_journal_is_our_rows_of_usage() {
    let Some(llmock) = Llmock::start() else { return };
    let folder = tempdir();
    let mut kandle = Kandle::serve(&format!("{}{}", with_accounts(&folder), llmock.config(&folder)));
    let_in(&mut kandle);
    thread::scope(|scope| {
        for (provider, ..) in PROVIDERS {
            let (kandle, llmock) = (&kandle, &llmock);
            scope.spawn(move || cases().iter().for_each(|case| play(kandle, llmock, provider, case)));
        }
    });
    llmock.script("openai-down", &json!({"type": "fail", "status": 503, "times": 3}));
    let (status, text) = ask(&kandle, "kai-fast", false);
    assert!(status == 200 && text.contains("x-kai-model: anthropic-up"), "{text}");
    assert_eq!(llmock.control("scenario", None)["pending"], json!([]), "faults that nobody met");

    let rows = rows(&kandle);
    let journal = llmock.journal();
    let answered = |rows: &Vec<Value>| rows.iter().map(|row| row["status"] == "ok").collect();
    let ours: BTreeMap<_, Vec<_>> = rows.iter().map(|(model, rows)| (model.clone(), answered(rows))).collect();
    assert_eq!(ours, journal, "rows of usage, and what the provider saw");
    for (provider, ..) in PROVIDERS {
        for case in cases() {
            let rows = &rows[&format!("{provider}-{}", case.name)];
            let statuses: Vec<_> = rows.iter().map(|row| row["status"].as_str().unwrap()).collect();
            assert_eq!(statuses, case.rows, "{provider}-{}", case.name);
        }
    }
    let spent: u64 = rows.values().flatten().map(paid).sum();
    assert_eq!(balance(&kandle), (10_000_000 - spent, 0));
    kandle.beside(&["ledger", "verify"]);

    let report = Command::new(&llmock.program).args(["report", "--strict", "--url", &llmock.url]).output().unwrap();
    let text = String::from_utf8_lossy(&report.stdout);
    assert!(report.status.success() && text.contains("PASS"), "{text}");
    print!("{text}");
}

/// Rows by the model that was asked, the oldest first.
fn rows(kandle: &Kandle) -> BTreeMap<String, Vec<Value>> {
    let page = kandle.json("/v1/billing/usage?limit=500");
    assert_eq!(page["next_cursor"], Value::Null);
    let mut rows = BTreeMap::<_, Vec<_>>::new();
    for row in page["usage"].as_array().unwrap().iter().rev() {
        rows.entry(row["upstream_model"].as_str().unwrap().to_owned()).or_default().push(row.clone());
    }
    rows
}

/// What a row costs, which must be its tokens at their price: nothing unless something of an answer was seen.
fn paid(row: &Value) -> u64 {
    let number = |name: &str| row[name].as_u64().unwrap();
    let source = match row["status"].as_str().unwrap() {
        "ok" => "upstream",
        "stream_cut" | "stream_stalled" => "estimated",
        _ => {
            assert_eq!((number("cost_micros"), &row["usage_source"]), (0, &json!("none")), "{row}");
            return 0;
        }
    };
    assert!(row["usage_source"] == source && number("tokens_in") > 0 && number("tokens_out") > 0, "{row}");
    assert_eq!(number("cost_micros"), number("tokens_in") + 2 * number("tokens_out") + FEE, "{row}");
    number("cost_micros")
}
