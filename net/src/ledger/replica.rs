//! A copy of a replicated ledger on this machine: a local ledger that applies what others decided, and that is replaced whole when it
//! is too far behind.
//!
//! It agrees with nobody and asks nobody: members feed it from what they agreed on, gateways from what members tell them. Invariant:
//! the directory named in `current` is a whole copy, at any instruction.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use engine::disk::{Disk, OpenMode};
use engine::slots::{Address, Append, Decision, EntryKind, LEASE_SCOPE, LeaseEntry, Sequence, lease_address};
use tokio::sync::watch;

use super::apply::{Agreed, Leader};
use super::flusher::lease_operation;
use super::frames::{Lineage, Mark, ValueAt};
use super::local::REQUEST_BYTES;
use super::progress::Progress;
use super::replay::LedgerOpenError;
use super::state::Request;
use super::transfer::Incoming;
use super::wire::ANY_LEDGER;
use super::{Ledger, LedgerError, LedgerSizes, LocalLedger};
use crate::drives::FreshLogId;
use crate::membership::{PEERS_MAX, PeerEntry};
use crate::offload::Offload;
use crate::peer::PeerId;

/// The file that names the copy in use.
const CURRENT: &str = "current";
/// The file that says that a lease is being taken.
const WAITING: &str = "lease-wait";
/// The file that says of which ledger every copy has to be.
const PINNED: &str = "lineage";

/// See the module.
pub(super) struct Replica {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    offload: Offload,
    sizes: LedgerSizes,
    fresh_log_id: FreshLogId,
    copy: RwLock<(u64, LocalLedger)>,
    pinned: OnceLock<Lineage>,
    /// The number of the next copy that is received: never one that an attempt before had, which may be writing still.
    next: AtomicU64,
    durable: Progress<Sequence>,
    fenced: watch::Sender<bool>,
}

impl Replica {
    /// Opens the copy in `dir`, or makes an empty one. Blocks while its log is replayed.
    pub(super) fn open(
        disk: Arc<dyn Disk>,
        dir: &Path,
        fresh_log_id: FreshLogId,
        offload: Offload,
        sizes: LedgerSizes,
    ) -> Result<Self, LedgerOpenError> {
        disk.create_dir_all(dir)?;
        let number = read_current(&*disk, dir)?;
        remove_others(&disk, dir, |other| other != number)?;
        let config = sizes.of_copy(fresh_log_id(), offload.clone());
        let (copy, _) = LocalLedger::open(Arc::clone(&disk), &copy_dir(dir, number), config)?;
        let durable = Progress::new(copy.position());
        let pinned = read_pinned(&*disk, dir)?;
        Ok(Self {
            disk,
            dir: dir.to_owned(),
            offload,
            sizes,
            fresh_log_id,
            copy: RwLock::new((number, copy)),
            pinned,
            next: AtomicU64::new(number + 1),
            durable,
            fenced: watch::Sender::new(false),
        })
    }

    /// The copy in use.
    pub(super) fn copy(&self) -> LocalLedger {
        self.copy.read().unwrap_or_else(PoisonError::into_inner).1.clone()
    }

    /// Follows the newest applied sequence.
    pub(super) fn changed(&self) -> watch::Receiver<Sequence> {
        self.durable.subscribe()
    }

    /// Returns once a sequence has been applied.
    pub(super) async fn reached(&self, sequence: Sequence) {
        self.durable.reached(sequence).await;
    }

    /// Resolves when a flush of a copy has failed.
    pub(super) async fn fenced(&self) {
        let mut fenced = self.fenced.subscribe();
        // The sender lives as long as `self`.
        let _ = fenced.wait_for(|fenced| *fenced).await;
    }

    pub(super) fn mark(&self) -> Option<Mark> {
        self.copy().shared().table().mark.clone()
    }

    /// The one lease that lives, if it is one.
    pub(super) fn only_lease(&self) -> Option<u64> {
        let copy = self.copy();
        let table = copy.shared().table();
        let mut leases = table.machine.leases().live().keys();
        let (first, second) = (leases.next(), leases.next());
        first.filter(|_| second.is_none()).copied()
    }

    /// A lease, live or not; `None` of one that was never granted.
    pub(super) async fn lease(&self, number: u64) -> Result<Option<LeaseEntry>, LedgerError> {
        let entry = self.copy().get(lease_address(number)).await?;
        let read = entry.map(|entry| LeaseEntry::decode(&entry.value)).transpose();
        read.map_err(|_| LedgerError::Read(std::io::ErrorKind::InvalidData))
    }

