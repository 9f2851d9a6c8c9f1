//! The accept loop: HTTP/1.1 on every connection, `/v1/ws` here, everything else to the service that was given.

use std::{
    convert::Infallible,
    error::Error,
    io,
    net::SocketAddr,
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::{Either, Full};
use hyper::{Request, Response, body::Body, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    task::JoinSet,
};
use tower_service::Service;

use crate::upgrade::{Gate, Pending};

const BACKLOG: i32 = 4096;
const HEADER_WAIT: Duration = Duration::from_secs(5);
const HEADER_BYTES_MAX: usize = 16 * 1024;
/// How long to leave the listener alone after it failed, as it does without free file descriptors.
const BACK_OFF: Duration = Duration::from_millis(100);

/// Answers every request that is not for the stream, such as an axum router. The client's [`SocketAddr`] is among the
/// extensions of the request.
pub trait Fallback<B>:
    Service<Request<Incoming>, Response = Response<B>, Error = Infallible, Future: Send> + Clone + Send + 'static
{
}

impl<B, S> Fallback<B> for S where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible, Future: Send> + Clone + Send + 'static
{
}

/// A body that can be served.
pub trait AnswerBody: Body<Data = Bytes, Error: Into<Box<dyn Error + Send + Sync>>> + Send + 'static {}

impl<B> AnswerBody for B where B: Body<Data = Bytes, Error: Into<Box<dyn Error + Send + Sync>>> + Send + 'static {}

/// Opens the listening socket; must be called within a tokio runtime.
///
/// # Errors
/// The address cannot be listened on; the text names it and a remedy.
pub(crate) fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let open = || {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        TcpListener::from_std(socket.into())
    };
    open().map_err(|error| {
        let remedy = match error.kind() {
            io::ErrorKind::AddrInUse => "stop the program that uses this port, or choose another port",
            io::ErrorKind::PermissionDenied => "ports below 1024 need a privilege: choose another port",
            io::ErrorKind::AddrNotAvailable => "no interface has this address: use 0.0.0.0 for all of them",
            _ => "choose another address",
        };
        io::Error::new(error.kind(), format!("cannot listen on {address}: {error}; {remedy}"))
    })
}

/// Accepts until `stop` turns true, then waits for the connections that are still being served.
pub(crate) async fn accept<B: AnswerBody, S: Fallback<B>>(
    listener: TcpListener,
    gate: Arc<Gate>,
    fallback: S,
    mut stop: watch::Receiver<bool>,
) {
    let slots = Arc::new(Semaphore::new(gate.context.config.limits.connections));
    let mut connections = JoinSet::new();
    let mut is_warned = false;
    let watched = stop.clone();
    let mut stopped = pin!(stop.wait_for(|stop| *stop));
    loop {
        let next = async {
            // Without a free slot nobody is accepted: the kernel's backlog holds them.
            let slot = Arc::clone(&slots).acquire_owned().await.map_err(io::Error::other)?;
            let (socket, peer) = listener.accept().await?;
            io::Result::Ok((socket, peer, slot))
        };
        let accepted = tokio::select! {
            _ = &mut stopped => break,
            accepted = next => accepted,
        };
        match accepted {
            Ok((socket, peer, slot)) => {
                connections.spawn(serve(socket, peer, slot, Arc::clone(&gate), fallback.clone(), watched.clone()));
            }
            Err(error) => {
                gate.context.metrics.accept_errors.inc();
                if !is_warned {
                    is_warned = true;
                    tracing::warn!(%error, "cannot accept connections; is the limit of open files too low (ulimit -n)?");
                }
                tokio::time::sleep(BACK_OFF).await;
            }
        }
        while connections.try_join_next().is_some() {}
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

async fn serve<B: AnswerBody, S: Fallback<B>>(
    socket: TcpStream,
    peer: SocketAddr,
    slot: OwnedSemaphorePermit,
    gate: Arc<Gate>,
    fallback: S,
    mut stop: watch::Receiver<bool>,
) {
    // Without it answers may wait for a delayed acknowledgement; nothing breaks if it cannot be set.
    let _ = socket.set_nodelay(true);
    let Some(tls) = gate.tls.clone() else { return serve_http(socket, peer, slot, gate, fallback, stop).await };
    let socket = tokio::select! {
        socket = tls.accept(socket) => socket,
        () = async { _ = stop.wait_for(|stop| *stop).await } => None,
    };
    if let Some(socket) = socket {
        serve_http(socket, peer, slot, gate, fallback, stop).await;
    }
}

/// HTTP on a connection, until it ends or becomes a session.
async fn serve_http<IO: AsyncRead + AsyncWrite + Send + Unpin + 'static, B: AnswerBody, S: Fallback<B>>(
    socket: IO,
    peer: SocketAddr,
    slot: OwnedSemaphorePermit,
    gate: Arc<Gate>,
    fallback: S,
    mut stop: watch::Receiver<bool>,
) {
    let upgraded: Arc<Mutex<Option<Pending>>> = Arc::default();
    let (gate_here, upgraded_here) = (&gate, &upgraded);
    let service = service_fn(move |request| answer(request, peer, gate_here, upgraded_here, fallback.clone()));
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(HEADER_WAIT).max_buf_size(HEADER_BYTES_MAX);
    let mut connection = pin!(server.serve_connection(TokioIo::new(socket), service).with_upgrades());
    let result = tokio::select! {
        result = connection.as_mut() => result,
        () = async { _ = stop.wait_for(|stop| *stop).await } => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = result {
        tracing::trace!(%error, "connection ended");
    }
    let pending = upgraded.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(pending) = pending {
        gate.finish(pending, slot).await;
    }
}

async fn answer<B: AnswerBody, S: Fallback<B>>(
    mut request: Request<Incoming>,
    peer: SocketAddr,
    gate: &Gate,
    upgraded: &Mutex<Option<Pending>>,
    mut fallback: S,
) -> Result<Response<Either<Full<Bytes>, B>>, Infallible> {
    if request.uri().path() == "/v1/ws" {
        let (answer, pending) = gate.on_request(&mut request, peer);
        *upgraded.lock().unwrap_or_else(PoisonError::into_inner) = pending;
        return Ok(answer.map(Either::Left));
    }
    // Whoever answers finds the client's address here.
    request.extensions_mut().insert(peer);
    std::future::poll_fn(|context| fallback.poll_ready(context)).await?;
    Ok(fallback.call(request).await?.map(Either::Right))
}
