use proptest::prelude::*;

use super::*;

fn drive(number: u8, domain: u8, capacity: u64) -> DriveWeight {
    DriveWeight {
        drive: [number; 16],
        domain: [domain; 16],
        capacity,
    }
}

fn pack(number: u64) -> PackId {
    PackId(*blake3::hash(&number.to_le_bytes()).as_bytes())
}

fn layout() -> impl Strategy<Value = Vec<DriveWeight>> {
    proptest::collection::vec((0u8..5, 0u64..4), 1..14).prop_map(|drives| {
        (0u8..)
            .zip(drives)
            .map(|(n, (domain, weight))| drive(n, domain, weight << 40))
            .collect()
    })
}

/// The best set by trying all of them: the one whose sorted ranks come first. Ranks by floating point.
fn best_by_brute_force(
    pack: &PackId,
    shards: usize,
    drives: &[DriveWeight],
    cap: usize,
) -> Option<Vec<DriveId>> {
    let score = |drive: &DriveWeight| {
        let hash = blake3::keyed_hash(&pack.0, &drive.drive);
        let h = u64::from_le_bytes(hash.as_bytes()[..8].try_into().unwrap());
        let u = (h as f64 + 1.0) / 2f64.powi(64);
        drive.capacity as f64 / -u.ln()
    };
    let mut ranked: Vec<&DriveWeight> = drives.iter().filter(|drive| drive.capacity > 0).collect();
    ranked.sort_by(|a, b| score(b).partial_cmp(&score(a)).unwrap());
    // Sets as bit masks with the best drive as the highest bit: the greatest mask that is allowed is the best set.
    let bit = |rank: usize| 1u32 << (ranked.len() - 1 - rank);
    (0..1u32 << ranked.len())
        .rev()
        .filter(|mask| mask.count_ones() as usize == shards)
        .map(|mask| {
            (0..ranked.len())
                .filter(|rank| mask & bit(*rank) != 0)
                .map(|rank| ranked[rank])
                .collect()
        })
        .find(|set: &Vec<&DriveWeight>| {
            (0..5).all(|domain| set.iter().filter(|drive| drive.domain == [domain; 16]).count() <= cap)
        })
        .map(|set| set.iter().map(|drive| drive.drive).collect())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_chosen_drives_are_the_best_that_the_cap_allows(
        drives in layout(), shards in 1usize..8, cap in 1usize..4, number: u64,
    ) {
        let pack = pack(number);
        let got = place(&pack, shards, &drives, cap);
        match best_by_brute_force(&pack, shards, &drives, cap) {
            Some(best) => prop_assert_eq!(got, Ok(best)),
            None => {
                let usable = |domain: u8| {
                    drives.iter().filter(|d| d.domain == [domain; 16] && d.capacity > 0).count().min(cap)
                };
                let have = (0..5).map(usable).sum();
                let error = PlacementError::NotEnoughDrives { have, need: shards, max_per_domain: cap };
                prop_assert_eq!(got, Err(error));
            }
        }
    }

    #[test]
    fn a_drive_that_goes_away_moves_only_its_own_shards(
        drives in layout(), shards in 1usize..7, cap in 1usize..4, number: u64, gone: prop::sample::Index,
    ) {
        let pack = pack(number);
        let gone = gone.index(drives.len());
        let mut left = drives.clone();
        left.remove(gone);
        if let (Ok(before), Ok(after)) = (place(&pack, shards, &drives, cap), place(&pack, shards, &left, cap)) {
            let repaired = replace(&pack, &before, &left, cap).unwrap();
            for (was, is) in before.iter().zip(&repaired) {
                prop_assert!(was == is || *was == drives[gone].drive);
            }
            // The set is the one that a new pack would get, and no new drive was needed if its own did not go.
            let set = |drives: &[DriveId]| drives.iter().copied().collect::<BTreeSet<_>>();
            prop_assert_eq!(set(&repaired), set(&after));
            prop_assert!(set(&before).difference(&set(&after)).count() <= 1);
        }
    }

    #[test]
    fn the_acknowledgement_rule_is_what_losing_each_domain_says(
        data in 1u8..6, parity in 2u8..5, durable in proptest::collection::vec(0u8..6, 0..10),
    ) {
        let code = Code::new(data, parity).unwrap();
        let needed = code.data() + code.parity() / 2 + code.parity() % 2;
        let survives = (0..6).all(|lost| durable.iter().filter(|domain| **domain != lost).count() >= code.data());
        let domains: Vec<DomainId> = durable.iter().map(|domain| [*domain; 16]).collect();
        prop_assert_eq!(ack_rule(code, &domains), durable.len() >= needed && survives);
    }

    #[test]
    fn the_fixed_point_logarithm_is_the_logarithm(x in 1u64.., shift in 0u32..64) {
        for x in [u128::from(x >> shift).max(1), u128::from(x) + 1] {
            let exact = (x as f64).log2();
            let fixed = log2(x) as f64 / 2f64.powi(FRACTION_BITS as i32);
            prop_assert!((exact - fixed).abs() < 1e-12, "{} {}", exact, fixed);
        }
    }
}

