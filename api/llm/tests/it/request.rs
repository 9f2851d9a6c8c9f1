//! OpenAI's chat request, as clients write it and get it wrong.

use llm::{ChatRequest, Effort, Image, Message, Part, Reasoning, ToolChoice};
use proptest::prelude::*;
use serde_json::{Value, json};

const ON: Reasoning = Reasoning::On { effort: None, tokens_max: None };

fn with(members: &Value) -> Value {
    let mut body = json!({"model": "kai-fast", "messages": [{"role": "user", "content": "hi"}]});
    if let (Value::Object(body), Value::Object(members)) = (&mut body, members) {
        body.extend(members.clone());
    }
    body
}

fn parse(members: &Value) -> ChatRequest {
    ChatRequest::from_value(&with(members)).unwrap()
}

fn refused(members: &Value, param: &str, code: &str) {
    let error = ChatRequest::from_value(&with(members)).unwrap_err();
    assert_eq!((error.param.as_deref(), error.code), (Some(param), code), "{members}: {error}");
    assert!(error.message.contains(param), "{error}");
}

#[test]
fn each_complaint_names_its_parameter() {
    refused(&json!({"messages": null}), "messages", "missing_required_parameter");
    refused(&json!({"messages": []}), "messages", "empty_array");
    refused(&json!({"messages": "hi"}), "messages", "invalid_type");
    refused(&json!({"messages": [{"role": "user", "content": "a"}, 7]}), "messages[1]", "invalid_type");
    refused(&json!({"messages": [{"content": "a"}]}), "messages[0].role", "missing_required_parameter");
    refused(&json!({"messages": [{"role": "robot", "content": "a"}]}), "messages[0].role", "invalid_value");
    refused(&json!({"messages": [{"role": "user"}]}), "messages[0].content", "missing_required_parameter");
    refused(
        &json!({"messages": [{"role": "user", "content": [{"type": "text", "text": 1}]}]}),
        "messages[0].content[0].text",
        "invalid_type",
    );
    refused(
        &json!({"messages": [{"role": "user", "content": [{"type": "input_audio"}]}]}),
        "messages[0].content[0].type",
        "unsupported_parameter",
    );
    refused(&json!({"messages": [{"role": "assistant"}]}), "messages[0].content", "missing_required_parameter");
    refused(
        &json!({"messages": [{"role": "tool", "content": "a"}]}),
        "messages[0].tool_call_id",
        "missing_required_parameter",
    );
    refused(&json!({"model": 3}), "model", "invalid_type");
    refused(&json!({"model": "m".repeat(129)}), "model", "string_above_max_length");
    refused(&json!({"temperature": "hot"}), "temperature", "invalid_type");
    refused(&json!({"temperature": 2.1}), "temperature", "decimal_above_max_value");
    refused(&json!({"max_tokens": 0}), "max_tokens", "integer_below_min_value");
    refused(&json!({"max_completion_tokens": 1.5}), "max_completion_tokens", "invalid_type");
    refused(&json!({"n": 2}), "n", "invalid_value");
    refused(&json!({"stop": ["a", "b", "c", "d", "e"]}), "stop", "array_above_max_length");
    refused(&json!({"stream_options": {"include_usage": true}}), "stream_options", "invalid_value");
    refused(&json!({"top_logprobs": 3}), "top_logprobs", "invalid_value");
    refused(&json!({"tool_choice": "required"}), "tool_choice", "invalid_value");
    refused(&json!({"reasoning": "much"}), "reasoning", "invalid_type");
    refused(&json!({"reasoning_effort": "huge"}), "reasoning_effort", "invalid_value");
    refused(
        &json!({"response_format": {"type": "json_schema"}}),
        "response_format.json_schema",
        "missing_required_parameter",
    );
    refused(&json!({"service_tier": "priority"}), "service_tier", "invalid_value");
    refused(&json!({"modalities": ["text", "audio"]}), "modalities[1]", "invalid_value");
    refused(&json!({"functions": []}), "functions", "unsupported_parameter");
    refused(&json!({"metadata": {"k": 1}}), "metadata", "invalid_value");
}

#[test]
fn a_body_that_is_no_request_is_refused_as_a_whole() {
    for (body, code) in [("", "invalid_json"), ("{", "invalid_json"), ("[]", "invalid_type"), ("\"x\"", "invalid_type")]
    {
        let error = ChatRequest::parse(body.as_bytes()).unwrap_err();
        assert_eq!((error.param, error.code), (None, code), "{body}");
    }
    assert_eq!(ChatRequest::parse("[".repeat(100_000).as_bytes()).unwrap_err().code, "invalid_json");
}

