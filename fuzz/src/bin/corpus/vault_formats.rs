//! Entry values, claims and checkpoints as plaintext; credentials, statements and key files.

use std::error::Error;

use engine::pack::PackId;
use engine::slots::{Address, EntryKind, Sequence};
use scopes::{
    CollectorDelegation, Credential, DeleteOrder, Operation, OperationSet, Salt, ScopeId, ScopeSet, Signed,
    StrayCopy, VaultId, Wallet, Window,
};
use vault::checkpoint::{CheckpointEntry, CheckpointPointer, CheckpointWriter};
use vault::claim::{Claim, ClaimValue, TrailerBuilder};
use vault::credential::{SealedCredential, Secret};
use vault::customer::CustomerCheck;
use vault::keyfile::{Keyfile, Seed as KeySeed};
use vault::keys::{Keyring, RootKey};
use vault::object::{
    Bucket, Checksum, ChecksumAlgorithm, ChecksumKind, Extent, Form, Lock, Manifest, Object, ObjectChecksum,
    PackRef, Part, PartEntry, Retention, StreamId, Upload, UploadId, VersionId,
};

use super::{Seed, Seeds};

const CHUNK: u64 = 65_520;
const TIME_MS: u64 = 1_781_079_242_000;
const VAULT: VaultId = VaultId([4; 16]);

fn extent(pack: PackRef, form: Form, first_chunk: u64, chunks: u32, last_chunk_bytes: u32) -> Extent {
    Extent {
        pack,
        form,
        offset: 0,
        first_chunk,
        chunks,
        last_chunk_bytes,
    }
}

fn part(number: u16, plaintext_bytes: u64, extents: Vec<Extent>) -> Part {
    let checksum = Checksum::new(ChecksumAlgorithm::Crc32c, &[1, 2, 3, 4]);
    Part {
        number,
        plaintext_bytes,
        stream: StreamId([number as u8 + 1; 32]),
        epoch: 1,
        customer: false,
        md5: (number > 0).then_some([9; 16]),
        checksum: checksum.filter(|_| number > 1),
        extents,
    }
}

/// One chunk in "this pack"; 40 chunks round robin and in a run, in two packs.
fn parts() -> [Part; 2] {
    let small = part(
        0,
        4096,
        vec![extent(PackRef::This, Form::Run { lane: 1 }, 0, 1, 4112)],
    );
    let large = part(
        2,
        39 * CHUNK + 100,
        vec![
            extent(PackRef::Id(PackId([6; 32])), Form::Striped, 0, 32, 65_536),
            extent(PackRef::Id(PackId([7; 32])), Form::Run { lane: 0 }, 32, 8, 116),
        ],
    );
    [small, large]
}

fn object(key: &str, manifest: Manifest, plaintext_bytes: u64) -> Object {
    let text = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    Object {
        key: key.to_owned(),
        delete_marker: false,
        multipart: manifest.parts() > 1,
        version: VersionId([1; 16]),
        null_version: true,
        plaintext_bytes,
        modified_ms: TIME_MS,
        etag_md5: [0xe7; 16],
        parts: manifest.parts().max(1) as u32,
        checksum: None,
        metadata: vec![
            text("content-type", "text/plain"),
            text("x-amz-meta-colour", "gr\u{fc}n"),
        ],
        tags: Vec::new(),
        lock: Lock::default(),
        system: Vec::new(),
        superseded: Sequence(0),
        amendments: 0,
        customer: None,
        manifest,
    }
}

/// By what a customer's key would be known again.
const CHECK: CustomerCheck = CustomerCheck {
    epoch: 1,
    salt: [0xc1; 16],
    value: [0xc2; 32],
};

/// An object under a customer's key.
fn customers(mut part: Part) -> Object {
    (part.customer, part.md5) = (true, None);
    let bytes = part.plaintext_bytes;
    Object {
        customer: Some(CHECK),
        ..object("sealed/by the client", Manifest::Inline(vec![part]), bytes)
    }
}

