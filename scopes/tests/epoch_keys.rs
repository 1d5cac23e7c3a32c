//! Keys of epochs: signed by the vault's owner alone, and a way from a grant's key to each epoch before.

#![expect(clippy::unwrap_used, reason = "tests")]

mod making;

use making::{CALENDAR, CLUSTER, NOON_MS, PHOTOS, SALT, agent, key, owner, vault};
use scopes::epoch_key::{self, EpochKey, NoWay, SEALED_KEY_BYTES_MAX, epoch_key_slot, leads_to};
use scopes::grant::Wrapped;
use scopes::{ClusterId, GrantId, Moment, Salt, ScopeId, Signed, StatementError, VaultId};

type Change = fn(&mut EpochKey);

const GRANT: GrantId = GrantId([6; 16]);

fn key_of(epoch: u64, grant_id: Option<GrantId>) -> EpochKey {
    EpochKey {
        cluster_id: CLUSTER,
        vault_id: vault(),
        vault_salt: SALT,
        user_pub_key: key(&owner()),
        scope_id: CALENDAR,
        epoch,
        grant_id,
        created_at: Moment::from_ms(NOON_MS),
        wrapped: Wrapped {
            format: 1,
            sealed: vec![0xee; 48],
        },
    }
}

fn by_owner(statement: EpochKey) -> Signed<EpochKey> {
    let signed = Signed::sign(statement, &owner()).unwrap();
    epoch_key::verify(&signed.encode().unwrap()).unwrap()
}

#[test]
fn epoch_keys_are_the_golden_bytes() {
    let lines = [key_of(2, None), key_of(2, Some(GRANT))].map(|key| by_owner(key).encode().unwrap());
    let golden = include_str!("../golden/epoch-keys.jsonl").trim_end();
    assert_eq!(String::from_utf8_lossy(&lines.join(&b'\n')), golden);
    assert_eq!(
        hex::encode(epoch_key_slot(CALENDAR, 2, None)),
        "96dbe909121a0ad26e4972fd60a0b35f"
    );
    assert_eq!(
        hex::encode(epoch_key_slot(CALENDAR, 2, Some(GRANT))),
        "81510dc9a4e896f78bcd9ec0694f5c64"
    );
}

#[test]
fn only_the_owner_signs_keys_of_epochs_and_every_member_has_its_rule() {
    let rule = |member| Err(StatementError::Rule { member });
    let foreign = Signed::sign(key_of(2, None), &agent(1)).map(|_| ());
    assert_eq!(foreign, rule("signature"));
    let cases: [(&str, Change); 8] = [
        ("vault_id", |k| k.vault_id = VaultId([1; 16])),
        ("vault_id", |k| k.vault_salt = Salt([1; 16])),
        ("vault_id", |k| k.user_pub_key = key(&agent(1))),
        ("scope_id", |k| k.scope_id = ScopeId::vault_wide(k.vault_id)),
        ("epoch", |k| k.epoch = 1),
        ("epoch", |k| {
            k.grant_id = Some(GRANT);
            k.epoch = 0;
        }),
        ("wrapped", |k| k.wrapped.sealed.clear()),
        ("wrapped", |k| {
            k.wrapped.sealed = vec![1; SEALED_KEY_BYTES_MAX + 1]
        }),
    ];
    for (member, change) in cases {
        let mut key = key_of(2, None);
        change(&mut key);
        assert_eq!(Signed::sign(key, &owner()).map(|_| ()), rule(member));
    }
    let mut largest = key_of(u64::MAX, Some(GRANT));
    largest.wrapped.sealed = vec![1; SEALED_KEY_BYTES_MAX];
    by_owner(largest);
    by_owner(key_of(1, Some(GRANT)));
}

#[test]
fn a_key_of_a_grant_has_one_place_and_each_epoch_its_own() {
    let slot = epoch_key_slot;
    assert_ne!(slot(CALENDAR, 2, None), slot(CALENDAR, 3, None));
    assert_ne!(slot(CALENDAR, 2, None), slot(PHOTOS, 2, None));
    assert_eq!(slot(CALENDAR, 2, Some(GRANT)), slot(CALENDAR, 3, Some(GRANT)));
    assert_ne!(
        slot(CALENDAR, 2, Some(GRANT)),
        slot(CALENDAR, 2, Some(GrantId([7; 16])))
    );
    assert_ne!(slot(CALENDAR, 2, Some(GRANT)), slot(PHOTOS, 2, Some(GRANT)));
}

#[test]
fn a_grants_key_leads_to_each_epoch_before_it_and_to_none_after() {
    let top = by_owner(key_of(4, Some(GRANT)));
    let under: Vec<_> = [4, 3, 2].map(|epoch| by_owner(key_of(epoch, None))).into();
    for wanted in 1..=4 {
        assert_eq!(leads_to(&top, GRANT, &under, wanted), Ok(()), "{wanted}");
    }
    let no = |epoch| Err(NoWay { epoch });
    assert_eq!(leads_to(&top, GRANT, &under, 5), no(5));
    assert_eq!(leads_to(&top, GRANT, &under, 0), no(0));
    assert_eq!(leads_to(&top, GrantId([7; 16]), &under, 4), no(4));
    assert_eq!(leads_to(&under[0], GRANT, &under, 3), no(3));
    assert_eq!(leads_to(&top, GRANT, &[], 3), no(4));
    assert_eq!(leads_to(&top, GRANT, &under[1..], 1), no(4));
    assert_eq!(leads_to(&top, GRANT, &under[..2], 1), no(2));
    let changes: [Change; 3] = [
        |k| k.scope_id = PHOTOS,
        |k| k.cluster_id = ClusterId([9; 16]),
        |k| k.grant_id = Some(GRANT),
    ];
    for change in changes {
        let mut other = key_of(3, None);
        change(&mut other);
        let under = [under[0].clone(), by_owner(other), under[2].clone()];
        assert_eq!(leads_to(&top, GRANT, &under, 1), no(3));
    }
}
