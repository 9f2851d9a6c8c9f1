//! OpenAI's chat answer, written: the mirror of `parse`.
//!
//! The shapes are those of [OpenAI's page](https://platform.openai.com/docs/api-reference/chat/object) to the letter: what it
//! requires is there, null where it has no value. Reasoning is not on that page; it is given by all names in use.

use std::io::Write as _;

use serde_json::{Map, Value, json};

use crate::{
    event::{Completion, Event, Finish, Thought, ToolDelta},
    request::ToolCall,
    usage::Usage,
};

/// Ends a stream that is complete. A stream that failed ends without it, after [`Reply::error`].
pub const DONE: &[u8] = b"data: [DONE]\n\n";

/// A line that says only that the stream still lives.
pub const KEEP_ALIVE: &[u8] = b": keep-alive\n\n";

/// Writes one answer.
pub struct Reply {
    /// What all chunks have in common, up to their choices.
    head: String,
    whole: Map<String, Value>,
    include_usage: bool,
}

impl Reply {
    /// An answer with our `id` and the `model` that the client asked for, `created` in seconds since 1970; chunks mention
    /// usage if the client asked for it.
    #[must_use]
    pub fn new(id: &str, created: u64, model: &str, include_usage: bool) -> Self {
        let (name, id, created, model) = (|name: &str| name.to_owned(), json!(id), json!(created), json!(model));
        let object = "chat.completion.chunk";
        let head = format!(r#"data: {{"id":{id},"object":"{object}","created":{created},"model":{model},"choices":["#);
        let whole = Map::from_iter([
            (name("id"), id),
            (name("object"), json!("chat.completion")),
            (name("created"), created),
            (name("model"), model),
        ]);
        Self { head, whole, include_usage }
    }

    /// The whole answer.
    #[must_use]
    pub fn whole(&self, answer: &Completion) -> Value {
        let mut message = Map::new();
        let mut set = |name: &str, value: Value| drop(message.insert(name.to_owned(), value));
        set("role", json!("assistant"));
        set("content", json!(answer.text));
        set("refusal", json!(answer.refusal));
        if let Some(reasoning) = answer.reasoning() {
            set("reasoning", json!(reasoning));
            set("reasoning_content", json!(reasoning));
        }
        if !answer.thoughts.is_empty() {
            set("reasoning_details", answer.thoughts.iter().map(detail).collect());
        }
        if !answer.tool_calls.is_empty() {
            set("tool_calls", answer.tool_calls.iter().map(whole_call).collect());
        }
        let finish = answer.finish.unwrap_or(Finish::Stop).as_str();
        let choice = json!({"index": 0, "message": message, "logprobs": answer.logprobs, "finish_reason": finish});
        let mut whole = self.whole.clone();
        whole.insert("choices".to_owned(), json!([choice]));
        if let Some(usage) = &answer.usage {
            whole.insert("usage".to_owned(), usage_json(usage));
        }
        Value::Object(whole)
    }

    /// The chunk before all others: it says who speaks.
    pub fn begin(&self, out: &mut Vec<u8>) {
        self.choice(out, &json!({"role": "assistant", "content": "", "refusal": null}), &Value::Null, None);
    }

    /// The chunk for `event`, if it has one: usage comes last, by [`Reply::usage`].
    pub fn event(&self, event: &Event, out: &mut Vec<u8>) {
        let delta = match event {
            Event::Started { .. } | Event::Usage(_) => return,
            // By far the most frequent one needs no tree.
            Event::Text(text) => return self.text(text, out),
            Event::Refusal(text) => json!({"refusal": text}),
            Event::Thought(thought @ Thought::Text { text, .. }) => {
                json!({"reasoning": text, "reasoning_content": text, "reasoning_details": [detail(thought)]})
            }
            Event::Thought(sealed) => json!({"reasoning_details": [detail(sealed)]}),
            Event::ToolCall(delta) => json!({"tool_calls": [delta_call(delta)]}),
            Event::Logprobs(logprobs) => return self.choice(out, &json!({}), logprobs, None),
            Event::Finish(finish) => return self.choice(out, &json!({}), &Value::Null, Some(finish.as_str())),
        };
        self.choice(out, &delta, &Value::Null, None);
    }

    /// The last chunk, for clients that asked for usage: it has no choices. `usage` is as [`usage_json`] gives it, or with more.
    pub fn usage(&self, usage: &Value, out: &mut Vec<u8>) {
        if self.include_usage {
            // Writing to a vector cannot fail, here and below.
            let _ = write!(out, "{}],\"usage\":{usage}}}\n\n", self.head);
        }
    }

    /// What a client is told when the stream fails after it began. Nothing follows, not even [`DONE`].
    pub fn error(message: &str, kind: &str, code: &str, out: &mut Vec<u8>) {
        let error = json!({"error": {"message": message, "type": kind, "param": null, "code": code}});
        let _ = write!(out, "data: {error}\n\n");
    }

    fn text(&self, text: &str, out: &mut Vec<u8>) {
        out.extend_from_slice(self.head.as_bytes());
        out.extend_from_slice(br#"{"index":0,"delta":{"content":"#);
        let _ = serde_json::to_writer(&mut *out, text);
        out.extend_from_slice(br#"},"logprobs":null,"finish_reason":null}"#);
        out.extend_from_slice(self.tail());
    }

    fn choice(&self, out: &mut Vec<u8>, delta: &Value, logprobs: &Value, finish: Option<&str>) {
        out.extend_from_slice(self.head.as_bytes());
        let _ = write!(out, r#"{{"index":0,"delta":{delta},"logprobs":{logprobs},"finish_reason":{}}}"#, json!(finish));
        out.extend_from_slice(self.tail());
    }

    /// A client that asked for usage sees on every chunk that it is yet to come.
    fn tail(&self) -> &'static [u8] {
        if self.include_usage { b"],\"usage\":null}\n\n" } else { b"]}\n\n" }
    }
}

fn detail(thought: &Thought) -> Value {
    match thought {
        Thought::Text { text, signature: None } => json!({"type": "reasoning.text", "text": text}),
        Thought::Text { text, signature } => json!({"type": "reasoning.text", "text": text, "signature": signature}),
        Thought::Sealed(data) => json!({"type": "reasoning.encrypted", "data": data}),
    }
}

fn whole_call(call: &ToolCall) -> Value {
    let function = json!({"name": call.name, "arguments": call.arguments});
    seal(json!({"id": call.id, "type": "function", "function": function}), call.signature.as_deref())
}

fn delta_call(delta: &ToolDelta) -> Value {
    let mut function = Map::new();
    function.extend(delta.name.as_ref().map(|name| ("name".to_owned(), json!(name))));
    function.insert("arguments".to_owned(), json!(delta.arguments));
    let mut call = Map::new();
    call.insert("index".to_owned(), json!(delta.index));
    if let Some(id) = &delta.id {
        call.insert("id".to_owned(), json!(id));
        call.insert("type".to_owned(), json!("function"));
    }
    call.insert("function".to_owned(), Value::Object(function));
    seal(Value::Object(call), delta.signature.as_deref())
}

/// Google's seal goes where its own compatible endpoint puts it, and comes back from there.
fn seal(mut call: Value, signature: Option<&str>) -> Value {
    if let (Some(signature), Value::Object(call)) = (signature, &mut call) {
        call.insert("extra_content".to_owned(), json!({"google": {"thought_signature": signature}}));
    }
    call
}

/// OpenAI's `usage`, whose counts include each other: input includes the cache, output includes reasoning.
#[must_use]
pub fn usage_json(usage: &Usage) -> Value {
    let tokens = &usage.tokens;
    let (input, output) = (tokens.input_total(), tokens.output_total());
    json!({
        "prompt_tokens": input,
        "completion_tokens": output,
        "total_tokens": input.saturating_add(output),
        "prompt_tokens_details": {
            "cached_tokens": tokens.cache_read, "cache_write_tokens": tokens.cache_write, "audio_tokens": 0,
        },
        "completion_tokens_details": {
            "reasoning_tokens": tokens.reasoning, "audio_tokens": 0,
            "accepted_prediction_tokens": 0, "rejected_prediction_tokens": 0,
        },
    })
}
