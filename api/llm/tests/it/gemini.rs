//! Google's `generateContent`.

use llm::{
    Dialect, FailureKind, Finish, Thinking, Thought,
    providers::{Flow, WireError},
};
use serde_json::{Value, json};

use crate::wire::{SECOND, encode, failure, stream, streamed, tokens, whole};

const TEXT: &str = r#"data: {"candidates": [{"content": {"parts": [{"text": "**Weighing**","thought": true}],"role": "model"},"index": 0}],"usageMetadata": {"promptTokenCount": 4096,"totalTokenCount": 4196,"cachedContentTokenCount": 4000,"promptTokensDetails": [{"modality": "TEXT","tokenCount": 4096}],"thoughtsTokenCount": 100},"modelVersion": "gemini-2.5-flash","responseId": "r1"}

data: {"candidates": [{"content": {"parts": [{"text": "BTC is"}],"role": "model"},"index": 0}],"usageMetadata": {"promptTokenCount": 4096,"candidatesTokenCount": 3,"totalTokenCount": 4199,"cachedContentTokenCount": 4000,"thoughtsTokenCount": 100},"modelVersion": "gemini-2.5-flash","responseId": "r1"}

data: {"candidates": [{"content": {"parts": [{"text": " up."}],"role": "model"},"finishReason": "STOP","index": 0}],"usageMetadata": {"promptTokenCount": 4096,"candidatesTokenCount": 5,"totalTokenCount": 4201,"cachedContentTokenCount": 4000,"toolUsePromptTokenCount": 0,"thoughtsTokenCount": 100},"modelVersion": "gemini-2.5-flash","responseId": "r1"}

"#;

#[test]
fn a_stream_gives_thoughts_text_and_disjoint_usage() {
    assert_eq!(stream(Dialect::Gemini, TEXT).unwrap().1, Flow::More, "it just ends");
    let answer = streamed(Dialect::Gemini, TEXT);
    assert_eq!(answer.thoughts, [Thought::Text { text: "**Weighing**".into(), signature: None }]);
    assert_eq!((answer.text.as_deref(), answer.finish), (Some("BTC is up."), Some(Finish::Stop)));
    assert_eq!(answer.usage.unwrap().tokens, tokens(96, 4000, 0, 5, 100));
    assert_eq!((answer.id.as_deref(), answer.model.as_deref()), (Some("r1"), Some("gemini-2.5-flash")));
}

#[test]
fn a_call_has_an_id_and_its_seal_and_ends_the_turn() {
    let body = json!({
        "candidates": [{"content": {"role": "model", "parts": [
            {"functionCall": {"name": "candles", "args": {"symbol": "BTC"}}, "thoughtSignature": "seal"},
            {"functionCall": {"name": "now", "id": "given"}},
        ]}, "finishReason": "STOP", "index": 0}],
        "usageMetadata": {"promptTokenCount": 10, "candidatesTokenCount": 7, "toolUsePromptTokenCount": 3, "totalTokenCount": 20},
        "modelVersion": "gemini-2.5-flash", "responseId": "r1",
    });
    let answer = whole(Dialect::Gemini, &body);
    let calls: Vec<_> = answer.tool_calls.iter().map(|call| (&*call.id, &*call.name, &*call.arguments)).collect();
    assert_eq!(calls, [("call_r1_0", "candles", "{\"symbol\":\"BTC\"}"), ("given", "now", "{}")]);
    assert_eq!(answer.tool_calls[0].signature.as_deref(), Some("seal"));
    assert_eq!((answer.finish, answer.usage.unwrap().tokens), (Some(Finish::ToolCalls), tokens(13, 0, 0, 7, 0)));
}

#[test]
fn each_reason_to_stop_has_its_name() {
    let body = |reason: &str| json!({"candidates": [{"content": {"parts": [{"text": "x"}]}, "finishReason": reason}]});
    for (reason, want) in [
        ("STOP", Finish::Stop),
        ("MAX_TOKENS", Finish::Length),
        ("SAFETY", Finish::ContentFilter),
        ("RECITATION", Finish::ContentFilter),
        ("PROHIBITED_CONTENT", Finish::ContentFilter),
        ("OTHER", Finish::Stop),
    ] {
        assert_eq!(whole(Dialect::Gemini, &body(reason)).finish, Some(want), "{reason}");
    }
    let malformed = stream(Dialect::Gemini, &format!("data: {}\n\n", body("MALFORMED_FUNCTION_CALL")));
    assert!(
        matches!(&malformed, Err(WireError::Failed(failure)) if failure.kind == FailureKind::Server),
        "{malformed:?}"
    );
}

#[test]
fn a_blocked_prompt_and_an_error_within_a_stream_are_failures() {
    let fails = |body: Value| match stream(Dialect::Gemini, &format!("data: {body}\n\n")) {
        Err(WireError::Failed(failure)) => failure.kind,
        other => panic!("{other:?}"),
    };
    assert_eq!(fails(json!({"promptFeedback": {"blockReason": "SAFETY"}})), FailureKind::ContentFilter);
    let error = json!({"error": {"code": 503, "message": "The model is overloaded.", "status": "UNAVAILABLE"}});
    assert_eq!(fails(error), FailureKind::Overloaded);
}

