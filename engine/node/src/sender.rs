//! The way to the shards: a bounded queue each.

use std::{sync::Arc, time::Duration};

use crossbeam::channel::{Receiver, Sender, TrySendError, bounded};
use engine::{
    market::{Directory, Symbol},
    message::Input,
};

const QUEUE_MAX: usize = 65_536;

/// The node is shutting down: nothing takes inputs any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the node is shut down")]
pub struct SendError;

/// Sends inputs to the shard that owns their symbol. Clones share the queues.
#[derive(Clone)]
pub struct ShardSender {
    queues: Arc<[Sender<Input>]>,
    directory: Arc<Directory>,
}

impl ShardSender {
    /// Queues an input; hands it back if its queue is full.
    ///
    /// # Errors
    /// [`SendError`] once the node is shut down.
    pub fn try_send(&self, input: Input) -> Result<Option<Input>, SendError> {
        let Some(queue) = self.queue(&input) else { return Ok(None) };
        match queue.try_send(input) {
            Ok(()) => Ok(None),
            Err(TrySendError::Full(input)) => Ok(Some(input)),
            Err(TrySendError::Disconnected(_)) => Err(SendError),
        }
    }

    /// Queues an input; waits while its queue is full. Inputs of several symbols are split among their shards.
    ///
    /// # Errors
    /// [`SendError`] once the node is shut down.
    pub async fn send(&self, input: Input) -> Result<(), SendError> {
        for part in self.split(input) {
            let mut waiting = Some(part);
            while let Some(input) = waiting.take() {
                waiting = self.try_send(input)?;
                if waiting.is_some() {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            }
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

    fn queue(&self, input: &Input) -> Option<&Sender<Input>> {
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

/// Which shard owns a symbol.
pub(crate) fn shard_of(symbol: Symbol, shards: usize) -> usize {
    symbol.0 as usize % shards.max(1)
}

/// One queue per shard.
pub(crate) fn queues(shards: usize, directory: &Arc<Directory>) -> (ShardSender, Vec<Receiver<Input>>) {
    let (senders, receivers): (Vec<_>, Vec<_>) = (0..shards.max(1)).map(|_| bounded(QUEUE_MAX)).unzip();
    (ShardSender { queues: senders.into(), directory: Arc::clone(directory) }, receivers)
}
