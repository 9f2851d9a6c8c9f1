//! Chat completions, as OpenAI defined them and as others speak them.
//!
//! [The reference](https://platform.openai.com/docs/api-reference/chat). Where servers differ, all their ways are read: the
//! place of reasoning, calls without an index, usage on every chunk, a stream without its `[DONE]`.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{Decoder, Dialect, Flow, RequestError, Wire, WireError, failure_of, is_about_length, malformed};
use crate::{
    catalog::{ModelConfig, Thinking},
    event::{Event, Finish, TOOL_CALLS_MAX, Thought, ToolDelta},
    failure::{Failure, FailureKind, kind_of_status},
    request::{Assistant, ChatRequest, Format, Image, Message, Part, Reasoning, ToolCall, ToolChoice},
    usage::{Source, Tokens, Usage},
};

pub(super) fn encode(dialect: Dialect, request: &ChatRequest, model: &ModelConfig) -> Result<Wire, RequestError> {
    let mut body = Map::new();
    let mut set = |name: &str, value: Value| drop(body.insert(name.to_owned(), value));
    set("model", json!(model.upstream));
    set("messages", request.messages.iter().map(|message| encode_message(dialect, message)).collect());
    if request.stream {
        set("stream", json!(true));
        set("stream_options", json!({"include_usage": true}));
    }
    if let Some(tokens) = request.output_tokens_max {
        set(if dialect == Dialect::Openai { "max_completion_tokens" } else { "max_tokens" }, json!(tokens));
    }
    let sampling = &request.sampling;
    for (name, value) in [
        ("temperature", sampling.temperature),
        ("top_p", sampling.top_p),
        ("frequency_penalty", sampling.frequency_penalty),
        ("presence_penalty", sampling.presence_penalty),
    ] {
        if let Some(value) = value {
            set(name, json!(value));
        }
    }
    if let Some(seed) = sampling.seed {
        set("seed", json!(seed));
    }
    if !sampling.logit_bias.is_empty() {
        set("logit_bias", Value::Object(sampling.logit_bias.clone()));
    }
    if !request.stop.is_empty() {
        set("stop", json!(request.stop));
    }
    if let Some(top) = request.logprobs {
        set("logprobs", json!(true));
        set("top_logprobs", json!(top));
    }
    if !request.tools.is_empty() {
        set("tools", encode_tools(request));
        set("tool_choice", encode_tool_choice(&request.tool_choice));
        if let Some(parallel) = request.parallel_tool_calls {
            set("parallel_tool_calls", json!(parallel));
        }
    }
    if let Some(format) = encode_format(&request.format) {
        set("response_format", format);
    }
    if dialect == Dialect::Openai {
        if let Some(verbosity) = request.verbosity {
            set("verbosity", json!(verbosity.as_str()));
        }
        if let Some(key) = &request.cache_key {
            set("prompt_cache_key", json!(key));
        }
    }
    for (name, value) in encode_reasoning(dialect, request.reasoning, model.thinking) {
        set(name, value);
    }
    Ok(Wire { path: "/chat/completions".to_owned(), body: Value::Object(body).to_string().into_bytes() })
}

fn encode_message(dialect: Dialect, message: &Message) -> Value {
    let mut value = match message {
        Message::System { text, .. } => json!({"role": "system", "content": text}),
        Message::User { parts, .. } => match parts.as_slice() {
            [Part::Text(text)] => json!({"role": "user", "content": text}),
            parts => json!({"role": "user", "content": parts.iter().map(encode_part).collect::<Vec<_>>()}),
        },
        Message::Assistant(said) => encode_assistant(dialect, said),
        Message::Tool { call_id, text } => json!({"role": "tool", "tool_call_id": call_id, "content": text}),
    };
    let name = match message {
        Message::System { name, .. } | Message::User { name, .. } | Message::Assistant(Assistant { name, .. }) => name,
        Message::Tool { .. } => &None,
    };
    if let (Some(name), Value::Object(message)) = (name, &mut value) {
        message.insert("name".to_owned(), json!(name));
    }
    value
}