#[test]
fn null_is_as_good_as_absent_and_what_the_page_does_not_know_is_ignored() {
    let nulls = json!({"temperature": null, "tools": null, "stop": null, "reasoning_effort": null, "n": null});
    assert_eq!(parse(&nulls), parse(&json!({"sparkle": {"deep": true}})));
}

#[test]
fn every_dialect_of_reasoning_is_read() {
    let on = |effort, tokens_max| Reasoning::On { effort, tokens_max };
    for (members, want) in [
        (json!({}), Reasoning::Default),
        (json!({"reasoning": false}), Reasoning::Off),
        (json!({"reasoning": true}), ON),
        (json!({"reasoning": false, "reasoning_effort": "high"}), Reasoning::Off),
        (json!({"reasoning": true, "reasoning_effort": "high"}), on(Some(Effort::High), None)),
        (json!({"reasoning_effort": "none"}), Reasoning::Off),
        (json!({"reasoning_effort": "minimal"}), on(Some(Effort::Minimal), None)),
        (json!({"reasoning": {}}), ON),
        (json!({"reasoning": {"effort": "low", "exclude": true}}), on(Some(Effort::Low), None)),
        (json!({"reasoning": {"max_tokens": 2000}}), on(None, Some(2000))),
        (json!({"reasoning": {"enabled": false, "effort": "high"}}), Reasoning::Off),
        (json!({"thinking": {"type": "disabled"}}), Reasoning::Off),
        (json!({"thinking": {"type": "enabled", "budget_tokens": 4096}}), on(None, Some(4096))),
        (json!({"thinking": {"type": "enabled"}, "reasoning_effort": "low"}), on(Some(Effort::Low), None)),
        (json!({"enable_thinking": false}), Reasoning::Off),
        (json!({"enable_thinking": true}), ON),
    ] {
        assert_eq!(parse(&members).reasoning, want, "{members}");
    }
}

#[test]
fn the_newer_name_of_the_limit_wins_over_the_older_one() {
    assert_eq!(parse(&json!({"max_tokens": 20})).output_tokens_max, Some(20));
    assert_eq!(parse(&json!({"max_tokens": 20, "max_completion_tokens": 30})).output_tokens_max, Some(30));
}

#[test]
fn tools_that_are_not_allowed_are_not_offered() {
    let tool = |name: &str| json!({"type": "function", "function": {"name": name}});
    let choice = json!({"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [tool("candles")]}});
    let request = parse(&json!({"tools": [tool("news"), tool("candles")], "tool_choice": choice}));
    let names: Vec<_> = request.tools.iter().map(|tool| tool.name.as_str()).collect();
    assert_eq!((names.as_slice(), &request.tool_choice), (&["candles"][..], &ToolChoice::Required));
    let unknown = json!({"type": "function", "function": {"name": "orders"}});
    refused(&json!({"tools": [tool("news")], "tool_choice": unknown}), "tool_choice.function.name", "invalid_value");
}

#[test]
fn pictures_come_as_urls_or_in_the_request() {
    let image = |url: &str| json!({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]}]});
    let part = |url: &str| match parse(&image(url)).messages.remove(0) {
        Message::User { mut parts, .. } => parts.remove(0),
        other => panic!("{other:?}"),
    };
    let data = Image::Data { media_type: "image/png".into(), base64: "iVBORw==".into() };
    assert_eq!(part("data:image/png;base64,iVBORw=="), Part::Image { image: data, detail: None });
    assert_eq!(
        part("https://x.test/a.png"),
        Part::Image { image: Image::Url("https://x.test/a.png".into()), detail: None }
    );
    for url in ["file:///etc/passwd", "data:text/html;base64,PA==", "data:image/png,raw"] {
        refused(&image(url), "messages[0].content[0].image_url.url", "invalid_image_url");
    }
}

proptest! {
    #[test]
    fn prop_no_bytes_make_the_parser_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = ChatRequest::parse(&bytes);
    }

    #[test]
    fn prop_any_type_in_the_place_of_a_parameter_is_read_or_refused_by_name(
        name in prop::sample::select(vec![
            "model", "messages", "tools", "tool_choice", "response_format", "stop", "stream", "stream_options",
            "reasoning", "thinking", "metadata", "logit_bias", "seed", "n", "modalities", "service_tier", "verbosity",
        ]),
        value in prop::sample::select(vec![
            json!(true), json!(-1), json!(1e300), json!(""), json!([[]]), json!([{}]), json!({}), json!({"type": []}),
            json!({"type": "function", "function": 1}), json!(u64::MAX),
        ]),
    ) {
        if let Err(error) = ChatRequest::from_value(&with(&json!({name: value}))) {
            prop_assert!(error.param.is_some_and(|param| param.starts_with(name)));
        }
    }
}
