//! The one table from this gateway's errors to S3's codes, statuses and messages.
//!
//! Every answer that is not a success is made here or is s3s's own word on routing and XML. Messages say what to
//! do next where there is something; none of them holds a secret or tells a refused caller what exists. Source:
//! "Error responses" of the S3 API reference.

use std::borrow::Cow;

use crate::auth::chunked::ChunkError;
use crate::auth::{AuthError, Place};
use crate::body::BodyError;
use crate::checksum::{Algorithm, ChecksumError};
use crate::customer_key::SentKeyError;
use crate::key::NameError;
use crate::session::{CustomerKeyError, SessionError};
use scopes::Denied;

/// A refusal in S3's words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The S3 error code.
    pub code: Cow<'static, str>,
    /// The HTTP status.
    pub status: u16,
    /// One sentence for people.
    pub message: Cow<'static, str>,
    /// Further elements of the error document.
    pub details: Vec<(&'static str, String)>,
}

impl Refusal {
    /// A refusal without details.
    pub fn new(status: u16, code: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code: Cow::Borrowed(code),
            status,
            message: message.into(),
            details: Vec::new(),
        }
    }

    fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.details.push((name, value.into()));
        self
    }

    /// The refusal of everything that has no right to happen.
    pub fn access_denied() -> Self {
        Self::new(403, "AccessDenied", "Access Denied")
    }

    /// A part of S3 that this gateway does not have.
    pub fn not_implemented(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(501, "NotImplemented", message)
    }

    /// A value that makes no sense.
    pub fn invalid_argument(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(400, "InvalidArgument", message)
    }

    /// A request that contradicts itself.
    pub fn invalid_request(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(400, "InvalidRequest", message)
    }

    /// A length that must be stated.
    pub fn missing_length() -> Self {
        Self::new(
            411,
            "MissingContentLength",
            "You must provide the Content-Length HTTP header.",
        )
    }

    /// An object or part beyond 5 GiB.
    pub fn entity_too_large(bytes: u64, limit: u64) -> Self {
        Self::new(
            400,
            "EntityTooLarge",
            "Your proposed upload exceeds the maximum allowed size",
        )
        .with("ProposedSize", bytes.to_string())
        .with("MaxSizeAllowed", limit.to_string())
    }

    /// An XML body beyond its limit.
    pub fn message_too_long(limit: u64) -> Self {
        Self::new(400, "MaxMessageLengthExceeded", "Your request was too big.")
            .with("MaxMessageLengthBytes", limit.to_string())
    }

    /// A condition that does not hold.
    pub fn precondition_failed(condition: &'static str) -> Self {
        Self::new(
            412,
            "PreconditionFailed",
            "At least one of the pre-conditions you specified did not hold",
        )
        .with("Condition", condition)
    }

    /// A range outside the object.
    pub fn invalid_range(object_bytes: u64) -> Self {
        Self::new(416, "InvalidRange", "The requested range is not satisfiable")
            .with("ActualObjectSize", object_bytes.to_string())
    }

    /// User metadata or content headers beyond their limits.
    pub fn metadata_too_large(bytes: usize, limit: usize) -> Self {
        Self::new(
            400,
            "MetadataTooLarge",
            "Your metadata headers exceed the maximum allowed metadata size",
        )
        .with("Size", bytes.to_string())
        .with("MaxSizeAllowed", limit.to_string())
    }

    /// More to do than there is memory for.
    pub fn slow_down() -> Self {
        Self::new(503, "SlowDown", "The gateway is busy; try again")
    }

    /// An answer for something that was never set.
    pub fn not_found(code: &'static str, message: &'static str) -> Self {
        Self::new(404, code, message)
    }

    /// XML that does not say what it must.
    pub fn malformed_xml() -> Self {
        let message =
            "The XML you provided was not well-formed or did not validate against our published schema";
        Self::new(400, "MalformedXML", message)
    }
}

