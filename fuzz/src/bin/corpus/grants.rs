//! Grants of each kind of wallet, handed on and revoked, signed, stored and bare; keys.

use scopes::grant::{Budget, Commitment, Parent, Wrapped};
use scopes::registry::{StoredGrant, StoredRevocation};
use scopes::{
    Algorithm, ClusterId, EpochKey, Grant, GrantId, Metadata, Moment, OperationSet, Revocation, Salt,
    ScopeId, Signed, VaultId, Wallet, canonical,
};

use super::Seeds;

const TIME_MS: u64 = 1_781_079_242_000;
const SALT: Salt = Salt([6; 16]);

fn named(mut grant: Grant) -> Grant {
    grant.grant_id = grant.id_of();
    grant
}

fn by(owner: &Wallet, agent: &Wallet) -> Grant {
    let user = owner.public_key();
    let vault = VaultId::derive(&user, &SALT);
    named(Grant {
        agent_service_pub_key: agent.public_key(),
        user_pub_key: user,
        issuer_pub_key: user,
        cluster_id: ClusterId([2; 16]),
        vault_id: vault,
        vault_salt: SALT,
        grant_id: GrantId([0; 16]),
        grant_nonce: Salt([3; 16]),
        version: 1,
        revoked: false,
        created_at: Moment::from_ms(TIME_MS),
        not_before: Moment::from_ms(TIME_MS - 10_000),
        expires_at: Moment::from_ms(TIME_MS + 86_400_000),
        ends_by: Moment::from_ms(TIME_MS + 172_800_000),
        operations: OperationSet::all(),
        budget: Budget {
            bytes: Some(u64::MAX),
            requests: None,
        },
        depth_left: 3,
        metadata: Metadata::of(vault, [ScopeId([1; 16]), ScopeId([2; 16])]),
        prefix_commitment: Some(Commitment([0xab; 32])),
        parent: None,
        wrapped: Some(Wrapped {
            format: 1,
            sealed: vec![0xfe; 48],
        }),
    })
}

fn under(parent: &Grant, agent: &Wallet) -> Grant {
    named(Grant {
        agent_service_pub_key: agent.public_key(),
        issuer_pub_key: parent.agent_service_pub_key,
        depth_left: parent.depth_left.saturating_sub(1),
        parent: Some(Parent {
            grant_id: parent.grant_id,
            version: parent.version,
        }),
        wrapped: None,
        ..parent.clone()
    })
}

fn epoch_key(of: &Grant, grant_id: Option<GrantId>) -> EpochKey {
    EpochKey {
        cluster_id: of.cluster_id,
        vault_id: of.vault_id,
        vault_salt: of.vault_salt,
        user_pub_key: of.user_pub_key,
        scope_id: ScopeId([1; 16]),
        epoch: 2,
        grant_id,
        created_at: of.created_at,
        wrapped: Wrapped {
            format: 1,
            sealed: vec![0xfe; 48],
        },
    }
}

pub(super) fn grant() -> Seeds {
    let [ed, sr, secp] = Algorithm::ALL.map(|algorithm| Wallet::of(algorithm, &[0x11; 32]));
    let (ed, sr, secp) = (ed?, sr?, secp?);
    let first = by(&ed, &sr);
    let second = under(&first, &secp);
    let third = under(&second, &ed);
    let revoked = Grant {
        version: 2,
        revoked: true,
        wrapped: None,
        ..first.clone()
    };
    let taken_back = |grant: &Grant, wallet: &Wallet| {
        let revocation = Revocation::of(grant, &wallet.public_key(), TIME_MS);
        Signed::sign(revocation, wallet)
    };
    let envelope = |grant: &Grant, wallet: &Wallet| Signed::sign(grant.clone(), wallet)?.encode();
    let chain = [
        envelope(&first, &ed)?,
        envelope(&second, &sr)?,
        envelope(&third, &secp)?,
        taken_back(&second, &ed)?.encode()?,
    ];
    let key = |wallet: &Wallet| wallet.public_key().to_string().into_bytes();
    Ok(vec![
        ("by-ed25519", envelope(&first, &ed)?),
        ("by-sr25519", envelope(&by(&sr, &ed), &sr)?),
        ("by-secp256k1", envelope(&by(&secp, &ed), &secp)?),
        ("handed-on", envelope(&second, &sr)?),
        ("revoked", envelope(&revoked, &ed)?),
        ("revocation-by-owner", taken_back(&second, &ed)?.encode()?),
        ("revocation-by-issuer", taken_back(&third, &secp)?.encode()?),
        (
            "stored-revocation",
            StoredRevocation::of(&taken_back(&first, &ed)?)?.encode(),
        ),
        ("chain", chain.join(&b'\n')),
        ("bare", canonical::encode(&third)?),
        (
            "stored",
            StoredGrant::of(&Signed::sign(first.clone(), &ed)?)?.encode(),
        ),
        ("epoch-key", Signed::sign(epoch_key(&first, None), &ed)?.encode()?),
        (
            "epoch-key-of-a-grant",
            Signed::sign(epoch_key(&first, Some(first.grant_id)), &ed)?.encode()?,
        ),
        ("key-ed25519", key(&ed)),
        ("key-sr25519", key(&sr)),
        ("key-secp256k1", key(&secp)),
        ("key-bytes", secp.public_key().as_bytes().to_vec()),
    ])
}
