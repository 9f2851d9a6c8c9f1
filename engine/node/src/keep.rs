//! What a shard thread gives besides frames: closed candles for keeping, and answers about the present.

use std::{
    collections::HashMap,
    ops::Range,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use engine::{
    candle::Candle,
    interval::Interval,
    market::{Symbol, Timestamp},
    message::{Answer, Input, Read, Wanted},
    ticker::Ticker,
};
use tokio::{sync::oneshot, time::timeout};

use crate::sender::ShardSender;

/// Questions that may wait for their answers; one more is answered with nothing.
const QUESTIONS_MAX: usize = 10_000;
/// How long an answer is waited for: a shard takes milliseconds, one that has ended takes for ever.
const WITHIN: Duration = Duration::from_secs(2);

/// Takes closed and corrected candles on the thread of their shard, before any client is sent them: whatever it does must be
/// short, and must not wait for anybody.
pub trait Keeper: Send {
    /// Candles in the order in which they are published.
    fn on_closed(&mut self, closed: &[(Symbol, Candle)]);
    /// Candles of a symbol in that stretch of time stay without some of its trades.
    fn on_lost(&mut self, symbol: Symbol, time: Range<Timestamp>);
}

type Questions = Arc<Mutex<HashMap<u64, oneshot::Sender<Answer>>>>;

/// Asks shards about the present. Each question costs its shard less than a subscription does; clones share the tickets.
#[derive(Clone)]
pub struct Present {
    sender: ShardSender,
    questions: Questions,
    next: Arc<AtomicU64>,
}

impl Present {
    pub(crate) fn new(sender: ShardSender) -> Self {
        Self { sender, questions: Questions::default(), next: Arc::default() }
    }

    /// The newest `count` candles of an interval, oldest first, the open one last. None if the node is shut down or busy.
    pub async fn candles(&self, symbol: Symbol, interval: Interval, count: usize) -> Vec<Candle> {
        let count = u16::try_from(count).unwrap_or(u16::MAX);
        match self.ask(symbol, Wanted::Candles { interval, count }).await {
            Some(Answer::Candles(candles)) => candles,
            _ => Vec::new(),
        }
    }

    /// The ticker of a symbol; `None` before its first trade, or if the node is shut down or busy.
    pub async fn ticker(&self, symbol: Symbol) -> Option<Ticker> {
        match self.ask(symbol, Wanted::Ticker).await {
            Some(Answer::Ticker(ticker)) => ticker,
            _ => None,
        }
    }

    async fn ask(&self, symbol: Symbol, wanted: Wanted) -> Option<Answer> {
        let ticket = self.next.fetch_add(1, Ordering::Relaxed);
        let (reply, answer) = oneshot::channel();
        {
            let mut questions = self.questions();
            // A shard that is gone answers nothing: whoever stopped waiting makes room.
            if questions.len() >= QUESTIONS_MAX {
                questions.retain(|_, reply| !reply.is_closed());
            }
            if questions.len() >= QUESTIONS_MAX {
                return None;
            }
            questions.insert(ticket, reply);
        }
        let sent = self.sender.try_send(Input::Read(Read { ticket, symbol, wanted }));
        if !matches!(sent, Ok(None)) {
            self.questions().remove(&ticket);
            return None;
        }
        let answer = timeout(WITHIN, answer).await;
        if answer.is_err() {
            self.questions().remove(&ticket);
        }
        answer.ok()?.ok()
    }

    /// Hands an answer to whoever asked.
    pub(crate) fn answer(&self, ticket: u64, answer: Answer) {
        if let Some(reply) = self.questions().remove(&ticket) {
            // Whoever asked may have gone.
            let _ = reply.send(answer);
        }
    }

    fn questions(&self) -> std::sync::MutexGuard<'_, HashMap<u64, oneshot::Sender<Answer>>> {
        self.questions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
