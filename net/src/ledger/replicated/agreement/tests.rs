//! openraft's own suite over our log and machine, and what it does not ask: crashes, cuts and purges on a disk that forgets.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use engine::disk::CrashChoice;
use engine::disk::SimDisk;
use openraft::storage::RaftLogStorageExt;
use openraft::testing::{StoreBuilder, Suite};
use openraft::{CommittedLeaderId, EntryPayload};

use super::super::super::replica::Replica;
use super::super::machine::Machine;
use super::super::raft::Command;
use super::*;

static IDS: AtomicU64 = AtomicU64::new(1);

fn fresh_log_id() -> crate::drives::FreshLogId {
    Arc::new(|| IDS.fetch_add(1, Ordering::Relaxed))
}

struct Builder;

impl StoreBuilder<Raft, Agreement, Machine> for Builder {
    async fn build(&self) -> Result<((), Agreement, Machine), StorageError> {
        let disk: Arc<dyn Disk> = Arc::new(SimDisk::unrecorded(1));
        let replica = Replica::open(
            Arc::clone(&disk),
            &PathBuf::from("/slots"),
            fresh_log_id(),
            Offload::default(),
            LedgerSizes::usual(),
        );
        let machine = Machine::new(Arc::new(replica.unwrap())).unwrap();
        let agreement = Agreement::open(
            disk,
            &PathBuf::from("/agreement"),
            7,
            1,
            Offload::default(),
            &LedgerSizes::usual(),
        );
        Ok(((), agreement.unwrap(), machine))
    }
}

#[test]
fn openrafts_suite_passes() {
    Suite::<Raft, Agreement, Machine, Builder, ()>::test_all(Builder).unwrap();
}

fn id(term: u64, index: u64) -> LogId {
    LogId::new(CommittedLeaderId::new(term, 1), index)
}

fn entry(term: u64, index: u64) -> Entry {
    Entry {
        log_id: id(term, index),
        payload: EntryPayload::Normal(Command(Bytes::from(vec![index as u8; 100 + index as usize % 50]))),
    }
}

fn open(disk: &SimDisk) -> Agreement {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    Agreement::open(
        disk,
        &PathBuf::from("/agreement"),
        7,
        1,
        Offload::default(),
        &LedgerSizes::usual(),
    )
    .unwrap()
}

async fn all(agreement: &mut Agreement) -> Vec<Entry> {
    agreement.try_get_log_entries(..).await.unwrap()
}

#[tokio::test]
async fn what_was_cut_off_stays_off_and_what_replaces_it_is_read_back() {
    let disk = SimDisk::unrecorded(3);
    let mut agreement = open(&disk);
    agreement
        .blocking_append((1..=9).map(|index| entry(1, index)))
        .await
        .unwrap();
    agreement.truncate(id(1, 6)).await.unwrap();
    agreement
        .blocking_append([entry(2, 6), entry(2, 7)])
        .await
        .unwrap();
    // Without a cut before it, as after a crash between the two.
    agreement.blocking_append([entry(3, 7)]).await.ok();
    let mut again = open(&disk);
    let terms: Vec<_> = all(&mut again)
        .await
        .iter()
        .map(|entry| (entry.log_id.leader_id.term, entry.log_id.index))
        .collect();
    assert_eq!(terms, [(1, 1), (1, 2), (1, 3), (1, 4), (1, 5), (2, 6), (3, 7)]);
    assert_eq!(all(&mut again).await[2], entry(1, 3));
}

#[tokio::test]
async fn nothing_is_let_go_before_the_copy_holds_it() {
    let disk = SimDisk::unrecorded(8);
    let agreement = open(&disk);
    let held = watch::Sender::new(Held::default());
    agreement.set_copy(held.subscribe());
    let mut purging = agreement.clone();
    purging
        .blocking_append((1..=9).map(|index| entry(1, index)))
        .await
        .unwrap();
    let mut purge = Box::pin(purging.purge(id(1, 6)));
    assert!(futures::poll!(&mut purge).is_pending());
    // A crash now finds all of it.
    let state = open(&disk).get_log_state().await.unwrap();
    assert_eq!(
        (state.last_purged_log_id, all(&mut open(&disk)).await.len()),
        (None, 9)
    );
    held.send_modify(|held| held.upto = Some(id(1, 6)));
    purge.await.unwrap();
    assert_eq!(agreement.purged(), Some(id(1, 6)));
    // A copy that does not come holds nothing up for ever.
    held.send_modify(|held| held.has_failed = true);
    assert!(agreement.clone().purge(id(1, 7)).await.is_err());
    assert_eq!(agreement.purged(), Some(id(1, 6)));
}