impl From<&AuthError> for Refusal {
    fn from(error: &AuthError) -> Self {
        match error {
            AuthError::Anonymous => Self::access_denied(),
            AuthError::Several => Self::invalid_argument(
                "Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter, Signature query string \
                 parameter or the Authorization header should be specified",
            ),
            AuthError::Version2 => Self::invalid_request(
                "The authorization mechanism you have provided is not supported. Please use AWS4-HMAC-SHA256.",
            ),
            AuthError::Algorithm => Self::invalid_argument("Unsupported Authorization Type"),
            AuthError::Malformed { place, what } => malformed(*place, what),
            AuthError::Region { place, expected } => {
                let what = format!("the region is wrong; expecting '{expected}'");
                malformed(*place, &what).with("Region", expected.clone())
            }
            AuthError::Date => Self::new(
                403,
                "AccessDenied",
                "AWS authentication requires a valid Date or x-amz-date header",
            ),
            AuthError::Skew { .. } => {
                let message = "The difference between the request time and the current time is too large.";
                Self::new(403, "RequestTimeTooSkewed", message).with("MaxAllowedSkewMilliseconds", "900000")
            }
            AuthError::NotYet => Self::new(403, "AccessDenied", "Request is not valid yet"),
            AuthError::UrlExpired => Self::new(403, "AccessDenied", "Request has expired"),
            AuthError::Unsigned { header } => {
                let message = "There were headers present in the request which were not signed";
                Self::new(403, "AccessDenied", message).with("HeadersNotSigned", header.clone())
            }
            AuthError::SessionToken => Self::new(
                400,
                "InvalidToken",
                "The provided token is malformed or otherwise invalid.",
            ),
            AuthError::Unavailable => Self::new(
                503,
                "ServiceUnavailable",
                "Credentials cannot be looked up now; try again",
            ),
            AuthError::LedgerAway => {
                Self::new(503, "ServiceUnavailable", SessionError::LedgerAway.to_string())
            }
            AuthError::UnknownKey => {
                let message = "The AWS Access Key Id you provided does not exist in our records.";
                Self::new(403, "InvalidAccessKeyId", message)
            }
            AuthError::Signature => signature_mismatch(),
            AuthError::NotInForce(denied) => Self::from(denied),
            AuthError::PayloadMissing => {
                Self::invalid_request("Missing required header for this request: x-amz-content-sha256")
            }
            AuthError::PayloadInvalid => Self::invalid_argument(
                "x-amz-content-sha256 must be UNSIGNED-PAYLOAD, STREAMING-UNSIGNED-PAYLOAD-TRAILER, \
                 STREAMING-AWS4-HMAC-SHA256-PAYLOAD, STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER or a valid sha256 \
                 value.",
            ),
            AuthError::PayloadUnsupported => {
                Self::not_implemented("This payload signing mode is not implemented for this kind of request")
            }
            AuthError::Uri => Self::new(400, "InvalidURI", "Couldn't parse the specified URI."),
        }
    }
}

impl From<&Denied> for Refusal {
    fn from(denied: &Denied) -> Self {
        let message = match denied {
            Denied::Expired { .. } => "Access Denied: the credential has expired",
            Denied::NotYetValid { .. } => "Access Denied: the credential is not valid yet",
            Denied::Revoked => "Access Denied: the credential has been revoked",
            Denied::Operation { .. }
            | Denied::Scope
            | Denied::Unknown
            | Denied::Undecided
            | Denied::OtherGrant { .. }
            | Denied::Prefix => "Access Denied",
            Denied::Forked | Denied::Wider { .. } => "Access Denied: the grant is not valid",
            Denied::Stale { .. } | Denied::Behind { .. } => {
                "Access Denied: nobody says whether the grant is in force still"
            }
            Denied::Budget { .. } => "Access Denied: the budget of the grant is used up",
        };
        Self::new(403, "AccessDenied", message)
    }
}

impl From<&BodyError> for Refusal {
    fn from(error: &BodyError) -> Self {
        match error {
            BodyError::Chunk(ChunkError::Signature) => signature_mismatch(),
            BodyError::Chunk(ChunkError::TooLarge { .. }) => {
                Self::invalid_request("A signed chunk may have at most 16 MiB")
            }
            BodyError::Chunk(ChunkError::Framing { what }) => {
                Self::invalid_request(format!("The aws-chunked body is not valid: {what}"))
            }
            BodyError::Chunk(ChunkError::Truncated) | BodyError::Length { .. } | BodyError::Broken => {
                Self::new(
                    400,
                    "IncompleteBody",
                    "You did not provide the number of bytes specified by the Content-Length HTTP header",
                )
            }
            BodyError::Sha256 => {
                let message = "The provided 'x-amz-content-sha256' header does not match what was computed.";
                Self::new(400, "XAmzContentSHA256Mismatch", message)
            }
            BodyError::Md5 => Self::new(
                400,
                "BadDigest",
                "The Content-MD5 you specified did not match what we received.",
            ),
            BodyError::Checksum { algorithm } => {
                let name = algorithm.name();
                let message = format!("The {name} you specified did not match the calculated checksum.");
                Self::new(400, "BadDigest", message)
            }
            BodyError::Trailer => Self::new(
                400,
                "MalformedTrailerError",
                "The request contained trailing data that was not well-formed or did not conform to our published \
                 schema.",
            ),
            BodyError::Malformed(error) => Self::from(error),
            BodyError::TooLong { limit } => Self::message_too_long(*limit),
            BodyError::TooSmall { least } => Self::new(
                400,
                "EntityTooSmall",
                "Your proposed upload is smaller than the minimum allowed size",
            )
            .with("MinSizeAllowed", least.to_string()),
            BodyError::TooLarge { most } => Self::new(
                400,
                "EntityTooLarge",
                "Your proposed upload exceeds the maximum allowed size",
            )
            .with("MaxSizeAllowed", most.to_string()),
            BodyError::Busy => Self::slow_down(),
            BodyError::Slow => Self::new(
                400,
                "RequestTimeout",
                "Your socket connection to the server was not read from or written to within the timeout period.",
            ),
        }
    }
}