#[test]
fn a_status_says_what_may_be_done_and_when() {
    let check = |code: u16, status: &str, message: &str, want| {
        let body = json!({"error": {"code": code, "message": message, "status": status}});
        assert_eq!(failure(Dialect::Gemini, code, &body).kind, want, "{status}");
        assert_eq!(failure(Dialect::Gemini, code, &json!([body])).kind, want, "in a list: {status}");
    };
    check(400, "INVALID_ARGUMENT", "m", FailureKind::InvalidRequest);
    let long = "The input token count (1050000) exceeds the maximum number of tokens allowed (1048576).";
    check(400, "INVALID_ARGUMENT", long, FailureKind::ContextLength);
    check(403, "PERMISSION_DENIED", "m", FailureKind::Permission);
    check(404, "NOT_FOUND", "m", FailureKind::ModelNotFound);
    check(429, "RESOURCE_EXHAUSTED", "m", FailureKind::RateLimited);
    check(500, "INTERNAL", "m", FailureKind::Server);
    check(503, "UNAVAILABLE", "m", FailureKind::Overloaded);
    check(504, "DEADLINE_EXCEEDED", "m", FailureKind::Server);

    let info = json!({"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "17s"});
    let body = json!({"error": {"code": 429, "status": "RESOURCE_EXHAUSTED", "message": "m", "details": [info]}});
    assert_eq!(failure(Dialect::Gemini, 429, &body).retry_after, Some(17 * SECOND));
    let reason = json!({"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"});
    let body = json!({"error": {"code": 400, "status": "INVALID_ARGUMENT", "message": "m", "details": [reason]}});
    assert_eq!(failure(Dialect::Gemini, 400, &body).kind, FailureKind::Authentication);
}

#[test]
fn a_conversation_with_tools_and_a_schema_is_sent_in_its_words() {
    let call = json!({
        "id": "a", "type": "function", "function": {"name": "candles", "arguments": "{\"n\":1}"},
        "extra_content": {"google": {"thought_signature": "seal"}},
    });
    let schema = json!({"type": "object", "additionalProperties": false});
    let request = json!({
        "model": "m",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": [
                {"type": "text", "text": "hi"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw=="}},
                {"type": "image_url", "image_url": {"url": "https://x.test/a.png"}},
            ]},
            {"role": "assistant", "content": null, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "a", "content": "[1]"},
            {"role": "tool", "tool_call_id": "a", "content": "{\"close\":2}"},
        ],
        "tools": [{"type": "function", "function": {"name": "candles", "description": "d", "parameters": schema}}],
        "tool_choice": {"type": "function", "function": {"name": "candles"}},
        "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}},
        "max_tokens": 50, "temperature": 0.5, "top_p": 0.9, "stop": ["END"], "seed": -1, "stream": true,
    });
    let (path, body) = encode(Dialect::Gemini, Thinking::None, &request);
    let want = json!({
        "systemInstruction": {"parts": [{"text": "Be brief."}]},
        "contents": [
            {"role": "user", "parts": [
                {"text": "hi"}, {"inlineData": {"mimeType": "image/png", "data": "iVBORw=="}},
                {"fileData": {"fileUri": "https://x.test/a.png"}},
            ]},
            {"role": "model", "parts": [{"functionCall": {"name": "candles", "args": {"n": 1}}, "thoughtSignature": "seal"}]},
            {"role": "user", "parts": [
                {"functionResponse": {"name": "candles", "response": {"result": "[1]"}}},
                {"functionResponse": {"name": "candles", "response": {"close": 2}}},
            ]},
        ],
        "tools": [{"functionDeclarations": [{"name": "candles", "description": "d", "parametersJsonSchema": schema}]}],
        "toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["candles"]}},
        "generationConfig": {
            "temperature": 0.5, "topP": 0.9, "seed": 0x7fff_ffff, "maxOutputTokens": 50, "stopSequences": ["END"],
            "responseMimeType": "application/json", "responseJsonSchema": schema,
        },
    });
    assert_eq!((path.as_str(), body), ("/models/m-upstream:streamGenerateContent?alt=sse", want));
}

#[test]
fn thinking_is_a_budget_or_a_level() {
    let check = |thinking, members: Value, want: Value| {
        let mut request = json!({"model": "m", "messages": [{"role": "user", "content": "hi"}]});
        request.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
        let (path, body) = encode(Dialect::Gemini, thinking, &request);
        assert_eq!(path, "/models/m-upstream:generateContent");
        assert_eq!(body["generationConfig"]["thinkingConfig"], want, "{thinking:?} {members}");
    };
    check(Thinking::Toggle, json!({}), json!(null));
    check(Thinking::None, json!({"reasoning": true}), json!(null));
    check(Thinking::Toggle, json!({"reasoning": false}), json!({"thinkingBudget": 0}));
    check(Thinking::Always, json!({"reasoning": false}), json!({"thinkingBudget": 128}));
    check(Thinking::Adaptive, json!({"reasoning": false}), json!({"thinkingLevel": "minimal"}));
    check(Thinking::Toggle, json!({"reasoning": true}), json!({"includeThoughts": true, "thinkingBudget": -1}));
    check(
        Thinking::Toggle,
        json!({"reasoning": {"max_tokens": 77}}),
        json!({"includeThoughts": true, "thinkingBudget": 77}),
    );
    check(
        Thinking::Adaptive,
        json!({"reasoning_effort": "max"}),
        json!({"includeThoughts": true, "thinkingLevel": "high"}),
    );
    check(Thinking::Adaptive, json!({"reasoning": true}), json!({"includeThoughts": true}));
}
