//! The body of a request that waits for leave: connection and headers go ahead, the prompt does not.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::sync::oneshot;

/// A body that is sent when its [`oneshot::Sender`] says so, and never if the sender is dropped.
pub(crate) struct Gated {
    gate: oneshot::Receiver<()>,
    body: Option<Bytes>,
}

impl Gated {
    pub(crate) fn new(body: Vec<u8>) -> (oneshot::Sender<()>, Self) {
        let (open, gate) = oneshot::channel();
        (open, Self { gate, body: Some(body.into()) })
    }
}

/// Leave was not given; the connection is of no use, as its headers promised a body.
#[derive(Debug, thiserror::Error)]
#[error("the request was not allowed")]
pub(crate) struct Shut;

impl Body for Gated {
    type Data = Bytes;
    type Error = Shut;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Shut>>> {
        if self.body.is_none() {
            return Poll::Ready(None);
        }
        match ready!(Pin::new(&mut self.gate).poll(context)) {
            Ok(()) => Poll::Ready(self.body.take().map(|body| Ok(Frame::data(body)))),
            Err(_) => Poll::Ready(Some(Err(Shut))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.body.as_ref().map_or(0, |body| body.len() as u64))
    }
}
