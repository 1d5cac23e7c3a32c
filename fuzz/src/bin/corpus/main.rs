//! Writes the corpus: valid encodings of every format, and the same cut short, made longer and with one bit flipped.
//!
//! `cargo run -p fuzz --bin corpus`. It writes the same files each time and leaves others alone, so that what a fuzzer
//! found stays. Files named `valid-…` must be taken by their target; the replay test checks it.

mod door;
mod engine_formats;
mod evidence;
mod grants;
mod peers;
mod shared;
mod vault_formats;

use std::error::Error;
use std::path::{Path, PathBuf};

/// A valid input and what to call it.
type Seed = (&'static str, Vec<u8>);
type Seeds = Result<Vec<Seed>, Box<dyn Error>>;

fn main() -> Result<(), Box<dyn Error>> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    let targets = [
        ("aws_chunked", door::aws_chunked()),
        ("checksum_headers", door::checksum_headers()),
        ("credential", vault_formats::credential()?),
        ("grant", grants::grant()?),
        ("ledger_entry", engine_formats::ledger_entry()?),
        ("log_frame", engine_formats::log_frame()?),
        ("manifest", vault_formats::manifest()),
        ("pack_claims", vault_formats::pack_claims()?),
        ("peer_message", peers::peer_message()?),
        ("receipt", evidence::receipt()?),
        ("shard_frame", engine_formats::shard_frame()?),
        ("access_list", shared::access_list()),
        ("bucket_policy", shared::bucket_policy()),
        ("copy_source", shared::copy_source()),
        ("cors_rules", shared::cors_rules()),
        ("lifecycle_rules", shared::lifecycle_rules()),
        ("post_form", shared::post_form()),
        ("post_policy", shared::post_policy()),
        ("tagging_header", shared::tagging_header()),
        ("sigv4", door::sigv4()?),
    ];
    for (target, seeds) in targets {
        let dir = corpus.join(target);
        std::fs::create_dir_all(&dir)?;
        for (name, seed) in &seeds {
            write_variants(&dir, name, seed)?;
        }
        println!("{target}: {} valid", seeds.len());
    }
    Ok(())
}

fn write_variants(dir: &Path, name: &str, seed: &[u8]) -> std::io::Result<()> {
    let file = |kind: &str| -> PathBuf { dir.join(format!("{kind}-{name}")) };
    std::fs::write(file("valid"), seed)?;
    let (half, but_one) = (seed.len() / 2, seed.len().saturating_sub(1));
    for (kind, end) in [("half", half), ("cut", but_one)] {
        std::fs::write(file(kind), seed.get(..end).unwrap_or_default())?;
    }
    std::fs::write(file("longer"), [seed, &[0]].concat())?;
    for (kind, at) in [
        ("flip-early", seed.len() / 7),
        ("flip-late", seed.len() - seed.len() / 4),
    ] {
        let mut flipped = seed.to_vec();
        if let Some(byte) = flipped.get_mut(at) {
            *byte ^= 1 << (at % 8);
        }
        std::fs::write(file(kind), flipped)?;
    }
    Ok(())
}