fn encode_part(part: &Part) -> Value {
    let (image, detail) = match part {
        Part::Text(text) => return json!({"type": "text", "text": text}),
        Part::Image { image, detail } => (image, detail),
    };
    let url = match image {
        Image::Url(url) => url.clone(),
        Image::Data { media_type, base64 } => format!("data:{media_type};base64,{base64}"),
    };
    let mut url = json!({"url": url});
    if let (Some(detail), Value::Object(url)) = (detail, &mut url) {
        url.insert("detail".to_owned(), json!(detail));
    }
    json!({"type": "image_url", "image_url": url})
}

fn encode_assistant(dialect: Dialect, said: &Assistant) -> Value {
    let mut message = Map::new();
    message.insert("role".to_owned(), json!("assistant"));
    message.insert("content".to_owned(), json!(said.text.as_ref().or(said.refusal.as_ref())));
    if !said.tool_calls.is_empty() {
        message.insert("tool_calls".to_owned(), said.tool_calls.iter().map(encode_call).collect());
    }
    match dialect {
        Dialect::Openrouter if !said.thoughts.is_empty() => {
            message.insert("reasoning_details".to_owned(), said.thoughts.iter().map(encode_thought).collect());
        }
        // DeepSeek wants its reasoning back as long as it waits for results of tools, and refuses it otherwise.
        Dialect::Deepseek if !said.tool_calls.is_empty() => {
            let texts = said.thoughts.iter().filter_map(|thought| match thought {
                Thought::Text { text, .. } => Some(text.as_str()),
                Thought::Sealed(_) => None,
            });
            message.insert("reasoning_content".to_owned(), json!(texts.collect::<String>()));
        }
        _ => {}
    }
    Value::Object(message)
}

fn encode_call(call: &ToolCall) -> Value {
    json!({"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}})
}

fn encode_thought(thought: &Thought) -> Value {
    match thought {
        Thought::Text { text, signature } => json!({"type": "reasoning.text", "text": text, "signature": signature}),
        Thought::Sealed(data) => json!({"type": "reasoning.encrypted", "data": data}),
    }
}

fn encode_tools(request: &ChatRequest) -> Value {
    let encode = |tool: &crate::request::Tool| {
        let mut function = Map::new();
        function.insert("name".to_owned(), json!(tool.name));
        let members = [
            ("description", tool.description.as_ref().map(|text| json!(text))),
            ("parameters", tool.parameters.clone()),
            ("strict", tool.strict.map(Value::Bool)),
        ];
        function.extend(members.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))));
        json!({"type": "function", "function": function})
    };
    request.tools.iter().map(encode).collect()
}

fn encode_tool_choice(choice: &ToolChoice) -> Value {
    match choice {
        ToolChoice::Auto => json!("auto"),
        ToolChoice::None => json!("none"),
        ToolChoice::Required => json!("required"),
        ToolChoice::Function(name) => json!({"type": "function", "function": {"name": name}}),
    }
}

fn encode_format(format: &Format) -> Option<Value> {
    let (name, description, schema, strict) = match format {
        Format::Text => return None,
        Format::JsonObject => return Some(json!({"type": "json_object"})),
        Format::JsonSchema { name, description, schema, strict } => (name, description, schema, strict),
    };
    let mut wrapped = Map::new();
    wrapped.insert("name".to_owned(), json!(name));
    wrapped.insert("schema".to_owned(), schema.clone());
    if let Some(description) = description {
        wrapped.insert("description".to_owned(), json!(description));
    }
    if let Some(strict) = strict {
        wrapped.insert("strict".to_owned(), json!(strict));
    }
    Some(json!({"type": "json_schema", "json_schema": wrapped}))
}

