//! Google's `generateContent` of the Gemini API.
//!
//! [The reference](https://ai.google.dev/api/generate-content). Each message of its stream is a whole response with what is
//! new; there is no last message, the stream just ends. Its count of output excludes thoughts, its input includes the cache.

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

/// The least budget of models that always think.
const THINKING_TOKENS_MIN: u32 = 128;

pub(super) fn encode(request: &ChatRequest, model: &ModelConfig) -> Result<Wire, RequestError> {
    if request.logprobs.is_some() || !request.sampling.logit_bias.is_empty() {
        return Err(not_offered("logprobs", "Gemini"));
    }
    let mut body = Map::new();
    let mut set = |name: &str, value: Value| drop(body.insert(name.to_owned(), value));
    set("contents", encode_contents(&request.messages)?);
    let system: Vec<_> = request
        .messages
        .iter()
        .filter_map(|message| match message {
            Message::System { text, .. } => Some(json!({"text": text})),
            _ => None,
        })
        .collect();
    if !system.is_empty() {
        set("systemInstruction", json!({"parts": system}));
    }
    if !request.tools.is_empty() {
        set("tools", json!([{"functionDeclarations": encode_tools(request)}]));
        set("toolConfig", json!({"functionCallingConfig": encode_tool_choice(&request.tool_choice)}));
    }
    set("generationConfig", encode_config(request, model));
    let method = if request.stream { "streamGenerateContent?alt=sse" } else { "generateContent" };
    let path = format!("/models/{}:{method}", model.upstream);
    Ok(Wire { path, body: Value::Object(body).to_string().into_bytes() })
}

fn encode_config(request: &ChatRequest, model: &ModelConfig) -> Value {
    let sampling = &request.sampling;
    let json_type = || json!("application/json");
    let (media_type, schema) = match &request.format {
        Format::Text => (None, None),
        Format::JsonObject => (Some(json_type()), None),
        Format::JsonSchema { schema, .. } => (Some(json_type()), Some(schema.clone())),
    };
    let members = [
        ("temperature", sampling.temperature.map(|value| json!(value))),
        ("topP", sampling.top_p.map(|value| json!(value))),
        ("frequencyPenalty", sampling.frequency_penalty.map(|value| json!(value))),
        ("presencePenalty", sampling.presence_penalty.map(|value| json!(value))),
        // Theirs is of 32 bits.
        ("seed", sampling.seed.map(|seed| json!(seed & 0x7fff_ffff))),
        ("maxOutputTokens", request.output_tokens_max.map(|tokens| json!(tokens.min(model.output_tokens_max)))),
        ("stopSequences", (!request.stop.is_empty()).then(|| json!(request.stop))),
        ("responseMimeType", media_type),
        ("responseJsonSchema", schema),
        ("thinkingConfig", encode_thinking(request.reasoning, model.thinking)),
    ];
    Value::Object(members.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect())
}

fn encode_thinking(wish: Reasoning, thinking: Thinking) -> Option<Value> {
    match (wish, thinking) {
        (_, Thinking::None) | (Reasoning::Default, _) => None,
        (Reasoning::Off, Thinking::Always) => Some(json!({"thinkingBudget": THINKING_TOKENS_MIN})),
        (Reasoning::Off, Thinking::Adaptive) => Some(json!({"thinkingLevel": "minimal"})),
        (Reasoning::Off, Thinking::Toggle) => Some(json!({"thinkingBudget": 0})),
        (Reasoning::On { effort, .. }, Thinking::Adaptive) => {
            let level = effort.map(|effort| effort.min(Effort::High).as_str());
            let mut config = Map::from_iter([("includeThoughts".to_owned(), json!(true))]);
            config.extend(level.map(|level| ("thinkingLevel".to_owned(), json!(level))));
            Some(Value::Object(config))
        }
        (Reasoning::On { effort, tokens_max }, _) => {
            // Minus one leaves it to the model.
            let budget = tokens_max.map(i64::from).unwrap_or(match effort {
                None => -1,
                Some(Effort::Minimal) => 512,
                Some(Effort::Low) => 1024,
                Some(Effort::Medium) => 8192,
                Some(Effort::High | Effort::Xhigh | Effort::Max) => 24_576,
            });
            Some(json!({"includeThoughts": true, "thinkingBudget": budget}))
        }
    }
}

