//! What is said of an object beside its bytes, by a PUT, an upload or a copy.
//!
//! Plain data. Metadata and tags are the client's words; what the gateway notes is its own, and no header reaches it by name.

use vault::object::{Checksum, Lock, Object};

/// What is said of an object beside its bytes.
#[derive(Debug, Clone, Default)]
pub struct Attributes {
    /// Content headers and `x-amz-meta-` entries, under lower-case names.
    pub metadata: Vec<(String, String)>,
    /// Tags.
    pub tags: Vec<(String, String)>,
    /// Retention and legal hold.
    pub lock: Lock,
    /// What the gateway notes of it, by name.
    pub system: Vec<(String, String)>,
}

impl Attributes {
    /// What a copy says that changes nothing: the source's metadata and tags. Its lock does not go with a copy.
    pub fn copied(source: &Object) -> Self {
        Self {
            metadata: source.metadata.clone(),
            tags: source.tags.clone(),
            ..Self::default()
        }
    }
}

/// What a PUT says of its object.
#[derive(Debug, Clone, Default)]
pub struct NewObject {
    /// What it says beside the bytes.
    pub attributes: Attributes,
    /// MD5 of the body.
    pub etag_md5: [u8; 16],
    /// The checksum the client gave or asked for, over the body.
    pub checksum: Option<Checksum>,
}
