//! Sixteen ways in which providers fail, and what a caller gets: the scenarios of Failover Bench, told by their numbers.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use llm::{BreakerPolicy, Dialect, FailureKind, Finish, Limits, Model, Outcome, Source};
use serde_json::Value;

use crate::{
    stage::{LIMITS, Listener, ask, driver, driver_with, is_done, sized, target},
    upstream::{Reply, Step, Upstream, answer, chunk, done, error, finish, usage},
    wire::tokens,
};

const SHORT: Duration = Duration::from_millis(100);

async fn healthy() -> Upstream {
    Upstream::new(|_| answer(&["from ", "the second"], 11, 3)).await
}

/// Two targets: the first does what `script` says, the second is well.
async fn pair(script: impl Fn(usize) -> Reply + Send + Sync + 'static) -> ([Upstream; 2], [Arc<Model>; 2]) {
    let upstreams = [Upstream::new(move |seen| script(seen.number)).await, healthy().await];
    let targets = [target("first", Dialect::Openai, &upstreams[0]), target("second", Dialect::Openai, &upstreams[1])];
    (upstreams, targets)
}

fn limited(headers: &'static str) -> Reply {
    Reply::Status(429, headers, error("slow down", "rate_limit_exceeded"))
}

#[tokio::test]
async fn s01_a_provider_that_says_when_to_come_back_is_asked_again_then_and_not_before() {
    let script = |number| if number == 0 { limited("retry-after-ms: 80\r\n") } else { answer(&["late"], 1, 1) };
    let ([first, _second], [model, spare]) = pair(script).await;
    let listener = Arc::<Listener>::default();
    let begun = Instant::now();
    assert_eq!(ask(&driver(LIMITS), &[&model], &listener).await.text(), "late");
    assert!(begun.elapsed() >= Duration::from_millis(80));
    assert_eq!((first.seen().len(), listener.asked()), (2, vec!["first".to_owned(), "first".to_owned()]));

    let ([first, _second], [model, _]) = pair(|_| limited("retry-after: 30\r\n")).await;
    let listener = Arc::default();
    assert_eq!(ask(&driver(LIMITS), &[&model, &spare], &listener).await.text(), "from the second");
    assert_eq!(first.seen().len(), 1, "with another one at hand nobody waits");
}

#[tokio::test]
async fn s02_a_provider_that_is_always_full_is_left_and_alone_its_refusal_is_told() {
    let ([first, _second], [model, spare]) = pair(|_| limited("")).await;
    let listener = Arc::default();
    assert_eq!(ask(&driver(LIMITS), &[&model, &spare], &listener).await.text(), "from the second");
    assert_eq!(first.seen().len(), 1);

    let failure = ask(&driver(LIMITS), &[&model], &Arc::default()).await.nothing();
    assert_eq!((failure.kind, failure.status), (FailureKind::RateLimited, Some(429)));
    assert_eq!(first.seen().len(), 1 + 3, "retries are few");

    let ([first, _second], [model, _]) = pair(|_| limited("retry-after: 30\r\n")).await;
    let failure = ask(&driver(LIMITS), &[&model], &Arc::default()).await.nothing();
    assert_eq!(failure.retry_after, Some(Duration::from_secs(30)));
    assert_eq!(first.seen().len(), 1, "longer than a call may wait");
}

#[tokio::test]
async fn s03_one_error_of_a_server_is_retried_there() {
    let script = |number| if number == 0 { Reply::Status(500, "", Value::Null) } else { answer(&["fine"], 1, 1) };
    let ([first, second], [model, spare]) = pair(script).await;
    assert_eq!(ask(&driver(LIMITS), &[&model, &spare], &Arc::default()).await.text(), "fine");
    assert_eq!((first.seen().len(), second.seen().len()), (2, 0));
}

#[tokio::test]
async fn s04_a_provider_that_stays_down_is_left_for_the_next() {
    let ([first, second], [model, spare]) = pair(|_| Reply::Status(503, "", error("down", "x"))).await;
    assert_eq!(ask(&driver(LIMITS), &[&model, &spare], &Arc::default()).await.text(), "from the second");
    assert_eq!((first.seen().len(), second.seen().len()), (3, 1));
}

#[tokio::test]
async fn s05_a_connection_lost_before_the_answer_is_made_again() {
    let script = |number| if number == 0 { Reply::Reset } else { answer(&["fine"], 1, 1) };
    let ([first, _second], [model, spare]) = pair(script).await;
    let listener = Arc::<Listener>::default();
    assert_eq!(ask(&driver(LIMITS), &[&model, &spare], &listener).await.text(), "fine");
    assert_eq!((first.seen().len(), listener.asked().len()), (2, 2), "each request is an attempt that was told");
}

