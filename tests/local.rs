//! Real models: the one in the program itself, and one behind llama.cpp's server, with the same weights.
//!
//! `KANDLE_LOCAL_MODEL` names the weights, which `api/llm/model/fetch.sh` brings, and `KANDLE_LLAMA_SERVER` a program that takes
//! llama-server's options, such as `tests/servers/llama.sh`. With `KANDLE_REQUIRE_LOCAL_MODEL=1` their absence is a failure.

use std::{
    io::{BufRead, BufReader},
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use serde_json::{Value, json};

use crate::{
    accounts::with_accounts,
    chat::{balance, post},
    model::let_in,
    process::{Kandle, tempdir},
};

const FEE: u64 = 7;
const QUESTION: &str = "What is the capital of France?";

fn named(variable: &str) -> Option<PathBuf> {
    let path = std::env::var_os(variable).map(PathBuf::from);
    assert!(
        path.is_some() || std::env::var_os("KANDLE_REQUIRE_LOCAL_MODEL").is_none(),
        "{variable} is not set: see tests/run.sh"
    );
    if path.is_none() {
        eprintln!("skipped: {variable} is not set; KANDLE_WITH_LOCAL_MODEL=1 tests/run.sh prepares it");
    }
    path
}

fn serve(llm: &str) -> Kandle {
    let config = format!("{}[llm]\nfee_micros = {FEE}\n{llm}", with_accounts(&tempdir()));
    let mut kandle = Kandle::serve(&config);
    let_in(&mut kandle);
    kandle
}

/// What is asked, with these members besides.
fn asking(model: &str, text: &str, more: Value) -> Value {
    let mut asked = json!({"model": model, "temperature": 0, "messages": [{"role": "user", "content": text}]});
    let Value::Object(more) = more else { panic!("members, not {more}") };
    asked.as_object_mut().unwrap().extend(more);
    asked
}

/// An answer: its text, why it ended, and its usage.
#[derive(Debug)]
struct Said {
    text: String,
    finish: String,
    usage: Value,
}

fn whole(kandle: &Kandle, asked: &Value) -> Said {
    let (_, answer) = post(kandle, "/v1/chat/completions", asked, |_| false);
    let body = answer.split_once("\r\n\r\n").filter(|(head, _)| head.contains("200 OK"));
    let body: Value = serde_json::from_str(body.unwrap_or_else(|| panic!("{answer}")).1).unwrap();
    let choice = &body["choices"][0];
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    Said {
        text: text(&choice["message"]["content"]),
        finish: text(&choice["finish_reason"]),
        usage: body["usage"].clone(),
    }
}

/// The same as a stream, put together, with how many pieces its text had.
fn streamed(kandle: &Kandle, mut asked: Value) -> (Said, usize) {
    asked["stream"] = json!(true);
    asked["stream_options"] = json!({"include_usage": true});
    let (_, answer) = post(kandle, "/v1/chat/completions", &asked, |_| false);
    let mut data: Vec<_> = answer.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
    assert_eq!(data.pop(), Some("[DONE]"), "{answer}");
    let chunks: Vec<Value> = data.into_iter().map(|chunk| serde_json::from_str(chunk).unwrap()).collect();
    let texts: Vec<_> = chunks.iter().filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str()).collect();
    let finish = chunks.iter().find_map(|chunk| chunk["choices"][0]["finish_reason"].as_str()).unwrap().to_owned();
    let pieces = texts.iter().filter(|text| !text.is_empty()).count();
    (Said { text: texts.concat(), finish, usage: chunks.last().unwrap()["usage"].clone() }, pieces)
}

/// Millionths of a micro for a token that is read, read from a cache, and written.
type Prices = (u64, u64, u64);

/// The newest row, which must have been charged by its own tokens.
fn newest(kandle: &Kandle, (read, cached, written): Prices) -> Value {
    let row = kandle.json("/v1/billing/usage?limit=1")["usage"][0].clone();
    let number = |name: &str| row[name].as_u64().unwrap();
    let fresh = number("tokens_in") - number("tokens_cached");
    let millionths = fresh * read + number("tokens_cached") * cached + number("tokens_out") * written;
    assert_eq!(number("cost_micros"), millionths.div_ceil(1_000_000) + FEE, "{row}");
    row
}

