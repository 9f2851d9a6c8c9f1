//! One call: what is sent, what is waited for, who is told.

use std::{sync::Arc, time::Duration};

use llm::{Call, Dialect, FailureKind, Finish, Limits, Outcome, Secret, Source};
use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::{
    stage::{LIMITS, Listener, Told, ask, call, driver, is_done, read, target},
    upstream::{Reply, Step, Upstream, answer, chunk, data, error},
    wire::tokens,
};

#[tokio::test]
async fn each_provider_is_called_at_its_place_with_its_key() {
    let openai = |_: &_| Reply::Whole(json!({"choices": [{"message": {"content": "hi"}, "finish_reason": "stop"}]}));
    let anthropic = |_: &_| {
        Reply::Whole(json!({"type": "message", "content": [{"type": "text", "text": "hi"}], "stop_reason": "end_turn"}))
    };
    let gemini =
        |_: &_| Reply::Whole(json!({"candidates": [{"content": {"parts": [{"text": "hi"}]}, "finishReason": "STOP"}]}));
    let check = async |dialect, upstream: Upstream, path: &str, headers: &[&str]| {
        let model = target("m", dialect, &upstream);
        let whole = ask(&driver(LIMITS), &[&model], &Arc::default()).await.whole();
        assert_eq!((whole.text.as_deref(), whole.finish), (Some("hi"), Some(Finish::Stop)));
        let seen = upstream.seen().remove(0);
        assert_eq!(seen.path, path);
        for header in headers.iter().chain(&["content-type: application/json\r\n", "accept: text/event-stream\r\n"]) {
            assert!(seen.head.contains(header), "{header} in {}", seen.head);
        }
    };
    check(
        Dialect::Openai,
        Upstream::new(openai).await,
        "/v1/chat/completions",
        &["authorization: Bearer sk-ours-m\r\n"],
    )
    .await;
    let headers = ["x-api-key: sk-ours-m\r\n", "anthropic-version: 2023-06-01\r\n"];
    check(Dialect::Anthropic, Upstream::new(anthropic).await, "/v1/messages", &headers).await;
    let path = "/v1/models/m-upstream:streamGenerateContent?alt=sse";
    check(Dialect::Gemini, Upstream::new(gemini).await, path, &["x-goog-api-key: sk-ours-m\r\n"]).await;
}