fn encode_reasoning(dialect: Dialect, wish: Reasoning, thinking: Thinking) -> Vec<(&'static str, Value)> {
    let (effort, tokens_max) = match wish {
        _ if thinking == Thinking::None => return Vec::new(),
        Reasoning::Default => return Vec::new(),
        Reasoning::Off => {
            let least = if thinking == Thinking::Always { "minimal" } else { "none" };
            return match dialect {
                Dialect::Openrouter => vec![("reasoning", json!({"enabled": false}))],
                Dialect::Deepseek => vec![("thinking", json!({"type": "disabled"}))],
                Dialect::Vllm => vec![("chat_template_kwargs", json!({"enable_thinking": false, "thinking": false}))],
                _ => vec![("reasoning_effort", json!(least))],
            };
        }
        Reasoning::On { effort, tokens_max } => (effort, tokens_max),
    };
    let effort = effort.map(|effort| json!(effort.as_str()));
    match dialect {
        Dialect::Openrouter => {
            let limit = tokens_max.map(|tokens| ("max_tokens", json!(tokens)));
            // OpenRouter takes one of the two.
            let limit = limit.or(effort.map(|effort| ("effort", effort))).unwrap_or(("enabled", json!(true)));
            vec![("reasoning", Value::Object(Map::from_iter([(limit.0.to_owned(), limit.1)])))]
        }
        Dialect::Deepseek => [("thinking", json!({"type": "enabled"}))]
            .into_iter()
            .chain(effort.map(|effort| ("reasoning_effort", effort)))
            .collect(),
        Dialect::Vllm => vec![("chat_template_kwargs", json!({"enable_thinking": true, "thinking": true}))],
        _ => effort.map(|effort| ("reasoning_effort", effort)).into_iter().collect(),
    }
}

#[derive(Deserialize)]
struct Chunk {
    id: Option<String>,
    model: Option<String>,
    choices: Option<Vec<Choice>>,
    usage: Option<Value>,
    error: Option<Value>,
}

#[derive(Deserialize)]
struct Choice {
    #[serde(alias = "message")]
    delta: Option<Said>,
    finish_reason: Option<String>,
    logprobs: Option<Value>,
}

#[derive(Deserialize)]
struct Said {
    content: Option<Content>,
    refusal: Option<String>,
    reasoning: Option<String>,
    reasoning_content: Option<String>,
    reasoning_details: Option<Vec<Value>>,
    tool_calls: Option<Vec<Call>>,
}

/// Text, or Mistral's parts.
#[derive(Deserialize)]
#[serde(untagged)]
enum Content {
    Text(String),
    Parts(Vec<Value>),
}

#[derive(Deserialize)]
struct Call {
    index: Option<usize>,
    id: Option<String>,
    function: Option<Function>,
    #[serde(default)]
    extra_content: Value,
}

#[derive(Deserialize)]
struct Function {
    name: Option<String>,
    arguments: Option<String>,
}

/// An answer, chunk by chunk or whole.
#[derive(Default)]
pub(super) struct Answer {
    has_started: bool,
    /// The calls so far, for servers that give them no index.
    calls: usize,
}

impl Decoder for Answer {
    fn decode(&mut self, data: &str, events: &mut Vec<Event>) -> Result<Flow, WireError> {
        if data.trim() == "[DONE]" {
            return Ok(Flow::Done);
        }
        let chunk: Chunk = serde_json::from_str(data).map_err(malformed)?;
        if let Some(error) = chunk.error.filter(|error| !error.is_null()) {
            return Err(WireError::Failed(failure(None, &json!({"error": error}))));
        }
        if !std::mem::replace(&mut self.has_started, true) {
            events.push(Event::Started { id: chunk.id, model: chunk.model });
        }
        // One answer is asked for, so there is one choice; the last chunk has none.
        if let Some(choice) = chunk.choices.into_iter().flatten().next() {
            if let Some(said) = choice.delta {
                self.on_said(said, events);
            }
            if let Some(logprobs) = choice.logprobs.filter(|logprobs| !logprobs.is_null()) {
                events.push(Event::Logprobs(logprobs));
            }
            if let Some(reason) = choice.finish_reason {
                events.push(Event::Finish(finish(&reason)?));
            }
        }
        if let Some(usage) = chunk.usage.filter(Value::is_object) {
            events.push(Event::Usage(decode_usage(usage)));
        }
        Ok(Flow::More)
    }
}

