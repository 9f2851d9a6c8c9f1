//! One thread per shard: drains its queue, ends the turn, hands the deliveries to the workers. It never waits for anybody.

use std::{
    collections::{HashMap, VecDeque},
    io, mem,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use crossbeam::channel::TryRecvError;
use engine::{
    channel::ChannelId,
    frame::Form,
    market::Symbol,
    message::{Delivery, Input, Missing, Outputs},
    shard::{Shard, ShardStats, SymbolStatus},
};
use tokio::sync::mpsc;

use crate::{
    clock::Clock,
    keep::{Keeper, Present},
    link::{WorkerLink, WorkerMessage},
    metrics::{Metrics, Stage},
    place::settle_in,
    sender::Inbox,
};

/// Turns that a worker may sleep through while more inputs wait.
const TURNS_MAX: u32 = 64;
const TICK: Duration = Duration::from_millis(10);
const SECOND: i64 = 1_000_000_000;
/// Repair requests that may wait for the repairer.
const MISSING_MAX: usize = 4096;

/// What a shard thread tells about its symbols, renewed each second.
pub(crate) type StatusBoard = Arc<Mutex<Vec<(Symbol, SymbolStatus)>>>;

/// A worker as a shard sees it: what could not be queued waits here.
struct Outlet {
    link: WorkerLink,
    held: Vec<Delivery>,
    dropped: HashMap<(ChannelId, Form), u64>,
    /// Whether something was queued that the worker was not woken for.
    is_waiting: bool,
}

/// A shard and all that it speaks with.
pub(crate) struct ShardThread {
    pub(crate) shard: Shard,
    pub(crate) symbols: Vec<Symbol>,
    pub(crate) inputs: Inbox,
    pub(crate) inputs_max: usize,
    pub(crate) emit_ms: i64,
    pub(crate) workers: Vec<WorkerLink>,
    pub(crate) missing: mpsc::Sender<Missing>,
    pub(crate) clock: Arc<Clock>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) board: StatusBoard,
    pub(crate) keeper: Option<Box<dyn Keeper>>,
    pub(crate) present: Present,
    pub(crate) stop: Arc<AtomicBool>,
}

impl ShardThread {
    /// Starts the thread; it ends within a tick once `stop` is set.
    pub(crate) fn spawn(self, number: usize, core: Option<core_affinity::CoreId>) -> io::Result<JoinHandle<()>> {
        thread::Builder::new().name(format!("shard-{number}")).spawn(move || {
            settle_in(core);
            self.run();
        })
    }

    fn run(mut self) {
        let links = mem::take(&mut self.workers);
        let mut outlets: Vec<_> = links.into_iter().map(Outlet::new).collect();
        let mut out = Outputs::default();
        let mut wanted = VecDeque::new();
        let mut told = ShardStats::default();
        let mut next_second = 0;
        let mut turns = 0;
        while !self.stop.load(Ordering::Relaxed) {
            let Some(newest) = self.drain() else { break };
            let now = self.clock.now();
            self.shard.end_turn(now, &mut out);
            self.keep(&mut out);
            for (outlet, deliveries) in outlets.iter_mut().zip(&mut out.workers) {
                outlet.push(deliveries, &self.metrics);
            }
            turns += 1;
            // While there is more, workers sleep on: what they find together, they send together.
            if self.inputs.is_empty() || turns >= TURNS_MAX {
                turns = 0;
                outlets.iter_mut().for_each(Outlet::wake);
            }
            if let Some((event, recv)) = newest {
                self.metrics.on_latency(Stage::Venue, recv - event);
                self.metrics.on_latency(Stage::Engine, now.0 - recv);
            }
            self.ask_for(&mut wanted, &mut out.missing);
            if now.0 >= next_second {
                next_second = now.0 + SECOND;
                self.tell(&mut told);
            }
        }
        self.tell(&mut told);
    }

    /// Hands over what is to be kept, before any client is sent it, and answers questions.
    fn keep(&mut self, out: &mut Outputs) {
        if let Some(keeper) = &mut self.keeper {
            if !out.closed.is_empty() {
                keeper.on_closed(&out.closed);
            }
            for (symbol, time) in out.lost.drain(..) {
                keeper.on_lost(symbol, time);
            }
        }
        out.closed.clear();
        out.lost.clear();
        for (ticket, answer) in out.answers.drain(..) {
            self.present.answer(ticket, answer);
        }
    }

    /// Takes inputs until there are none or enough. Gives the times of the first trade; nothing at all once all senders
    /// are gone.
    #[expect(clippy::option_option, reason = "no trade, and no more inputs ever, are different")]
    fn drain(&mut self) -> Option<Option<(i64, i64)>> {
        self.inputs.wait(self.wait());
        let mut first = None;
        for _ in 0..self.inputs_max {
            let input = match self.inputs.take() {
                Ok(input) => input,
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => return None,
            };
            if let (None, Input::Trade(trade)) = (first, &input) {
                first = Some((trade.ts_event.0, trade.ts_recv.0));
            }
            self.shard.on_input(input);
            if self.shard.is_full() {
                break;
            }
        }
        Some(first)
    }