/// The usage that a client is told, the row of usage and the charge are one and the same.
fn check(kandle: &Kandle, said: &Said, source: &str, prices: Prices) {
    let (usage, row) = (&said.usage, newest(kandle, prices));
    assert_eq!((&row["status"], &row["usage_source"]), (&json!("ok"), &json!(source)), "{row}");
    for (told, written) in [
        (&usage["prompt_tokens"], "tokens_in"),
        (&usage["prompt_tokens_details"]["cached_tokens"], "tokens_cached"),
        (&usage["completion_tokens"], "tokens_out"),
        (&usage["cost_micros"], "cost_micros"),
    ] {
        assert_eq!(told, &row[written], "{written}: {usage} {row}");
    }
}

/// All that was taken from the account stands in rows.
fn check_books(kandle: &Kandle) {
    let usage = kandle.json("/v1/billing/usage?limit=500");
    let spent: u64 = usage["usage"].as_array().unwrap().iter().map(|row| row["cost_micros"].as_u64().unwrap()).sum();
    assert_eq!(balance(kandle), (10_000_000 - spent, 0));
    kandle.beside(&["ledger", "verify"]);
}

#[cfg(feature = "local")]
mod inside {
    use std::time::{Duration, Instant};

    use super::*;

    const PRICES: Prices = (20_000, 20_000, 80_000);

    fn serve_inside() -> Option<Kandle> {
        named("KANDLE_LOCAL_MODEL").map(|weights| serve(&format!("local_model = {weights:?}\n")))
    }

    /// A fresh machine without any provider's key.
    #[test]
    fn the_model_in_the_program_answers_without_any_provider_and_is_paid_by_its_counts() {
        let Some(kandle) = serve_inside() else { return };
        let said = whole(&kandle, &asking("kai-fast", QUESTION, json!({"max_tokens": 12})));
        assert_eq!((said.text.as_str(), said.finish.as_str()), ("The capital of France is Paris.", "stop"));
        assert_eq!((&said.usage["prompt_tokens"], &said.usage["completion_tokens"]), (&json!(37), &json!(7)));
        check(&kandle, &said, "counted", PRICES);

        let (same, pieces) = streamed(&kandle, asking("kai-smart", QUESTION, json!({"max_tokens": 12})));
        assert_eq!((same.text, same.finish), (said.text, said.finish));
        assert_eq!((same.usage, pieces), (said.usage, 7));

        let stopped = whole(&kandle, &asking("kai-fast", QUESTION, json!({"stop": " is Par"})));
        assert_eq!((stopped.text.as_str(), stopped.finish.as_str()), ("The capital of France", "stop"));
        check(&kandle, &stopped, "counted", PRICES);

        let drawn = |seed: u32| {
            let more = json!({"max_completion_tokens": 16, "temperature": 1.5, "seed": seed});
            let said = whole(&kandle, &asking("smollm2-135m-instruct", "Count from one to ten.", more));
            assert_eq!((said.finish.as_str(), &said.usage["completion_tokens"]), ("length", &json!(16)));
            check(&kandle, &said, "counted", PRICES);
            said.text
        };
        let first = drawn(1);
        assert_eq!(drawn(1), first);
        assert_ne!(drawn(2), first);
        check_books(&kandle);
    }

    #[test]
    fn a_client_that_hangs_up_stops_the_model_and_pays_for_what_it_had_written() {
        let Some(kandle) = serve_inside() else { return };
        let more = json!({"stream": true, "max_tokens": 1000});
        let asked = asking("kai-fast", "Write a very long story about the sea.", more);
        let (socket, text) =
            post(&kandle, "/v1/chat/completions", &asked, |text| text.matches("\"content\":").count() >= 6);
        drop(socket);
        let left = Instant::now();
        while balance(&kandle).1 > 0 {
            assert!(left.elapsed() < Duration::from_secs(20), "it is still held");
            std::thread::sleep(Duration::from_millis(10));
        }
        let row = newest(&kandle, PRICES);
        assert_eq!((&row["status"], &row["usage_source"]), (&json!("cancelled"), &json!("counted")), "{row}");
        let written = row["tokens_out"].as_u64().unwrap();
        assert!((5..500).contains(&written), "{row} {text}");
        // The thread is free: this would wait for a thousand tokens otherwise, and for a first token no longer than that takes.
        let said = whole(&kandle, &asking("kai-fast", QUESTION, json!({"max_tokens": 1})));
        assert_eq!(said.text, "The");
        check_books(&kandle);
    }