impl Answer {
    fn on_said(&mut self, said: Said, events: &mut Vec<Event>) {
        let mut push = |text: Option<String>, event: fn(String) -> Event| {
            events.extend(text.filter(|text| !text.is_empty()).map(event));
        };
        let think = |text| Event::Thought(Thought::Text { text, signature: None });
        push(said.reasoning.or(said.reasoning_content), think);
        for detail in said.reasoning_details.into_iter().flatten() {
            let member = |name: &str| detail.get(name).and_then(Value::as_str).map(ToOwned::to_owned);
            // The text of a detail stands in `reasoning` as well.
            push(member("signature"), |seal| {
                Event::Thought(Thought::Text { text: String::new(), signature: Some(seal) })
            });
            push(member("data"), |data| Event::Thought(Thought::Sealed(data)));
        }
        match said.content {
            Some(Content::Text(text)) => push(Some(text), Event::Text),
            Some(Content::Parts(parts)) => {
                for part in parts {
                    let text = |part: &Value| part.get("text").and_then(Value::as_str).map(ToOwned::to_owned);
                    push(text(&part), Event::Text);
                    for thought in part.get("thinking").and_then(Value::as_array).into_iter().flatten() {
                        push(text(thought), think);
                    }
                }
            }
            None => {}
        }
        push(said.refusal, Event::Refusal);
        for (place, call) in said.tool_calls.into_iter().flatten().enumerate().take(TOOL_CALLS_MAX) {
            let (name, arguments) = call.function.map_or((None, None), |call| (call.name, call.arguments));
            let index = call.index.unwrap_or(if call.id.is_some() { self.calls } else { place });
            self.calls = self.calls.max(index.saturating_add(1));
            let signature = call.extra_content.pointer("/google/thought_signature").and_then(Value::as_str);
            events.push(Event::ToolCall(ToolDelta {
                index,
                id: call.id,
                name,
                arguments: arguments.unwrap_or_default(),
                signature: signature.map(Into::into),
            }));
        }
    }
}

fn finish(reason: &str) -> Result<Finish, WireError> {
    match reason {
        "length" | "max_tokens" | "model_length" => Ok(Finish::Length),
        "tool_calls" | "function_call" => Ok(Finish::ToolCalls),
        "content_filter" => Ok(Finish::ContentFilter),
        "error" => Err(WireError::Failed(Failure::new(FailureKind::Server, "the provider ended with an error"))),
        // Servers have more names than the reference for an end that is none of the others.
        _ => Ok(Finish::Stop),
    }
}

fn decode_usage(raw: Value) -> Usage {
    let count = |path: &str| raw.pointer(path).and_then(Value::as_u64).unwrap_or(0);
    let (prompt, completion) = (count("/prompt_tokens"), count("/completion_tokens"));
    let cache_read = count("/prompt_tokens_details/cached_tokens").max(count("/prompt_cache_hit_tokens"));
    let cache_write = count("/prompt_tokens_details/cache_write_tokens");
    let reasoning = count("/completion_tokens_details/reasoning_tokens");
    // xAI counts reasoning beside the completion, all others within it; the total tells which.
    let is_apart =
        reasoning > 0 && count("/total_tokens") >= prompt.saturating_add(completion).saturating_add(reasoning);
    let tokens = Tokens {
        input: prompt.saturating_sub(cache_read).saturating_sub(cache_write),
        cache_read,
        cache_write,
        output: if is_apart { completion } else { completion.saturating_sub(reasoning) },
        reasoning,
    };
    Usage { tokens, source: Source::Upstream, raw }
}

pub(super) fn failure(status: Option<u16>, body: &Value) -> Failure {
    let error = body.get("error").unwrap_or(body);
    let text = |name: &str| error.get(name).and_then(Value::as_str);
    let message = text("message").or_else(|| error.as_str()).or_else(|| body.get("detail")?.as_str());
    let code = text("code").unwrap_or_default();
    // OpenRouter puts the provider's status into the code.
    let status = status.or_else(|| error.get("code")?.as_u64()?.try_into().ok());
    let kind = match (code, text("type").unwrap_or_default()) {
        ("context_length_exceeded", _) | (_, "exceed_context_size_error") => FailureKind::ContextLength,
        ("content_policy_violation" | "content_filter" | "moderation_blocked", _) => FailureKind::ContentFilter,
        ("insufficient_quota" | "billing_hard_limit_reached", _) | (_, "insufficient_quota") => {
            FailureKind::QuotaExhausted
        }
        ("model_not_found", _) => FailureKind::ModelNotFound,
        ("invalid_api_key", _) => FailureKind::Authentication,
        _ if status.is_none_or(|status| status == 400) && message.is_some_and(is_about_length) => {
            FailureKind::ContextLength
        }
        ("rate_limit_exceeded", _) => FailureKind::RateLimited,
        _ => status.map_or(FailureKind::Server, kind_of_status),
    };
    failure_of(status, kind, message)
}