    /// The peers whose entries stand in it, all of them: whoever is left out would be taken for one that is gone.
    pub(super) async fn known_peers(&self) -> Result<Vec<PeerEntry>, LedgerError> {
        let copy = self.copy();
        let mut peers = Vec::new();
        for address in addresses(&copy, LEASE_SCOPE, EntryKind::Peer, PEERS_MAX) {
            if let Some(entry) = copy.get(address).await? {
                let read = PeerEntry::decode(&entry.value);
                peers.push(read.map_err(|_| LedgerError::Read(std::io::ErrorKind::InvalidData))?);
            }
        }
        Ok(peers)
    }

    /// Notes durably that a lease is being taken; whether that was noted already and never came to its end.
    pub(super) fn note_waiting(&self) -> Result<bool, LedgerError> {
        let failed = |error: std::io::Error| LedgerError::Read(error.kind());
        let path = self.dir.join(WAITING);
        if self.disk.exists(&path) {
            return Ok(true);
        }
        let file = self.disk.open(&path, OpenMode::CreateNew).map_err(failed)?;
        file.sync_data().map_err(failed)?;
        self.disk.sync_dir(&self.dir).map_err(failed)?;
        Ok(false)
    }

    /// Notes that it was taken, and waited for.
    pub(super) fn note_waited(&self) {
        // If it stays, the next one waits without need.
        let _ = self.disk.remove_file(&self.dir.join(WAITING));
    }

    /// Whether the disk was full when space was last needed.
    pub(super) fn is_full(&self) -> bool {
        self.copy().shared().counters.full.load(Ordering::Relaxed)
    }

    pub(super) fn lineage(&self) -> Lineage {
        self.copy().shared().table().lineage
    }

    /// Whether it is a copy of a ledger at all.
    pub(super) fn is_begun(&self) -> bool {
        self.lineage() != ANY_LEDGER
    }

    /// Whether `of` is certainly not the ledger that it is a copy of.
    pub(super) fn keeps_other(&self, of: &Lineage) -> bool {
        let own = self.lineage();
        *of != ANY_LEDGER && own != ANY_LEDGER && *of != own
    }

    /// The only ledger that it may be a copy of, [`ANY_LEDGER`] until that is settled.
    pub(super) fn pinned(&self) -> Lineage {
        self.pinned.get().copied().unwrap_or(ANY_LEDGER)
    }

    /// Settles durably that it is a copy of this ledger and of no other, ever. Blocks while that is noted, once.
    ///
    /// # Errors
    /// It is a copy of another one.
    pub(super) fn pin(&self, lineage: Lineage) -> Result<(), LedgerError> {
        // No other copy takes its place meanwhile.
        let copy = self.copy.write().unwrap_or_else(PoisonError::into_inner);
        let own = copy.1.shared().table().lineage;
        let pinned = self.pinned();
        if own != lineage || lineage == ANY_LEDGER || (pinned != ANY_LEDGER && pinned != lineage) {
            return Err(LedgerError::Unreachable);
        }
        if pinned == ANY_LEDGER {
            let text: String = lineage.iter().map(|byte| format!("{byte:02x}")).collect();
            let noted = write_whole(&*self.disk, &self.dir, PINNED, &text);
            noted.map_err(|error| LedgerError::Read(error.kind()))?;
            // Only this sets it, one at a time.
            let _ = self.pinned.set(lineage);
        }
        Ok(())
    }

    /// Applies in order; for each whether it was applied.
    pub(super) async fn apply(&self, agreed: Vec<Agreed>) -> Result<Vec<bool>, LedgerError> {
        let copy = self.copy();
        let asked = copy.ask(REQUEST_BYTES, |reply| Request::Apply { agreed, reply });
        let applied = self.noted(asked.await);
        self.durable.advance(copy.position());
        applied
    }

    /// Makes durable what was applied.
    pub(super) async fn sync(&self) -> Result<(), LedgerError> {
        let copy = self.copy();
        let asked = copy.ask(REQUEST_BYTES, |reply| Request::Sync { reply });
        self.noted(asked.await)
    }

    fn noted<T>(&self, result: Result<T, LedgerError>) -> Result<T, LedgerError> {
        if matches!(result, Err(LedgerError::Fenced)) {
            self.fenced.send_replace(true);
        }
        result
    }

