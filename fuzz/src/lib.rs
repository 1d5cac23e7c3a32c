//! One function per parser of bytes from outside: what they decode is strict, and costs memory in proportion.
//!
//! It is not a fuzzer. A fuzzer, or the ordinary test `tests/corpus.rs`, feeds the functions; a function that panics
//! has found a defect. `targets/` has the thin libFuzzer entries, `scripts/nightly` runs them.
//!
//! Invariant: a function takes any bytes, says whether any of its formats took them, draws no randomness and leaves nothing behind, so
//! that a file that once made it panic always does. How much memory a function may take is [`memory_bytes_max`].

mod consent;
pub mod door;
mod evidence;
mod grants;
mod ledger;
mod log;
mod objects;
mod packs;
mod peers;
mod shared;

pub use consent::credential;
pub use door::{aws_chunked, checksum_headers, sigv4};
pub use evidence::receipt;
pub use grants::grant;
pub use ledger::ledger_entry;
pub use log::log_frame;
pub use objects::{manifest, pack_claims};
pub use packs::shard_frame;
pub use peers::peer_message;
pub use shared::{
    access_list, bucket_policy, copy_source, cors_rules, lifecycle_rules, post_form, post_policy,
    tagging_header,
};

/// A parser and the folder of `corpus/` that is its.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// The name of the function, of its folder and of its libFuzzer target.
    pub name: &'static str,
    /// The function. It panics when a property does not hold, and returns whether any format took the input.
    pub run: fn(&[u8]) -> bool,
}

/// Every target.
pub const TARGETS: [Target; 20] = [
    Target {
        name: "access_list",
        run: access_list,
    },
    Target {
        name: "aws_chunked",
        run: aws_chunked,
    },
    Target {
        name: "bucket_policy",
        run: bucket_policy,
    },
    Target {
        name: "checksum_headers",
        run: checksum_headers,
    },
    Target {
        name: "copy_source",
        run: copy_source,
    },
    Target {
        name: "cors_rules",
        run: cors_rules,
    },
    Target {
        name: "credential",
        run: credential,
    },
    Target {
        name: "grant",
        run: grant,
    },
    Target {
        name: "ledger_entry",
        run: ledger_entry,
    },
    Target {
        name: "lifecycle_rules",
        run: lifecycle_rules,
    },
    Target {
        name: "log_frame",
        run: log_frame,
    },
    Target {
        name: "manifest",
        run: manifest,
    },
    Target {
        name: "pack_claims",
        run: pack_claims,
    },
    Target {
        name: "peer_message",
        run: peer_message,
    },
    Target {
        name: "post_form",
        run: post_form,
    },
    Target {
        name: "post_policy",
        run: post_policy,
    },
    Target {
        name: "receipt",
        run: receipt,
    },
    Target {
        name: "shard_frame",
        run: shard_frame,
    },
    Target {
        name: "sigv4",
        run: sigv4,
    },
    Target {
        name: "tagging_header",
        run: tagging_header,
    },
];

/// The most memory that a target may have allocated at a time for an input of so many bytes: a length or count in the
/// input must not buy more than the input itself justifies.
pub const fn memory_bytes_max(input_bytes: usize) -> usize {
    MEMORY_BYTES_FIXED + MEMORY_BYTES_PER_BYTE * input_bytes
}

/// Buffers of fixed size that a parser may have: the simulated disk and the log's read buffers are the largest.
const MEMORY_BYTES_FIXED: usize = 1 << 20;
/// A JSON value takes 32 bytes for two bytes of text, vectors grow by doubling, and a target keeps a few forms at once.
const MEMORY_BYTES_PER_BYTE: usize = 256;

/// Checks that what was decoded encodes to the bytes that it was decoded from, and hands it on.
fn strict<T, E>(input: &[u8], decoded: Result<T, E>, encode: impl FnOnce(&T) -> Vec<u8>) -> Option<T> {
    let value = decoded.ok()?;
    assert!(
        encode(&value) == input,
        "what decodes does not encode to the same bytes"
    );
    Some(value)
}

/// Randomness for sealing that a replay gives again. What it seals is thrown away.
fn fixed_random(bytes: &mut [u8]) {
    bytes.fill(0x5a);
}
