//! Chat completions, of OpenAI and of those who speak alike.

use llm::{
    Dialect, Event, FailureKind, Finish, Source, Thinking, Thought, ToolDelta,
    providers::{Flow, WireError},
};
use serde_json::{Value, json};

use crate::wire::{encode, failure, model, parse, stream, streamed, tokens, whole};

const TEXT: &str = r#"data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1764000000,"model":"gpt-4o-mini-2024-07-18","service_tier":"default","system_fingerprint":"fp_1","choices":[{"index":0,"delta":{"role":"assistant","content":"","refusal":null},"logprobs":null,"finish_reason":null}],"usage":null,"obfuscation":"q1"}

data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1764000000,"model":"gpt-4o-mini-2024-07-18","choices":[{"index":0,"delta":{"content":"BTC is"},"logprobs":null,"finish_reason":null}],"usage":null}

: keep-alive

data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1764000000,"model":"gpt-4o-mini-2024-07-18","choices":[{"index":0,"delta":{"content":" up."},"logprobs":null,"finish_reason":null}],"usage":null}

data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1764000000,"model":"gpt-4o-mini-2024-07-18","choices":[{"index":0,"delta":{},"logprobs":null,"finish_reason":"stop"}],"usage":null}

data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1764000000,"model":"gpt-4o-mini-2024-07-18","choices":[],"usage":{"prompt_tokens":1117,"completion_tokens":46,"total_tokens":1163,"prompt_tokens_details":{"cached_tokens":1024,"audio_tokens":0},"completion_tokens_details":{"reasoning_tokens":40,"audio_tokens":0,"accepted_prediction_tokens":0,"rejected_prediction_tokens":0}}}

data: [DONE]

"#;

#[test]
fn a_stream_gives_its_text_its_end_and_disjoint_usage() {
    let (events, flow) = stream(Dialect::Openai, TEXT).unwrap();
    assert_eq!(flow, Flow::Done);
    let visible: Vec<_> = events.iter().filter(|event| event.is_visible()).cloned().collect();
    let text = |text: &str| Event::Text(text.into());
    assert_eq!(visible, [text("BTC is"), text(" up."), Event::Finish(Finish::Stop)]);
    let answer = streamed(Dialect::Openai, TEXT);
    let usage = answer.usage.unwrap();
    assert_eq!((usage.tokens, usage.source), (tokens(93, 1024, 0, 6, 40), Source::Upstream));
    assert_eq!(usage.raw["prompt_tokens"], json!(1117));
    assert_eq!((answer.id.as_deref(), answer.model.as_deref()), (Some("chatcmpl-1"), Some("gpt-4o-mini-2024-07-18")));
}

#[test]
fn a_stream_without_done_or_with_a_broken_chunk_keeps_what_it_has() {
    let without = TEXT.replace("data: [DONE]\n\n", "");
    assert_eq!(stream(Dialect::Openai, &without).unwrap().1, Flow::More);
    assert_eq!(streamed(Dialect::Openai, &without).finish, Some(Finish::Stop));
    let broken = stream(Dialect::Openai, "data: {\"choices\": [{\"delta\": {\"content\":\n\n");
    assert!(matches!(broken, Err(WireError::Malformed(_))), "{broken:?}");
}

#[test]
fn calls_of_tools_come_in_pieces_and_together() {
    let chunk = |calls: Value| {
        let chunk = json!({"id": "c", "model": "m", "choices": [{"index": 0, "delta": {"tool_calls": calls}, "finish_reason": null}]});
        format!("data: {chunk}\n\n")
    };
    let text = [
        chunk(
            json!([{"index": 0, "id": "call_a", "type": "function", "function": {"name": "candles", "arguments": ""}}]),
        ),
        chunk(json!([{"index": 0, "function": {"arguments": "{\"symbol\":"}}])),
        chunk(json!([{"index": 0, "function": {"arguments": "\"ETH\"}"}}])),
        chunk(
            json!([{"index": 1, "id": "call_b", "type": "function", "function": {"name": "news", "arguments": "{}"}}]),
        ),
        "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"tool_calls\"}]}\n\ndata: [DONE]\n\n".into(),
    ]
    .concat();
    let body = json!({
        "id": "c", "object": "chat.completion", "created": 1, "model": "m",
        "choices": [{"index": 0, "logprobs": null, "finish_reason": "tool_calls", "message": {
            "role": "assistant", "content": null, "refusal": null, "tool_calls": [
                {"id": "call_a", "type": "function", "function": {"name": "candles", "arguments": "{\"symbol\":\"ETH\"}"}},
                {"id": "call_b", "type": "function", "function": {"name": "news", "arguments": "{}"}},
            ],
        }}],
    });
    let (streamed, whole) = (streamed(Dialect::Openai, &text), whole(Dialect::Openai, &body));
    assert_eq!(streamed, whole);
    assert_eq!(whole.finish, Some(Finish::ToolCalls));
    assert_eq!(whole.text, None);
    assert_eq!(whole.tool_calls[0].arguments, "{\"symbol\":\"ETH\"}");
}