    /// Begins to decide as `leader`: nothing that was staged before is left.
    pub(super) fn lead(&self, leader: Option<Leader>) {
        let copy = self.copy();
        let mut table = copy.shared().table_mut();
        table.forget_staged();
        table.staged_by = leader;
    }

    /// Decides an append behind everything that this leader has decided. `None` if it leads no more.
    pub(super) fn decide(
        &self,
        leader: Leader,
        append: &Append,
    ) -> Option<Result<Decision<ValueAt>, LedgerError>> {
        let copy = self.copy();
        let mut table = copy.shared().table_mut();
        (table.staged_by == Some(leader)).then(|| table.machine.decide(append).map_err(LedgerError::from))
    }

    /// Where an append stands that was decided before, by this leader or one before it.
    pub(super) fn repeated(&self, append: &Append) -> Option<Decision<ValueAt>> {
        let copy = self.copy();
        let sequence = copy.shared().table().machine.repeated(append)?;
        Some(Decision::Repeated { sequence })
    }

    /// The append that grants a lease above every other and above `above`, ending those that are live and were held by `caller` too, with whose
    /// name the holder's text begins, or by no peer, as that of a rebuild; its number, and whether one was live that `caller` did not hold.
    pub(super) fn lease_append(
        &self,
        holder: &str,
        caller: PeerId,
        now_ms: u64,
        above: u64,
    ) -> (u64, bool, Append) {
        let copy = self.copy();
        let table = copy.shared().table();
        let number = table.machine.leases().highest().max(above).saturating_add(1);
        let mut live = table.machine.leases().live().values();
        let other_holder = live.any(|entry| held_by(entry) != Some(caller));
        let operation = lease_operation(number, now_ms, holder);
        let ends = |entry: &LeaseEntry| held_by(entry).is_none_or(|peer| peer == caller);
        let append = table
            .machine
            .lease_append(number, (holder, now_ms), operation, ends);
        (number, other_holder, append)
    }

    /// The live lease that this very request was granted before, if it was: a call that comes again, or late, ends nothing and takes no other. And whether
    /// another peer holds one.
    pub(super) fn granted(&self, holder: &str, caller: PeerId, now_ms: u64) -> Option<(u64, bool)> {
        let copy = self.copy();
        let table = copy.shared().table();
        let live = table.machine.leases().live();
        let is_same = |(_, entry): &(&u64, &LeaseEntry)| entry.holder == holder && entry.granted_ms == now_ms;
        let (number, _) = live.iter().find(is_same)?;
        Some((*number, live.values().any(|entry| held_by(entry) != Some(caller))))
    }

    /// Begins to receive a whole copy. Blocks.
    pub(super) fn receive(&self) -> Result<Incoming, LedgerError> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let dir = copy_dir(&self.dir, number);
        Incoming::begin(&self.disk, &dir, self.sizes.slots, (self.fresh_log_id)(), number)
    }

    /// Puts a received copy in the place of the one in use.
    pub(super) async fn replace(self: &Arc<Self>, received: Incoming) -> Result<(), LedgerError> {
        let this = Arc::clone(self);
        let (old, number) = self
            .offload
            .run(move || this.take_over(received))
            .await
            .map_err(|_| LedgerError::Closed)??;
        self.durable.advance(self.copy().position());
        old.close().await;
        let (disk, dir) = (Arc::clone(&self.disk), self.dir.clone());
        // What stays goes at the next start.
        let _ = self
            .offload
            .run(move || remove_others(&disk, &dir, |other| other < number))
            .await;
        Ok(())
    }

    fn take_over(&self, received: Incoming) -> Result<(LocalLedger, u64), LedgerError> {
        let (number, dir) = received.finish()?;
        let failed = |error: LedgerOpenError| {
            tracing::error!(%error, "a received ledger does not open");
            LedgerError::Read(std::io::ErrorKind::InvalidData)
        };
        let config = self.sizes.of_copy((self.fresh_log_id)(), self.offload.clone());
        let (fresh, _) = LocalLedger::open(Arc::clone(&self.disk), &dir, config).map_err(failed)?;
        // Whoever sent it may have an older one, or none.
        let (lineage, position) = (fresh.shared().table().lineage, fresh.position());
        let own = self.lineage();
        let nothing = lineage == Lineage::default() && own != lineage;
        let worse = nothing || lineage == own && position < self.copy().position();
        let mut copy = self.copy.write().unwrap_or_else(PoisonError::into_inner);
        let pinned = self.pinned();
        if worse || (pinned != ANY_LEDGER && pinned != lineage) {
            tracing::error!(
                ?position,
                "a received ledger is not what this copy needs, and is not taken"
            );
            return Err(LedgerError::Read(std::io::ErrorKind::InvalidData));
        }
        write_current(&*self.disk, &self.dir, number).map_err(|error| LedgerError::Read(error.kind()))?;
        let (_, old) = std::mem::replace(&mut *copy, (number, fresh));
        Ok((old, number))
    }

    /// Runs what blocks.
    pub(super) async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, LedgerError> + Send + 'static,
    ) -> Result<T, LedgerError> {
        self.offload.run(work).await.unwrap_or(Err(LedgerError::Closed))
    }

    /// Closes the copy in use.
    pub(super) async fn close(&self) {
        self.copy().close().await;
    }
}

