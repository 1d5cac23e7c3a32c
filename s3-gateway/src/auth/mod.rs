//! Who sent this request: AWS Signature Version 4, verified here and nowhere else.
//!
//! Exactly one set of credentials may come with a request, in the `Authorization` header or in the query, and it
//! must be SigV4 of this gateway's region for the service `s3`, sign `host` and every `x-amz-*` header, and be
//! fresh. Nothing of the body is read before that holds. Version 2 signatures, SigV4A, session tokens and
//! anonymous requests are refused. Sources: "Authenticating Requests (AWS Signature Version 4)" of the S3 API
//! reference; the advisories that the tests are named after.

pub mod canonical;
pub mod chunked;
pub mod parse;
pub mod payload;
pub mod signing;
pub mod verify;

pub use verify::{Pending, Request, Verified, Verifier, VerifierConfig};

use scopes::{Credential, CredentialName, Denied};
use zeroize::Zeroizing;

/// A credential with the secret that signs its requests.
pub struct SigningCredential {
    /// The secret access key; wiped on drop.
    pub secret: Zeroizing<Vec<u8>>,
    /// What the credential may do.
    pub credential: Credential,
    /// Its name for logs and records.
    pub name: CredentialName,
}

impl std::fmt::Debug for SigningCredential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SigningCredential({})", self.name)
    }
}

/// Why a request was not accepted as coming from a credential in force. The S3 codes are in `errors.rs`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// No credentials at all.
    #[error("the request carries no credentials")]
    Anonymous,
    /// More than one set of credentials, or one of their parts twice.
    #[error("the request carries more than one set of credentials")]
    Several,
    /// A Version 2 signature.
    #[error("signature version 2 is not supported")]
    Version2,
    /// An algorithm other than AWS4-HMAC-SHA256.
    #[error("this signing algorithm is not supported")]
    Algorithm,
    /// The credentials cannot be parsed.
    #[error("{place} is malformed: {what}")]
    Malformed {
        /// In the header or in the query.
        place: Place,
        /// What about it.
        what: &'static str,
    },
    /// Another region.
    #[error("{place} names another region than {expected}")]
    Region {
        /// In the header or in the query.
        place: Place,
        /// This gateway's region.
        expected: String,
    },
    /// No usable date.
    #[error("the request carries no valid x-amz-date or Date")]
    Date,
    /// The clocks differ by more than 15 minutes.
    #[error("the request's time differs from the gateway's by {skew_s} s")]
    Skew {
        /// By how many seconds.
        skew_s: u64,
    },
    /// The presigned URL is used before its date.
    #[error("the request is not valid yet")]
    NotYet,
    /// The presigned URL's time is over.
    #[error("the request has expired")]
    UrlExpired,
    /// `host` or an `x-amz-*` header is not signed.
    #[error("the header {header} is not signed")]
    Unsigned {
        /// Its name.
        header: String,
    },
    /// A session token; this gateway gives out none.
    #[error("session tokens are not known here")]
    SessionToken,
    /// Credentials cannot be looked up now.
    #[error("credentials cannot be looked up now")]
    Unavailable,
    /// Nobody says whether they are in force still: the ledger does not answer.
    #[error("the ledger does not answer, so nobody says whether credentials are in force still")]
    LedgerAway,
    /// The access key id is unknown.
    #[error("the access key id is unknown")]
    UnknownKey,
    /// The signature is not that of this request under the credential's secret.
    #[error("the signature does not match")]
    Signature,
    /// The credential is expired, revoked or not yet valid.
    #[error("the credential is not in force: {0}")]
    NotInForce(Denied),
    /// `x-amz-content-sha256` is missing.
    #[error("x-amz-content-sha256 is missing")]
    PayloadMissing,
    /// `x-amz-content-sha256` is neither a hash nor a mode known here.
    #[error("x-amz-content-sha256 is not valid")]
    PayloadInvalid,
    /// A payload mode that is not implemented for this kind of request.
    #[error("this payload mode is not supported here")]
    PayloadUnsupported,
    /// The path or query is not valid percent-encoding.
    #[error("the request's path or query is not valid")]
    Uri,
}

/// Where credentials stood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// The `Authorization` header.
    Header,
    /// The query string of a presigned URL.
    Query,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Header => "the authorization header",
            Self::Query => "the authorization query",
        })
    }
}
