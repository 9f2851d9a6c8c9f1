//! Anthropic's messages.

use llm::{
    Dialect, FailureKind, Finish, Source, Thinking, Thought,
    providers::{Flow, WireError},
};
use serde_json::{Value, json};

use crate::wire::{encode, failure, model, parse, stream, streamed, tokens, whole};

/// Thinking, text and a call, as one turn with thinking and tools streams them.
const TURN: &str = r#"event: message_start
data: {"type":"message_start","message":{"id":"msg_01","type":"message","role":"assistant","model":"claude-sonnet-4-5","content":[],"stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":472,"cache_creation_input_tokens":100,"cache_read_input_tokens":2048,"cache_creation":{"ephemeral_5m_input_tokens":100,"ephemeral_1h_input_tokens":0},"output_tokens":1,"service_tier":"standard"}}}

event: content_block_start
data: {"type":"content_block_start","index":0,"content_block":{"type":"thinking","thinking":"","signature":""}}

event: ping
data: {"type":"ping"}

event: content_block_delta
data: {"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"They want "}}

event: content_block_delta
data: {"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"candles."}}

event: content_block_delta
data: {"type":"content_block_delta","index":0,"delta":{"type":"signature_delta","signature":"EqQBCgIYAg=="}}

event: content_block_stop
data: {"type":"content_block_stop","index":0}

event: content_block_start
data: {"type":"content_block_start","index":1,"content_block":{"type":"redacted_thinking","data":"EmwKAhgB"}}

event: content_block_stop
data: {"type":"content_block_stop","index":1}

event: content_block_start
data: {"type":"content_block_start","index":2,"content_block":{"type":"text","text":""}}

event: content_block_delta
data: {"type":"content_block_delta","index":2,"delta":{"type":"text_delta","text":"Let me look."}}

event: content_block_stop
data: {"type":"content_block_stop","index":2}

event: content_block_start
data: {"type":"content_block_start","index":3,"content_block":{"type":"tool_use","id":"toolu_01","name":"candles","input":{}}}

event: content_block_delta
data: {"type":"content_block_delta","index":3,"delta":{"type":"input_json_delta","partial_json":""}}

event: content_block_delta
data: {"type":"content_block_delta","index":3,"delta":{"type":"input_json_delta","partial_json":"{\"symbol\": \"B"}}

event: content_block_delta
data: {"type":"content_block_delta","index":3,"delta":{"type":"input_json_delta","partial_json":"TC\"}"}}

event: content_block_stop
data: {"type":"content_block_stop","index":3}

event: content_block_start
data: {"type":"content_block_start","index":4,"content_block":{"type":"tool_use","id":"toolu_02","name":"now","input":{}}}

event: content_block_stop
data: {"type":"content_block_stop","index":4}

event: message_delta
data: {"type":"message_delta","delta":{"stop_reason":"tool_use","stop_sequence":null},"usage":{"output_tokens":89,"output_tokens_details":{"thinking_tokens":41}}}

event: message_stop
data: {"type":"message_stop"}

"#;

fn body() -> Value {
    json!({
        "id": "msg_01", "type": "message", "role": "assistant", "model": "claude-sonnet-4-5",
        "content": [
            {"type": "thinking", "thinking": "They want candles.", "signature": "EqQBCgIYAg=="},
            {"type": "redacted_thinking", "data": "EmwKAhgB"},
            {"type": "text", "text": "Let me look."},
            {"type": "tool_use", "id": "toolu_01", "name": "candles", "input": {"symbol": "BTC"}},
            {"type": "tool_use", "id": "toolu_02", "name": "now", "input": {}},
        ],
        "stop_reason": "tool_use", "stop_sequence": null,
        "usage": {
            "input_tokens": 472, "cache_creation_input_tokens": 100, "cache_read_input_tokens": 2048,
            "cache_creation": {"ephemeral_5m_input_tokens": 100, "ephemeral_1h_input_tokens": 0},
            "output_tokens": 89, "output_tokens_details": {"thinking_tokens": 41}, "service_tier": "standard",
        },
    })
}

#[test]
fn a_turn_is_the_same_streamed_and_whole() {
    assert_eq!(stream(Dialect::Anthropic, TURN).unwrap().1, Flow::Done);
    let (mut streamed, whole) = (streamed(Dialect::Anthropic, TURN), whole(Dialect::Anthropic, &body()));
    // White space of arguments is the model's own.
    streamed.tool_calls[0].arguments.retain(|character| character != ' ');
    assert_eq!(streamed, whole);
    let seal = Thought::Text { text: "They want candles.".into(), signature: Some("EqQBCgIYAg==".into()) };
    assert_eq!(whole.thoughts, [seal, Thought::Sealed("EmwKAhgB".into())]);
    assert_eq!((whole.text.as_deref(), whole.finish), (Some("Let me look."), Some(Finish::ToolCalls)));
    let calls: Vec<_> = whole.tool_calls.iter().map(|call| (&*call.id, &*call.name, &*call.arguments)).collect();
    assert_eq!(calls, [("toolu_01", "candles", "{\"symbol\":\"BTC\"}"), ("toolu_02", "now", "{}")]);
    let usage = whole.usage.unwrap();
    assert_eq!((usage.tokens, usage.source), (tokens(472, 2048, 100, 48, 41), Source::Upstream));
}

#[test]
fn the_count_at_the_start_is_overwritten_by_the_one_at_the_end() {
    let cut: String = TURN.split_inclusive("\n\n").take(3).collect();
    assert_eq!(streamed(Dialect::Anthropic, &cut).usage.unwrap().tokens, tokens(472, 2048, 100, 1, 0));
}

#[test]
fn each_reason_to_stop_has_its_name() {
    for (reason, want) in [
        ("end_turn", Finish::Stop),
        ("stop_sequence", Finish::Stop),
        ("pause_turn", Finish::Stop),
        ("max_tokens", Finish::Length),
        ("model_context_window_exceeded", Finish::Length),
        ("refusal", Finish::ContentFilter),
    ] {
        let mut body = body();
        body["stop_reason"] = json!(reason);
        assert_eq!(whole(Dialect::Anthropic, &body).finish, Some(want), "{reason}");
    }
}

#[test]
fn an_error_within_a_stream_is_a_failure_and_an_unknown_event_is_passed_over() {
    let error = "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"Overloaded\"}}\n\n";
    match stream(Dialect::Anthropic, error) {
        Err(WireError::Failed(failure)) => assert_eq!(failure.kind, FailureKind::Overloaded),
        other => panic!("{other:?}"),
    }
    let (events, flow) = stream(Dialect::Anthropic, "event: news\ndata: {\"type\":\"news\"}\n\n").unwrap();
    assert_eq!((events.len(), flow), (0, Flow::More));
}

#[test]
fn a_type_of_error_says_what_may_be_done() {
    let check = |status, kind: &str, message: &str, want| {
        let body = json!({"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_1"});
        assert_eq!(failure(Dialect::Anthropic, status, &body).kind, want, "{kind} {message}");
    };
    check(400, "invalid_request_error", "max_tokens: must be greater", FailureKind::InvalidRequest);
    check(
        400,
        "invalid_request_error",
        "prompt is too long: 210000 tokens > 200000 maximum",
        FailureKind::ContextLength,
    );
    check(400, "invalid_request_error", "Output blocked by content filtering policy", FailureKind::ContentFilter);
    check(
        400,
        "invalid_request_error",
        "Your credit balance is too low to access the API",
        FailureKind::QuotaExhausted,
    );
    check(401, "authentication_error", "invalid x-api-key", FailureKind::Authentication);
    check(403, "permission_error", "m", FailureKind::Permission);
    check(404, "not_found_error", "model: x", FailureKind::ModelNotFound);
    check(413, "request_too_large", "m", FailureKind::ContextLength);
    check(429, "rate_limit_error", "m", FailureKind::RateLimited);
    check(500, "api_error", "m", FailureKind::Server);
    check(504, "timeout_error", "m", FailureKind::Server);
    check(529, "overloaded_error", "m", FailureKind::Overloaded);
    assert_eq!(Dialect::Anthropic.failure(529, b"").kind, FailureKind::Overloaded);
}

#[test]
fn a_conversation_with_tools_alternates_and_carries_its_seals() {
    let details = json!([
        {"type": "reasoning.text", "text": "hm", "signature": "seal"},
        {"type": "reasoning.text", "text": "unsealed"},
        {"type": "reasoning.encrypted", "data": "AAAA"},
    ]);
    let call =
        |id: &str| json!({"id": id, "type": "function", "function": {"name": "candles", "arguments": "{\"n\":1}"}});
    let request = json!({
        "model": "kai-smart",
        "messages": [
            {"role": "system", "content": "One."}, {"role": "user", "content": "a"}, {"role": "user", "content": "b"},
            {"role": "assistant", "content": "", "tool_calls": [call("t1"), call("t2")], "reasoning_details": details},
            {"role": "tool", "tool_call_id": "t1", "content": "1"}, {"role": "tool", "tool_call_id": "t2", "content": "2"},
            {"role": "developer", "content": "Two."},
            {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw=="}}]},
        ],
        "tools": [{"type": "function", "function": {"name": "candles"}}],
        "tool_choice": "auto", "parallel_tool_calls": false, "stop": ["END", " "], "temperature": 1.5, "stream": true,
    });
    let (path, body) = encode(Dialect::Anthropic, Thinking::Toggle, &request);
    let text = |text: &str| json!({"type": "text", "text": text});
    let used = |id: &str| json!({"type": "tool_use", "id": id, "name": "candles", "input": {"n": 1}});
    let result = |id: &str, text: &str| json!({"type": "tool_result", "tool_use_id": id, "content": text});
    let image = json!({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw=="}});
    let want = json!({
        "model": "m-upstream", "max_tokens": 20_000, "system": "One.\n\nTwo.", "stream": true,
        "messages": [
            {"role": "user", "content": [text("a"), text("b")]},
            {"role": "assistant", "content": [
                {"type": "thinking", "thinking": "hm", "signature": "seal"},
                {"type": "redacted_thinking", "data": "AAAA"}, used("t1"), used("t2"),
            ]},
            {"role": "user", "content": [result("t1", "1"), result("t2", "2"), image]},
        ],
        "stop_sequences": ["END"], "temperature": 1.0,
        "tools": [{"name": "candles", "input_schema": {"type": "object", "properties": {}}}],
        "tool_choice": {"type": "auto", "disable_parallel_tool_use": true},
    });
    assert_eq!((path.as_str(), body), ("/messages", want));
}

#[test]
fn thinking_has_a_budget_within_the_limit_and_no_temperature() {
    let check = |thinking, members: Value, want: Value| {
        let mut request = json!({"model": "m", "temperature": 0.2, "messages": [{"role": "user", "content": "hi"}]});
        request.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
        let (_, body) = encode(Dialect::Anthropic, thinking, &request);
        let sent =
            json!({"thinking": body["thinking"], "output": body["output_config"], "temperature": body["temperature"]});
        assert_eq!(sent, want, "{thinking:?} {members}");
    };
    let budget = |tokens: u32| json!({"thinking": {"type": "enabled", "budget_tokens": tokens}, "output": null, "temperature": null});
    let none = json!({"thinking": null, "output": null, "temperature": 0.2});
    check(Thinking::Toggle, json!({}), none.clone());
    check(Thinking::Toggle, json!({"reasoning": false}), none.clone());
    check(Thinking::None, json!({"reasoning": true}), none.clone());
    check(Thinking::Toggle, json!({"reasoning": true}), budget(8192));
    check(Thinking::Toggle, json!({"reasoning_effort": "max"}), budget(15_000));
    check(Thinking::Toggle, json!({"reasoning": {"max_tokens": 5}}), budget(1024));
    check(Thinking::Toggle, json!({"reasoning": true, "max_tokens": 2000}), budget(1500));
    check(Thinking::Toggle, json!({"reasoning": true, "max_tokens": 1000}), none.clone());
    let tools = json!([{"type": "function", "function": {"name": "x"}}]);
    check(Thinking::Toggle, json!({"reasoning": true, "tools": tools, "tool_choice": "required"}), none);
    let adaptive = json!({"thinking": {"type": "adaptive"}, "output": {"effort": "low"}, "temperature": null});
    check(Thinking::Adaptive, json!({"reasoning_effort": "minimal"}), adaptive);
    let off = json!({"thinking": {"type": "disabled"}, "output": null, "temperature": 0.2});
    check(Thinking::Adaptive, json!({"reasoning": false}), off);
}

#[test]
fn a_schema_is_sent_and_what_is_not_offered_is_refused_by_name() {
    let with =
        |name: &str, value: Value| json!({"model": "m", "messages": [{"role": "user", "content": "hi"}], name: value});
    let schema = json!({"type": "object"});
    let format = json!({"type": "json_schema", "json_schema": {"name": "x", "schema": schema}});
    let (_, body) = encode(Dialect::Anthropic, Thinking::None, &with("response_format", format));
    assert_eq!(body["output_config"], json!({"format": {"type": "json_schema", "schema": schema}}));
    let refused =
        |request: &Value| Dialect::Anthropic.encode(&parse(request), &model("m", "p", Thinking::None)).unwrap_err();
    assert_eq!(
        refused(&with("response_format", json!({"type": "json_object"}))).param.as_deref(),
        Some("response_format")
    );
    assert_eq!(refused(&with("logprobs", json!(true))).param.as_deref(), Some("logprobs"));
    let call = json!({"id": "a", "type": "function", "function": {"name": "x", "arguments": "[1"}});
    let broken = json!([{"role": "assistant", "content": "", "tool_calls": [call]}]);
    assert_eq!(refused(&with("messages", broken)).param.as_deref(), Some("messages"));
}