/// The peer that holds a lease; none of one that was taken without peers.
fn held_by(entry: &LeaseEntry) -> Option<PeerId> {
    entry.holder_name().parse().ok()
}

/// The addresses of a scope's live entries of one kind, at most `max`, in order.
fn addresses(copy: &LocalLedger, scope: [u8; 16], kind: EntryKind, max: usize) -> Vec<Address> {
    let first = Address {
        scope,
        kind,
        slot: [0; 16],
    };
    let table = copy.shared().table();
    let at_first = table.machine.get(&first).map(|_| first);
    let behind = table
        .machine
        .entries_after(Some(&first))
        .map(|(address, ..)| address);
    let of_kind = |address: &Address| (address.scope, address.kind) == (scope, kind);
    at_first
        .into_iter()
        .chain(behind)
        .take_while(of_kind)
        .take(max)
        .collect()
}

fn copy_dir(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("copy-{number}"))
}

/// Removes copies that nobody needs.
fn remove_others(disk: &Arc<dyn Disk>, dir: &Path, goes: impl Fn(u64) -> bool) -> std::io::Result<()> {
    for name in disk.list_dir(dir)? {
        let other = name
            .strip_prefix("copy-")
            .and_then(|other| other.parse::<u64>().ok());
        if other.is_some_and(&goes) {
            disk.remove_dir_all(&dir.join(name))?;
        }
    }
    Ok(())
}

fn read_current(disk: &dyn Disk, dir: &Path) -> std::io::Result<u64> {
    let path = dir.join(CURRENT);
    if !disk.exists(&path) {
        return Ok(0);
    }
    let bytes = disk.read_small(&path)?;
    let number = std::str::from_utf8(&bytes)
        .ok()
        .and_then(|text| text.trim().parse().ok());
    number.ok_or_else(|| std::io::Error::new(std::io::ErrorKind::InvalidData, "`current` names no copy"))
}

/// The ledger that copies in `dir` have to be of, if one is settled.
fn read_pinned(disk: &dyn Disk, dir: &Path) -> std::io::Result<OnceLock<Lineage>> {
    let (path, pinned) = (dir.join(PINNED), OnceLock::new());
    if disk.exists(&path) {
        let bytes = disk.read_small(&path)?;
        let text = std::str::from_utf8(&bytes).ok().map(str::trim);
        let lineage =
            text.and_then(|text| (text.len() == 32).then(|| u128::from_str_radix(text, 16).ok())?);
        let damaged = || std::io::Error::new(std::io::ErrorKind::InvalidData, "`lineage` names no ledger");
        // Only what was never set is set here.
        let _ = pinned.set(lineage.ok_or_else(damaged)?.to_be_bytes());
    }
    Ok(pinned)
}

fn write_current(disk: &dyn Disk, dir: &Path, number: u64) -> std::io::Result<()> {
    write_whole(disk, dir, CURRENT, &number.to_string())
}

/// Puts a line into a file, whole or not at all.
fn write_whole(disk: &dyn Disk, dir: &Path, name: &str, line: &str) -> std::io::Result<()> {
    let (path, fresh) = (dir.join(name), dir.join(format!("{name}.new")));
    if disk.exists(&fresh) {
        disk.remove_file(&fresh)?;
    }
    let file = disk.open(&fresh, OpenMode::CreateNew)?;
    file.write_all_at(&[format!("{line}\n").as_bytes()], 0)?;
    file.sync_data()?;
    disk.rename(&fresh, &path)?;
    disk.sync_dir(dir)
}