#[test]
fn drives_are_chosen_in_proportion_to_their_capacity() {
    let drives: Vec<DriveWeight> = (1..=5)
        .map(|n| drive(n, n, u64::from(n) * 1_000_000_000_000))
        .collect();
    let rounds = 30_000u64;
    let mut chosen = [0u64; 6];
    for number in 0..rounds {
        let drive = place(&pack(number), 1, &drives, 1).unwrap()[0][0];
        chosen[usize::from(drive)] += 1;
    }
    for (n, got) in (0u64..).zip(chosen).skip(1) {
        let share = rounds * n / 15;
        assert!(
            got.abs_diff(share) * 100 < share * 6,
            "drive {n}: {got} of {share}"
        );
    }
}

#[test]
fn six_equal_drives_hold_each_index_equally_often() {
    let drives: Vec<DriveWeight> = (0..6).map(|n| drive(n, n, 1)).collect();
    let mut held = [[0u32; 6]; 6];
    for number in 0..12_000 {
        for (index, drive) in place(&pack(number), 6, &drives, 1).unwrap().iter().enumerate() {
            held[index][usize::from(drive[0])] += 1;
        }
    }
    assert!(
        held.iter().flatten().all(|count| (1800..2200).contains(count)),
        "{held:?}"
    );
}

/// Nodes of any machine and version must agree: these are the results for good.
#[test]
fn placement_is_pinned() {
    let drives: Vec<DriveWeight> = (0..8).map(|n| drive(n, n / 2, 1 + u64::from(n))).collect();
    let placed: Vec<u8> = place(&pack(1), 6, &drives, 2)
        .unwrap()
        .iter()
        .map(|drive| drive[0])
        .collect();
    assert_eq!(placed, [5, 1, 0, 7, 2, 3]);
    assert_eq!(distance(&pack(1), &[3; 16]), 153_257_896_504_033_975);
}

#[test]
fn the_acknowledgement_rule_of_the_default_layout() {
    let own = |count: u8| (0..count).map(|n| [n; 16]).collect::<Vec<_>>();
    assert_eq!(durable_needed(Code::DEFAULT), 5);
    assert!(!ack_rule(Code::DEFAULT, &own(4)));
    assert!(ack_rule(Code::DEFAULT, &own(5)));
    // Three sites: 4+8 keeps writing through a site loss, 8+4 does not.
    let sites = |of: u8| {
        (0..of)
            .map(|n| [n % 3; 16])
            .filter(|site| site[0] != 0)
            .collect::<Vec<_>>()
    };
    assert!(ack_rule(Code::new(4, 8).unwrap(), &sites(12)));
    assert!(!ack_rule(Code::new(8, 4).unwrap(), &sites(12)));
}

#[test]
fn drives_listed_twice_or_of_no_capacity_are_not_used() {
    let twice = [drive(1, 1, 1), drive(1, 2, 1)];
    assert_eq!(place(&pack(1), 1, &twice, 1), Err(PlacementError::DuplicateDrive));
    let drives = [drive(1, 1, 1), drive(2, 2, 1)];
    assert_eq!(
        replace(&pack(1), &[[1; 16], [1; 16]], &drives, 1),
        Err(PlacementError::DuplicateDrive)
    );
    let empty = [drive(1, 1, 0), drive(2, 2, 1)];
    assert_eq!(place(&pack(1), 1, &empty, 1), Ok(vec![[2; 16]]));
    let error = PlacementError::NotEnoughDrives {
        have: 1,
        need: 2,
        max_per_domain: 1,
    };
    assert_eq!(place(&pack(1), 2, &empty, 1), Err(error));
}
