//! Grants and revocations, as they come signed, as the ledger keeps them and in lists; keys and signatures of every algorithm.
//!
//! Source: FORMAT.md section 11; RFC 8785 for the canonical JSON.

use scopes::grant::{self, Rights};
use scopes::registry::{Applied, Asked, Clock, Hearsay, Page, Registry, StoredGrant, StoredRevocation, Used};
use scopes::{
    Grant, GrantId, Operation, PublicKey, Revocation, ScopeId, Signature, Signed, Statement, canonical,
    epoch_key, revocation,
};

use crate::strict;

/// The most grants of a list that are looked at: each costs a signature's check.
const LIST_MAX: usize = 8;

/// The input as a signed grant, as one without its signature, as a stored one, as a list, a line each, and as keys and signatures.
pub fn grant(input: &[u8]) -> bool {
    let encode = |signed: &Signed<Grant>| signed.encode().unwrap_or_default();
    let mut taken = strict(input, grant::verify(input), encode).is_some();
    if let Some(bare) = strict(input, canonical::decode::<Grant>(input), |grant| {
        canonical::encode(grant).unwrap_or_default()
    }) {
        taken = true;
        if bare.check().is_ok() {
            keeps_its_rules(&bare);
        }
    }
    if let Some(stored) = strict(input, StoredGrant::decode(input), StoredGrant::encode) {
        taken |= stored.verify().is_ok();
    }
    taken |= strict(input, revocation::verify(input), |signed| {
        signed.encode().unwrap_or_default()
    })
    .is_some();
    if let Some(stored) = strict(input, StoredRevocation::decode(input), StoredRevocation::encode) {
        taken |= stored.verify().is_ok();
    }
    taken |= strict(input, epoch_key::verify(input), |signed| {
        signed.encode().unwrap_or_default()
    })
    .is_some();
    taken |= list(input) | key(input);
    signature(input);
    taken
}

fn keeps_its_rules(grant: &Grant) {
    assert_eq!(grant.grant_id, grant.id_of());
    assert!(!grant.metadata.scopes.is_empty() && grant.not_before < grant.expires_at);
    assert!(
        grant
            .metadata
            .scopes
            .iter()
            .all(|entry| entry.context.vault == grant.vault_id)
    );
    let rights = grant.rights();
    assert!(rights.fit(&rights).is_err(), "a grant can be handed on as it is");
    let nobody = scopes::Wallet::from_seed(&[0x77; 32]).public_key();
    assert!(grant.is_foreign(&nobody) || grant.issuer_pub_key == nobody || grant.user_pub_key == nobody);
    let by_owner = Revocation::of(grant, &grant.user_pub_key, grant.created_at.ms());
    assert!(by_owner.check().is_ok() && by_owner.is_by_owner());
}

/// A registry fed with the lines, in their order: whatever it allows, the grant above allows too.
fn list(input: &[u8]) -> bool {
    let lines: Vec<&[u8]> = input.split(|byte| *byte == b'\n').take(LIST_MAX).collect();
    let verified: Vec<_> = lines.iter().filter_map(|line| grant::verify(line).ok()).collect();
    let Some(first) = verified.first() else {
        return false;
    };
    let mut registry = Registry::new(first.statement().cluster_id);
    for (signed, sequence) in verified.iter().zip(1..) {
        let before = registry.len();
        let inserted = registry.insert(
            signed,
            Applied {
                sequence,
                vault_is_known: true,
            },
        );
        assert!(
            inserted.is_ok() || registry.len() == before,
            "a refusal changed something"
        );
    }
    let revoked = revoke(&mut registry, &lines);
    for signed in &verified {
        let grant = signed.statement();
        let asked = ask(grant, first_scope(grant));
        assert!(!revoked.contains(&grant.grant_id) || registry.decide(&asked).is_err());
        for entry in &grant.metadata.scopes {
            within_its_parents(&registry, grant, &ask(grant, entry.context.scope));
        }
    }
    verified.len() + revoked.len() == lines.len()
}