#[test]
fn a_call_without_an_index_is_the_next_one() {
    let body =
        json!({"choices": [{"delta": {"tool_calls": [{"id": "a", "function": {"name": "x", "arguments": "{}"}}]}}]});
    let text = format!("data: {body}\n\ndata: {}\n\n", body.to_string().replace("\"a\"", "\"b\""));
    let ids: Vec<_> = streamed(Dialect::OpenaiCompatible, &text).tool_calls.into_iter().map(|call| call.id).collect();
    assert_eq!(ids, ["a", "b"]);
}

#[test]
fn reasoning_is_read_wherever_a_server_puts_it() {
    let answer = |delta: Value| {
        let chunk = json!({"choices": [{"delta": delta, "finish_reason": "stop"}]});
        let answer = streamed(Dialect::OpenaiCompatible, &format!("data: {chunk}\n\n"));
        (answer.reasoning(), answer.text, answer.thoughts)
    };
    let thought =
        |text: &str, signature: Option<&str>| Thought::Text { text: text.into(), signature: signature.map(Into::into) };
    let want = (Some("hm".to_owned()), Some("yes".to_owned()), vec![thought("hm", None)]);
    assert_eq!(answer(json!({"reasoning_content": "hm", "content": "yes"})), want, "DeepSeek, llama.cpp");
    assert_eq!(answer(json!({"reasoning": "hm", "content": "yes"})), want, "vLLM, the seeds");
    assert_eq!(
        answer(json!({"reasoning": "hm", "reasoning_content": "hm", "content": "yes"})),
        want,
        "both, told once"
    );
    let parts =
        json!([{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}, {"type": "text", "text": "yes"}]);
    assert_eq!(answer(json!({"content": parts})), want, "Mistral");
    let details = json!([
        {"type": "reasoning.text", "text": "hm", "signature": "seal", "index": 0},
        {"type": "reasoning.encrypted", "data": "AAAA", "index": 1},
    ]);
    let (_, _, thoughts) = answer(json!({"reasoning": "hm", "reasoning_details": details, "content": "yes"}));
    assert_eq!(thoughts, [thought("hm", Some("seal")), Thought::Sealed("AAAA".into())], "OpenRouter");
}

#[test]
fn usage_is_disjoint_in_every_way_of_counting() {
    let usage =
        |usage: Value| whole(Dialect::OpenaiCompatible, &json!({"choices": [], "usage": usage})).usage.unwrap().tokens;
    let deepseek = json!({
        "prompt_tokens": 100, "completion_tokens": 30, "total_tokens": 130, "prompt_cache_hit_tokens": 64,
        "prompt_cache_miss_tokens": 36, "completion_tokens_details": {"reasoning_tokens": 20},
    });
    assert_eq!(usage(deepseek), tokens(36, 64, 0, 10, 20));
    let xai = json!({
        "prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 130,
        "completion_tokens_details": {"reasoning_tokens": 20},
    });
    assert_eq!(usage(xai), tokens(100, 0, 0, 10, 20));
    let writes = json!({
        "prompt_tokens": 100, "completion_tokens": 1, "total_tokens": 101,
        "prompt_tokens_details": {"cached_tokens": 30, "cache_write_tokens": 50},
    });
    assert_eq!(usage(writes), tokens(20, 30, 50, 1, 0));
    let absurd = json!({"prompt_tokens": 1, "completion_tokens": 1, "prompt_tokens_details": {"cached_tokens": 9}});
    assert_eq!(usage(absurd), tokens(0, 9, 0, 1, 0));
}

#[test]
fn log_probabilities_and_refusals_are_kept() {
    let token = json!({"token": "Yes", "logprob": -0.1, "bytes": [89], "top_logprobs": []});
    let logprobs = json!({"content": [token], "refusal": null});
    let body = json!({"choices": [{"message": {"role": "assistant", "content": null, "refusal": "No."}, "logprobs": logprobs, "finish_reason": "stop"}]});
    let answer = whole(Dialect::Openai, &body);
    assert_eq!((answer.refusal.as_deref(), answer.logprobs), (Some("No."), Some(logprobs)));
}

