use super::*;
use crate::checkpoint::CheckpointPointer;
use crate::commit::Packs;
use crate::object::samples::{object, part};
use crate::testing::{SCOPE, TestVault, written_pack};

const CHUNK: u64 = crate::seal::CHUNK_PLAIN_BYTES as u64;

static NO_OTHERS: BTreeMap<u64, Sequence> = BTreeMap::new();

fn holds(pinned: &HashSet<PackId>) -> Holds<'_> {
    Holds {
        pinned,
        highest_lease: 5,
        horizons: &NO_OTHERS,
    }
}

/// Makes a checkpoint that settles everything so far.
fn checkpoint(vault: &mut TestVault) {
    let current = vault.index.checkpoint().unwrap().map(|stored| stored.sequence);
    let through = Sequence(vault.ledger.sequence);
    let pointer = CheckpointPointer {
        through,
        written_ms: 1,
        stream: part(0, 10, 0xcc),
    };
    vault
        .run(|commit, random| commit.checkpoint(&pointer, current, &Packs::default(), random))
        .unwrap();
}

fn ids(packs: &[PlannedPack]) -> Vec<u8> {
    packs.iter().map(|pack| pack.id.0[0]).collect()
}

/// An object whose one chunk lies in the pack of this seed, which holds `pack_chunks` chunks.
fn put(vault: &mut TestVault, key: &str, seed: u8, chunks: u64, pack_chunks: u64) {
    let bucket = vault.bucket();
    let packs = Packs {
        written: vec![written_pack(SCOPE, PackId([seed; 32]), pack_chunks * 65_536, 5)],
        ..Packs::default()
    };
    let mut part = part(0, chunks * CHUNK, seed);
    part.extents
        .iter_mut()
        .for_each(|extent| extent.pack = crate::object::PackRef::Id(PackId([seed; 32])));
    let object = object(key, vec![part]);
    vault
        .run(|commit, random| commit.put_object(&bucket, &object, None, &packs, random))
        .unwrap();
}

#[test]
fn a_pack_dies_with_its_last_reference_once_a_checkpoint_settles_its_claims() {
    let mut vault = TestVault::new();
    put(&mut vault, "a", 1, 8, 8);
    put(&mut vault, "b", 2, 8, 8);
    vault.delete("a").unwrap();
    let plan_now = |vault: &TestVault, pinned: &[u8]| {
        let pinned = pinned.iter().map(|seed| PackId([*seed; 32])).collect();
        plan(&vault.index, holds(&pinned), Thresholds::BACKGROUND).unwrap()
    };
    let before = plan_now(&vault, &[]);
    assert_eq!((before.dead_packs.len(), before.waiting_for_checkpoint), (0, 1));
    checkpoint(&mut vault);
    assert_eq!(ids(&plan_now(&vault, &[]).dead_packs), [1]);
    assert_eq!(ids(&plan_now(&vault, &[1]).dead_packs), [] as [u8; 0], "pinned");
    let none = HashSet::new();
    let older = Holds {
        highest_lease: 4,
        ..holds(&none)
    };
    assert!(
        plan(&vault.index, older, Thresholds::BACKGROUND)
            .unwrap()
            .is_empty(),
        "of a lease that nobody has heard of"
    );
    let entry = plan_now(&vault, &[]).dead_packs[0].sequence;
    for (horizon, dead) in [(entry.0 - 1, 0), (entry.0, 1)] {
        let horizons = BTreeMap::from([(5, Sequence(horizon))]);
        let of_another = Holds {
            horizons: &horizons,
            ..holds(&none)
        };
        let plan = plan(&vault.index, of_another, Thresholds::BACKGROUND).unwrap();
        assert_eq!(plan.dead_packs.len(), dead, "its gateway is at {horizon}");
    }
    let dead = plan_now(&vault, &[]).dead_packs[0];
    vault
        .run(|commit, _| commit.retire_packs(&[(dead.scope, dead.id, dead.sequence)]))
        .unwrap();
    assert!(plan_now(&vault, &[]).is_empty());
}

#[test]
fn the_packs_with_most_garbage_come_first_and_within_the_budget() {
    let mut vault = TestVault::new();
    for (seed, live) in [(1, 60), (2, 20), (3, 40), (4, 100)] {
        put(&mut vault, &format!("k{seed}"), seed, live, 100);
    }
    let none = HashSet::new();
    let thorough = plan(&vault.index, holds(&none), Thresholds::THOROUGH).unwrap();
    assert_eq!((ids(&thorough.repack), thorough.more), (vec![2, 3, 1], false));
    let background = plan(&vault.index, holds(&none), Thresholds::BACKGROUND).unwrap();
    assert_eq!(ids(&background.repack), [2, 3]);
    let little = Thresholds {
        move_bytes_max: 25 * 65_536,
        ..Thresholds::THOROUGH
    };
    let bounded = plan(&vault.index, holds(&none), little).unwrap();
    assert_eq!((ids(&bounded.repack), bounded.more), (vec![2], true));
}

#[test]
fn small_packs_merge_and_a_large_one_waits_until_the_small_are_as_much() {
    let mut vault = TestVault::new();
    for seed in 1..=8 {
        put(&mut vault, &format!("k{seed}"), seed, 1, 1);
    }
    put(&mut vault, "large", 100, 30, 30);
    let none = HashSet::new();
    let plan_now = |vault: &TestVault| plan(&vault.index, holds(&none), Thresholds::BACKGROUND).unwrap();
    assert_eq!(ids(&plan_now(&vault).merge), [1, 2, 3, 4, 5, 6, 7, 8]);
    for seed in 9..=40 {
        put(&mut vault, &format!("k{seed}"), seed, 1, 1);
    }
    assert_eq!(plan_now(&vault).merge.len(), 41);
    let mut few = TestVault::new();
    put(&mut few, "k1", 1, 1, 1);
    assert!(plan_now(&few).is_empty());
    let alone = plan(&few.index, holds(&none), Thresholds::THOROUGH).unwrap();
    assert!(
        alone.is_empty(),
        "one small pack alone would be copied for nothing"
    );
}

#[test]
fn the_newest_checkpoint_keeps_its_packs_and_the_one_before_does_not() {
    let mut vault = TestVault::new();
    checkpoint(&mut vault);
    let id = PackId([0xcc; 32]);
    assert_eq!(vault.index.refs_of_pack(&id, 9).unwrap().len(), 1);
    let address = vault.keyring.checkpoint_address();
    assert!(matches!(
        vault.index.owner(&address).unwrap(),
        Some(crate::index::Owner::Checkpoint(_))
    ));
    checkpoint(&mut vault);
    assert_eq!(vault.index.refs_of_pack(&id, 9).unwrap().len(), 1);
}
