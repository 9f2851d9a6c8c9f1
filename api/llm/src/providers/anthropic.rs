//! Anthropic's messages.
//!
//! [The reference](https://platform.claude.com/docs/en/api/messages). Its `input_tokens` exclude the cache, its output
//! includes thinking, and the count of output at the start of a stream is a placeholder.

use serde_json::{Map, Value, json};

use super::{
    Decoder, Flow, RequestError, Wire, WireError, failure_of, is_about_length, malformed, not_offered, parse_arguments,
};
use crate::{
    catalog::{ModelConfig, Thinking},
    event::{Event, Finish, Thought, ToolDelta},
    failure::{Failure, FailureKind, kind_of_status},
    request::{Assistant, ChatRequest, Effort, Format, Image, Message, Part, Reasoning, ToolChoice},
    usage::{Source, Tokens, Usage},
};

pub(super) const VERSION: &str = "2023-06-01";

/// The least budget of thinking that the API takes.
const THINKING_TOKENS_MIN: u32 = 1024;
const THINKING_TOKENS_DEFAULT: u32 = 8192;

pub(super) fn encode(request: &ChatRequest, model: &ModelConfig) -> Result<Wire, RequestError> {
    if request.format == Format::JsonObject {
        return Err(not_offered("response_format", "Anthropic without a schema"));
    }
    if request.logprobs.is_some() || !request.sampling.logit_bias.is_empty() {
        return Err(not_offered("logprobs", "Anthropic"));
    }
    let output_tokens_max = request.output_tokens_max.unwrap_or(model.output_tokens_max).min(model.output_tokens_max);
    let mut body = Map::new();
    let mut set = |name: &str, value: Value| drop(body.insert(name.to_owned(), value));
    set("model", json!(model.upstream));
    set("max_tokens", json!(output_tokens_max));
    set("messages", encode_messages(&request.messages)?);
    let system: Vec<_> = request.messages.iter().filter_map(system_text).collect();
    if !system.is_empty() {
        set("system", json!(system.join("\n\n")));
    }
    if request.stream {
        set("stream", json!(true));
    }
    let stops: Vec<_> = request.stop.iter().filter(|stop| !stop.trim().is_empty()).collect();
    if !stops.is_empty() {
        set("stop_sequences", json!(stops));
    }
    // A forced call leaves no room for thinking: the API refuses the two together.
    let is_forced = matches!(request.tool_choice, ToolChoice::Required | ToolChoice::Function(_));
    let thinking = if is_forced { None } else { encode_thinking(request.reasoning, model.thinking, output_tokens_max) };
    if thinking.is_none() {
        // OpenAI's scale ends at 2, this one at 1. Thinking is only done at its own temperature.
        if let Some(temperature) = request.sampling.temperature {
            set("temperature", json!(temperature.min(1.0)));
        } else if let Some(top_p) = request.sampling.top_p {
            set("top_p", json!(top_p));
        }
    }
    let mut output = Map::new();
    if let Some(effort) = thinking.as_ref().and_then(|thinking| thinking.effort) {
        output.insert("effort".to_owned(), json!(effort));
    }
    if let Format::JsonSchema { schema, .. } = &request.format {
        output.insert("format".to_owned(), json!({"type": "json_schema", "schema": schema}));
    }
    if !output.is_empty() {
        set("output_config", Value::Object(output));
    }
    if let Some(thinking) = thinking {
        set("thinking", thinking.config);
    } else if model.thinking == Thinking::Adaptive && (request.reasoning == Reasoning::Off || is_forced) {
        set("thinking", json!({"type": "disabled"}));
    }
    if !request.tools.is_empty() {
        set("tools", encode_tools(request));
        set("tool_choice", encode_tool_choice(request));
    }
    Ok(Wire { path: "/messages".to_owned(), body: Value::Object(body).to_string().into_bytes() })
}

fn system_text(message: &Message) -> Option<&str> {
    match message {
        Message::System { text, .. } if !text.is_empty() => Some(text),
        _ => None,
    }
}

struct EncodedThinking {
    config: Value,
    effort: Option<&'static str>,
}