#[tokio::test]
async fn s06_a_silent_provider_is_asked_once() {
    let ([first, _second], [model, spare]) = pair(|_| Reply::Silent).await;
    let listener = Arc::<Listener>::default();
    let driver = driver(Limits { first_token: SHORT, ..LIMITS });
    assert_eq!(ask(&driver, &[&model, &spare], &listener).await.text(), "from the second");
    first.hung_up(1).await;
    assert_eq!(first.seen().len(), 1);
    assert!(matches!(&listener.ends()[0].outcome, Outcome::Failed(failure) if failure.kind == FailureKind::FirstToken));
}

#[tokio::test]
async fn s07_a_first_token_that_does_not_come_is_not_waited_for() {
    let role = || {
        Step::Send(
            "data: {\"id\":\"x\",\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}\n\n".into(),
        )
    };
    let ([first, _second], [model, spare]) = pair(move |_| Reply::Stream(vec![role(), Step::Stall])).await;
    let driver = driver(Limits { first_token: SHORT, ..LIMITS });
    assert_eq!(ask(&driver, &[&model, &spare], &Arc::default()).await.text(), "from the second");
    first.hung_up(1).await;
    assert_eq!(first.seen().len(), 1);
}

fn forty_of_sixty(end: Step) -> Reply {
    Reply::Stream((0..40).map(|number| chunk(&format!("t{number} "))).chain([end]).collect())
}

#[tokio::test]
async fn s08_a_stream_that_is_cut_says_so_and_is_not_started_anew() {
    let ([first, second], [model, spare]) = pair(|_| forty_of_sixty(Step::Cut)).await;
    let listener = Arc::<Listener>::default();
    let (part, failure) = ask(&driver(LIMITS), &[&model, &spare], &listener).await.part();
    assert_eq!(failure.kind, FailureKind::Cut);
    assert_eq!(part.text.unwrap().split_whitespace().count(), 40);
    assert_eq!(part.finish, None);
    assert_eq!((first.seen().len(), second.seen().len()), (1, 0));
    let usage = listener.ends()[0].usage.clone().unwrap();
    assert_eq!(usage.source, Source::Estimated);
    assert!(usage.tokens.output >= 30, "what was generated is not free: {usage:?}");

    // The same without an error of the connection: the body just ends too early.
    let ([_first, _second], [model, spare]) = pair(|_| forty_of_sixty(chunk("t40"))).await;
    let (_, failure) = ask(&driver(LIMITS), &[&model, &spare], &Arc::default()).await.part();
    assert_eq!(failure.kind, FailureKind::Cut);
}

#[tokio::test]
async fn s09_a_stream_that_stands_still_is_ended() {
    let ([first, second], [model, spare]) = pair(|_| forty_of_sixty(Step::Stall)).await;
    let driver = driver(Limits { idle: SHORT, ..LIMITS });
    let (part, failure) = ask(&driver, &[&model, &spare], &Arc::default()).await.part();
    assert_eq!((failure.kind, part.finish), (FailureKind::Stalled, None));
    first.hung_up(1).await;
    assert_eq!(second.seen().len(), 0);
}

#[tokio::test]
async fn s10_a_malformed_chunk_is_passed_over_and_many_are_a_failure() {
    let broken = || Step::Send("data: {\"choices\":[{\"del\n\n".into());
    let steps = move || vec![chunk("a"), broken(), chunk("b"), finish("stop"), usage(5, 2), done()];
    let ([_first, second], [model, spare]) = pair(move |_| Reply::Stream(steps())).await;
    assert_eq!(ask(&driver(LIMITS), &[&model, &spare], &Arc::default()).await.text(), "ab");
    assert_eq!(second.seen().len(), 0);

    let garbage = move || (0..100).map(|_| broken()).collect();
    let ([_first, _second], [model, spare]) = pair(move |_| Reply::Stream(garbage())).await;
    assert_eq!(ask(&driver(LIMITS), &[&model, &spare], &Arc::default()).await.text(), "from the second");
}

#[tokio::test]
async fn s11_a_stream_without_its_done_is_complete_once_the_model_has_finished() {
    for end in [vec![], vec![Step::Cut], vec![Step::Stall]] {
        let steps: Vec<_> = [chunk("a"), finish("length"), usage(5, 2)].into_iter().chain(end).collect();
        let ([_first, _second], [model, spare]) = pair(move |_| Reply::Stream(steps.clone())).await;
        let listener = Arc::<Listener>::default();
        let driver = driver(Limits { idle: SHORT, ..LIMITS });
        let whole = ask(&driver, &[&model, &spare], &listener).await.whole();
        assert_eq!((whole.finish, whole.usage.unwrap().tokens), (Some(Finish::Length), tokens(5, 0, 0, 2, 0)));
        assert!(is_done(&listener.ends()[0]));
    }
}

