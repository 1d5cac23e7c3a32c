//! What is sealed: objects, buckets, uploads, parts, long manifests, pack claims and checkpoints.
//!
//! The seal is opened first, so none of these bytes come from a stranger; they come from other versions of this
//! program and from its own mistakes. Source: FORMAT.md section 5.

use engine::codec::DecodeError;
use engine::pack::PackId;
use scopes::{ScopeId, VaultId};
use vault::checkpoint::{CheckpointEntry, CheckpointPointer, CheckpointReader, CheckpointWriter};
use vault::claim::{ClaimValue, Trailer, TrailerBuilder};
use vault::keys::{Keyring, RootKey};
use vault::object::{Bucket, Listed, Manifest, Object, PackRef, Part, PartEntry, Upload};

use crate::{fixed_random, strict};

/// The input as an Object, a Bucket, an Upload, a part entry, and as the parts list of an indirect manifest.
pub fn manifest(input: &[u8]) -> bool {
    let mut taken = false;
    if let Some(object) = strict(input, Object::decode(input), Object::encode) {
        let listed = Listed::decode(input);
        assert!(
            listed.is_ok_and(|l| l.key == object.key && l.etag() == object.etag()),
            "a listing differs"
        );
        check_manifest(&object.manifest, Some(object.plaintext_bytes));
        taken = true;
    }
    taken |= strict(input, Bucket::decode(input), Bucket::encode).is_some();
    taken |= strict(input, Upload::decode(input), Upload::encode).is_some();
    if let Some(entry) = strict(input, PartEntry::decode(input), PartEntry::encode) {
        check_manifest(&Manifest::Inline(vec![entry.part]), None);
        taken = true;
    }
    let parts = Manifest::decode_parts(input);
    let encode = |manifest: &Manifest| match manifest {
        Manifest::Inline(parts) => Manifest::encode_parts(parts),
        Manifest::Indirect { .. } => panic!("a manifest of three levels"),
    };
    if let Some(manifest) = strict(input, parts, encode) {
        check_manifest(&manifest, None);
        taken = true;
    }
    taken
}

/// The input as a trailer's plaintext, as a sealed trailer, as a checkpoint pointer and as a checkpoint.
pub fn pack_claims(input: &[u8]) -> bool {
    let mut taken = false;
    let keyring = Keyring::new(RootKey::from_bytes([3; 32]), VaultId([4; 16]));
    let (scope, pack) = (ScopeId([5; 16]), PackId([6; 32]));
    if let Some(trailer) = strict(input, Trailer::decode(input), |trailer| rebuilt(trailer).encode()) {
        check_sealed_trailer(&keyring, scope, pack, trailer);
        taken = true;
    }
    assert!(
        Trailer::open(&keyring, scope, pack, input).is_err(),
        "a trailer that nobody sealed opens"
    );
    taken |= strict(input, CheckpointPointer::decode(input), CheckpointPointer::encode).is_some();
    taken | checkpoint(input)
}

fn rebuilt(trailer: &Trailer) -> TrailerBuilder {
    let mut builder = TrailerBuilder::new(&trailer.scope_name);
    trailer.claims.iter().for_each(|claim| builder.push(claim));
    builder
}

/// A trailer opens to what was sealed, "this pack" replaced; its announced length is its length.
fn check_sealed_trailer(keyring: &Keyring, scope: ScopeId, pack: PackId, mut trailer: Trailer) {
    for claim in &trailer.claims {
        let value = &claim.value;
        assert_eq!(
            ClaimValue::decode(value.kind(), &value.encode()).as_ref(),
            Ok(value)
        );
    }
    let builder = rebuilt(&trailer);
    let Ok(sealed) = builder.seal(keyring, scope, 1, &mut fixed_random) else {
        return;
    };
    assert_eq!(
        builder.sealed_bytes_with(None, 1),
        sealed.len(),
        "a trailer's length was announced wrong"
    );
    trailer
        .claims
        .iter_mut()
        .for_each(|claim| claim.value.resolve_this_pack(pack));
    assert_eq!(Trailer::open(keyring, scope, pack, &sealed), Ok(trailer));
    assert!(
        Trailer::open(keyring, ScopeId([9; 16]), pack, &sealed).is_err(),
        "opens in another scope"
    );
}

/// A checkpoint reads the same in whatever pieces it comes, and what was read encodes to what was fed.
fn checkpoint(input: &[u8]) -> bool {
    let whole = read_checkpoint(&[input]);
    let (left, right) = input.split_at(input.len() / 3);
    let pieces = read_checkpoint(&[left, right]);
    assert_eq!(
        whole.is_ok(),
        pieces.is_ok(),
        "pieces read otherwise than the whole"
    );
    let (Ok((through, whole)), Ok((_, pieces))) = (whole, pieces) else {
        return false;
    };
    assert!(whole == pieces, "pieces read otherwise than the whole");
    let Some(through) = through else { return false };
    let mut out = Vec::new();
    let mut writer = CheckpointWriter::start(through, whole.len() as u64, &mut out);
    assert!(whole.iter().all(|entry| writer.entry(entry, &mut out).is_ok()));
    assert!(writer.finish().is_ok());
    assert!(out == input, "a checkpoint has two encodings");
    true
}

type ReadCheckpoint = (Option<engine::slots::Sequence>, Vec<CheckpointEntry>);

fn read_checkpoint(pieces: &[&[u8]]) -> Result<ReadCheckpoint, DecodeError> {
    let mut reader = CheckpointReader::new();
    let mut entries = Vec::new();
    for piece in pieces {
        reader.feed(piece);
        while let Some(entry) = reader.next_entry()? {
            entries.push(entry);
        }
    }
    let through = reader.through();
    reader.finish()?;
    Ok((through, entries))
}

/// The chunks of a manifest tile its plaintext, and the packs' sealed bytes add up to those of its parts.
fn check_manifest(manifest: &Manifest, plaintext_bytes: Option<u64>) {
    let sealed: u64 = match manifest {
        Manifest::Inline(parts) => parts.iter().map(sealed_elsewhere).sum(),
        Manifest::Indirect { stream, .. } => sealed_elsewhere(stream),
    };
    assert_eq!(manifest.pack_bytes().values().sum::<u64>(), sealed);
    let mut resolved = manifest.clone();
    resolved.resolve_this_pack(PackId([7; 32]));
    let Ok(chunks) = resolved.chunks(0..u64::MAX) else {
        return;
    };
    let (mut at, mut ended) = (0, true);
    for chunk in chunks.take(CHUNKS_WALKED_MAX) {
        assert_eq!(
            chunk.plaintext_offset + chunk.wanted.start as u64,
            at,
            "chunks do not follow each other"
        );
        at += chunk.wanted.len() as u64;
        assert!(!chunk.wanted.is_empty() && chunk.wanted.end + 16 == chunk.sealed_bytes as usize);
        ended = chunk.last;
    }
    if let Some(bytes) = plaintext_bytes.filter(|bytes| *bytes < CHUNKS_WALKED_MAX as u64) {
        assert!(at == bytes && ended, "chunks do not cover the object");
    }
}

/// Sealed bytes of a part that lie in packs with an id.
fn sealed_elsewhere(part: &Part) -> u64 {
    let named = part.extents.iter().filter(|extent| extent.pack != PackRef::This);
    named.map(vault::object::Extent::sealed_bytes).sum()
}

/// A chunk count is a number in the input: a long object is walked this far and no farther.
const CHUNKS_WALKED_MAX: usize = 4096;
