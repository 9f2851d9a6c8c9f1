//! A provider on loopback whose model does what it is told, and what it takes to serve it.

use std::{
    path::Path,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use scripted::{Reply, Seen, Step, Upstream, chunk, data, done, error, finish, usage};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::{accounts::new_key, process::Kandle};

/// Tokens that it counts in every request and in every answer.
const INPUT: u64 = 11;
const OUTPUT: u64 = 5;

/// The provider, with a runtime of its own.
pub(crate) struct Model {
    pub(crate) upstream: Upstream,
    _runtime: Runtime,
}

impl Model {
    pub(crate) fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let flaky = Mutex::new(0);
        let upstream = runtime.block_on(Upstream::new(move |seen| answer(seen, &flaky)));
        Self { upstream, _runtime: runtime }
    }

    /// `[llm]` with this provider, and two models: `model` can do all, `plain` writes text.
    pub(crate) fn config(&self, folder: &Path) -> String {
        let key = folder.join("provider.key");
        std::fs::write(&key, "sk-ours-of-the-provider\n").unwrap();
        let model = |id: &str, capabilities: &str| {
            let price = "{ input = 1000000, cache_read = 100000, cache_write = 1000000, output = 2000000 }";
            format!(
                "[[llm.models]]\nid = \"{id}\"\nprovider = \"up\"\nupstream = \"{id}-1\"\nprice = {price}\n\
                 context_tokens = 100000\noutput_tokens_max = 4000\ngrade = 2\ncapabilities = [{capabilities}]\n"
            )
        };
        format!(
            "[llm]\nfee_micros = 10\nretries = 1\ntotal_ms = 1000\ndrain_ms = 0\n\
             [llm.providers.up]\nbase_url = \"{}\"\nkey_file = {key:?}\n{}{}",
            self.upstream.url(),
            model("model", "\"tools\", \"images\", \"json_object\", \"json_schema\", \"logprobs\""),
            model("plain", ""),
        )
    }
}

/// Makes a user with ten KAI, and gives the server's client a key of hers once it is let in.
pub(crate) fn let_in(kandle: &mut Kandle) {
    kandle.beside(&["accounts", "create", "ada@example.com", "--credit", "10"]);
    kandle.key = new_key(kandle, "ada@example.com", &["--scope", "write"]).0;
    await_let_in(kandle);
}

/// Waits until the server has seen the key.
pub(crate) fn await_let_in(kandle: &Kandle) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !kandle.get("/v1/models").is_some_and(|body| body.contains("kai-fast")) {
        assert!(Instant::now() < deadline, "the key is not let in: {:?}", kandle.get("/v1/models"));
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// What the last message says is done: `wait` stops a stream for good, `flaky` fails twice.
fn answer(seen: &Seen, flaky: &Mutex<u32>) -> Reply {
    let body = &seen.body;
    let content = body["messages"].as_array().and_then(|all| all.last()).map(|last| &last["content"]);
    let text = content.and_then(|content| content.as_str().or_else(|| content[0]["text"].as_str())).unwrap_or_default();
    let is_stream = body["stream"] == true;
    match text {
        "rate" => return Reply::Status(429, "retry-after-ms: 5\r\n", error("too many", "rate_limit_exceeded")),
        "long" => return Reply::Status(400, "", error("maximum context length", "context_length_exceeded")),
        "flaky" => {
            let mut count = flaky.lock().unwrap_or_else(PoisonError::into_inner);
            *count += 1;
            if *count <= 2 {
                return Reply::Status(503, "", error("not now", "overloaded"));
            }
        }
        "cut" if is_stream => return Reply::Stream(vec![chunk("half an"), Step::Cut]),
        "wait" => return Reply::Stream(vec![chunk("first"), Step::Stall]),
        _ => {}
    }
    let has_tools = body["tools"].as_array().is_some_and(|tools| !tools.is_empty());
    let has_result = body["messages"].as_array().is_some_and(|all| all.iter().any(|one| one["role"] == "tool"));
    if has_tools && !has_result {
        return tool_call(&body["tools"][0]["function"], is_stream);
    }
    let said = match body["response_format"]["type"].as_str() {
        Some("json_schema") => r#"{"side":"buy","confidence":95}"#,
        Some("json_object") => r#"{"ok":true}"#,
        _ => "Hello there, trader",
    };
    if is_stream {
        let pieces = said.split_inclusive(' ').map(chunk);
        return Reply::Stream(pieces.chain([finish("stop"), usage(INPUT, OUTPUT), done()]).collect());
    }
    whole(&json!({"role": "assistant", "content": said}), "stop")
}

fn tool_call(function: &Value, is_stream: bool) -> Reply {
    let call = json!({"index": 0, "id": "call_1", "type": "function",
        "function": {"name": function["name"], "arguments": "{\"location\":\"San Francisco\"}"}});
    if !is_stream {
        return whole(&json!({"role": "assistant", "content": null, "tool_calls": [call]}), "tool_calls");
    }
    let delta = json!({"id": "u", "choices": [{"index": 0, "delta": {"tool_calls": [call]}, "finish_reason": null}]});
    Reply::Stream(vec![data(&delta), finish("tool_calls"), usage(INPUT, OUTPUT), done()])
}

fn whole(message: &Value, reason: &str) -> Reply {
    let counts = json!({"prompt_tokens": INPUT, "completion_tokens": OUTPUT, "total_tokens": INPUT + OUTPUT});
    let choice = json!({"index": 0, "message": message, "finish_reason": reason});
    Reply::Whole(json!({"id": "u", "model": "model-1", "choices": [choice], "usage": counts}))
}
