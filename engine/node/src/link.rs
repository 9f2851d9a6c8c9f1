//! The way to a worker: its queue, its waker, and how many sessions it has.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use crossbeam::channel::{Receiver, Sender, TrySendError, bounded};
use engine::{channel::ChannelId, frame::Form, message::Delivery};
use mio::Waker;

use crate::session::NewSession;

/// What a worker is told.
pub(crate) enum WorkerMessage {
    /// A shard's turn.
    Batch {
        deliveries: Vec<Delivery>,
        /// Frames that were dropped before a full queue: channel, form and the last number.
        dropped: Vec<(ChannelId, Form, u64)>,
    },
    /// Close all sessions by that time and end.
    Shutdown { until: i64 },
}

/// A worker's end.
pub(crate) struct Inbox {
    pub(crate) messages: Receiver<WorkerMessage>,
    pub(crate) sockets: Receiver<Box<NewSession>>,
}

impl Inbox {
    pub(crate) fn is_empty(&self) -> bool {
        self.messages.is_empty() && self.sockets.is_empty()
    }
}

/// A handle to a worker; clones lead to the same one.
#[derive(Clone)]
pub(crate) struct WorkerLink {
    queue: Sender<WorkerMessage>,
    /// Sockets to own. Each holds one of the node's connections, so that there are never too many, and a worker that is busy
    /// with frames keeps a client waiting instead of losing it.
    sockets: Sender<Box<NewSession>>,
    waker: Arc<Waker>,
    signalled: Arc<AtomicBool>,
    sessions: Arc<AtomicUsize>,
}

impl WorkerLink {
    /// A link and its worker's end, for which so many messages and sockets may wait.
    pub(crate) fn new(waker: Waker, messages_max: usize, sockets_max: usize) -> (Self, Inbox) {
        let (queue, messages) = bounded(messages_max.max(1));
        let (sockets, new) = bounded(sockets_max.max(1));
        let inbox = Inbox { messages, sockets: new };
        let link = Self { queue, sockets, waker: Arc::new(waker), signalled: Arc::default(), sessions: Arc::default() };
        (link, inbox)
    }

    /// Queues a message and wakes the worker; hands the message back if the queue is full or the worker is gone.
    pub(crate) fn try_send(&self, message: WorkerMessage) -> Result<(), WorkerMessage> {
        let result = self.push(message);
        self.wake();
        result
    }

    /// Gives the worker a socket; false if it is gone.
    pub(crate) fn connect(&self, socket: Box<NewSession>) -> bool {
        let is_sent = self.sockets.try_send(socket).is_ok();
        self.wake();
        is_sent
    }

    /// Queues a message for when the worker wakes.
    pub(crate) fn push(&self, message: WorkerMessage) -> Result<(), WorkerMessage> {
        self.queue.try_send(message).map_err(TrySendError::into_inner)
    }

    /// Wakes the worker, once however often it is called.
    pub(crate) fn wake(&self) {
        if !self.signalled.swap(true, Ordering::AcqRel)
            && let Err(error) = self.waker.wake()
        {
            tracing::error!(%error, "cannot wake a worker");
        }
    }

    /// The worker is awake and about to read its queue.
    pub(crate) fn on_awake(&self) {
        self.signalled.store(false, Ordering::Release);
    }

    /// How many sessions the worker has or is about to have.
    pub(crate) fn sessions(&self) -> usize {
        self.sessions.load(Ordering::Relaxed)
    }

    pub(crate) fn on_opened(&self) {
        self.sessions.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn on_closed(&self) {
        self.sessions.fetch_sub(1, Ordering::Relaxed);
    }
}
