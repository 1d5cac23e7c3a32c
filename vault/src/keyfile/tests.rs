use proptest::prelude::*;

use super::*;
use crate::testing::{assert_golden, cases, seeded};

const CHEAP: Cost = Cost {
    memory_kib: 64,
    passes: 1,
    lanes: 1,
};

fn keyfile() -> Keyfile {
    Keyfile {
        wallet_seed: Seed::from_bytes([1; 32]),
        root: RootKey::from_bytes([2; 32]),
        activity_seed: Seed::from_bytes([3; 32]),
        vault: VaultId([4; 16]),
        name: "home".to_owned(),
    }
}

#[test]
fn both_forms_are_the_golden_bytes_and_read_back() {
    let sealed = keyfile().seal(b"correct horse", CHEAP, &mut seeded(1)).unwrap();
    assert_golden("keyfile-plain.bin", &keyfile().encode());
    assert_golden("keyfile-sealed.bin", &sealed);
    assert!(Keyfile::is_sealed(&sealed).unwrap() && !Keyfile::is_sealed(&keyfile().encode()).unwrap());
    for opened in [
        Keyfile::open(&keyfile().encode(), None),
        Keyfile::open(&sealed, Some(b"correct horse")),
    ] {
        assert_eq!(opened.unwrap().encode(), keyfile().encode());
    }
}

#[test]
fn a_sealed_key_file_needs_its_passphrase() {
    let sealed = keyfile().seal(b"correct horse", CHEAP, &mut seeded(1)).unwrap();
    assert_eq!(
        Keyfile::open(&sealed, None).unwrap_err(),
        KeyfileError::NeedsPassphrase
    );
    assert_eq!(
        Keyfile::open(&sealed, Some(b"wrong")).unwrap_err(),
        KeyfileError::Refused
    );
    assert!(!sealed.windows(32).any(|window| window == [2; 32]));
}

#[test]
fn a_cost_that_would_exhaust_the_machine_is_refused_before_any_work() {
    let mut sealed = keyfile().seal(b"p", CHEAP, &mut seeded(1)).unwrap();
    sealed[6..10].copy_from_slice(&u32::MAX.to_le_bytes());
    assert!(matches!(
        Keyfile::open(&sealed, Some(b"p")),
        Err(KeyfileError::Cost {
            memory_kib: u32::MAX,
            ..
        })
    ));
}

#[test]
fn debug_shows_no_secret() {
    let shown = format!("{:?}", keyfile());
    assert!(
        shown.contains("home") && !shown.contains("1, 1") && !shown.contains("0101"),
        "{shown}"
    );
}

proptest! {
    #![proptest_config(cases(64))]

    #[test]
    fn an_altered_or_cut_key_file_is_refused(at: prop::sample::Index, bit in 0u8..8) {
        let sealed = keyfile().seal(b"p", CHEAP, &mut seeded(1)).unwrap();
        let at = at.index(sealed.len());
        prop_assert!(Keyfile::open(&sealed[..at], Some(b"p")).is_err());
        // The bytes of the cost are bound too; trying huge ones would only be slow.
        if !(6..18).contains(&at) {
            let mut altered = sealed;
            altered[at] ^= 1 << bit;
            prop_assert!(Keyfile::open(&altered, Some(b"p")).is_err());
        }
    }
}