    /// How long to wait for an input: a tick, or until the shard emits next.
    fn wait(&self) -> Duration {
        let Some(period) = self.emit_ms.checked_mul(1_000_000).filter(|period| *period > 0) else { return TICK };
        let left = period - self.clock.now().0.rem_euclid(period);
        TICK.min(Duration::from_nanos(left.unsigned_abs()))
    }

    /// Passes holes on to the repairer; what it does not take now waits, within a bound.
    fn ask_for(&self, wanted: &mut VecDeque<Missing>, missing: &mut Vec<Missing>) {
        wanted.extend(missing.drain(..));
        while let Some(one) = wanted.front() {
            match self.missing.try_send(*one) {
                Err(mpsc::error::TrySendError::Full(_)) => break,
                _ => wanted.pop_front(),
            };
        }
        while wanted.len() > MISSING_MAX {
            wanted.pop_front();
            self.metrics.missing_dropped.inc();
        }
    }

    /// Renews counters and the present of each symbol.
    fn tell(&self, told: &mut ShardStats) {
        let (stats, metrics) = (*self.shard.stats(), &self.metrics);
        metrics.trades.inc_by(stats.trades - told.trades);
        metrics.duplicates.inc_by(stats.duplicates - told.duplicates);
        metrics.late_dropped.inc_by(stats.late_dropped - told.late_dropped);
        metrics.gaps_open.inc_by(stats.gaps_open - told.gaps_open);
        metrics.gaps_repaired.inc_by(stats.gaps_repaired - told.gaps_repaired);
        metrics.gaps_lost.inc_by(stats.gaps_lost - told.gaps_lost);
        metrics.unknown.inc_by(stats.unknown - told.unknown);
        metrics.frames.inc_by(stats.frames - told.frames);
        metrics.candles_closed.inc_by(stats.candles_closed - told.candles_closed);
        metrics.revisions.inc_by(stats.revisions - told.revisions);
        *told = stats;
        let present = self.symbols.iter().map(|symbol| (*symbol, self.shard.symbol_status(*symbol))).collect();
        *self.board.lock().unwrap_or_else(PoisonError::into_inner) = present;
    }
}

impl Outlet {
    fn new(link: WorkerLink) -> Self {
        Self { link, held: Vec::new(), dropped: HashMap::new(), is_waiting: false }
    }

    fn wake(&mut self) {
        if mem::take(&mut self.is_waiting) {
            self.link.wake();
        }
    }

    /// Queues a turn's deliveries as one message. Before a full queue frames are dropped, and told of later, but
    /// answers to subscriptions are kept.
    fn push(&mut self, deliveries: &mut Vec<Delivery>, metrics: &Metrics) {
        if self.held.is_empty() && self.dropped.is_empty() {
            if deliveries.is_empty() {
                return;
            }
        } else {
            self.held.append(deliveries);
            mem::swap(&mut self.held, deliveries);
        }
        let dropped = self.dropped.iter().map(|((channel, form), seq)| (*channel, *form, *seq)).collect();
        // The vector goes to the worker and is freed there: one allocation per turn and worker.
        let message = WorkerMessage::Batch { deliveries: mem::take(deliveries), dropped };
        self.is_waiting = true;
        let Err(WorkerMessage::Batch { deliveries, .. }) = self.link.push(message) else {
            self.dropped.clear();
            return;
        };
        for delivery in deliveries {
            match delivery {
                Delivery::Frame(frame) => {
                    metrics.frames_dropped.inc();
                    self.dropped.insert((frame.channel, frame.form), frame.seq);
                }
                snapshot @ Delivery::Snapshot { .. } => self.held.push(snapshot),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use engine::frame::{Class, Frame};
    use mio::{Poll, Token, Waker};

    use super::*;

    #[test]
    fn before_a_full_worker_frames_are_dropped_and_told_but_answers_are_kept() {
        let poll = Poll::new().unwrap();
        let (link, inbox) = WorkerLink::new(Waker::new(poll.registry(), Token(0)).unwrap(), 4096, 1);
        let (mut outlet, metrics) = (Outlet::new(link), Metrics::new());
        let (channel, form, class, bytes) = (ChannelId(3), Form::Text, Class::Event, Bytes::new());
        let frame = |seq| {
            let bytes = bytes.clone();
            Delivery::Frame(Frame { channel, seq, class, form, ts_encode: 0, bytes, body_at: 0, data_at: 1 })
        };
        let capacity = inbox.messages.capacity().unwrap() as u64;
        (0..capacity).for_each(|seq| outlet.push(&mut vec![frame(seq)], &metrics));
        let answer = Delivery::Snapshot { session: 9, channel, form, seq: 7, epoch: 1, frames: Vec::new() };
        outlet.push(&mut vec![answer, frame(capacity)], &metrics);
        outlet.push(&mut vec![frame(capacity + 1)], &metrics);
        assert_eq!(inbox.messages.try_iter().count() as u64, capacity);
        outlet.push(&mut Vec::new(), &metrics);
        let Ok(WorkerMessage::Batch { deliveries, dropped }) = inbox.messages.try_recv() else { panic!() };
        assert!(matches!(deliveries[..], [Delivery::Snapshot { session: 9, .. }]));
        assert_eq!(dropped, [(channel, form, capacity + 1)]);
        outlet.push(&mut Vec::new(), &metrics);
        assert!(inbox.is_empty() && metrics.frames_dropped.get() == 2);
    }
}