impl From<&ChecksumError> for Refusal {
    fn from(error: &ChecksumError) -> Self {
        match error {
            ChecksumError::Several => Self::invalid_request(
                "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.",
            ),
            ChecksumError::Malformed {
                header: "content-md5",
            } => Self::new(
                400,
                "InvalidDigest",
                "The Content-MD5 you specified is not valid.",
            ),
            ChecksumError::Malformed { header } => {
                Self::invalid_request(format!("Value for {header} header is invalid."))
            }
            ChecksumError::UnknownAlgorithm => Self::invalid_request(
                "Checksum algorithm provided is unsupported. Please try again with any of the valid types: [CRC32, \
                 CRC32C, CRC64NVME, SHA1, SHA256]",
            ),
            ChecksumError::Disagree => Self::invalid_request(
                "Value for x-amz-sdk-checksum-algorithm header and the checksum that came with it disagree.",
            ),
        }
    }
}

impl From<&NameError> for Refusal {
    fn from(error: &NameError) -> Self {
        match error {
            NameError::BucketName => {
                Self::new(400, "InvalidBucketName", "The specified bucket is not valid.")
            }
            NameError::KeyEmpty => Self::invalid_argument("The object key is empty"),
            NameError::KeyTooLong { bytes } => Self::new(400, "KeyTooLongError", "Your key is too long")
                .with("Size", bytes.to_string())
                .with("MaxSizeAllowed", crate::key::OBJECT_KEY_BYTES_MAX.to_string()),
            NameError::KeyNul { .. } => Self::invalid_argument("Object keys may not contain NUL"),
        }
    }
}