#[tokio::test]
async fn a_leader_that_starts_again_has_to_be_elected_again() {
    let disk = SimDisk::unrecorded(9);
    let mut agreement = open(&disk);
    agreement.save_vote(&Vote::new_committed(5, 1)).await.unwrap();
    // What it promised stays: nobody else gets its vote for that term.
    let again = open(&disk).read_vote().await.unwrap();
    assert_eq!(again, Some(Vote::new(5, 1)));
}

#[tokio::test]
async fn a_purge_gives_space_back_and_keeps_vote_and_place() {
    let disk = SimDisk::unrecorded(4);
    let mut agreement = open(&disk);
    agreement.save_vote(&Vote::new_committed(5, 2)).await.unwrap();
    let big = |index| Entry {
        log_id: id(5, index),
        payload: EntryPayload::Normal(Command(Bytes::from(vec![1; 1 << 20]))),
    };
    for index in 1..=40 {
        agreement.blocking_append([big(index)]).await.unwrap();
    }
    let (bytes, entries, newest) = agreement.kept();
    assert!(
        bytes > 40 << 20 && entries == 40 && newest == 40,
        "{bytes} {entries}"
    );
    let before = agreement.reader.segments().len();
    agreement.purge(id(5, 38)).await.unwrap();
    assert!(agreement.reader.segments().len() < before);
    let mut again = open(&disk);
    assert_eq!(again.read_vote().await.unwrap(), Some(Vote::new_committed(5, 2)));
    let state = again.get_log_state().await.unwrap();
    assert_eq!(
        (state.last_purged_log_id, state.last_log_id),
        (Some(id(5, 38)), Some(id(5, 40)))
    );
    again.blocking_append([big(41)]).await.unwrap();
    // Reading ends early rather than filling memory, but never empty.
    assert_eq!(again.limited_get_log_entries(39, 42).await.unwrap().len(), 1);
    assert_eq!(all(&mut again).await.len(), 3);
}

#[tokio::test]
async fn every_crash_state_holds_what_was_answered_for_without_a_hole() {
    let disk = SimDisk::new(5);
    let mut agreement = open(&disk);
    let mut answered = Vec::new();
    for index in 1..=30u64 {
        if index % 7 == 0 {
            agreement.save_vote(&Vote::new(index, 1)).await.unwrap();
        }
        if index == 20 {
            agreement.purge(id(1, 9)).await.unwrap();
        }
        agreement.blocking_append([entry(1, index)]).await.unwrap();
        agreement.save_committed(Some(id(1, index))).await.unwrap();
        answered.push((disk.ops(), index));
    }
    let mut states = 0;
    for at in 0..=disk.ops() {
        for choice in [
            CrashChoice::KeepAll,
            CrashChoice::DropAll,
            CrashChoice::Seeded(at as u64),
        ] {
            let crashed = disk.crash_state(at, choice);
            let mut agreement = open(&crashed);
            let entries = all(&mut agreement).await;
            let indexes: Vec<u64> = entries.iter().map(|entry| entry.log_id.index).collect();
            assert!(
                indexes.windows(2).all(|pair| pair[0] + 1 == pair[1]),
                "{indexes:?}"
            );
            let due = answered
                .iter()
                .filter(|(ops, _)| *ops <= at)
                .map(|(_, index)| *index)
                .max();
            assert!(
                indexes.last().copied() >= due,
                "op {at} {choice:?}: {indexes:?} < {due:?}"
            );
            let vote = agreement.read_vote().await.unwrap();
            let vote_due = due.unwrap_or(0) / 7 * 7;
            assert!(
                vote.map_or(0, |vote| vote.leader_id.term) >= vote_due,
                "op {at} {choice:?}"
            );
            assert!(
                agreement.read_committed().await.unwrap()
                    <= entries.last().map(|entry| entry.log_id).or(Some(id(1, 9)))
            );
            states += 1;
        }
    }
    assert!(states > 200, "only {states}");
}
