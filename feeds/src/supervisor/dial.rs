//! One handshake: name, TCP, TLS, WebSocket, each failure told apart because the next step differs.

use std::time::Duration;

use tokio::net::{TcpStream, lookup_host};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, client_async_tls_with_config,
    tungstenite::{Error, client::IntoClientRequest, protocol::WebSocketConfig},
};

use crate::{rest::wait_of, venue::FRAME_BYTES_MAX};

pub(super) type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

const READ_BUFFER_BYTES: usize = 16 << 10;
const WRITE_BUFFER_BYTES_MAX: usize = 256 << 10;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum DialError {
    #[error("the URL {0:?} has no host")]
    Url(String),
    #[error("the host {host} has no address: is the name right, and is there a network?")]
    Unresolved { host: String },
    #[error("no answer from {host} within {wait:?}")]
    Timeout { host: String, wait: Duration },
    #[error("{host} cannot be reached")]
    Unreachable { host: String, source: std::io::Error },
    #[error("{host} refused the handshake with status {status}")]
    Refused { host: String, status: u16, wait: Duration },
    #[error("the handshake with {host} failed: {source}")]
    Handshake { host: String, source: Box<Error> },
}

impl DialError {
    /// How long the venue wants to be left alone.
    pub(super) const fn asked_wait(&self) -> Option<Duration> {
        if let Self::Refused { wait, .. } = self { Some(*wait) } else { None }
    }
}

/// Opens a WebSocket within `wait`.
pub(super) async fn dial(url: &str, wait: Duration) -> Result<Socket, DialError> {
    let request = url.into_client_request().map_err(|_| DialError::Url(url.to_owned()))?;
    let host = request.uri().host().ok_or_else(|| DialError::Url(url.to_owned()))?.to_owned();
    let port = request.uri().port_u16().unwrap_or(if request.uri().scheme_str() == Some("ws") { 80 } else { 443 });
    let connect = async {
        let stream = tcp(&host, port).await?;
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER_BYTES)
            .write_buffer_size(0)
            .max_write_buffer_size(WRITE_BUFFER_BYTES_MAX)
            .max_message_size(Some(FRAME_BYTES_MAX))
            .max_frame_size(Some(FRAME_BYTES_MAX));
        match client_async_tls_with_config(request, stream, Some(config), None).await {
            Ok((socket, _)) => Ok(socket),
            Err(error) => Err(refused(&host, error)),
        }
    };
    match tokio::time::timeout(wait, connect).await {
        Ok(result) => result,
        Err(_) => Err(DialError::Timeout { host: host.clone(), wait }),
    }
}

/// The first address that answers.
async fn tcp(host: &str, port: u16) -> Result<TcpStream, DialError> {
    let unresolved = || DialError::Unresolved { host: host.to_owned() };
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let addresses = lookup_host((bare, port)).await.map_err(|_| unresolved())?;
    let mut last = unresolved();
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(stream) => {
                let _ = stream.set_nodelay(true);
                return Ok(stream);
            }
            Err(source) => last = DialError::Unreachable { host: host.to_owned(), source },
        }
    }
    Err(last)
}

fn refused(host: &str, error: Error) -> DialError {
    let host = host.to_owned();
    match error {
        Error::Http(response) => {
            let status = response.status().as_u16();
            DialError::Refused { host, status, wait: wait_of(status, response.headers()) }
        }
        Error::Io(source) => DialError::Unreachable { host, source },
        error => DialError::Handshake { host, source: Box::new(error) },
    }
}
