//! The rest of a body that nobody wants: taken for a moment, so that the client can read why.
//!
//! A connection that is closed while bytes arrive is reset, and the answer may be lost with it. Bounded in bytes and time;
//! never wakes a client that waits for "100 Continue".

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;

use crate::body::{BoxError, RawBody};

/// The most bytes that are taken for nothing.
const DRAIN_BYTES_MAX: usize = 1 << 20;
/// The longest that bytes are taken for nothing.
const DRAIN_PATIENCE: Duration = Duration::from_secs(1);

/// A request's body as it is handed on: whoever drops it before its end gives it back here.
struct Lent {
    // None: its end was seen.
    body: Option<RawBody>,
    desk: Arc<Desk>,
}

#[derive(Default)]
struct Desk {
    back: Mutex<Option<RawBody>>,
    touched: AtomicBool,
}

/// Where a lent body comes back to.
pub(super) struct Rest(Arc<Desk>);

/// Lends a request's body.
pub(super) fn lend(request: Request<RawBody>) -> (Request<RawBody>, Rest) {
    let desk = Arc::new(Desk::default());
    let rest = Rest(Arc::clone(&desk));
    let lend = |body| Lent {
        body: Some(body),
        desk,
    };
    (request.map(|body| lend(body).boxed_unsync()), rest)
}

impl Rest {
    /// Takes what is left of the body. Says whether its end was reached, so that the connection may go on. `asked`: the
    /// client sends its body only when it is read, which it will not be if nobody has.
    pub(super) async fn drain(self, asked: bool) -> bool {
        let back = self.0.back.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(mut body) = back else { return true };
        if body.is_end_stream() {
            return true;
        }
        if asked && !self.0.touched.load(Ordering::Relaxed) {
            return false;
        }
        let all = async {
            let mut bytes = 0;
            while let Some(frame) = body.frame().await {
                let Ok(frame) = frame else { return false };
                bytes += frame.data_ref().map_or(0, Bytes::len);
                if bytes > DRAIN_BYTES_MAX {
                    return false;
                }
            }
            true
        };
        tokio::time::timeout(DRAIN_PATIENCE, all).await.unwrap_or(false)
    }
}

impl Body for Lent {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        self.desk.touched.store(true, Ordering::Relaxed);
        let Some(body) = &mut self.body else {
            return Poll::Ready(None);
        };
        let frame = ready!(Pin::new(body).poll_frame(cx));
        if !matches!(frame, Some(Ok(_))) {
            self.body = None;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body
            .as_ref()
            .map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some(body) = self.body.take() {
            *self.desk.back.lock().unwrap_or_else(PoisonError::into_inner) = Some(body);
        }
    }
}
