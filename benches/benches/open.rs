//! Opening: full chunks of a stream in place (a copy included, because opening destroys what it opens), and the small
//! values of ledger entries.

use benches::{Amount, Case, Stage, noise};
use engine::slots::{Address, EntryKind};
use scopes::{ScopeId, VaultId};
use vault::keys::{Keyring, RootKey};
use vault::seal::{CHUNK_PLAIN_BYTES, FreshStream, StreamOpener, StreamSealer};

fn main() {
    let mut stage = Stage::new("open");
    let keyring = Keyring::new(RootKey::from_bytes([1; 32]), VaultId([2; 16]));
    let scope = ScopeId([3; 16]);
    let mut random = |bytes: &mut [u8]| bytes.fill(9);

    let mut large = noise(CHUNK_PLAIN_BYTES);
    let opener = seal_one(&keyring, scope, &mut large, &mut random);
    let mut buffer = large.clone();
    let bytes = Amount::Bytes(CHUNK_PLAIN_BYTES as u64);
    stage.case(
        Case::new("a chunk of 65,520 bytes, copied first", bytes, Some(8.57)),
        || {
            buffer.copy_from_slice(&large);
            assert!(opener.open_chunk(0, true, &mut buffer).is_ok());
        },
    );
    let mut small = noise(4096);
    seal_one(&keyring, scope, &mut small, &mut random);
    let mut buffer = small.clone();
    stage.case(
        Case::new(
            "a stream of one 4 KiB chunk, key derivation included",
            Amount::Operations(1),
            None,
        ),
        || {
            buffer.copy_from_slice(&small);
            let opener = StreamOpener::new(&keyring, scope, 1, vault::object::StreamId([9; 32]), None);
            assert!(opener.open_chunk(0, true, &mut buffer).is_ok());
        },
    );
    let address = Address {
        scope: scope.0,
        kind: EntryKind::ObjectCurrent,
        slot: [4; 16],
    };
    if let Ok(sealed) = keyring.seal_value(&address, 1, &noise(300), &mut random) {
        stage.case(
            Case::new("an entry value of 300 bytes", Amount::Operations(1), None),
            || keyring.open_value(&address, &sealed),
        );
    }
    stage.finish();
}

/// Seals the buffer as a whole stream and gives the stream's opener.
fn seal_one(
    keyring: &Keyring,
    scope: ScopeId,
    buffer: &mut Vec<u8>,
    random: &mut dyn FnMut(&mut [u8]),
) -> StreamOpener {
    let mut sealer = StreamSealer::new(keyring, scope, 1, FreshStream::draw(random), None);
    assert!(sealer.seal_next(buffer, true).is_ok());
    StreamOpener::new(keyring, scope, 1, sealer.id(), None)
}
