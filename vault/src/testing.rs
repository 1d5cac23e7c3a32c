//! What the tests of this crate share: fixed keys, seeded randomness, golden files. Not a model of anything.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use engine::pack::{Code, PackGeometry, PackId, SHARD_BYTES_MAX};
use engine::slots::{Address, Append, AppliedAppend, Entry, Expectation, Sequence};
use engine::view::MemoryView;
use scopes::{ScopeId, VaultId};

use crate::commit::{Commit, CommitError, Packs, WrittenPack};
use crate::index::{Index, Resolved, Stored};
use crate::keys::{Keyring, RootKey};
use crate::object::{Bucket, Object, samples};

pub(crate) const SCOPE: ScopeId = ScopeId([0x5c; 16]);

pub(crate) fn keyring() -> Keyring {
    Keyring::new(RootKey::from_bytes([0x11; 32]), VaultId([0x22; 16]))
}

pub(crate) fn keyring_of(vault: u8) -> Keyring {
    Keyring::new(RootKey::from_bytes([0x11; 32]), VaultId([vault; 16]))
}

/// Bytes that differ at every call and every seed.
pub(crate) fn seeded(seed: u64) -> impl FnMut(&mut [u8]) {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&seed.to_le_bytes());
    let mut stream = hasher.finalize_xof();
    move |bytes| stream.fill(bytes)
}

/// Compares bytes with a golden file. With `CAIRN_WRITE_GOLDEN` set it writes the file instead.
pub(crate) fn assert_golden(name: &str, bytes: &[u8]) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden").join(name);
    if std::env::var_os("CAIRN_WRITE_GOLDEN").is_some() {
        std::fs::write(&path, bytes).unwrap();
    }
    let golden = std::fs::read(&path).unwrap();
    assert!(
        golden == bytes,
        "{name}: the format changed, or the golden file did"
    );
}

pub(crate) fn cases(cases: u32) -> proptest::prelude::ProptestConfig {
    proptest::prelude::ProptestConfig {
        cases,
        failure_persistence: None,
        ..Default::default()
    }
}

/// A ledger that keeps the rules of appends and nothing else.
#[derive(Debug, Default)]
pub(crate) struct TestLedger {
    pub(crate) entries: BTreeMap<Address, (Sequence, Bytes)>,
    pub(crate) sequence: u64,
}

impl TestLedger {
    /// Applies an append, or says which expectation does not hold.
    pub(crate) fn append(&mut self, append: &Append) -> Result<AppliedAppend, Expectation> {
        for expectation in &append.expectations {
            let holds = match expectation {
                Expectation::Absent(address) => !self.entries.contains_key(address),
                Expectation::At(address, at) => self.entries.get(address).is_some_and(|(have, _)| have == at),
                Expectation::ScopeEmpty(scope) => !self
                    .entries
                    .keys()
                    .any(|address| address.scope == *scope && address.kind.is_object()),
            };
            if !holds {
                return Err(*expectation);
            }
        }
        self.sequence += 1;
        for write in &append.writes {
            match &write.value {
                Some(value) => self
                    .entries
                    .insert(write.address, (Sequence(self.sequence), value.clone())),
                None => self.entries.remove(&write.address),
            };
        }
        Ok(append.applied(Sequence(self.sequence)))
    }

    pub(crate) fn snapshot(&self) -> Vec<Entry> {
        let entry = |(address, (sequence, value)): (&Address, &(Sequence, Bytes))| Entry {
            address: *address,
            sequence: *sequence,
            value: value.clone(),
        };
        self.entries.iter().map(entry).collect()
    }
}

type BoxedRandom = Box<dyn FnMut(&mut [u8])>;

/// A vault with its ledger and index, and one bucket called `b` that shows [`SCOPE`].
pub(crate) struct TestVault {
    pub(crate) keyring: Keyring,
    pub(crate) ledger: TestLedger,
    pub(crate) index: Index,
    pub(crate) random: BoxedRandom,
    pub(crate) resolved: Resolved,
}

impl TestVault {
    pub(crate) fn new() -> Self {
        let index = Index::new(Arc::new(MemoryView::new()), keyring()).unwrap();
        let random = Box::new(seeded(1));
        let ledger = TestLedger::default();
        let mut vault = Self {
            keyring: keyring(),
            ledger,
            index,
            random,
            resolved: Resolved::new(),
        };
        let bucket = samples::bucket("b", SCOPE);
        vault
            .run(|commit, random| commit.create_bucket(&bucket, &Packs::default(), random))
            .unwrap();
        vault
    }

    /// Appends what `build` makes and brings the index up to it.
    pub(crate) fn run(
        &mut self,
        build: impl FnOnce(Commit<'_>, &mut dyn FnMut(&mut [u8])) -> Result<Append, CommitError>,
    ) -> Result<Sequence, Expectation> {
        let append = build(Commit::new(&self.keyring, [0; 16], 5), &mut *self.random).unwrap();
        let applied = self.ledger.append(&Append::decode(&encoded(&append)).unwrap())?;
        let sequence = applied.sequence;
        self.index.apply(&[applied], &self.resolved).unwrap();
        Ok(sequence)
    }

    pub(crate) fn bucket(&self) -> Stored<Bucket> {
        self.index.bucket("b").unwrap().unwrap()
    }

    /// Puts an object over whatever is there, with entries for all the packs that it names.
    pub(crate) fn put(&mut self, object: &Object) -> Result<Sequence, Expectation> {
        let bucket = self.bucket();
        let current = self
            .index
            .object(SCOPE, &object.key)
            .unwrap()
            .map(|object| object.sequence);
        let packs = Packs {
            written: written(object.manifest.pack_bytes()),
            ..Packs::default()
        };
        self.run(|commit, random| commit.put_object(&bucket, object, current, &packs, random))
    }

    pub(crate) fn delete(&mut self, key: &str) -> Result<Sequence, Expectation> {
        let current = self.index.object(SCOPE, key).unwrap().unwrap().sequence;
        let bucket = self.bucket();
        self.run(|commit, _| commit.delete_object(&bucket, key, Some(current)))
    }
}

fn encoded(append: &Append) -> Vec<u8> {
    let mut writer = engine::codec::Writer::new();
    append.encode(&mut writer);
    writer.into_vec()
}

/// Entries of packs in [`SCOPE`] that hold so many chunk bytes each, on one lane, and no trailer.
pub(crate) fn written(packs: BTreeMap<PackId, u64>) -> Vec<WrittenPack> {
    packs
        .into_iter()
        .map(|(id, bytes)| written_pack(SCOPE, id, bytes, 5))
        .collect()
}

/// The entry of a pack of up to 8 MiB, its chunks on as few lanes as hold them.
pub(crate) fn written_pack(scope: ScopeId, id: PackId, bytes: u64, lease: u64) -> WrittenPack {
    let lane = SHARD_BYTES_MAX as u64;
    let lane_bytes: Vec<u32> = (0..4)
        .map(|i| bytes.saturating_sub(i * lane).min(lane) as u32)
        .collect();
    let shard_bytes = lane_bytes.iter().copied().max().unwrap().max(1);
    let geometry = PackGeometry {
        code: Code::DEFAULT,
        shard_bytes,
        lane_bytes,
        trailer: None,
    };
    let mut writer = engine::codec::Writer::new();
    writer.u8(1);
    writer.fixed(&keyring().vault().0);
    writer.fixed(&id.0);
    writer.u64(lease);
    geometry.encode(&mut writer);
    writer.zeros(6 * 48);
    WrittenPack {
        scope,
        id,
        entry: writer.into_vec().into(),
    }
}
