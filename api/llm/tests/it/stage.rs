//! Calls as a gateway makes them, and a ledger that only listens.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use futures_util::future::BoxFuture;
use llm::{
    Answer, Attempt, Attempts, BreakerPolicy, Breakers, Call, ChatRequest, Completion, Dialect, Driver, End, Failure,
    Limits, Message, Model, Outcome, Part, Provider, Refused, Secret, Thinking,
};

use crate::{upstream::Upstream, wire};

/// What a ledger was told.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Told {
    Begin(u32, String),
    FirstToken(u32),
    End(u32, End),
}

/// Notes what it is told; gives leave as it is set to.
#[derive(Default)]
pub(crate) struct Listener {
    told: Mutex<Vec<Told>>,
    refusal: Option<&'static str>,
    gate: Option<Arc<tokio::sync::Notify>>,
}

impl Listener {
    pub(crate) fn refusing(why: &'static str) -> Arc<Self> {
        Arc::new(Self { refusal: Some(why), ..Self::default() })
    }

    pub(crate) fn gated(gate: &Arc<tokio::sync::Notify>) -> Arc<Self> {
        Arc::new(Self { gate: Some(Arc::clone(gate)), ..Self::default() })
    }

    pub(crate) fn told(&self) -> Vec<Told> {
        self.told.lock().unwrap().clone()
    }

    /// The models that were asked, in order.
    pub(crate) fn asked(&self) -> Vec<String> {
        let begin = |told| if let Told::Begin(_, model) = told { Some(model) } else { None };
        self.told().into_iter().filter_map(begin).collect()
    }

    /// How the attempts ended, in order.
    pub(crate) fn ends(&self) -> Vec<End> {
        let end = |told| if let Told::End(_, end) = told { Some(end) } else { None };
        self.told().into_iter().filter_map(end).collect()
    }

    /// Each attempt that began has ended once, and a token came at most once and between the two.
    pub(crate) fn check(&self) {
        let told = self.told();
        let attempts = told.iter().filter(|told| matches!(told, Told::Begin(..))).count();
        for number in 1..=u32::try_from(attempts).unwrap() {
            let of_it: Vec<_> = told
                .iter()
                .filter_map(|told| match told {
                    Told::Begin(of, _) => (*of == number).then_some('b'),
                    Told::FirstToken(of) => (*of == number).then_some('t'),
                    Told::End(of, _) => (*of == number).then_some('e'),
                })
                .collect();
            assert!(matches!(of_it.as_slice(), ['b', 'e'] | ['b', 't', 'e']), "{of_it:?} in {told:?}");
        }
    }
}

impl Attempts for Listener {
    fn begin(&self, attempt: &Attempt) -> BoxFuture<'static, Result<(), Refused>> {
        let (refusal, gate) = (self.refusal, self.gate.clone());
        if refusal.is_none() {
            self.told.lock().unwrap().push(Told::Begin(attempt.number, attempt.model.config.id.clone()));
        }
        Box::pin(async move {
            if let Some(gate) = gate {
                gate.notified().await;
            }
            refusal.map_or(Ok(()), |why| Err(Refused(why.into())))
        })
    }

    fn first_token(&self, attempt: &Attempt, _after: Duration) {
        self.told.lock().unwrap().push(Told::FirstToken(attempt.number));
    }

    fn end(&self, attempt: &Attempt, end: &End) {
        self.told.lock().unwrap().push(Told::End(attempt.number, end.clone()));
    }
}

/// Limits as short as a test can bear; a wait that no test waits for is a minute.
pub(crate) const LIMITS: Limits = Limits {
    connect: Duration::from_secs(5),
    first_token: Duration::from_secs(60),
    idle: Duration::from_secs(60),
    total: Duration::from_secs(60),
    retries: 2,
    attempts: 6,
    backoff: Duration::from_millis(2),
    wait: Duration::from_secs(1),
};

pub(crate) fn driver(limits: Limits) -> Driver {
    driver_with(limits, BreakerPolicy::default())
}

pub(crate) fn driver_with(limits: Limits, policy: BreakerPolicy) -> Driver {
    Driver::new(limits, Arc::new(Breakers::new(policy))).unwrap()
}

/// A model of an upstream that speaks `dialect`; its key is `sk-ours-<id>`.
pub(crate) fn target(id: &str, dialect: Dialect, upstream: &Upstream) -> Arc<Model> {
    sized(id, dialect, upstream, 100_000)
}

pub(crate) fn sized(id: &str, dialect: Dialect, upstream: &Upstream, context_tokens: u64) -> Arc<Model> {
    let provider = Provider::http("p", dialect, &upstream.url(), Secret::new(&format!("sk-ours-{id}")));
    let mut config = wire::model(id, "p", Thinking::Toggle);
    config.context_tokens = context_tokens;
    Arc::new(Model { config, provider: Arc::new(provider) })
}

pub(crate) fn request() -> ChatRequest {
    let parts = vec![Part::Text("How is BTC?".into())];
    let mut request = ChatRequest::new("kai-fast", vec![Message::User { parts, name: None }]);
    request.stream = true;
    request
}

pub(crate) fn call(targets: &[&Arc<Model>], listener: &Arc<Listener>) -> Call {
    let attempts = Arc::clone(listener) as Arc<dyn Attempts>;
    let targets = targets.iter().map(|model| Arc::clone(model)).collect();
    Call { request: Arc::new(request()), targets, own_key: None, seed: 7, attempts }
}

/// What came of an answer: all of it, and the failure that ended it.
pub(crate) async fn read(mut answer: Answer) -> (Completion, Option<Failure>) {
    let mut whole = Completion::default();
    while let Some(event) = answer.next().await {
        match event {
            Ok(event) => whole.push(event),
            Err(failure) => {
                assert!(answer.next().await.is_none(), "a failure is the last");
                return (whole, Some(failure));
            }
        }
    }
    (whole, None)
}

/// What a client gets.
pub(crate) enum Got {
    Whole(Completion),
    Part(Completion, Failure),
    Nothing(Failure),
}

pub(crate) async fn ask(driver: &Driver, targets: &[&Arc<Model>], listener: &Arc<Listener>) -> Got {
    let got = match driver.open(&call(targets, listener)).await {
        Err(failure) => Got::Nothing(failure),
        Ok(answer) => match read(answer).await {
            (whole, None) => Got::Whole(whole),
            (part, Some(failure)) => Got::Part(part, failure),
        },
    };
    listener.check();
    got
}

impl Got {
    pub(crate) fn whole(self) -> Completion {
        match self {
            Self::Whole(whole) => whole,
            Self::Part(part, failure) => panic!("{failure} after {part:?}"),
            Self::Nothing(failure) => panic!("{failure}"),
        }
    }

    pub(crate) fn text(self) -> String {
        self.whole().text.unwrap()
    }

    pub(crate) fn nothing(self) -> Failure {
        match self {
            Self::Nothing(failure) => failure,
            Self::Whole(whole) | Self::Part(whole, _) => panic!("{whole:?}"),
        }
    }

    pub(crate) fn part(self) -> (Completion, Failure) {
        match self {
            Self::Part(part, failure) => (part, failure),
            Self::Whole(whole) => panic!("{whole:?}"),
            Self::Nothing(failure) => panic!("{failure}"),
        }
    }
}

pub(crate) fn is_done(end: &End) -> bool {
    end.outcome == Outcome::Done
}