#[test]
fn an_error_within_a_stream_is_a_failure_by_its_code() {
    let fails = |error: Value| match stream(Dialect::Openrouter, &format!("data: {}\n\n", json!({"error": error}))) {
        Err(WireError::Failed(failure)) => failure.kind,
        other => panic!("{other:?}"),
    };
    assert_eq!(
        fails(json!({"message": "down", "type": "server_error", "param": null, "code": null})),
        FailureKind::Server
    );
    assert_eq!(fails(json!({"message": "limit", "code": 429, "metadata": {}})), FailureKind::RateLimited);
    assert_eq!(fails(json!({"message": "busy", "code": 503})), FailureKind::Overloaded);
}

#[test]
fn a_status_and_a_code_say_what_may_be_done() {
    let check = |status, error: Value, want| {
        let failure = failure(Dialect::Openai, status, &json!({"error": error}));
        assert_eq!((failure.kind, failure.status), (want, Some(status)), "{error}");
    };
    let error = |code: &str| json!({"message": "m", "type": "t", "param": null, "code": code});
    check(400, error("context_length_exceeded"), FailureKind::ContextLength);
    check(400, json!({"message": "This model's maximum context length is 8192 tokens."}), FailureKind::ContextLength);
    check(400, json!({"type": "exceed_context_size_error", "message": "m"}), FailureKind::ContextLength);
    check(400, error("content_policy_violation"), FailureKind::ContentFilter);
    check(400, error("unknown_parameter"), FailureKind::InvalidRequest);
    check(401, error("invalid_api_key"), FailureKind::Authentication);
    check(404, error("model_not_found"), FailureKind::ModelNotFound);
    check(429, error("insufficient_quota"), FailureKind::QuotaExhausted);
    check(429, error("rate_limit_exceeded"), FailureKind::RateLimited);
    check(500, json!({"message": "The server had an error"}), FailureKind::Server);
    check(503, json!(null), FailureKind::Overloaded);
    let page = Dialect::Openai.failure(502, b"<html>Bad gateway</html>");
    assert_eq!(page.kind, FailureKind::Server);
}

#[test]
fn a_whole_request_is_sent_as_it_was_meant() {
    let schema = json!({"type": "object", "properties": {"side": {"type": "string"}}, "required": ["side"], "additionalProperties": false});
    let tool = json!({"type": "function", "function": {"name": "candles", "description": "d", "parameters": {"type": "object"}, "strict": true}});
    let format = json!({"type": "json_schema", "json_schema": {"name": "order", "schema": schema, "strict": true}});
    let call = json!({"id": "call_a", "type": "function", "function": {"name": "candles", "arguments": "{}"}});
    let request = json!({
        "model": "kai-fast",
        "messages": [
            {"role": "developer", "content": "Be brief."},
            {"role": "user", "name": "ann", "content": [
                {"type": "text", "text": "What is this?"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw==", "detail": "low"}},
            ]},
            {"role": "assistant", "content": null, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "call_a", "content": "[1,2]"},
        ],
        "tools": [tool], "tool_choice": {"type": "function", "function": {"name": "candles"}}, "parallel_tool_calls": false,
        "response_format": format, "max_tokens": 20, "temperature": 0.5, "top_p": 1, "stop": "END", "seed": 7,
        "logprobs": true, "top_logprobs": 2, "logit_bias": {"50256": -100}, "verbosity": "low", "prompt_cache_key": "k",
        "stream": true, "user": "u", "metadata": {"strategy": "x"},
    });
    let (path, body) = encode(Dialect::Openai, Thinking::None, &request);
    let want = json!({
        "model": "m-upstream",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "name": "ann", "content": request["messages"][1]["content"]},
            {"role": "assistant", "content": null, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "call_a", "content": "[1,2]"},
        ],
        "tools": [tool], "tool_choice": request["tool_choice"], "parallel_tool_calls": false,
        "response_format": format, "max_completion_tokens": 20, "temperature": 0.5, "top_p": 1.0, "stop": ["END"], "seed": 7,
        "logprobs": true, "top_logprobs": 2, "logit_bias": {"50256": -100}, "verbosity": "low", "prompt_cache_key": "k",
        "stream": true, "stream_options": {"include_usage": true},
    });
    assert_eq!((path.as_str(), body), ("/chat/completions", want));
}