/// Turns of one role become one, as with results of calls that were made at once.
fn encode_contents(messages: &[Message]) -> Result<Value, RequestError> {
    let mut turns: Vec<(&'static str, Vec<Value>)> = Vec::new();
    for message in messages {
        let (role, parts) = match message {
            Message::System { .. } => continue,
            Message::User { parts, .. } => ("user", parts.iter().map(encode_part).collect()),
            Message::Assistant(said) => ("model", encode_assistant(said)?),
            Message::Tool { call_id, text } => ("user", vec![encode_result(messages, call_id, text)]),
        };
        match turns.last_mut() {
            Some((last, turn)) if *last == role => turn.extend(parts),
            _ => turns.push((role, parts)),
        }
    }
    turns.retain(|(_, parts)| !parts.is_empty());
    Ok(turns.into_iter().map(|(role, parts)| json!({"role": role, "parts": parts})).collect())
}

fn encode_part(part: &Part) -> Value {
    match part {
        Part::Text(text) => json!({"text": text}),
        Part::Image { image: Image::Url(url), .. } => json!({"fileData": {"fileUri": url}}),
        Part::Image { image: Image::Data { media_type, base64 }, .. } => {
            json!({"inlineData": {"mimeType": media_type, "data": base64}})
        }
    }
}

fn encode_assistant(said: &Assistant) -> Result<Vec<Value>, RequestError> {
    let text = said.text.as_ref().or(said.refusal.as_ref()).filter(|text| !text.is_empty());
    let mut parts: Vec<_> = text.map(|text| json!({"text": text})).into_iter().collect();
    for call in &said.tool_calls {
        let mut part = json!({"functionCall": {"name": call.name, "args": parse_arguments(&call.arguments)?}});
        if let (Some(signature), Value::Object(part)) = (&call.signature, &mut part) {
            part.insert("thoughtSignature".to_owned(), json!(signature));
        }
        parts.push(part);
    }
    Ok(parts)
}

/// Results go by the name of the tool here, which only the call knows.
fn encode_result(messages: &[Message], call_id: &str, text: &str) -> Value {
    let calls = messages.iter().filter_map(|message| match message {
        Message::Assistant(said) => Some(&said.tool_calls),
        _ => None,
    });
    let name = calls.flatten().find(|call| call.id == call_id).map_or(call_id, |call| &call.name);
    let parsed = serde_json::from_str::<Value>(text).ok().filter(Value::is_object);
    json!({"functionResponse": {"name": name, "response": parsed.unwrap_or_else(|| json!({"result": text}))}})
}

fn encode_tools(request: &ChatRequest) -> Value {
    let encode = |tool: &crate::request::Tool| {
        let mut declaration = Map::from_iter([("name".to_owned(), json!(tool.name))]);
        declaration.extend(tool.description.as_ref().map(|text| ("description".to_owned(), json!(text))));
        declaration.extend(tool.parameters.clone().map(|schema| ("parametersJsonSchema".to_owned(), schema)));
        Value::Object(declaration)
    };
    request.tools.iter().map(encode).collect()
}

fn encode_tool_choice(choice: &ToolChoice) -> Value {
    match choice {
        ToolChoice::Auto => json!({"mode": "AUTO"}),
        ToolChoice::None => json!({"mode": "NONE"}),
        ToolChoice::Required => json!({"mode": "ANY"}),
        ToolChoice::Function(name) => json!({"mode": "ANY", "allowedFunctionNames": [name]}),
    }
}

/// An answer, response by response or whole.
#[derive(Default)]
pub(super) struct Answer {
    id: Option<String>,
    has_started: bool,
    calls: usize,
}

impl Decoder for Answer {
    fn decode(&mut self, data: &str, events: &mut Vec<Event>) -> Result<Flow, WireError> {
        let response: Value = serde_json::from_str(data).map_err(malformed)?;
        if response.get("error").is_some() {
            return Err(WireError::Failed(failure(None, &response)));
        }
        let text = |name: &str| response.get(name).and_then(Value::as_str).map(ToOwned::to_owned);
        if !std::mem::replace(&mut self.has_started, true) {
            self.id = text("responseId");
            events.push(Event::Started { id: self.id.clone(), model: text("modelVersion") });
        }
        if let Some(reason) = response.pointer("/promptFeedback/blockReason").and_then(Value::as_str) {
            let message = format!("the prompt was blocked: {reason:.40}");
            return Err(WireError::Failed(Failure::new(FailureKind::ContentFilter, message)));
        }
        for part in response.pointer("/candidates/0/content/parts").and_then(Value::as_array).into_iter().flatten() {
            self.on_part(part, events);
        }
        if let Some(raw) = response.get("usageMetadata").filter(|usage| usage.is_object()) {
            events.push(Event::Usage(decode_usage(raw.clone())));
        }
        if let Some(reason) = response.pointer("/candidates/0/finishReason").and_then(Value::as_str) {
            events.push(Event::Finish(self.finish(reason)?));
        }
        Ok(Flow::More)
    }
}

impl Answer {
    fn on_part(&mut self, part: &Value, events: &mut Vec<Event>) {
        let signature = part.get("thoughtSignature").and_then(Value::as_str).map(ToOwned::to_owned);
        if let Some(call) = part.get("functionCall") {
            let text = |name: &str| call.get(name).and_then(Value::as_str).map(ToOwned::to_owned);
            let index = self.calls;
            self.calls += 1;
            // Most of their calls have no id, and a result is told apart by one.
            let id = text("id").unwrap_or_else(|| format!("call_{}_{index}", self.id.as_deref().unwrap_or("0")));
            let arguments = call.get("args").map_or_else(|| "{}".to_owned(), Value::to_string);
            events.push(Event::ToolCall(ToolDelta { index, id: Some(id), name: text("name"), arguments, signature }));
            return;
        }
        let text = part.get("text").and_then(Value::as_str).unwrap_or_default().to_owned();
        let is_thought = part.get("thought").and_then(Value::as_bool).unwrap_or(false);
        if is_thought && (!text.is_empty() || signature.is_some()) {
            events.push(Event::Thought(Thought::Text { text, signature }));
        } else if !text.is_empty() {
            events.push(Event::Text(text));
        }
    }

    fn finish(&self, reason: &str) -> Result<Finish, WireError> {
        match reason {
            // Calls of tools end as all else does.
            "STOP" if self.calls > 0 => Ok(Finish::ToolCalls),
            "MAX_TOKENS" => Ok(Finish::Length),
            "SAFETY" | "RECITATION" | "BLOCKLIST" | "PROHIBITED_CONTENT" | "SPII" | "IMAGE_SAFETY" | "LANGUAGE" => {
                Ok(Finish::ContentFilter)
            }
            "MALFORMED_FUNCTION_CALL" | "UNEXPECTED_TOOL_CALL" | "TOO_MANY_TOOL_CALLS" => {
                let message = format!("the model ended with {reason}");
                Err(WireError::Failed(Failure::new(FailureKind::Server, message)))
            }
            _ => Ok(Finish::Stop),
        }
    }
}

fn decode_usage(raw: Value) -> Usage {
    let count = |name: &str| raw.get(name).and_then(Value::as_u64).unwrap_or(0);
    let cache_read = count("cachedContentTokenCount");
    let input = count("promptTokenCount").saturating_sub(cache_read).saturating_add(count("toolUsePromptTokenCount"));
    let (output, reasoning) = (count("candidatesTokenCount"), count("thoughtsTokenCount"));
    Usage { tokens: Tokens { input, cache_read, cache_write: 0, output, reasoning }, source: Source::Upstream, raw }
}

pub(super) fn failure(status: Option<u16>, body: &Value) -> Failure {
    // An error before a stream comes as a list of one.
    let body = body.get(0).unwrap_or(body);
    let error = body.get("error").unwrap_or(body);
    let text = |name: &str| error.get(name).and_then(Value::as_str);
    let message = text("message");
    let status = status.or_else(|| error.get("code")?.as_u64()?.try_into().ok());
    let details = || error.get("details").and_then(Value::as_array).into_iter().flatten();
    let is_key = details().any(|detail| detail.get("reason").and_then(Value::as_str) == Some("API_KEY_INVALID"));
    let kind = match text("status") {
        _ if is_key => FailureKind::Authentication,
        Some("INVALID_ARGUMENT") if message.is_some_and(is_about_length) => FailureKind::ContextLength,
        Some("RESOURCE_EXHAUSTED") => FailureKind::RateLimited,
        Some("UNAVAILABLE") => FailureKind::Overloaded,
        Some("DEADLINE_EXCEEDED" | "INTERNAL" | "ABORTED") => FailureKind::Server,
        Some("UNAUTHENTICATED") => FailureKind::Authentication,
        _ => status.map_or(FailureKind::Server, kind_of_status),
    };
    let delay = details().find_map(|detail| detail.get("retryDelay")?.as_str()?.strip_suffix('s')?.parse().ok());
    let retry_after = delay.and_then(|seconds| std::time::Duration::try_from_secs_f64(seconds).ok());
    Failure { retry_after, ..failure_of(status, kind, message) }
}