fn encode_thinking(wish: Reasoning, thinking: Thinking, output_tokens_max: u32) -> Option<EncodedThinking> {
    let Reasoning::On { effort, tokens_max } = wish else { return None };
    match thinking {
        Thinking::None => None,
        Thinking::Adaptive => {
            let effort = effort.map(|effort| effort.max(Effort::Low).as_str());
            Some(EncodedThinking { config: json!({"type": "adaptive"}), effort })
        }
        Thinking::Toggle | Thinking::Always => {
            let wanted = tokens_max.unwrap_or(match effort {
                Some(Effort::Minimal) => THINKING_TOKENS_MIN,
                Some(Effort::Low) => 2048,
                Some(Effort::Medium) | None => THINKING_TOKENS_DEFAULT,
                Some(Effort::High) => 16_384,
                Some(Effort::Xhigh) => 24_576,
                Some(Effort::Max) => 32_000,
            });
            // The budget is part of the output: a quarter is left for the answer. Too small an output cannot think.
            let budget = wanted.max(THINKING_TOKENS_MIN).min(output_tokens_max - output_tokens_max / 4);
            let config = json!({"type": "enabled", "budget_tokens": budget});
            (budget >= THINKING_TOKENS_MIN).then_some(EncodedThinking { config, effort: None })
        }
    }
}

