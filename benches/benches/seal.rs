//! Sealing: full chunks of a stream, in place, and the small values of ledger entries.

use benches::{Amount, Case, Stage, noise};
use engine::slots::{Address, EntryKind};
use scopes::{ScopeId, VaultId};
use vault::keys::{Keyring, RootKey};
use vault::seal::{CHUNK_PLAIN_BYTES, FreshStream, StreamSealer};

const CHUNKS: u64 = 64;

fn main() {
    let mut stage = Stage::new("seal");
    let keyring = Keyring::new(RootKey::from_bytes([1; 32]), VaultId([2; 16]));
    let scope = ScopeId([3; 16]);
    let mut drawn = 0_u64;
    let mut random = |bytes: &mut [u8]| {
        drawn += 1;
        bytes
            .iter_mut()
            .zip(drawn.to_le_bytes().into_iter().cycle())
            .for_each(|(byte, value)| *byte = value);
    };
    let mut chunk = noise(CHUNK_PLAIN_BYTES);
    chunk.reserve(16);
    let bytes = Amount::Bytes(CHUNKS * CHUNK_PLAIN_BYTES as u64);
    stage.case(
        Case::new(
            "64 chunks of 65,520 bytes, key derivation included",
            bytes,
            Some(10.55),
        ),
        || {
            let mut sealer = StreamSealer::new(&keyring, scope, 1, FreshStream::draw(&mut random), None);
            for index in 1..=CHUNKS {
                // What is sealed does not matter to the cipher: the chunk before, without its tag.
                chunk.truncate(CHUNK_PLAIN_BYTES);
                assert!(sealer.seal_next(&mut chunk, index == CHUNKS).is_ok());
            }
        },
    );
    let mut small = noise(4096);
    small.reserve(16);
    stage.case(
        Case::new("a stream of one 4 KiB chunk", Amount::Operations(1), None),
        || {
            small.truncate(4096);
            let mut sealer = StreamSealer::new(&keyring, scope, 1, FreshStream::draw(&mut random), None);
            assert!(sealer.seal_next(&mut small, true).is_ok());
        },
    );
    let address = Address {
        scope: scope.0,
        kind: EntryKind::ObjectCurrent,
        slot: [4; 16],
    };
    let value = noise(300);
    stage.case(
        Case::new("an entry value of 300 bytes", Amount::Operations(1), None),
        || keyring.seal_value(&address, 1, &value, &mut random),
    );
    stage.finish();
}