#[tokio::test]
async fn s12_a_request_that_is_too_long_goes_to_a_model_that_reads_more() {
    let full = Upstream::new(|_| Reply::Status(400, "", error("too long", "context_length_exceeded"))).await;
    let large = healthy().await;
    let small = sized("small", Dialect::Openai, &full, 8_000);
    let another = sized("another", Dialect::Openai, &full, 8_000);
    let long = sized("long", Dialect::Openai, &large, 128_000);
    let listener = Arc::<Listener>::default();
    let driver = driver(LIMITS);
    assert_eq!(ask(&driver, &[&small, &another, &long], &listener).await.text(), "from the second");
    assert_eq!(listener.asked(), ["small", "long"], "nobody is asked who reads no more");
    let failure = ask(&driver, &[&small, &another], &Arc::default()).await.nothing();
    assert_eq!((failure.kind, failure.status), (FailureKind::ContextLength, Some(400)));
    assert_eq!(driver.breakers().look("small", Instant::now()), Ok(()));
}

#[tokio::test]
async fn s13_what_a_filter_stops_is_not_carried_elsewhere() {
    let reply = |_| Reply::Status(400, "", error("no", "content_policy_violation"));
    let ([first, second], [model, spare]) = pair(reply).await;
    let failure = ask(&driver(LIMITS), &[&model, &spare], &Arc::default()).await.nothing();
    assert_eq!(failure.kind, FailureKind::ContentFilter);
    assert_eq!((first.seen().len(), second.seen().len()), (1, 0));
}

#[tokio::test]
async fn s14_a_cut_stream_is_never_continued_by_words_put_into_another_models_mouth() {
    let first = Upstream::new(|_| forty_of_sixty(Step::Cut)).await;
    let strict = Upstream::new(|_| Reply::Status(400, "", error("prefill is not supported", "x"))).await;
    let targets = [target("first", Dialect::Openai, &first), target("strict", Dialect::Openai, &strict)];
    let (part, failure) = ask(&driver(LIMITS), &[&targets[0], &targets[1]], &Arc::default()).await.part();
    assert_eq!((failure.kind, part.finish), (FailureKind::Cut, None));
    assert_eq!(strict.seen().len(), 0);
}

#[tokio::test]
async fn s15_a_provider_that_is_down_costs_few_attempts_and_is_found_when_it_is_back() {
    let is_up = Arc::new(AtomicBool::new(false));
    let up = Arc::clone(&is_up);
    let script =
        move |_| if up.load(Ordering::Relaxed) { answer(&["back"], 1, 1) } else { Reply::Status(503, "", Value::Null) };
    let ([first, _second], [model, spare]) = pair(script).await;
    let policy = BreakerPolicy { failures: 3, open: Duration::from_millis(300) };
    let driver = driver_with(LIMITS, policy);
    let begun = Instant::now();
    for _ in 0..20 {
        assert_eq!(ask(&driver, &[&model, &spare], &Arc::default()).await.text(), "from the second");
    }
    let probes = begun.elapsed().as_millis() / policy.open.as_millis();
    assert!(first.seen().len() as u128 <= 3 + probes, "{} requests to one that is down", first.seen().len());

    is_up.store(true, Ordering::Relaxed);
    while let Err(open) = driver.breakers().look("first", Instant::now()) {
        tokio::time::sleep(open.wait).await;
    }
    assert_eq!(ask(&driver, &[&model, &spare], &Arc::default()).await.text(), "back");
    assert_eq!(ask(&driver, &[&model, &spare], &Arc::default()).await.text(), "back");
}

#[tokio::test]
async fn s16_who_answered_is_paid_and_who_failed_is_not() {
    let ([_first, _second], [model, spare]) = pair(|_| Reply::Status(503, "", Value::Null)).await;
    let listener = Arc::<Listener>::default();
    let whole = ask(&driver(LIMITS), &[&model, &spare], &listener).await.whole();
    assert_eq!(listener.asked(), ["first", "first", "first", "second"]);
    let ends = listener.ends();
    assert!(ends[..3].iter().all(|end| end.usage.is_none() && !is_done(end)));
    assert_eq!(ends[3].usage, whole.usage);
    assert_eq!(ends[3].usage.as_ref().unwrap().tokens, tokens(11, 0, 0, 3, 0));
    assert!(ends[3].first_token.unwrap() <= ends[3].latency);
}
