//! S08, S09 and S14 once more: an answer that was cut, and another provider that says the same or does not.

use std::{sync::Arc, time::Duration};

use llm::{Call, Completion, Dialect, Failure, FailureKind, Finish, Limits, Model, Outcome, Rescue, Source};
use serde_json::Value;

use crate::{
    stage::{LIMITS, Listener, call, driver, is_done, target},
    upstream::{Reply, Step, Upstream, answer, chunk, done, error, finish, usage},
    wire::tokens,
};

const WORDS: [&str; 6] = ["Be", "f\u{fc}re ", "the ", "close, ", "sell ", "half."];

fn cut(words: usize, end: Step) -> Reply {
    Reply::Stream(WORDS[..words].iter().map(|word| chunk(word)).chain([end]).collect())
}

/// The same text in other pieces.
fn same() -> Reply {
    answer(&["Bef\u{fc}re t", "he close, sell", " half."], 9, 6)
}

async fn rescued(call: &Call, limits: Limits) -> (Completion, Option<Failure>) {
    let driver = driver(limits);
    let mut rescue = Rescue::new(&driver, call, driver.open(call).await.unwrap());
    let mut whole = Completion::default();
    let mut failure = None;
    while let Some(event) = rescue.next().await {
        match event {
            Ok(event) => whole.push(event),
            Err(last) => failure = Some(last),
        }
    }
    (whole, failure)
}

fn at_zero(targets: &[&Arc<Model>], listener: &Arc<Listener>) -> Call {
    let mut call = call(targets, listener);
    Arc::make_mut(&mut call.request).sampling.temperature = Some(0.0);
    call
}

async fn pair(first: Reply, second: Reply) -> ([Upstream; 2], [Arc<Model>; 2]) {
    let upstream = async |reply: Reply| Upstream::new(move |_| reply.clone()).await;
    let upstreams = [upstream(first).await, upstream(second).await];
    let targets = [target("first", Dialect::Openai, &upstreams[0]), target("second", Dialect::Openai, &upstreams[1])];
    (upstreams, targets)
}

#[tokio::test]
async fn s08_s09_an_answer_goes_on_where_another_provider_says_the_same() {
    // The last one has said all its words, and only the end is missing.
    for words in 1..=WORDS.len() {
        for (end, kind) in [(Step::Cut, FailureKind::Cut), (Step::Stall, FailureKind::Stalled)] {
            let ([_first, second], [model, spare]) = pair(cut(words, end), same()).await;
            let listener = Arc::<Listener>::default();
            let limits = Limits { idle: Duration::from_millis(100), ..LIMITS };
            let (whole, failure) = rescued(&at_zero(&[&model, &spare], &listener), limits).await;
            listener.check();
            assert_eq!(
                (failure, whole.text.unwrap(), whole.finish),
                (None, WORDS.concat(), Some(Finish::Stop)),
                "{words}"
            );
            assert_eq!(second.seen()[0].body["messages"].as_array().unwrap().len(), 1, "asked from the start");
            let ends = listener.ends();
            assert!(matches!(&ends[0].outcome, Outcome::Failed(failure) if failure.kind == kind));
            assert_eq!(ends[0].usage.as_ref().unwrap().source, Source::Estimated);
            assert!(is_done(&ends[1]));
            assert_eq!(ends[1].usage.as_ref().unwrap().tokens, tokens(9, 0, 0, 6, 0));
        }
    }
}

#[tokio::test]
async fn s14_a_rescue_needs_no_words_put_into_another_models_mouth() {
    let first = Upstream::new(|_| cut(3, Step::Cut)).await;
    let strict = Upstream::new(|seen| {
        let is_prefilled = |message: &Value| message["role"] == "assistant";
        if seen.body["messages"].as_array().unwrap().iter().any(is_prefilled) {
            return Reply::Status(400, "", error("prefill is not supported", "x"));
        }
        same()
    })
    .await;
    let targets = [target("first", Dialect::Openai, &first), target("strict", Dialect::Openai, &strict)];
    let (whole, failure) = rescued(&at_zero(&[&targets[0], &targets[1]], &Arc::default()), LIMITS).await;
    assert_eq!((failure, whole.text.unwrap()), (None, WORDS.concat()));
}

#[tokio::test]
async fn an_answer_is_never_stitched_together_from_two_that_disagree() {
    let other = answer(&["Bef\u{fc}re the open, ", "buy."], 9, 6);
    let shorter = answer(&["Bef\u{fc}re"], 9, 2);
    for second in [other, shorter, Reply::Status(503, "", Value::Null), cut(2, Step::Cut)] {
        let ([_first, _second], [model, spare]) = pair(cut(4, Step::Cut), second).await;
        let listener = Arc::<Listener>::default();
        let (part, failure) = rescued(&at_zero(&[&model, &spare], &listener), LIMITS).await;
        listener.check();
        assert_eq!((part.text.unwrap(), part.finish), (WORDS[..4].concat(), None));
        assert_eq!(failure.unwrap().kind, FailureKind::Cut);
    }
}

#[tokio::test]
async fn who_asks_for_another_text_each_time_is_not_rescued() {
    let ([_first, second], [model, spare]) = pair(cut(4, Step::Cut), same()).await;
    let (_, failure) = rescued(&call(&[&model, &spare], &Arc::default()), LIMITS).await;
    assert_eq!((failure.unwrap().kind, second.seen().len()), (FailureKind::Cut, 0));
}

#[tokio::test]
async fn a_single_provider_is_asked_again_and_a_rescue_comes_once() {
    let script = |seen: &crate::upstream::Seen| match seen.number {
        0 => cut(3, Step::Cut),
        1 => Reply::Stream(WORDS[..5].iter().map(|word| chunk(word)).chain([Step::Cut]).collect()),
        _ => Reply::Stream(WORDS.iter().map(|word| chunk(word)).chain([finish("stop"), usage(9, 6), done()]).collect()),
    };
    let upstream = Upstream::new(script).await;
    let model = target("m", Dialect::Openai, &upstream);
    let listener = Arc::<Listener>::default();
    let (part, failure) = rescued(&at_zero(&[&model], &listener), LIMITS).await;
    listener.check();
    assert_eq!((part.text.unwrap(), failure.unwrap().kind), (WORDS[..5].concat(), FailureKind::Cut));
    assert_eq!(upstream.seen().len(), 2);
}