#[test]
fn reasoning_is_asked_for_in_the_words_of_each_server() {
    let check = |dialect, thinking, wish: Value, want: Value| {
        let mut request = json!({"model": "m", "messages": [{"role": "user", "content": "hi"}]});
        request.as_object_mut().unwrap().extend(wish.as_object().unwrap().clone());
        let (_, mut body) = encode(dialect, thinking, &request);
        for name in ["model", "messages"] {
            body.as_object_mut().unwrap().remove(name);
        }
        assert_eq!(body, want, "{dialect:?} {thinking:?} {wish}");
    };
    let (off, on, high) =
        (json!({"reasoning": false}), json!({"reasoning": true}), json!({"reasoning_effort": "high"}));
    check(Dialect::Openai, Thinking::Toggle, off.clone(), json!({"reasoning_effort": "none"}));
    check(Dialect::Openai, Thinking::Always, off.clone(), json!({"reasoning_effort": "minimal"}));
    check(Dialect::Openai, Thinking::Toggle, high.clone(), json!({"reasoning_effort": "high"}));
    check(Dialect::Openai, Thinking::Toggle, on.clone(), json!({}));
    check(Dialect::Openai, Thinking::None, high.clone(), json!({}));
    check(Dialect::Openrouter, Thinking::Toggle, off.clone(), json!({"reasoning": {"enabled": false}}));
    check(Dialect::Openrouter, Thinking::Toggle, on.clone(), json!({"reasoning": {"enabled": true}}));
    check(Dialect::Openrouter, Thinking::Toggle, high.clone(), json!({"reasoning": {"effort": "high"}}));
    check(
        Dialect::Openrouter,
        Thinking::Toggle,
        json!({"reasoning": {"max_tokens": 9}}),
        json!({"reasoning": {"max_tokens": 9}}),
    );
    check(Dialect::Deepseek, Thinking::Toggle, off.clone(), json!({"thinking": {"type": "disabled"}}));
    check(
        Dialect::Deepseek,
        Thinking::Toggle,
        high,
        json!({"thinking": {"type": "enabled"}, "reasoning_effort": "high"}),
    );
    let template = |on: bool| json!({"chat_template_kwargs": {"enable_thinking": on, "thinking": on}});
    check(Dialect::Vllm, Thinking::Toggle, off, template(false));
    check(Dialect::Vllm, Thinking::Toggle, on, template(true));
}

#[test]
fn reasoning_goes_back_to_those_who_want_it() {
    let call = json!({"id": "a", "type": "function", "function": {"name": "x", "arguments": "{}"}});
    let details = json!([{"type": "reasoning.text", "text": "hm", "signature": "seal"}, {"type": "reasoning.encrypted", "data": "AAAA"}]);
    let said = json!({"role": "assistant", "content": null, "tool_calls": [call], "reasoning_details": details});
    let request = json!({"model": "m", "messages": [said, {"role": "tool", "tool_call_id": "a", "content": "1"}]});
    let sent = |dialect| encode(dialect, Thinking::Toggle, &request).1["messages"][0].clone();
    assert_eq!(sent(Dialect::Openrouter)["reasoning_details"], details);
    assert_eq!(sent(Dialect::Deepseek)["reasoning_content"], json!("hm"));
    assert_eq!(sent(Dialect::Openai).get("reasoning_details"), None);
}

#[test]
fn a_limit_has_the_name_that_the_server_knows() {
    let request = json!({"model": "m", "max_completion_tokens": 5, "messages": [{"role": "user", "content": "hi"}]});
    assert_eq!(encode(Dialect::OpenaiCompatible, Thinking::None, &request).1["max_tokens"], json!(5));
    let wire = Dialect::Openai.encode(&parse(&request), &model("m", "p", Thinking::None)).unwrap();
    assert!(String::from_utf8(wire.body).unwrap().contains("\"max_completion_tokens\":5"));
}

#[test]
fn a_delta_of_googles_compatible_endpoint_keeps_its_seal() {
    let call = json!({"id": "a", "function": {"name": "x", "arguments": "{}"}, "extra_content": {"google": {"thought_signature": "seal"}}});
    let chunk = json!({"choices": [{"delta": {"tool_calls": [call]}}]});
    let (events, _) = stream(Dialect::OpenaiCompatible, &format!("data: {chunk}\n\n")).unwrap();
    let want = ToolDelta {
        index: 0,
        id: Some("a".into()),
        name: Some("x".into()),
        arguments: "{}".into(),
        signature: Some("seal".into()),
    };
    assert_eq!(events.last(), Some(&Event::ToolCall(want)));
}
