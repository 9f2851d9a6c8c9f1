//! The usual design: a task per connection behind one `tokio::sync::broadcast`, at its best: all that is there goes out
//! with one write.

use std::{collections::HashMap, net::SocketAddr, sync::Arc};

use bytes::Bytes;
use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream},
    sync::{
        Mutex,
        broadcast::{Receiver, Sender, error::RecvError, error::TryRecvError},
    },
};

use crate::{
    shape::CHANNELS_MAX,
    wire::{Inbound, Reader, server_frame},
};

const READ_BYTES: usize = 4096;
/// Events that a connection may be behind.
pub(crate) const BEHIND_MAX: usize = 4096;
/// Bytes that are gathered for one write.
const WRITE_BYTES_MAX: usize = 64 * 1024;

/// An event: the number of its channel and what is sent.
pub(crate) type Event = (usize, Bytes);

/// The numbers of channels, in the order of their first mention.
#[derive(Clone, Default)]
pub(crate) struct Numbers(Arc<Mutex<HashMap<Vec<u8>, usize>>>);

impl Numbers {
    /// The number of a channel; beyond the most that a session may have, all share the last one.
    pub(crate) async fn of(&self, channel: Vec<u8>) -> usize {
        let mut numbers = self.0.lock().await;
        let next = numbers.len().min(CHANNELS_MAX);
        *numbers.entry(channel).or_insert(next)
    }
}

/// Serves until the process is ended.
pub(crate) async fn serve(address: SocketAddr) -> anyhow::Result<()> {
    let listener = TcpListener::bind(address).await?;
    let (sender, numbers) = (Sender::new(BEHIND_MAX), Numbers::default());
    loop {
        let (socket, _) = listener.accept().await?;
        socket.set_nodelay(true)?;
        tokio::spawn(connection(socket, sender.clone(), numbers.clone()));
    }
}

async fn connection(mut socket: TcpStream, sender: Sender<Event>, numbers: Numbers) {
    let mut events = sender.subscribe();
    let mut wanted = 0_u64;
    let mut reader = Reader::default();
    loop {
        tokio::select! {
            ready = socket.readable() => {
                if ready.is_err() || read(&mut socket, &mut reader, &sender, &numbers, &mut wanted).await.is_err() {
                    return;
                }
            }
            event = events.recv() => {
                let pending = match event {
                    Ok(event) => gather(event, &mut events, wanted),
                    // The client sees the hole in the ids.
                    Err(RecvError::Lagged(_)) => continue,
                    Err(RecvError::Closed) => return,
                };
                if !pending.is_empty() && socket.write_all(&pending).await.is_err() {
                    return;
                }
            }
        }
    }
}

/// The event and all that are there behind it, as far as they are wanted.
fn gather(first: Event, events: &mut Receiver<Event>, wanted: u64) -> Vec<u8> {
    let mut pending = Vec::new();
    let mut take = |(channel, frame): Event| {
        if wanted & (1 << channel) != 0 {
            pending.extend_from_slice(&frame);
        }
        pending.len()
    };
    let mut length = take(first);
    while length < WRITE_BYTES_MAX {
        length = match events.try_recv() {
            Ok(event) => take(event),
            Err(TryRecvError::Lagged(_)) => continue,
            Err(_) => break,
        };
    }
    pending
}

async fn read(
    socket: &mut TcpStream,
    reader: &mut Reader,
    sender: &Sender<Event>,
    numbers: &Numbers,
    wanted: &mut u64,
) -> anyhow::Result<()> {
    let mut buffer = [0; READ_BYTES];
    let count = match socket.try_read(&mut buffer) {
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return Ok(()),
        result => result?,
    };
    anyhow::ensure!(count > 0, "closed");
    reader.push(&buffer[..count]);
    while let Some(inbound) = reader.next().map_err(|_| anyhow::anyhow!("hung up"))? {
        match inbound {
            Inbound::Open(answer) => socket.write_all(&answer).await?,
            Inbound::Subscribe(channel) => *wanted |= 1 << numbers.of(channel).await,
            Inbound::Publish(channel, payload) => {
                let mut frame = Vec::with_capacity(payload.len() + 4);
                server_frame(&mut frame, &payload);
                // The publisher's own task listens too: there is always a receiver.
                let _ = sender.send((numbers.of(channel).await, frame.into()));
            }
        }
    }
    Ok(())
}
