//! OpenAI's answer as it is written: what its page requires is there, and what was read is what was written.

use llm::{
    Completion, Dialect, Event, Finish, Source, Thought, ToolDelta, Usage,
    reply::{DONE, KEEP_ALIVE, Reply, usage_json},
};
use serde_json::{Value, json};

use crate::wire::{streamed, tokens};

fn usage() -> Usage {
    Usage { tokens: tokens(93, 1024, 3, 6, 40), source: Source::Upstream, raw: Value::Null }
}

fn events() -> Vec<Event> {
    let thought = |text: &str, signature: Option<&str>| {
        Event::Thought(Thought::Text { text: text.into(), signature: signature.map(Into::into) })
    };
    let call = |index, id: Option<&str>, name: Option<&str>, arguments: &str, signature: Option<&str>| {
        let [id, name, signature] = [id, name, signature].map(|text| text.map(Into::into));
        Event::ToolCall(ToolDelta { index, id, name, arguments: arguments.into(), signature })
    };
    vec![
        Event::Started { id: Some("theirs".into()), model: Some("theirs".into()) },
        thought("hm \"quoted\"", None),
        thought("", Some("seal")),
        Event::Thought(Thought::Sealed("AAAA".into())),
        Event::Text("Line\n\u{1F56F} \\ \u{2028}".into()),
        Event::Logprobs(json!({"content": [{"token": "a"}], "refusal": null})),
        call(0, Some("a"), Some("candles"), "", Some("g")),
        call(0, None, None, "{\"n\":1}", None),
        Event::Finish(Finish::ToolCalls),
        Event::Usage(usage()),
    ]
}

fn whole() -> Completion {
    events().into_iter().fold(Completion::default(), |mut whole, event| {
        whole.push(event);
        whole
    })
}

fn chunks(include_usage: bool) -> String {
    let reply = Reply::new("chatcmpl-1", 1_764_000_000, "kai-smart", include_usage);
    let mut out = Vec::new();
    reply.begin(&mut out);
    for event in events() {
        reply.event(&event, &mut out);
    }
    out.extend_from_slice(KEEP_ALIVE);
    reply.usage(&usage_json(&usage()), &mut out);
    out.extend_from_slice(DONE);
    String::from_utf8(out).unwrap()
}

#[test]
fn what_is_written_as_a_stream_is_read_as_the_same_answer() {
    let read = streamed(Dialect::Openrouter, &chunks(true));
    let written = whole();
    assert_eq!((read.id.as_deref(), read.model.as_deref()), (Some("chatcmpl-1"), Some("kai-smart")));
    assert_eq!(read.usage.as_ref().unwrap().tokens, usage().tokens);
    let ours = |answer: Completion| Completion { id: None, model: None, usage: None, ..answer };
    assert_eq!(ours(read), ours(written));
}

#[test]
fn every_chunk_has_what_the_page_requires() {
    for include_usage in [false, true] {
        let text = chunks(include_usage);
        let messages: Vec<_> =
            text.split_terminator("\n\n").filter_map(|message| message.strip_prefix("data: ")).collect();
        let (done, messages) = messages.split_last().unwrap();
        assert_eq!(*done, "[DONE]");
        let chunks: Vec<Value> = messages.iter().map(|message| serde_json::from_str(message).unwrap()).collect();
        for chunk in &chunks {
            assert_eq!(chunk["id"], "chatcmpl-1");
            assert_eq!((&chunk["object"], &chunk["created"]), (&json!("chat.completion.chunk"), &json!(1_764_000_000)));
            assert_eq!(chunk.get("usage").is_some(), include_usage);
        }
        assert_eq!(chunks[0]["choices"][0]["delta"], json!({"role": "assistant", "content": "", "refusal": null}));
        let last = chunks.last().unwrap();
        if include_usage {
            assert_eq!((&last["choices"], &last["usage"]), (&json!([]), &usage_json(&usage())));
            assert!(chunks[..chunks.len() - 1].iter().all(|chunk| chunk["usage"].is_null()));
        } else {
            assert_eq!(last["choices"][0]["finish_reason"], "tool_calls");
        }
    }
}

#[test]
fn a_whole_answer_has_what_the_page_requires() {
    let reply = Reply::new("chatcmpl-1", 1, "kai-fast", false);
    let mut answer = Completion { text: Some("hi".into()), finish: Some(Finish::Stop), ..Completion::default() };
    answer.usage = Some(usage());
    let message = json!({"role": "assistant", "content": "hi", "refusal": null});
    let choice = json!({"index": 0, "message": message, "logprobs": null, "finish_reason": "stop"});
    let want = json!({
        "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "kai-fast", "choices": [choice],
        "usage": {
            "prompt_tokens": 1120, "completion_tokens": 46, "total_tokens": 1166,
            "prompt_tokens_details": {"cached_tokens": 1024, "cache_write_tokens": 3, "audio_tokens": 0},
            "completion_tokens_details": {
                "reasoning_tokens": 40, "audio_tokens": 0, "accepted_prediction_tokens": 0, "rejected_prediction_tokens": 0,
            },
        },
    });
    assert_eq!(reply.whole(&answer), want);
    let message = &reply.whole(&whole())["choices"][0]["message"];
    assert_eq!(
        (&message["reasoning"], &message["reasoning_content"]),
        (&json!("hm \"quoted\""), &json!("hm \"quoted\""))
    );
    assert_eq!(message["reasoning_details"][0]["signature"], "seal");
    assert_eq!(message["tool_calls"][0]["extra_content"]["google"]["thought_signature"], "g");
    assert_eq!(message["tool_calls"][0]["function"], json!({"name": "candles", "arguments": "{\"n\":1}"}));
}

#[test]
fn an_error_within_a_stream_is_one_that_official_clients_raise() {
    let mut out = Vec::new();
    Reply::error("The provider went away.", "server_error", "stream_cut", &mut out);
    let want = r#"data: {"error":{"message":"The provider went away.","type":"server_error","param":null,"code":"stream_cut"}}"#;
    let text = String::from_utf8(out).unwrap();
    let sent: Value = serde_json::from_str(text.strip_prefix("data: ").unwrap()).unwrap();
    assert_eq!(sent, serde_json::from_str::<Value>(want.strip_prefix("data: ").unwrap()).unwrap());
}
