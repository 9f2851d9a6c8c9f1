//! The textbook form: a task per connection and direction, each message sent by itself through a WebSocket library.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use futures_util::{SinkExt, StreamExt, stream::SplitSink};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::broadcast::{Receiver, Sender, error::RecvError},
};
use tokio_tungstenite::{
    WebSocketStream, accept_async,
    tungstenite::{Message, Utf8Bytes},
};

use crate::servers::broadcast::{BEHIND_MAX, Numbers};

type Event = (usize, Utf8Bytes);

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

async fn connection(socket: TcpStream, sender: Sender<Event>, numbers: Numbers) -> anyhow::Result<()> {
    let (sink, mut stream) = accept_async(socket).await?.split();
    let wanted = Arc::<AtomicU64>::default();
    let writer = tokio::spawn(write(sink, sender.subscribe(), Arc::clone(&wanted)));
    while let Some(Ok(Message::Text(text))) = stream.next().await {
        if let Some(channel) = text.strip_prefix('S') {
            wanted.fetch_or(1 << numbers.of(channel.into()).await, Ordering::Relaxed);
        } else if let Some((channel, payload)) = text.strip_prefix('P').and_then(|rest| rest.split_once('\n')) {
            // The publisher's own writer listens too: there is always a receiver.
            let _ = sender.send((numbers.of(channel.into()).await, payload.into()));
        }
    }
    writer.abort();
    Ok(())
}

async fn write(
    mut sink: SplitSink<WebSocketStream<TcpStream>, Message>,
    mut events: Receiver<Event>,
    wanted: Arc<AtomicU64>,
) -> anyhow::Result<()> {
    loop {
        match events.recv().await {
            Ok((channel, text)) if wanted.load(Ordering::Relaxed) & (1 << channel) != 0 => {
                sink.send(Message::Text(text)).await?;
            }
            // The client sees the hole in the ids.
            Ok(_) | Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return Ok(()),
        }
    }
}
