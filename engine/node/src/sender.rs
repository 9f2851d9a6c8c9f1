//! The way to the shards: a bounded queue each, whose shard sleeps while it is empty.

use std::{sync::Arc, time::Duration};

use crossbeam::{
    channel::{Receiver, Sender, TryRecvError, TrySendError, bounded},
    sync::{Parker, Unparker},
};
use engine::{
    market::{Directory, Symbol},
    message::Input,
};

const QUEUE_MAX: usize = 65_536;

/// The node is shutting down: nothing takes inputs any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the node is shut down")]
pub struct SendError;

/// A shard's end of its queue.
pub(crate) struct Inbox {
    inputs: Receiver<Input>,
    parker: Parker,
}

impl Inbox {
    /// Sleeps until there may be inputs, at the longest so long.
    pub(crate) fn wait(&self, within: Duration) {
        if self.inputs.is_empty() {
            self.parker.park_timeout(within);
        }
    }

    /// The next input.
    ///
    /// # Errors
    /// There is none now, or never again.
    pub(crate) fn take(&self) -> Result<Input, TryRecvError> {
        self.inputs.try_recv()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.inputs.is_empty()
    }
}

/// The other end.
struct Queue {
    inputs: Sender<Input>,
    shard: Unparker,
}

/// Sends inputs to the shard that owns their symbol. Clones share the queues.
#[derive(Clone)]
pub struct ShardSender {
    queues: Arc<[Queue]>,
    directory: Arc<Directory>,
}

impl ShardSender {
    /// Queues an input; hands it back if its queue is full.
    ///
    /// # Errors
    /// [`SendError`] once the node is shut down.
    pub fn try_send(&self, input: Input) -> Result<Option<Input>, SendError> {
        let Some(queue) = self.queue_of(&input) else { return Ok(None) };
        let back = queue.push(input)?;
        queue.shard.unpark();
        Ok(back)
    }

    /// Queues an input; waits while its queue is full. Inputs of several symbols are split among their shards.
    ///
    /// # Errors
    /// [`SendError`] once the node is shut down.
    pub async fn send(&self, input: Input) -> Result<(), SendError> {
        self.send_all([input]).await
    }

    /// Queues inputs that belong together, such as the trades of one message, before any shard wakes: what one turn takes
    /// in, its sessions are sent together. Waits as [`ShardSender::send`] does.
    ///
    /// # Errors
    /// [`SendError`] once the node is shut down.
    pub async fn send_all(&self, inputs: impl IntoIterator<Item = Input, IntoIter: Send>) -> Result<(), SendError> {
        let result = self.push_all(inputs.into_iter()).await;
        self.queues.iter().filter(|queue| !queue.inputs.is_empty()).for_each(|queue| queue.shard.unpark());
        result
    }

    async fn push_all(&self, inputs: impl Iterator<Item = Input>) -> Result<(), SendError> {
        for input in inputs {
            if matches!(input, Input::FeedDown { .. } | Input::FeedUp { .. }) {
                for part in self.split(input) {
                    self.push(part).await?;
                }
            } else {
                self.push(input).await?;
            }
        }
        Ok(())
    }

    async fn push(&self, input: Input) -> Result<(), SendError> {
        let Some(queue) = self.queue_of(&input) else { return Ok(()) };
        let mut waiting = queue.push(input)?;
        while let Some(input) = waiting.take() {
            queue.shard.unpark();
            tokio::time::sleep(Duration::from_millis(1)).await;
            waiting = queue.push(input)?;
        }
        Ok(())
    }

    /// Several symbols become one input per shard; [`ShardSender::try_send`] goes by the first symbol alone.
    fn split(&self, input: Input) -> Vec<Input> {
        let (symbols, since) = match input {
            Input::FeedDown { symbols, since } => (symbols, Some(since)),
            Input::FeedUp { symbols } => (symbols, None),
            other => return vec![other],
        };
        let mut parts = vec![Vec::new(); self.queues.len()];
        for symbol in symbols {
            if let Some(part) = parts.get_mut(shard_of(symbol, self.queues.len())) {
                part.push(symbol);
            }
        }
        let parts = parts.into_iter().filter(|part| !part.is_empty()).map(Vec::into_boxed_slice);
        let input = |symbols| match since {
            Some(since) => Input::FeedDown { symbols, since },
            None => Input::FeedUp { symbols },
        };
        parts.map(input).collect()
    }

    fn queue_of(&self, input: &Input) -> Option<&Queue> {
        let symbol = match input {
            Input::Trade(trade) => trade.symbol,
            Input::Proof { symbol, .. } | Input::GapLost { symbol, .. } | Input::Correction { symbol, .. } => *symbol,
            Input::FeedDown { symbols, .. } | Input::FeedUp { symbols } => *symbols.first()?,
            Input::Subscribe(wish) => wish.channel.symbol(&self.directory)?,
            Input::Unsubscribe { channel, .. } => channel.symbol(&self.directory)?,
        };
        self.queues.get(shard_of(symbol, self.queues.len()))
    }
}

impl Queue {
    /// Hands the input back if the queue is full.
    fn push(&self, input: Input) -> Result<Option<Input>, SendError> {
        match self.inputs.try_send(input) {
            Ok(()) => Ok(None),
            Err(TrySendError::Full(input)) => Ok(Some(input)),
            Err(TrySendError::Disconnected(_)) => Err(SendError),
        }
    }
}

/// Which shard owns a symbol.
pub(crate) fn shard_of(symbol: Symbol, shards: usize) -> usize {
    symbol.0 as usize % shards.max(1)
}

/// One queue per shard.
pub(crate) fn queues(shards: usize, directory: &Arc<Directory>) -> (ShardSender, Vec<Inbox>) {
    let pair = || {
        let ((sender, inputs), parker) = (bounded(QUEUE_MAX), Parker::new());
        (Queue { inputs: sender, shard: parker.unparker().clone() }, Inbox { inputs, parker })
    };
    let (queues, inboxes): (Vec<_>, Vec<_>) = (0..shards.max(1)).map(|_| pair()).unzip();
    (ShardSender { queues: queues.into(), directory: Arc::clone(directory) }, inboxes)
}