/// The revocations among the lines that the registry took.
fn revoke(registry: &mut Registry, lines: &[&[u8]]) -> Vec<GrantId> {
    let told = lines.iter().filter_map(|line| revocation::verify(line).ok());
    told.zip(100..)
        .filter_map(|(signed, sequence)| {
            let mut hearsay = Hearsay::new();
            let heard = hearsay.hear(registry, &signed).is_ok();
            let taken = registry.revoke(&signed, sequence).is_ok();
            assert_eq!(heard, taken, "gossip is believed otherwise than the ledger");
            taken.then(|| signed.statement().grant_id)
        })
        .collect()
}

fn first_scope(grant: &Grant) -> ScopeId {
    grant
        .metadata
        .scopes
        .first()
        .map_or(ScopeId([0; 16]), |entry| entry.context.scope)
}

fn ask(grant: &Grant, scope: ScopeId) -> Asked<'static> {
    Asked {
        grant: grant.grant_id,
        agent: grant.agent_service_pub_key,
        vault: grant.vault_id,
        scope,
        operation: grant.operations.iter().next().unwrap_or(Operation::Read),
        now: Clock::new(0).now(grant.not_before.ms().saturating_add(10_000)),
        heard_ms_ago: 0,
        epoch: 0,
        hearsay: &SILENCE,
        cost: Used::default(),
        used: &nothing,
    }
}

static SILENCE: Hearsay = Hearsay::new();

fn nothing(_: &GrantId) -> Used {
    Used::default()
}

fn within_its_parents(registry: &Registry, grant: &Grant, asked: &Asked<'_>) {
    let Ok(granted) = registry.decide(asked) else {
        return;
    };
    assert!(
        granted.until_ms() > asked.now.said_ms() && granted.is_still_good(registry, &SILENCE, asked.now, 0)
    );
    let page = Page {
        vault: grant.vault_id,
        after: None,
        max: LIST_MAX,
    };
    let rows = registry.of_vault(page, &SILENCE, asked.now, &mut 64).rows;
    let rights = |id: GrantId| rows.iter().find(|row| row.grant == id).map(|row| &row.rights);
    let links: Vec<&Rights> = granted.links().filter_map(rights).collect();
    assert_eq!(links.len(), granted.links().count(), "a link is in no list");
    for pair in links.windows(2) {
        if let [child, parent] = pair {
            assert_eq!(child.fit(parent), Ok(()));
            assert!(parent.reach(asked.operation, asked.scope));
        }
    }
}

/// The input as a key's text and as its bytes: one spelling each.
fn key(input: &[u8]) -> bool {
    let mut taken = false;
    if let Some(Ok(key)) = std::str::from_utf8(input).ok().map(str::parse::<PublicKey>) {
        assert_eq!(
            key.to_string().as_bytes(),
            input,
            "a public key has two spellings"
        );
        taken = true;
    }
    let keys = [
        input.try_into().ok().map(PublicKey::ed25519),
        input.try_into().ok().map(PublicKey::sr25519),
        input.try_into().ok().map(PublicKey::secp256k1),
    ];
    for key in keys.into_iter().flatten().flatten() {
        assert_eq!(key.as_bytes(), input);
        assert_eq!(key.to_string().parse(), Ok(key));
        taken = true;
    }
    taken
}

/// The input as 64 bytes of a signature, then a message, under a fixed key of each algorithm: nobody signs for them.
fn signature(input: &[u8]) {
    let Some((signature, message)) = input.split_first_chunk::<64>() else {
        return;
    };
    for algorithm in scopes::Algorithm::ALL {
        if let Ok(wallet) = scopes::Wallet::of(algorithm, &[0x77; 32]) {
            let held = wallet
                .public_key()
                .verify(message, &Signature(*signature))
                .is_ok();
            assert!(
                !held || wallet.sign(message).0 == *signature,
                "a forged signature"
            );
        }
    }
}
