//! What `x-amz-content-sha256` says about a body.
//!
//! Every mode is named in one enum, so that a mode cannot be handled in one place and forgotten in another
//! (GHSA-9c4q-hq6p-c237: an unsigned-trailer mode that no signature check covered).

use super::AuthError;

/// How a body is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Payload {
    /// The whole body has this SHA-256, checked while it streams.
    Hash([u8; 32]),
    /// The body is not covered by the signature.
    Unsigned,
    /// aws-chunked, each chunk signed.
    SignedChunks,
    /// aws-chunked, each chunk signed, signed trailers.
    SignedChunksTrailer,
    /// aws-chunked, not signed, with trailers.
    UnsignedChunksTrailer,
}

impl Payload {
    /// Parses the header's value.
    pub fn parse(text: &str) -> Result<Self, AuthError> {
        match text {
            "UNSIGNED-PAYLOAD" => Ok(Self::Unsigned),
            "STREAMING-AWS4-HMAC-SHA256-PAYLOAD" => Ok(Self::SignedChunks),
            "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER" => Ok(Self::SignedChunksTrailer),
            "STREAMING-UNSIGNED-PAYLOAD-TRAILER" => Ok(Self::UnsignedChunksTrailer),
            other if other.starts_with("STREAMING-AWS4-ECDSA-") => Err(AuthError::PayloadUnsupported),
            other => {
                let mut hash = [0; 32];
                match hex::decode_to_slice(other, &mut hash) {
                    Ok(()) if !other.bytes().any(|b| b.is_ascii_uppercase()) => Ok(Self::Hash(hash)),
                    _ => Err(AuthError::PayloadInvalid),
                }
            }
        }
    }

    /// Whether the body is framed as aws-chunked.
    pub const fn is_chunked(self) -> bool {
        matches!(
            self,
            Self::SignedChunks | Self::SignedChunksTrailer | Self::UnsignedChunksTrailer
        )
    }

    /// Whether trailers may follow the body.
    pub const fn has_trailer(self) -> bool {
        matches!(self, Self::SignedChunksTrailer | Self::UnsignedChunksTrailer)
    }
}

/// SHA-256 of nothing.
pub const EMPTY_SHA256: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