#[tokio::test]
async fn a_whole_answer_has_its_usage_and_its_account() {
    let body = json!({
        "id": "x", "model": "up", "choices": [{"message": {"content": "hi"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 4, "completion_tokens": 2, "total_tokens": 6},
    });
    let upstream = Upstream::new(move |_| Reply::Whole(body.clone())).await;
    let model = target("m", Dialect::Openai, &upstream);
    let listener = Arc::<Listener>::default();
    let mut call = call(&[&model], &listener);
    Arc::make_mut(&mut call.request).stream = false;
    let (whole, failure) = read(driver(LIMITS).open(&call).await.unwrap()).await;
    assert_eq!((failure, whole.text.as_deref()), (None, Some("hi")));
    assert_eq!(upstream.seen()[0].body.get("stream"), None);
    let end = listener.ends().remove(0);
    assert_eq!((is_done(&end), end.usage.unwrap().tokens), (true, tokens(4, 0, 0, 2, 0)));
}

#[tokio::test]
async fn no_byte_of_the_prompt_leaves_without_leave() {
    let upstream = Upstream::new(|_| answer(&["hi"], 1, 1)).await;
    let model = target("m", Dialect::Openai, &upstream);
    let failure = ask(&driver(LIMITS), &[&model], &Listener::refusing("no money")).await.nothing();
    assert_eq!((failure.kind, failure.message.as_str()), (FailureKind::Refused, "no money"));
    assert!(upstream.seen().is_empty());

    // The listener asks for time: whatever the connection does meanwhile, no request is complete before its leave.
    let gate = Arc::new(Notify::new());
    let listener = Listener::gated(&gate);
    let call = call(&[&model], &listener);
    let driver = driver(LIMITS);
    let opening = driver.open(&call);
    let early = async {
        // The provider has accepted the connection and read the headers, if it could, by the time it answers another.
        let other = target("other", Dialect::Openai, &upstream);
        assert_eq!(ask(&crate::stage::driver(LIMITS), &[&other], &Arc::default()).await.text(), "hi");
        let models: Vec<_> = upstream.seen().iter().map(|seen| seen.body["model"].clone()).collect();
        gate.notify_one();
        models
    };
    let (answer, early) = tokio::join!(opening, early);
    assert_eq!(early, [json!("other-upstream")]);
    assert_eq!(read(answer.unwrap()).await.0.text.as_deref(), Some("hi"));
    listener.check();
}

#[tokio::test]
async fn a_refusal_while_nobody_can_be_reached_is_a_refusal() {
    let address = Upstream::new(|_| Reply::Reset).await.address;
    let provider = llm::Provider::http("p", Dialect::Openai, &format!("http://{address}/v1"), None);
    let config = crate::wire::model("gone", "p", llm::Thinking::None);
    let model = Arc::new(llm::Model { config, provider: Arc::new(provider) });
    let failure = ask(&driver(LIMITS), &[&model], &Listener::refusing("no money")).await.nothing();
    assert_eq!(failure.kind, FailureKind::Refused);
    let listener = Arc::<Listener>::default();
    let failure = ask(&driver(LIMITS), &[&model], &listener).await.nothing();
    assert_eq!((failure.kind, listener.ends().len()), (FailureKind::Connect, 3));
}

#[tokio::test]
async fn a_reader_that_leaves_at_any_piece_ends_the_attempt_once_with_what_was_generated() {
    const PIECES: usize = 6;
    for taken in 0..=PIECES {
        let steps: Vec<_> = (0..PIECES).map(|_| chunk("four")).chain([Step::Stall]).collect();
        let upstream = Upstream::new(move |_| Reply::Stream(steps.clone())).await;
        let model = target("m", Dialect::Openai, &upstream);
        let listener = Arc::<Listener>::default();
        let mut answer = driver(LIMITS).open(&call(&[&model], &listener)).await.unwrap();
        // `Started` comes first.
        for _ in 0..=taken {
            answer.next().await.unwrap().unwrap();
        }
        drop(answer);
        upstream.hung_up(1).await;
        listener.check();
        let end = listener.ends().remove(0);
        assert_eq!(end.outcome, Outcome::Cancelled);
        let usage = end.usage.unwrap();
        assert_eq!(usage.source, Source::Estimated);
        let seen = taken.max(1) as u64;
        assert!(seen <= usage.tokens.output && usage.tokens.output <= PIECES as u64, "{taken}: {usage:?}");
        assert!(usage.tokens.input > 0);
    }
}

#[tokio::test]
async fn a_placeholder_of_usage_is_not_the_bill_of_a_cut_stream() {
    let start = json!({"type": "message_start", "message": {"id": "m", "model": "c", "usage": {"input_tokens": 25, "cache_read_input_tokens": 5, "output_tokens": 1}}});
    let delta = json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "a long answer, cut"}});
    let upstream = Upstream::new(move |_| Reply::Stream(vec![data(&start), data(&delta), Step::Cut])).await;
    let model = target("m", Dialect::Anthropic, &upstream);
    let listener = Arc::<Listener>::default();
    let (_, failure) = ask(&driver(LIMITS), &[&model], &listener).await.part();
    assert_eq!(failure.kind, FailureKind::Cut);
    let usage = listener.ends().remove(0).usage.unwrap();
    assert_eq!((usage.tokens, usage.source), (tokens(25, 5, 0, 5, 0), Source::Estimated));
    assert_eq!(usage.raw["input_tokens"], json!(25));
}

#[tokio::test]
async fn a_listener_hears_of_the_first_token_between_begin_and_end() {
    let upstream = Upstream::new(|_| answer(&["a", "b"], 1, 2)).await;
    let model = target("m", Dialect::Openai, &upstream);
    let listener = Arc::<Listener>::default();
    assert_eq!(ask(&driver(LIMITS), &[&model], &listener).await.text(), "ab");
    let told = listener.told();
    assert!(matches!(told.as_slice(), [Told::Begin(1, _), Told::FirstToken(1), Told::End(1, _)]), "{told:?}");
}

#[tokio::test]
async fn a_callers_own_key_is_sent_once_and_told_nowhere() {
    const KEY: &str = "sk-planted-0123456789";
    let quoting = |seen: &crate::upstream::Seen| {
        assert!(seen.head.contains(KEY));
        match seen.number {
            0 => Reply::Status(401, "", error(&format!("Incorrect API key provided: {KEY}"), "invalid_api_key")),
            1 => Reply::Stream(vec![
                chunk("a"),
                data(&json!({"error": {"message": format!("key {KEY} is over its limit"), "code": 429}})),
            ]),
            _ => Reply::Whole(json!({"error": {"message": format!("{KEY}?"), "code": 500}})),
        }
    };
    let upstream = Upstream::new(quoting).await;
    let model = target("m", Dialect::Openai, &upstream);
    let listener = Arc::<Listener>::default();
    let driver = driver(Limits { retries: 0, ..LIMITS });
    let own = || Call { own_key: Secret::new(KEY), ..call(&[&model], &listener) };
    let mut told = Vec::new();
    for _ in 0..3 {
        match driver.open(&own()).await {
            Err(failure) => told.push(failure),
            Ok(answer) => told.push(read(answer).await.1.unwrap()),
        }
    }
    let kinds: Vec<_> = told.iter().map(|failure| failure.kind).collect();
    assert_eq!(kinds, [FailureKind::Authentication, FailureKind::RateLimited, FailureKind::Server]);
    let all = format!("{told:?} {:?}", listener.told());
    assert!(all.contains("[redacted]") && !all.contains(KEY), "{all}");
    assert_eq!(
        driver.breakers().look("m", std::time::Instant::now()),
        Ok(()),
        "a caller's key is no fault of the model"
    );
}

