//! [llmock](https://pypi.org/project/llmock/) as provider and as judge: it fails as scripted and says whether we behaved.
//!
//! `KANDLE_LLMOCK` names its program, which `tests/run.sh` installs; with `KANDLE_REQUIRE_CLIENTS=1` its absence is a failure.

use std::{process::Stdio, sync::Arc, time::Duration};

use llm::{Dialect, FailureKind, Finish, Limits, Model, Provider, Source, Thinking};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    net::TcpListener,
    process::{Child, Command},
};

use crate::{
    stage::{Got, LIMITS, Listener, ask, driver, is_done},
    wire,
};

/// Waits that a judge of back-offs can tell apart, and that a busy machine does not blur.
const PATIENT: Limits = Limits {
    backoff: Duration::from_millis(400),
    idle: Duration::from_secs(2),
    first_token: Duration::from_secs(10),
    wait: Duration::from_secs(2),
    ..LIMITS
};

struct Llmock {
    url: String,
    http: reqwest::Client,
    _process: Child,
}

impl Llmock {
    async fn start() -> Option<Self> {
        let program = std::env::var_os("KANDLE_LLMOCK");
        let is_needed = std::env::var("KANDLE_REQUIRE_CLIENTS").is_ok_and(|value| value == "1");
        assert!(program.is_some() || !is_needed, "KANDLE_LLMOCK is not set");
        let port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
        let mut process = Command::new(program?)
            .args(["serve", "--port", &port.to_string()])
            .env("PYTHONUNBUFFERED", "1")
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stderr.take().unwrap()).lines();
        while let Some(line) = lines.next_line().await.unwrap() {
            if line.contains("Uvicorn running") {
                break;
            }
        }
        // Whatever else it says is read, so that it never waits for us.
        tokio::spawn(async move { while lines.next_line().await.is_ok_and(|line| line.is_some()) {} });
        Some(Self { url: format!("http://127.0.0.1:{port}"), http: reqwest::Client::new(), _process: process })
    }

    async fn script(&self, behaviors: Value) {
        self.http.post(format!("{}/_llmock/reset", self.url)).send().await.unwrap().error_for_status().unwrap();
        if behaviors == json!([]) {
            return;
        }
        let scenario = self.http.post(format!("{}/_llmock/scenario", self.url));
        let body = json!({"behaviors": behaviors}).to_string();
        let scenario = scenario.header("content-type", "application/json").body(body);
        scenario.send().await.unwrap().error_for_status().unwrap();
    }

    async fn verdict(&self) -> Value {
        let verdict = self.http.get(format!("{}/_llmock/verdict", self.url)).send().await.unwrap();
        serde_json::from_slice(&verdict.bytes().await.unwrap()).unwrap()
    }

    fn targets(&self) -> [Arc<Model>; 3] {
        [
            (Dialect::Openai, "/v1", "gpt-4o"),
            (Dialect::Anthropic, "/anthropic/v1", "claude-sonnet-4-5"),
            (Dialect::Gemini, "/gemini/v1beta", "gemini-2.5-flash"),
        ]
        .map(|(dialect, path, upstream)| {
            let provider = Provider::http("p", dialect, &format!("{}{path}", self.url), llm::Secret::new("sk-any"));
            let config = llm::ModelConfig { upstream: upstream.into(), ..wire::model(upstream, "p", Thinking::None) };
            Arc::new(Model { config, provider: Arc::new(provider) })
        })
    }
}

#[tokio::test]
async fn a_judge_of_clients_finds_nothing_to_say() {
    let Some(llmock) = Llmock::start().await else { return };
    let stream = |kind: &str| json!([{"type": "stream_fault", "kind": kind, "after_chunks": 2}]);
    let fail = |status: u16, times: u32| json!([{"type": "fail", "status": status, "times": times}]);
    for target in llmock.targets() {
        let id = target.config.id.clone();
        let once = async |behaviors: Value| {
            llmock.script(behaviors).await;
            let listener = Arc::<Listener>::default();
            let got = ask(&driver(PATIENT), &[&target], &listener).await;
            (got, listener)
        };
        let judged = async |what: &str| {
            let verdict = llmock.verdict().await;
            assert_eq!((&verdict["errors"], &verdict["warnings"]), (&json!(0), &json!(0)), "{id}, {what}: {verdict:#}");
        };

        let (got, listener) = once(json!([])).await;
        let whole = got.whole();
        assert!(whole.text.is_some_and(|text| !text.is_empty()) && whole.finish == Some(Finish::Stop), "{id}");
        let end = listener.ends().remove(0);
        let usage = end.usage.clone().unwrap();
        assert!(is_done(&end) && usage.source == Source::Upstream && usage.tokens.output > 0, "{id}: {usage:?}");
        judged("no fault").await;

        let limited = json!([{"type": "fail", "status": 429, "retry_after": 0.3, "times": 2}]);
        once(limited).await.0.whole();
        judged("rate limit").await;
        for status in [500, 503, 529] {
            once(fail(status, 2)).await.0.whole();
            judged("server error").await;
        }
        once(fail(503, 9)).await.0.nothing();
        judged("outage").await;
        for status in [400, 401, 403, 404, 422] {
            let (got, listener) = once(fail(status, 9)).await;
            got.nothing();
            assert_eq!(listener.asked().len(), 1, "{id}: {status}");
            judged("client error").await;
        }
        // A fault of a stream is told; to ask again is up to whoever saw the half.
        for (kind, want) in
            [("disconnect", FailureKind::Cut), ("truncate", FailureKind::Cut), ("stall", FailureKind::Stalled)]
        {
            match once(stream(kind)).await.0 {
                Got::Part(part, failure) => assert_eq!((failure.kind, part.finish), (want, None), "{id}: {kind}"),
                // Some wires have spent two chunks before the first word.
                Got::Nothing(failure) if kind == "stall" => assert_eq!(failure.kind, FailureKind::FirstToken, "{id}"),
                Got::Nothing(failure) => assert_eq!(failure.kind, want, "{id}: {kind}"),
                Got::Whole(whole) => panic!("{id}: {kind}: {whole:?}"),
            }
            ask(&driver(PATIENT), &[&target], &Arc::default()).await.whole();
            judged(kind).await;
        }
    }
}
