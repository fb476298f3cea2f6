//! A response body that keeps its connection busy until the body has been read.

use std::pin::Pin;
use std::task::{Context, Poll};

use hyper::body::{Body, Frame, SizeHint};

use super::slots::AtWork;
use super::stalling::Owing;

/// A body with a guard that is held as long as the body exists.
pub(super) struct Working<B> {
    pub(super) body: B,
    pub(super) _at_work: (AtWork, Owing),
}

impl<B: Body + Unpin> Body for Working<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        Pin::new(&mut self.get_mut().body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