    #[test]
    fn the_demo_answers_where_the_weights_were_fetched() {
        let Some(weights) = named("KANDLE_LOCAL_MODEL") else { return };
        let folder = tempdir();
        let models = folder.join("kandle-data/models");
        std::fs::create_dir_all(&models).unwrap();
        std::os::unix::fs::symlink(weights, models.join("SmolLM2-135M-Instruct.Q4_1.gguf")).unwrap();
        let kandle = Kandle::demo_in(&folder);
        let said = whole(&kandle, &asking("kai-fast", QUESTION, json!({})));
        assert_eq!(said.text, "The capital of France is Paris.");
    }
}

/// llama.cpp's server on a free port, with one thread.
struct Llama {
    url: String,
    process: Child,
}

impl Llama {
    fn start(program: PathBuf, weights: PathBuf) -> Self {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut process = Command::new(program)
            .arg("-m")
            .arg(weights)
            .args(["-t", "1", "--port", &port.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stderr.take().unwrap()).lines();
        let llama = Self { url: format!("http://127.0.0.1:{port}/v1"), process };
        let mut said = Vec::new();
        let is_up = lines.by_ref().any(|line| {
            let is_up = line.as_ref().is_ok_and(|line| line.contains("listening on"));
            said.extend(line);
            is_up
        });
        // Whatever else it says is read, so that it never waits for us.
        std::thread::spawn(move || lines.for_each(drop));
        assert!(is_up, "it does not start: {said:#?}");
        llama
    }
}

impl Drop for Llama {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn llama_cpps_server_answers_whole_streamed_and_by_schema_and_is_paid_by_its_counts() {
    let (Some(program), Some(weights)) = (named("KANDLE_LLAMA_SERVER"), named("KANDLE_LOCAL_MODEL")) else { return };
    let llama = Llama::start(program, weights);
    const PRICES: Prices = (3_000_000, 300_000, 9_000_000);
    let kandle = serve(&format!(
        "[llm.providers.llama]\ndialect = \"openai\"\nbase_url = \"{}\"\n[[llm.models]]\nid = \"smollm2\"\n\
         provider = \"llama\"\nupstream = \"smollm2\"\ncontext_tokens = 4096\noutput_tokens_max = 1000\ngrade = 2\n\
         price = {{ input = 3000000, cache_read = 300000, cache_write = 3000000, output = 9000000 }}\n\
         capabilities = [\"json_schema\", \"json_object\"]\n",
        llama.url
    ));
    // What it says is its own affair, and depends on how its build multiplies: so small a model is easily led astray.
    let said = whole(&kandle, &asking("kai-fast", QUESTION, json!({"max_tokens": 20})));
    assert!(!said.text.is_empty(), "{said:?}");
    // As the model in the program counts: they share a vocabulary and a template.
    assert_eq!(said.usage["prompt_tokens"], 37);
    check(&kandle, &said, "upstream", PRICES);

    let (same, pieces) = streamed(&kandle, asking("kai-fast", QUESTION, json!({"max_tokens": 20})));
    assert!(pieces > 3 && same.usage["prompt_tokens"] == 37, "{pieces} {same:?}");
    // It has read this prompt before, and says so.
    assert!(same.usage["prompt_tokens_details"]["cached_tokens"].as_u64().unwrap() > 20, "{same:?}");
    check(&kandle, &same, "upstream", PRICES);

    let story = asking("kai-fast", "Write a story about the sea.", json!({"max_tokens": 5}));
    let (short, _) = streamed(&kandle, story);
    assert_eq!((short.finish.as_str(), &short.usage["completion_tokens"]), ("length", &json!(5)));
    check(&kandle, &short, "upstream", PRICES);

    let schema = json!({"type": "object", "additionalProperties": false, "required": ["side", "confidence"], "properties":
        {"side": {"type": "string", "enum": ["buy", "sell"]}, "confidence": {"type": "integer"}}});
    let format = json!({"type": "json_schema", "json_schema": {"name": "call", "strict": true, "schema": schema}});
    let more = json!({"max_tokens": 200, "response_format": format});
    let judged = whole(&kandle, &asking("kai-fast", "Bitcoin rose from 60000 to 70000. Buy or sell?", more));
    let call: Value = serde_json::from_str(&judged.text).unwrap_or_else(|_| panic!("{judged:?}"));
    assert!(["buy", "sell"].contains(&call["side"].as_str().unwrap()) && call["confidence"].is_i64(), "{judged:?}");
    assert_eq!(call.as_object().unwrap().len(), 2);
    check(&kandle, &judged, "upstream", PRICES);
    check_books(&kandle);
}
