//! Pages of other origins: preflights, which are answered without credentials, and what an answer says to a browser.

use http::{HeaderMap, Request, Response};

use super::{Gate, Gatekeeper, Inner};
use crate::answer::{About, AnswerBody, empty, finish, refuse};
use crate::auth::canonical::decode_utf8;
use crate::body::RawBody;
use crate::cors::CrossOrigin;
use crate::errors::Refusal;
use crate::host::Peer;

/// A request of another origin, and the bucket whose rules say what its page may see.
pub(super) struct Foreign {
    asked: CrossOrigin,
    bucket: String,
}

impl<K: Gatekeeper, N: Inner> Gate<K, N> {
    /// What is cross-origin about a request, if anything.
    pub(super) fn foreign(&self, request: &Request<RawBody>, peer: Peer) -> Option<Foreign> {
        let asked = CrossOrigin::of(request.method(), request.headers())?;
        let mut headers: HeaderMap = request.headers().clone();
        let _ = self.config.hosts.settle(&mut headers, peer);
        let path = decode_utf8(request.uri().path()).ok()?;
        let bucket = self.bucket_named(&headers, &path);
        Some(Foreign { asked, bucket })
    }

    /// Lets the page see an answer, whatever it says, if a rule of the bucket does.
    pub(super) fn let_see(&self, foreign: Option<&Foreign>, response: &mut Response<AnswerBody>) {
        let said = foreign.and_then(|foreign| self.keeper.cross_origin(&foreign.bucket, &foreign.asked));
        response.headers_mut().extend(said.unwrap_or_default());
    }

    /// Answers a preflight.
    pub(super) async fn preflight(
        &self,
        foreign: Option<&Foreign>,
        about: &About<'_>,
    ) -> Response<AnswerBody> {
        let Some(foreign) = foreign else {
            let message = "Insufficient information. Origin request header needed.";
            return refuse(&Refusal::new(400, "BadRequest", message), about);
        };
        match self.keeper.cross_origin(&foreign.bucket, &foreign.asked) {
            Some(said) => {
                let mut response = Response::new(empty());
                response.headers_mut().extend(said);
                finish(response, about).await.0
            }
            None => {
                let message = "CORSResponse: This CORS request is not allowed.";
                refuse(&Refusal::new(403, "AccessForbidden", message), about)
            }
        }
    }
}