#[tokio::test]
async fn a_callers_own_key_goes_to_its_provider_and_to_no_other() {
    let first = Upstream::new(|_| Reply::Status(500, "", Value::Null)).await;
    let other = Upstream::new(|_| answer(&["hi"], 1, 1)).await;
    let provider = llm::Provider::http("another", Dialect::Openai, &other.url(), None);
    let config = crate::wire::model("other", "another", llm::Thinking::None);
    let stranger = Arc::new(llm::Model { config, provider: Arc::new(provider) });
    let model = target("m", Dialect::Openai, &first);
    let call = Call { own_key: Secret::new("sk-own"), ..call(&[&model, &stranger], &Arc::default()) };
    assert_eq!(driver(LIMITS).open(&call).await.err().unwrap().kind, FailureKind::Server);
    assert_eq!((first.seen().len(), other.seen().len()), (3, 0));
}

#[tokio::test]
async fn a_call_has_an_end_whatever_its_providers_do() {
    let upstream = Upstream::new(|_| Reply::Stream(vec![chunk("a"), Step::Stall])).await;
    let model = target("m", Dialect::Openai, &upstream);
    let limits = Limits { total: Duration::from_millis(150), ..LIMITS };
    let (_, failure) = ask(&driver(limits), &[&model], &Arc::default()).await.part();
    assert_eq!(failure.kind, FailureKind::Total);

    let upstream = Upstream::new(|_| Reply::Silent).await;
    let model = target("m", Dialect::Openai, &upstream);
    let mut whole = call(&[&model], &Arc::default());
    Arc::make_mut(&mut whole.request).stream = false;
    assert_eq!(driver(limits).open(&whole).await.err().unwrap().kind, FailureKind::Total);

    let upstream = Upstream::new(|_| Reply::Status(503, "retry-after-ms: 900\r\n", Value::Null)).await;
    let model = target("m", Dialect::Openai, &upstream);
    let failure = ask(&driver(limits), &[&model], &Arc::default()).await.nothing();
    assert_eq!((failure.kind, upstream.seen().len()), (FailureKind::Overloaded, 1), "no wait beyond the end");
}

#[tokio::test]
async fn attempts_are_few_however_many_targets_there_are() {
    let upstream = Upstream::new(|_| Reply::Status(500, "", Value::Null)).await;
    let models: Vec<_> = (0..8).map(|number| target(&format!("m{number}"), Dialect::Openai, &upstream)).collect();
    let listener = Arc::<Listener>::default();
    let failure = ask(&driver(LIMITS), &models.iter().collect::<Vec<_>>(), &listener).await.nothing();
    assert_eq!((failure.kind, upstream.seen().len()), (FailureKind::Server, 6));
}

#[tokio::test]
async fn what_cannot_be_asked_of_a_provider_is_no_attempt() {
    let upstream = Upstream::new(|_| Reply::Reset).await;
    let model = target("m", Dialect::Anthropic, &upstream);
    let listener = Arc::<Listener>::default();
    let mut call = call(&[&model], &listener);
    Arc::make_mut(&mut call.request).logprobs = Some(0);
    let failure = driver(LIMITS).open(&call).await.err().unwrap();
    assert_eq!((failure.kind, failure.status), (FailureKind::InvalidRequest, Some(400)));
    assert!(listener.told().is_empty() && upstream.seen().is_empty());
}

#[tokio::test]
async fn pieces_are_told_as_they_come() {
    let told = Arc::new(Notify::new());
    let steps = vec![chunk("first"), Step::Wait(Arc::clone(&told)), chunk("second"), crate::upstream::finish("stop")];
    let upstream = Upstream::new(move |_| Reply::Stream(steps.clone())).await;
    let model = target("m", Dialect::Openai, &upstream);
    let mut answer = driver(LIMITS).open(&call(&[&model], &Arc::default())).await.unwrap();
    answer.next().await.unwrap().unwrap();
    assert_eq!(answer.next().await.unwrap().unwrap(), llm::Event::Text("first".into()));
    // The second piece is only sent now.
    told.notify_one();
    assert_eq!(answer.next().await.unwrap().unwrap(), llm::Event::Text("second".into()));
    assert_eq!(read(answer).await.0.finish, Some(Finish::Stop));
}
