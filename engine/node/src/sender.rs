//! The way to the shards: a bounded queue each, whose shard sleeps while it is empty.

use std::{mem, sync::Arc, time::Duration, vec};

use crossbeam::{
    channel::{Receiver, Sender, TryRecvError, TrySendError, bounded},
    sync::{Parker, Unparker},
};
use engine::{
    market::{Directory, Symbol},
    message::Input,
};

const QUEUE_MAX: usize = 65_536;
/// Inputs of a burst: more are more bursts.
const BURST_MAX: usize = 256;

/// The node is shutting down: nothing takes inputs any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the node is shut down")]
pub struct SendError;

/// Inputs that a shard finds together.
enum Burst {
    One(Input),
    Many(Vec<Input>),
}

/// A shard's end of its queue.
pub(crate) struct Inbox {
    bursts: Receiver<Burst>,
    parker: Parker,
    /// The rest of the burst that is being taken.
    begun: vec::IntoIter<Input>,
}

impl Inbox {
    /// Sleeps until there may be inputs, at the longest so long.
    pub(crate) fn wait(&self, within: Duration) {
        if self.is_empty() {
            self.parker.park_timeout(within);
        }
    }

    /// The next input.
    ///
    /// # Errors
    /// There is none now, or never again.
    pub(crate) fn take(&mut self) -> Result<Input, TryRecvError> {
        if let Some(input) = self.begun.next() {
            return Ok(input);
        }
        match self.bursts.try_recv()? {
            Burst::One(input) => Ok(input),
            Burst::Many(inputs) => {
                self.begun = inputs.into_iter();
                self.begun.next().ok_or(TryRecvError::Empty)
            }
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.begun.as_slice().is_empty() && self.bursts.is_empty()
    }
}

/// The other end.
struct Queue {
    bursts: Sender<Burst>,
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
        let Some(queue) = self.shard_of(&input).and_then(|shard| self.queues.get(shard)) else { return Ok(None) };
        Ok(match queue.push(Burst::One(input))? {
            Some(Burst::One(input)) => Some(input),
            _ => None,
        })
    }

    /// Queues an input; waits while its queue is full. Inputs of several symbols are split among their shards.
    ///
    /// # Errors
    /// [`SendError`] once the node is shut down.
    pub async fn send(&self, input: Input) -> Result<(), SendError> {
        self.send_all([input]).await
    }

    /// Queues inputs that belong together, such as the trades of one message, so that their shard finds all of them at once:
    /// what it takes in together, sessions are sent together. Waits as [`ShardSender::send`] does.
    ///
    /// # Errors
    /// [`SendError`] once the node is shut down.
    pub async fn send_all(&self, inputs: impl IntoIterator<Item = Input, IntoIter: Send>) -> Result<(), SendError> {
        let mut bursts = vec![Vec::new(); self.queues.len()];
        for input in inputs {
            let Some(shard) = self.split(input, &mut bursts) else { continue };
            if bursts.get(shard).is_some_and(|burst| burst.len() >= BURST_MAX) {
                let whole = bursts.get_mut(shard).map(mem::take).unwrap_or_default();
                self.push(shard, Burst::Many(whole)).await?;
            }
        }
        for (shard, burst) in bursts.into_iter().enumerate().filter(|(_, burst)| !burst.is_empty()) {
            self.push(shard, Burst::Many(burst)).await?;
        }
        Ok(())
    }

    async fn push(&self, shard: usize, burst: Burst) -> Result<(), SendError> {
        let Some(queue) = self.queues.get(shard) else { return Ok(()) };
        let mut waiting = queue.push(burst)?;
        while let Some(burst) = waiting.take() {
            tokio::time::sleep(Duration::from_millis(1)).await;
            waiting = queue.push(burst)?;
        }
        Ok(())
    }

    /// Puts an input into the bursts of its shards, and returns the shard if it is one: several symbols become one input per
    /// shard, while [`ShardSender::try_send`] goes by the first symbol alone.
    fn split(&self, input: Input, bursts: &mut [Vec<Input>]) -> Option<usize> {
        let (symbols, since) = match input {
            Input::FeedDown { symbols, since } => (symbols, Some(since)),
            Input::FeedUp { symbols } => (symbols, None),
            other => {
                let shard = self.shard_of(&other)?;
                bursts.get_mut(shard)?.push(other);
                return Some(shard);
            }
        };
        for (shard, burst) in bursts.iter_mut().enumerate() {
            let own = symbols.iter().copied().filter(|symbol| shard_of(*symbol, self.queues.len()) == shard);
            let symbols: Box<[_]> = own.collect();
            if !symbols.is_empty() {
                burst.push(match since {
                    Some(since) => Input::FeedDown { symbols, since },
                    None => Input::FeedUp { symbols },
                });
            }
        }
        None
    }

    fn shard_of(&self, input: &Input) -> Option<usize> {
        let symbol = match input {
            Input::Trade(trade) => trade.symbol,
            Input::Proof { symbol, .. } | Input::GapLost { symbol, .. } | Input::Correction { symbol, .. } => *symbol,
            Input::FeedDown { symbols, .. } | Input::FeedUp { symbols } => *symbols.first()?,
            Input::Seed(seed) => seed.symbol,
            Input::Read(read) => read.symbol,
            Input::Subscribe(wish) => wish.channel.symbol(&self.directory)?,
            Input::Unsubscribe { channel, .. } => channel.symbol(&self.directory)?,
        };
        Some(shard_of(symbol, self.queues.len()))
    }
}

impl Queue {
    /// Wakes the shard; hands the burst back if the queue is full.
    fn push(&self, burst: Burst) -> Result<Option<Burst>, SendError> {
        let result = self.bursts.try_send(burst);
        self.shard.unpark();
        match result {
            Ok(()) => Ok(None),
            Err(TrySendError::Full(burst)) => Ok(Some(burst)),
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
        let ((sender, bursts), parker) = (bounded(QUEUE_MAX), Parker::new());
        (
            Queue { bursts: sender, shard: parker.unparker().clone() },
            Inbox { bursts, parker, begun: Vec::new().into_iter() },
        )
    };
    let (queues, inboxes): (Vec<_>, Vec<_>) = (0..shards.max(1)).map(|_| pair()).unzip();
    (ShardSender { queues: queues.into(), directory: Arc::clone(directory) }, inboxes)
}