/// Turns alternate here, so neighbours of one role become one turn.
fn encode_messages(messages: &[Message]) -> Result<Value, RequestError> {
    let mut turns: Vec<(&'static str, Vec<Value>)> = Vec::new();
    for message in messages {
        let (role, blocks) = match message {
            Message::System { .. } => continue,
            Message::User { parts, .. } => ("user", parts.iter().filter_map(encode_part).collect()),
            Message::Assistant(said) => ("assistant", encode_assistant(said)?),
            Message::Tool { call_id, text } => {
                ("user", vec![json!({"type": "tool_result", "tool_use_id": call_id, "content": text})])
            }
        };
        match turns.last_mut() {
            Some((last, turn)) if *last == role => turn.extend(blocks),
            _ => turns.push((role, blocks)),
        }
    }
    turns.retain(|(_, blocks)| !blocks.is_empty());
    if turns.is_empty() {
        return Err(RequestError {
            param: Some("messages".to_owned()),
            code: "invalid_value",
            message: "Invalid 'messages': a message of a user is needed.".to_owned(),
        });
    }
    Ok(turns.into_iter().map(|(role, content)| json!({"role": role, "content": content})).collect())
}

/// Empty texts are refused there and say nothing anyway.
fn encode_part(part: &Part) -> Option<Value> {
    match part {
        Part::Text(text) if text.is_empty() => None,
        Part::Text(text) => Some(json!({"type": "text", "text": text})),
        Part::Image { image: Image::Url(url), .. } => {
            Some(json!({"type": "image", "source": {"type": "url", "url": url}}))
        }
        Part::Image { image: Image::Data { media_type, base64 }, .. } => {
            Some(json!({"type": "image", "source": {"type": "base64", "media_type": media_type, "data": base64}}))
        }
    }
}

fn encode_assistant(said: &Assistant) -> Result<Vec<Value>, RequestError> {
    let mut blocks = Vec::new();
    for thought in &said.thoughts {
        match thought {
            Thought::Text { text, signature: Some(signature) } => {
                blocks.push(json!({"type": "thinking", "thinking": text, "signature": signature}));
            }
            // Thinking without its seal is refused there.
            Thought::Text { signature: None, .. } => {}
            Thought::Sealed(data) => blocks.push(json!({"type": "redacted_thinking", "data": data})),
        }
    }
    if let Some(text) = said.text.as_ref().or(said.refusal.as_ref()).filter(|text| !text.is_empty()) {
        blocks.push(json!({"type": "text", "text": text}));
    }
    for call in &said.tool_calls {
        let input = parse_arguments(&call.arguments)?;
        blocks.push(json!({"type": "tool_use", "id": call.id, "name": call.name, "input": input}));
    }
    Ok(blocks)
}

fn encode_tools(request: &ChatRequest) -> Value {
    let encode = |tool: &crate::request::Tool| {
        let schema = tool.parameters.clone().unwrap_or_else(|| json!({"type": "object", "properties": {}}));
        let mut encoded = json!({"name": tool.name, "input_schema": schema});
        if let Value::Object(encoded) = &mut encoded {
            encoded.extend(tool.description.as_ref().map(|text| ("description".to_owned(), json!(text))));
            encoded.extend(tool.strict.map(|strict| ("strict".to_owned(), json!(strict))));
        }
        encoded
    };
    request.tools.iter().map(encode).collect()
}

fn encode_tool_choice(request: &ChatRequest) -> Value {
    let mut choice = match &request.tool_choice {
        ToolChoice::None => return json!({"type": "none"}),
        ToolChoice::Auto => json!({"type": "auto"}),
        ToolChoice::Required => json!({"type": "any"}),
        ToolChoice::Function(name) => json!({"type": "tool", "name": name}),
    };
    if let (Some(false), Value::Object(choice)) = (request.parallel_tool_calls, &mut choice) {
        choice.insert("disable_parallel_tool_use".to_owned(), json!(true));
    }
    choice
}

/// An answer, event by event or whole.
#[derive(Default)]
pub(super) struct Answer {
    /// The account so far: later events overwrite members of earlier ones.
    usage: Map<String, Value>,
    /// The calls of tools so far.
    calls: usize,
    /// The block that is open is a call without arguments yet, and its arguments at the start.
    open_call: Option<Value>,
}

impl Decoder for Answer {
    fn decode(&mut self, data: &str, events: &mut Vec<Event>) -> Result<Flow, WireError> {
        let message: Value = serde_json::from_str(data).map_err(malformed)?;
        let null = Value::Null;
        let member = |name: &str| message.get(name).unwrap_or(&null);
        match member("type").as_str() {
            Some("message_start") => self.start(member("message"), events),
            Some("message") => {
                self.start(&message, events);
                for block in member("content").as_array().into_iter().flatten() {
                    self.open(block, events);
                    self.close(events);
                }
                self.stop(&message, events);
                return Ok(Flow::Done);
            }
            Some("content_block_start") => self.open(member("content_block"), events),
            Some("content_block_delta") => self.delta(member("delta"), events),
            Some("content_block_stop") => self.close(events),
            Some("message_delta") => {
                self.merge(member("usage"));
                self.stop(member("delta"), events);
            }
            Some("message_stop") => return Ok(Flow::Done),
            Some("error") => return Err(WireError::Failed(failure(None, &message))),
            // `ping`, and events to come: the versioning policy asks to pass over them.
            Some(_) => {}
            None => return Err(malformed("an event without a type")),
        }
        Ok(Flow::More)
    }
}

impl Answer {
    fn start(&mut self, message: &Value, events: &mut Vec<Event>) {
        let text = |name: &str| message.get(name).and_then(Value::as_str).map(ToOwned::to_owned);
        events.push(Event::Started { id: text("id"), model: text("model") });
        self.merge(message.get("usage").unwrap_or(&Value::Null));
        events.push(Event::Usage(self.usage()));
    }

    fn merge(&mut self, usage: &Value) {
        let members = usage.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null());
        self.usage.extend(members.map(|(name, value)| (name.clone(), value.clone())));
    }

    fn open(&mut self, block: &Value, events: &mut Vec<Event>) {
        let text = |name: &str| block.get(name).and_then(Value::as_str).map(ToOwned::to_owned);
        match block.get("type").and_then(Value::as_str) {
            Some("text") => events.extend(text("text").filter(|text| !text.is_empty()).map(Event::Text)),
            Some("thinking") => {
                let (text, signature) = (text("thinking").unwrap_or_default(), text("signature"));
                let signature = signature.filter(|signature| !signature.is_empty());
                if !text.is_empty() || signature.is_some() {
                    events.push(Event::Thought(Thought::Text { text, signature }));
                }
            }
            Some("redacted_thinking") => events.extend(text("data").map(Thought::Sealed).map(Event::Thought)),
            Some("tool_use") => {
                let (index, id, name) = (self.calls, text("id"), text("name"));
                self.calls += 1;
                self.open_call = Some(block.get("input").cloned().unwrap_or_default());
                events.push(Event::ToolCall(ToolDelta { index, id, name, ..ToolDelta::default() }));
            }
            _ => {}
        }
    }

    fn delta(&mut self, delta: &Value, events: &mut Vec<Event>) {
        let text = |name: &str| delta.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        match delta.get("type").and_then(Value::as_str) {
            Some("text_delta") => events.push(Event::Text(text("text"))),
            Some("thinking_delta") => {
                events.push(Event::Thought(Thought::Text { text: text("thinking"), signature: None }))
            }
            Some("signature_delta") => {
                let signature = Some(text("signature"));
                events.push(Event::Thought(Thought::Text { text: String::new(), signature }));
            }
            Some("input_json_delta") => {
                let arguments = text("partial_json");
                if !arguments.is_empty() {
                    self.open_call = None;
                    let index = self.calls.saturating_sub(1);
                    events.push(Event::ToolCall(ToolDelta { index, arguments, ..ToolDelta::default() }));
                }
            }
            _ => {}
        }
    }

    /// A call that got no pieces of arguments has those of its start.
    fn close(&mut self, events: &mut Vec<Event>) {
        if let Some(input) = self.open_call.take() {
            let arguments = if input.is_object() { input.to_string() } else { "{}".to_owned() };
            let index = self.calls.saturating_sub(1);
            events.push(Event::ToolCall(ToolDelta { index, arguments, ..ToolDelta::default() }));
        }
    }

    fn stop(&self, message: &Value, events: &mut Vec<Event>) {
        events.push(Event::Usage(self.usage()));
        let finish = match message.get("stop_reason").and_then(Value::as_str) {
            None => return,
            Some("max_tokens" | "model_context_window_exceeded") => Finish::Length,
            Some("tool_use") => Finish::ToolCalls,
            Some("refusal") => Finish::ContentFilter,
            Some(_) => Finish::Stop,
        };
        events.push(Event::Finish(finish));
    }

    fn usage(&self) -> Usage {
        let count = |name: &str| self.usage.get(name).and_then(Value::as_u64).unwrap_or(0);
        let details = self.usage.get("output_tokens_details").and_then(|details| details.get("thinking_tokens"));
        let output = count("output_tokens");
        let reasoning = details.and_then(Value::as_u64).unwrap_or(0).min(output);
        let tokens = Tokens {
            input: count("input_tokens"),
            cache_read: count("cache_read_input_tokens"),
            cache_write: count("cache_creation_input_tokens"),
            output: output - reasoning,
            reasoning,
        };
        Usage { tokens, source: Source::Upstream, raw: Value::Object(self.usage.clone()) }
    }
}

pub(super) fn failure(status: Option<u16>, body: &Value) -> Failure {
    let error = body.get("error").unwrap_or(body);
    let text = |name: &str| error.get(name).and_then(Value::as_str);
    let kind = match text("type") {
        Some("authentication_error") => FailureKind::Authentication,
        Some("billing_error") => FailureKind::QuotaExhausted,
        Some("permission_error") => FailureKind::Permission,
        Some("not_found_error") => FailureKind::ModelNotFound,
        Some("request_too_large") => FailureKind::ContextLength,
        Some("rate_limit_error") => FailureKind::RateLimited,
        Some("overloaded_error") => FailureKind::Overloaded,
        Some("api_error" | "timeout_error") => FailureKind::Server,
        Some("invalid_request_error") => match text("message") {
            Some(message) if is_about_length(message) => FailureKind::ContextLength,
            Some(message) if message.contains("credit balance is too low") => FailureKind::QuotaExhausted,
            Some(message) if message.contains("content filtering policy") => FailureKind::ContentFilter,
            _ => FailureKind::InvalidRequest,
        },
        _ => status.map_or(FailureKind::Server, kind_of_status),
    };
    failure_of(status, kind, text("message"))
}
