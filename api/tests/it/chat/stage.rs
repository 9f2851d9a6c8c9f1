//! What the tests of models share: a catalog of two models and their prices, and what a client sees of a stream.

use std::{sync::Arc, time::Duration};

use api::{
    Chat,
    chat::{ChatMetrics, Terms},
};
use futures_util::StreamExt;
use llm::{
    Alias, BreakerPolicy, Breakers, Capability, Catalog, Dialect, Driver, Limits, ModelConfig, OnDisconnect, Price,
    Provider, Rates, Reasoning, Secret, Task, Thinking,
};
use prometheus_client::registry::Registry;
use records::{OPEN, Usage, UsageFilter};
use reqwest::Response;
use scripted::Upstream;
use serde_json::{Value, json};

use crate::billing::desk::{Desk, Holder, Server, micros};

/// A micro for a token read, two for a token written.
pub(crate) const RATES: Rates =
    Rates { input: 1_000_000, cache_read: 100_000, cache_write: 1_000_000, output: 2_000_000 };
pub(crate) const FEE: u64 = 10;
pub(crate) const OWN_KEY_FEE: u64 = 500;
/// What is billed for the input of [`request`] where nobody counts it, and what is held for it.
pub(crate) const INPUT_ESTIMATE: u64 = 17;
pub(crate) const INPUT_MAX: u64 = 90;

/// The models of a server: `cheap` is asked first for `kai-fast`, `dear` stands in.
pub(crate) struct Menu {
    pub(crate) policy: OnDisconnect,
    pub(crate) limits: Limits,
    pub(crate) drain: Duration,
}

impl Default for Menu {
    fn default() -> Self {
        let limits = Limits {
            connect: Duration::from_secs(5),
            first_token: Duration::from_secs(30),
            idle: Duration::from_secs(30),
            total: Duration::from_secs(60),
            retries: 1,
            attempts: 6,
            backoff: Duration::from_millis(2),
            wait: Duration::from_secs(1),
        };
        Self { policy: OnDisconnect::Cancel, limits, drain: Duration::from_secs(20) }
    }
}

impl Menu {
    /// `cheap` is served by the provider `anthropic` at the first upstream, `dear` by `google` at the second.
    pub(crate) fn chat(&self, cheap: &Upstream, dear: &Upstream) -> Chat {
        let provider = |name: &str, upstream: &Upstream| {
            let key = Secret::new(&format!("sk-ours-{name}"));
            let mut provider = Provider::http(name, Dialect::OpenaiCompatible, &upstream.url(), key);
            provider.on_disconnect = self.policy;
            Arc::new(provider)
        };
        let model = |id: &str, provider: &str, times: u64, grade| ModelConfig {
            id: id.into(),
            provider: provider.into(),
            upstream: format!("{id}-upstream"),
            price: Price {
                rates: Rates {
                    input: RATES.input * times,
                    cache_read: RATES.cache_read * times,
                    cache_write: RATES.cache_write * times,
                    output: RATES.output * times,
                },
                long: None,
            },
            context_tokens: 100_000,
            output_tokens_max: 20_000,
            grade,
            capabilities: vec![Capability::Tools, Capability::JsonObject, Capability::JsonSchema, Capability::Logprobs],
            thinking: Thinking::None,
        };
        let alias = |id: &str, models: &[&str], reasoning| Alias {
            id: id.into(),
            models: models.iter().map(|model| (*model).to_owned()).collect(),
            reasoning,
        };
        let catalog = Catalog::new(
            &[provider("anthropic", cheap), provider("google", dear)],
            vec![model("cheap", "anthropic", 1, 1), model("dear", "google", 10, 2)],
            vec![
                alias("kai-fast", &["cheap", "dear"], Reasoning::Off),
                alias("kai-smart", &["dear"], Reasoning::On { effort: None, tokens_max: None }),
            ],
            vec![Task { name: "summarize".into(), grade: 1 }],
            2,
        );
        let driver = Driver::new(self.limits, Arc::new(Breakers::new(BreakerPolicy::default()))).unwrap();
        let terms = Terms {
            fee: micros(FEE),
            own_key_fee: micros(OWN_KEY_FEE),
            output_tokens: 1000,
            total: self.limits.total,
            drain: self.drain,
        };
        Chat::new(catalog.unwrap(), driver, ChatMetrics::new(&mut Registry::default()), terms, 1_700_000_000)
    }

    pub(crate) async fn open(&self, desk: &Desk, cheap: &Upstream, dear: &Upstream) -> Server {
        desk.open_with(|accounts| accounts.with_chat(self.chat(cheap, dear))).await
    }
}

/// A request of 36 characters: 9 to 18 tokens, and 8 for the frame of a message.
pub(crate) fn request(model: &str, more: &Value) -> Value {
    let mut body = json!({"model": model, "messages": [{"role": "user", "content": "x".repeat(36)}]});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

/// OpenAI's whole answer.
pub(crate) fn whole(text: &str, input: u64, output: u64) -> scripted::Reply {
    let message = json!({"role": "assistant", "content": text});
    let usage = json!({"prompt_tokens": input, "completion_tokens": output, "total_tokens": input + output});
    let choice = json!({"index": 0, "message": message, "finish_reason": "stop"});
    scripted::Reply::Whole(json!({"id": "up-1", "model": "up", "choices": [choice], "usage": usage}))
}

/// What is left of a stream: its events, and whether `[DONE]` ended it.
#[derive(Debug)]
pub(crate) struct Streamed {
    pub(crate) chunks: Vec<Value>,
    pub(crate) is_done: bool,
}

impl Streamed {
    pub(crate) async fn read(response: Response) -> Self {
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream; charset=utf-8");
        Self::parse(&response.text().await.unwrap())
    }

    pub(crate) fn parse(text: &str) -> Self {
        let events: Vec<_> = text.split_terminator("\n\n").filter_map(|event| event.strip_prefix("data: ")).collect();
        let is_done = events.last() == Some(&"[DONE]");
        let chunks = events.iter().filter(|event| **event != "[DONE]");
        Self { chunks: chunks.map(|event| serde_json::from_str(event).unwrap()).collect(), is_done }
    }

    pub(crate) fn text(&self) -> String {
        self.chunks.iter().filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str()).collect()
    }
}

/// Reads a stream until `is_enough` of what came.
pub(crate) async fn read_until(response: Response, is_enough: impl Fn(&str) -> bool) -> String {
    let mut text = String::new();
    let mut bytes = response.bytes_stream();
    while !is_enough(&text) {
        text.push_str(std::str::from_utf8(&bytes.next().await.unwrap().unwrap()).unwrap());
    }
    text
}

/// The rows of a user, the oldest first, once there are `count` of attempts that have ended.
pub(crate) async fn rows(server: &Server, holder: &Holder, count: usize) -> Vec<Usage> {
    for _ in 0..2000 {
        let mut page = server.records.usage().page(holder.user, &UsageFilter::default(), None, 500).await.unwrap();
        if page.iter().filter(|row| row.attempt.status.as_str() != OPEN).count() >= count {
            assert_eq!(page.len(), count, "{page:?}");
            page.reverse();
            return page;
        }
        // Rows are told to nobody when they are written for a client that has left.
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("the rows do not come");
}

/// What a user has, and what is held.
pub(crate) async fn funds(server: &Server, holder: &Holder) -> (u64, u64) {
    let funds = server.records.users().funds(holder.user).await.unwrap();
    (funds.available.get(), funds.held.get())
}