fn objects() -> [(&'static str, Object); 6] {
    let [small, large] = parts();
    let empty = object("empty", Manifest::Inline(Vec::new()), 0);
    let bytes = small.plaintext_bytes + large.plaintext_bytes;
    let mut multipart = object(
        "photos/2026/\u{1f40e}.jpg",
        Manifest::Inline(vec![small.clone(), large.clone()]),
        bytes,
    );
    let sum = Checksum::new(ChecksumAlgorithm::Sha256, &[5; 32]);
    multipart.checksum = sum.map(|checksum| ObjectChecksum {
        checksum,
        kind: ChecksumKind::Composite,
    });
    multipart.tags = vec![("project".to_owned(), "cairn".to_owned())];
    multipart.lock = Lock {
        retention: Some(Retention {
            mode: 2,
            until_ms: TIME_MS + 1,
        }),
        legal_hold: true,
    };
    let indirect = Manifest::Indirect {
        parts: 10_000,
        stream: Box::new(small.clone()),
    };
    let marker = Object {
        delete_marker: true,
        ..object("gone", Manifest::Inline(Vec::new()), 0)
    };
    [
        (
            "object-small",
            object(
                "notes.txt",
                Manifest::Inline(vec![small.clone()]),
                small.plaintext_bytes,
            ),
        ),
        ("object-empty", empty),
        ("object-multipart", multipart),
        ("object-indirect", object("a/b", indirect, 50 << 30)),
        ("object-marker", marker),
        ("object-customer", customers(small)),
    ]
}

fn bucket() -> Bucket {
    let settings = [("versioning".to_owned(), "off".to_owned())]
        .into_iter()
        .collect();
    Bucket {
        name: "calendar".to_owned(),
        scope: ScopeId([5; 16]),
        epoch: 3,
        created_ms: TIME_MS,
        settings,
    }
}

fn upload() -> Upload {
    Upload {
        key: "big/file.bin".to_owned(),
        id: UploadId([0x1d; 16]),
        initiated_ms: TIME_MS,
        epoch: 1,
        checksum_algorithm: Some(ChecksumAlgorithm::Crc64nvme),
        checksum_kind: ChecksumKind::FullObject,
        metadata: vec![("content-type".to_owned(), "application/octet-stream".to_owned())],
        tags: Vec::new(),
        lock: Lock::default(),
        system: Vec::new(),
        initiator: "0123456789abcdef".to_owned(),
        customer: Some(CHECK),
    }
}

fn part_entry() -> PartEntry {
    let [_, large] = parts();
    PartEntry {
        upload: UploadId([0x1d; 16]),
        modified_ms: TIME_MS,
        etag_md5: [0xe7; 16],
        part: large,
    }
}

pub(super) fn manifest() -> Vec<Seed> {
    let mut seeds: Vec<Seed> = objects()
        .iter()
        .map(|(name, object)| (*name, object.encode()))
        .collect();
    seeds.push(("bucket", bucket().encode()));
    seeds.push(("upload", upload().encode()));
    seeds.push(("part", part_entry().encode()));
    seeds.push(("parts-list", Manifest::encode_parts(&parts())));
    seeds
}

fn pointer() -> CheckpointPointer {
    let [small, _] = parts();
    CheckpointPointer {
        through: Sequence(77),
        written_ms: TIME_MS,
        stream: small,
    }
}

pub(super) fn pack_claims() -> Seeds {
    let claim = |number: u8, value: ClaimValue| Claim {
        slot: [number; 16],
        epoch: 1,
        clock_ms: TIME_MS,
        after: Sequence(40),
        operation: [number; 16],
        value,
    };
    let [(_, small), _, (_, multipart), ..] = objects();
    let values = [
        ClaimValue::Object(small),
        ClaimValue::Version(multipart),
        ClaimValue::Bucket(bucket()),
        ClaimValue::Upload(upload()),
        ClaimValue::Part(part_entry()),
        ClaimValue::Checkpoint(pointer()),
    ];
    let names = [
        "claim-object",
        "claim-version",
        "claim-bucket",
        "claim-upload",
        "claim-part",
        "claim-checkpoint",
    ];
    let mut all = TrailerBuilder::new("calendar");
    let mut seeds = vec![("no-claims", all.encode())];
    for ((number, value), name) in values.into_iter().enumerate().zip(names) {
        let claim = claim(number as u8, value);
        let mut one = TrailerBuilder::new("calendar");
        one.push(&claim);
        all.push(&claim);
        seeds.push((name, one.encode()));
    }
    seeds.push(("all-claims", all.encode()));
    seeds.push(("pointer", pointer().encode()));
    seeds.push(("checkpoint", checkpoint()?));
    Ok(seeds)
}

fn checkpoint() -> Result<Vec<u8>, Box<dyn Error>> {
    let [(_, small), (_, empty), ..] = objects();
    let values = [
        (EntryKind::ObjectCurrent, small.encode()),
        (EntryKind::ObjectCurrent, empty.encode()),
    ];
    let mut out = Vec::new();
    let mut writer = CheckpointWriter::start(Sequence(77), 2, &mut out);
    for (number, (kind, value)) in values.into_iter().enumerate() {
        let address = Address {
            scope: [5; 16],
            kind,
            slot: [number as u8; 16],
        };
        let entry = CheckpointEntry {
            address,
            sequence: Sequence(50),
            value: value.into(),
        };
        writer.entry(&entry, &mut out)?;
    }
    writer.finish()?;
    Ok(out)
}

pub(super) fn credential() -> Seeds {
    let owner = Wallet::from_seed(&[0x11; 32]);
    let collector = Wallet::from_seed(&[0x22; 32]);
    let without = Credential::without_rights(VAULT, TIME_MS);
    let narrow = Credential {
        scopes: ScopeSet::named(["calendar", "mail"]),
        operations: [Operation::Read, Operation::List].into_iter().collect(),
        window: Window {
            not_before_ms: Some(TIME_MS),
            expires_ms: Some(TIME_MS + 3_600_000),
        },
        label: "backup \u{2192} phone".to_owned(),
        ..without.clone()
    };
    let root = Credential {
        scopes: ScopeSet::All,
        operations: OperationSet::all(),
        owner: true,
        ..without.clone()
    };
    let keyring = Keyring::new(RootKey::from_bytes([3; 32]), VAULT);
    let secret = Secret::new("a secret of some length".to_owned());
    let mut number = 0_u8;
    let mut random = |bytes: &mut [u8]| {
        number += 1;
        bytes.fill(number);
    };
    let sealed = SealedCredential::seal(&keyring, "AKIDEXAMPLE", &secret, &root, &mut random)?;
    let window = Window::default();
    let delegation = CollectorDelegation {
        vault: VAULT,
        salt: Salt([6; 16]),
        collector: collector.public_key(),
        window,
        number: 1,
    };
    let order = DeleteOrder::new(VAULT, collector.public_key(), vec![[2; 32], [1; 32]], 9);
    let stray = |pack: u8, index, drive: u8| StrayCopy {
        pack: [pack; 32],
        index,
        drive: [drive; 16],
        at: 77,
    };
    let strays = [stray(2, 5, 3), stray(1, 0, 4)];
    let strays = DeleteOrder::new(VAULT, collector.public_key(), vec![[7; 32]], 10).with_strays(&strays);
    let keyfile = Keyfile {
        wallet_seed: KeySeed::from_bytes([1; 32]),
        root: RootKey::from_bytes([2; 32]),
        activity_seed: KeySeed::from_bytes([3; 32]),
        vault: VAULT,
        name: "home".to_owned(),
    };
    Ok(vec![
        ("without-rights", without.encode()?),
        ("narrow", narrow.encode()?),
        ("root", root.encode()?),
        ("sealed", sealed.encode()),
        ("delegation", Signed::sign(delegation, &owner)?.encode()?),
        ("delete-order", Signed::sign(order, &collector)?.encode()?),
        ("stray-order", Signed::sign(strays, &collector)?.encode()?),
        ("public-key", owner.public_key().to_string().into_bytes()),
        ("key-file", keyfile.encode().to_vec()),
    ])
}