impl From<&SessionError> for Refusal {
    fn from(error: &SessionError) -> Self {
        let said = error.to_string();
        match error {
            SessionError::NoSuchBucket => Self::new(404, "NoSuchBucket", "The specified bucket does not exist"),
            SessionError::BucketExists => Self::new(
                409,
                "BucketAlreadyOwnedByYou",
                "Your previous request to create the named bucket succeeded and you already own it.",
            ),
            SessionError::BucketNotEmpty => {
                Self::new(409, "BucketNotEmpty", "The bucket you tried to delete is not empty")
            }
            SessionError::Locked => Self::new(
                403,
                "AccessDenied",
                "Access Denied because object protected by object lock.",
            ),
            SessionError::NoSuchVersion => {
                Self::new(404, "NoSuchVersion", "The specified version does not exist.")
            }
            SessionError::NoSuchKey => Self::new(404, "NoSuchKey", "The specified key does not exist."),
            SessionError::NoSuchUpload => Self::new(
                404,
                "NoSuchUpload",
                "The specified upload does not exist. The upload ID may be invalid, or the upload may have been \
                 aborted or completed.",
            ),
            SessionError::InvalidPart { number } => Self::new(
                400,
                "InvalidPart",
                "One or more of the specified parts could not be found. The part may not have been uploaded, or \
                 the specified entity tag may not match the part's entity tag.",
            )
            .with("PartNumber", number.to_string()),
            SessionError::PartChecksumMissing { number, algorithm } => {
                let name = Algorithm::from(*algorithm).name().to_ascii_lowercase();
                Self::invalid_request(format!(
                    "The upload was created using a {name} checksum. The complete request must include the checksum for \
                     each part. It was missing for part {number} in the request."
                ))
            }
            SessionError::InvalidPartOrder => {
                let message = "The list of parts was not in ascending order. Parts must be ordered by part number.";
                Self::new(400, "InvalidPartOrder", message)
            }
            SessionError::PartTooSmall { number, bytes, least } => {
                let message = "Your proposed upload is smaller than the minimum allowed size";
                Self::new(400, "EntityTooSmall", message)
                    .with("ProposedSize", bytes.to_string())
                    .with("MinSizeAllowed", least.to_string())
                    .with("PartNumber", number.to_string())
            }
            SessionError::PreconditionFailed { condition } => Self::precondition_failed(condition),
            SessionError::CustomerKey(error) => Self::from(error),
            SessionError::ChecksumDiffers => {
                Self::new(400, "BadDigest", "The checksum you specified did not match the calculated checksum.")
            }
            SessionError::SizeDiffers { .. } => Self::invalid_request(format!(
                "The x-amz-mp-object-size you specified is not the object's: {said}"
            )),
            SessionError::Conflict { .. } => Self::new(
                409,
                "ConditionalRequestConflict",
                "The conditional request cannot succeed due to a conflicting operation against this resource.",
            ),
            // Clients try a 503 again by themselves, which is right: drives come back. MinIO answers so without a read quorum.
            SessionError::NotWritable { .. }
            | SessionError::TooClose { .. }
            | SessionError::Unreadable { .. }
            | SessionError::LedgerAway
            | SessionError::Fenced => Self::new(503, "ServiceUnavailable", said),
            SessionError::Behind | SessionError::Busy => Self::new(503, "SlowDown", said),
            SessionError::DiskFull => Self::new(507, "XCairnStorageFull", said),
            SessionError::QuotaExceeded { .. } => Self::new(403, "QuotaExceeded", said),
            SessionError::Limit { .. } => Self::invalid_argument(said),
            SessionError::Internal { .. } => {
                Self::new(500, "InternalError", "We encountered an internal error. Please try again.")
            }
        }
    }
}

impl From<&CustomerKeyError> for Refusal {
    fn from(error: &CustomerKeyError) -> Self {
        Self::invalid_request(match error {
            CustomerKeyError::Wrong => return Self::access_denied(),
            CustomerKeyError::Missing => {
                "The object was stored using a form of Server Side Encryption. The correct parameters must be \
                 provided to retrieve the object."
            }
            CustomerKeyError::Needless => "The encryption parameters are not applicable to this object.",
            CustomerKeyError::UploadLacks => {
                "The multipart upload initiate requested encryption. Subsequent part requests must include the \
                 appropriate encryption parameters."
            }
            CustomerKeyError::UploadDiffers => {
                "The provided encryption parameters did not match the ones used originally."
            }
        })
    }
}

impl From<&SentKeyError> for Refusal {
    fn from(error: &SentKeyError) -> Self {
        let with_keys = |rest: &str| {
            format!("Requests specifying Server Side Encryption with Customer provided keys must {rest}")
        };
        match error {
            SentKeyError::Insecure => Self::invalid_request(with_keys("be made over a secure connection.")),
            SentKeyError::AlgorithmMissing => {
                Self::invalid_argument(with_keys("provide a valid encryption algorithm."))
            }
            SentKeyError::Algorithm => Self::new(
                400,
                "InvalidEncryptionAlgorithmError",
                "The encryption request you specified is not valid. The valid value is AES256.",
            ),
            SentKeyError::KeyMissing => {
                Self::invalid_argument(with_keys("provide an appropriate secret key."))
            }
            SentKeyError::Key => {
                Self::invalid_argument("The secret key was invalid for the specified algorithm.")
            }
            SentKeyError::Md5Missing => {
                Self::invalid_argument(with_keys("provide the client calculated MD5 of the secret key."))
            }
            SentKeyError::Md5 => Self::invalid_argument(
                "The calculated MD5 hash of the key did not match the hash that was provided.",
            ),
        }
    }
}

fn malformed(place: Place, what: &str) -> Refusal {
    match place {
        Place::Header => {
            let message = format!("The authorization header is malformed; {what}");
            Refusal::new(400, "AuthorizationHeaderMalformed", message)
        }
        Place::Query => Refusal::new(400, "AuthorizationQueryParametersError", what.to_owned()),
    }
}

fn signature_mismatch() -> Refusal {
    Refusal::new(
        403,
        "SignatureDoesNotMatch",
        "The request signature we calculated does not match the signature you provided. Check your key and signing \
         method.",
    )
}
