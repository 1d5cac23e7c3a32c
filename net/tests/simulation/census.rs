//! What is missing, asked of the ledger and the peers themselves: no way between, no cluster client, no peer's word that is not checked.

use bytes::Bytes;
use engine::drive::ShardKey;
use engine::pack::ShardHash;
use futures::StreamExt;
use net::PackEntry;
use net::cluster::packs_of;
use net::peer::Request;

use crate::wire::ask_directly;
use crate::world::{Conduct, World, drive_of};

/// How many shards of the ledger's packs are not on their drives, whole and right; none if the ledger or a peer is away, or lies.
pub async fn lacks(world: &World) -> Option<usize> {
    let ledger = world.authority()?;
    let count = world.peers().len();
    let mut lacks = 0;
    let mut packs = packs_of(&ledger);
    while let Some(entry) = packs.next().await {
        lacks += lacks_of(world, &entry.ok()?, count).await?;
    }
    let all_well = world
        .peers()
        .iter()
        .all(|peer| matches!(peer.conduct, Conduct::Honest | Conduct::Slow) && peer.node.is_some());
    all_well.then_some(lacks)
}

async fn lacks_of(world: &World, entry: &PackEntry, count: usize) -> Option<usize> {
    let mut lacks = 0;
    for index in entry.stored() {
        let drive = entry.drive(index)?;
        let number = (0..count).find(|number| drive_of(*number) == drive)?;
        let request = Request::Range {
            drive,
            key: ShardKey {
                pack: entry.id(),
                index: index as u8,
            },
            offset: 0,
            bytes: entry.summary.geometry.shard_bytes,
        };
        let reply = ask_directly(world, number, request, Bytes::new()).await?;
        lacks += usize::from(entry.summary.hash(index) != Some(ShardHash::of(&reply.body)));
    }
    Some(lacks)
}
