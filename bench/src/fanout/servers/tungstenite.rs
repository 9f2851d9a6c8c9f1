//! The textbook form: a task per connection, and each message sent by itself through a WebSocket library.

use std::net::SocketAddr;

use futures_util::{SinkExt, StreamExt};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::broadcast::{Sender, error::RecvError},
};
use tokio_tungstenite::{
    accept_async,
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
    let mut events = sender.subscribe();
    let mut wanted = 0_u64;
    let mut socket = accept_async(socket).await?;
    loop {
        tokio::select! {
            message = socket.next() => {
                let Some(Message::Text(text)) = message.transpose()? else { return Ok(()) };
                if let Some(channel) = text.strip_prefix('S') {
                    wanted |= 1 << numbers.of(channel.into()).await;
                } else if let Some((channel, payload)) = text.strip_prefix('P').and_then(|rest| rest.split_once('\n')) {
                    // The publisher's own task listens too: there is always a receiver.
                    let _ = sender.send((numbers.of(channel.into()).await, payload.into()));
                }
            }
            event = events.recv() => match event {
                Ok((channel, text)) if wanted & (1 << channel) != 0 => socket.send(Message::Text(text)).await?,
                Ok(_) | Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return Ok(()),
            }
        }
    }
}
