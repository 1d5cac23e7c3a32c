//! From an intent to an applied ledger append: conditions decided on the view, checked by the ledger, decided anew on conflict.
//!
//! Knows no chunk and no drive. Invariants: what is answered as done is applied to the view; an append once submitted is
//! followed to its end whatever becomes of the request that asked for it.

use super::pins::Pin;
use super::{Inner, SessionError, decode_pack};
use crate::gateways;
use engine::pack::PackId;
use engine::slots::{Address, Append, AppliedAppend, EntryKind, Outcome, Sequence};
use net::{LedgerError, PackEntry, Tail};
use scopes::ScopeId;
use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;
use vault::commit::{Packs, WrittenPack};
use vault::index::Resolved;
use vault::object::{Object, Part};

/// How often an append is tried against contention on its slot before the request is refused.
pub(crate) const ATTEMPTS_MAX: u32 = 1_024;
/// Ledger appends applied to the view in one batch.
const APPLY_MAX: usize = 512;
/// How long the view of a session that nobody asks may be behind the ledger.
const FOLLOW_EVERY: Duration = Duration::from_millis(100);
/// Ledger entries read from a snapshot in one go.
const SNAPSHOT_PAGE: usize = 1_024;

/// What an ETag condition names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ETagMatch {
    /// `*`: any object at all.
    Any,
    /// The object with this ETag, without quotes.
    Tag(String),
}

/// What a write requires of the object that is there now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Condition {
    /// Nothing.
    #[default]
    None,
    /// That it matches; an absent object never does.
    IfMatch(ETagMatch),
    /// That it does not match; an absent object never matches.
    IfNoneMatch(ETagMatch),
}

impl Condition {
    /// What a client hears whose write met contention [`ATTEMPTS_MAX`] times.
    pub(crate) fn contended(&self) -> SessionError {
        match self {
            Self::None => SessionError::Busy,
            Self::IfMatch(_) | Self::IfNoneMatch(_) => SessionError::Conflict {
                attempts: ATTEMPTS_MAX,
            },
        }
    }

    /// Decides the condition on the version that is current; a delete marker is none.
    pub(crate) fn check(&self, current: Option<&Object>) -> Result<(), SessionError> {
        let current = current.filter(|object| !object.delete_marker);
        let matches = |wanted: &ETagMatch| match (wanted, current) {
            (_, None) => false,
            (ETagMatch::Any, Some(_)) => true,
            (ETagMatch::Tag(tag), Some(object)) => object.etag() == *tag,
        };
        match self {
            Self::None => Ok(()),
            Self::IfMatch(_) if current.is_none() => Err(SessionError::NoSuchKey),
            Self::IfMatch(wanted) if !matches(wanted) => Err(SessionError::PreconditionFailed {
                condition: "If-Match",
            }),
            Self::IfNoneMatch(wanted) if matches(wanted) => Err(SessionError::PreconditionFailed {
                condition: "If-None-Match",
            }),
            Self::IfMatch(_) | Self::IfNoneMatch(_) => Ok(()),
        }
    }
}

/// What became of an append.
pub(crate) enum Submitted {
    /// Applied under this sequence, and visible in the view.
    Applied(Sequence),
    /// Something it expected is no longer so; the view has caught up and the request can be decided anew.
    Conflict,
}

/// The packs of `pins` as an append names them: all of them written by it.
pub(crate) fn written(scope: ScopeId, pins: &[Pin]) -> Packs {
    let pack = |pin: &Pin| WrittenPack {
        scope,
        id: pin.entry().summary.id,
        entry: pin.entry().encode().into(),
    };
    Packs {
        written: pins.iter().map(pack).collect(),
        relied_on: Vec::new(),
    }
}

/// Whether an append may use the ledger's reserve on a full disk.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Urgency {
    /// It needs space.
    Normal,
    /// It frees space.
    Frees,
}

impl Inner {
    /// Submits an append and follows it until the view shows it. `pins` are the packs that it names.
    ///
    /// Must run in a task of its own (see [`detached`]), so that a client that goes away cannot un-pin a pack that the ledger
    /// is about to name.
    pub(crate) async fn submit(
        self: &Arc<Self>,
        append: Append,
        pins: &[Pin],
        urgency: Urgency,
    ) -> Result<Submitted, SessionError> {
        self.unsettled.check()?;
        let answer = match urgency {
            Urgency::Normal => self.ledger.append(append).await,
            Urgency::Frees => self.ledger.append_urgent(append).await,
        };
        if answer == Err(LedgerError::Unreachable) {
            self.hold_until_settled(pins);
        }
        match answer? {
            Outcome::Applied { sequence } => {
                pins.iter().for_each(Pin::named);
                self.apply_through(sequence).await?;
                Ok(Submitted::Applied(sequence))
            }
            Outcome::Conflict { .. } => {
                self.apply_through(self.ledger.position()).await?;
                // Others who contend for the same slot get their turn.
                tokio::task::yield_now().await;
                Ok(Submitted::Conflict)
            }
            Outcome::LeaseEnded { .. } => Err(SessionError::Fenced),
        }
    }

    /// The newest sequence that the view shows.
    pub(crate) fn applied(&self) -> Sequence {
        Sequence(self.applied.load(Ordering::Acquire))
    }

    /// Brings the view up to everything the ledger holds.
    pub(crate) async fn catch_up(self: &Arc<Self>) -> Result<(), SessionError> {
        let through = self.ledger.read_index().await?;
        self.apply_through(through).await
    }

    /// Brings the view of a start up to the ledger: by what was appended since, or anew where that refers to what was collected while this
    /// gateway was away, by others that need not be there any more, or by itself before a crash that took the newest part of the view.
    pub(crate) async fn load_view(self: &Arc<Self>) -> Result<(), SessionError> {
        match self.catch_up().await {
            Err(error) if error != SessionError::LedgerAway => {
                tracing::warn!(%error, "the object index cannot follow the ledger from where it was, and is made anew");
                self.rebuild_view().await?;
                self.catch_up().await
            }
            done => done,
        }
    }

    /// Brings the view up to `sequence`. Whoever gets here first applies for all who wait.
    pub(crate) async fn apply_through(self: &Arc<Self>, sequence: Sequence) -> Result<(), SessionError> {
        while self.applied() < sequence {
            let _alone = self.applying.lock().await;
            let from = self.applied();
            if from >= sequence {
                return Ok(());
            }
            match self.ledger.tail(from, APPLY_MAX).await? {
                Tail::Appends(appends) if appends.is_empty() => {
                    return Err(SessionError::Internal {
                        what: "a ledger that ends before its own answer",
                    });
                }
                Tail::Appends(appends) => self.apply(appends).await?,
                Tail::Compacted => self.rebuild_view().await?,
            }
        }
        Ok(())
    }

    /// Reads the parts lists of indirect manifests. The packs they lie in may be named by the very entries being applied.
    async fn resolve_all<'a>(
        self: &Arc<Self>,
        streams: Vec<(Address, Part)>,
        entries: impl Iterator<Item = (Address, &'a bytes::Bytes)>,
    ) -> Result<Resolved, SessionError> {
        if streams.is_empty() {
            return Ok(Resolved::new());
        }
        let mut packs = HashMap::new();
        for (_, value) in entries.filter(|(address, _)| address.kind == EntryKind::Pack) {
            if let Ok(entry) = PackEntry::decode(value) {
                packs.insert(entry.summary.id, entry);
            }
        }
        let packs = Arc::new(packs);
        let mut resolved = Resolved::new();
        for (address, stream) in streams {
            let scope = ScopeId(address.scope);
            resolved.insert(address, self.read_parts_list(scope, stream, &packs).await?);
        }
        Ok(resolved)
    }

    /// Refuses what would be answered from a view that is being filled again.
    pub(crate) fn check_loaded(&self) -> Result<(), SessionError> {
        if self.reloading.load(Ordering::Acquire) {
            return Err(SessionError::Busy);
        }
        Ok(())
    }

    /// Fills an empty view from a snapshot: the ledger no longer holds every append since the view's.
    async fn rebuild_view(self: &Arc<Self>) -> Result<(), SessionError> {
        tracing::info!("filling the object index from a ledger snapshot");
        let mut snapshot = self.ledger.snapshot().await?;
        let through = snapshot.sequence();
        // Packs first, so that indirect manifests can be read while their entries are loaded.
        let mut packs = HashMap::new();
        let mut of_packs = self.ledger.snapshot().await?;
        loop {
            let page = of_packs.next_of(EntryKind::Pack, SNAPSHOT_PAGE).await?;
            if page.is_empty() {
                break;
            }
            for entry in page
                .iter()
                .filter_map(|entry| PackEntry::decode(&entry.value).ok())
            {
                if entry.vault == self.vault.0 {
                    packs.insert(entry.summary.id, entry);
                }
            }
        }
        let packs = Arc::new(packs);
        // A failed load leaves the view unusable, and so the mark; the next attempt begins anew.
        self.reloading.store(true, Ordering::Release);
        // After the mark: whoever holds a pack from now on sees that nothing he finds counts.
        let held = self.keep_held()?;
        self.pins.drop_unheld(&held);
        let mut loader = self.index.load()?;
        loop {
            let page = snapshot.next(SNAPSHOT_PAGE).await?;
            if page.is_empty() {
                break;
            }
            let mut resolved = Resolved::new();
            for (address, stream) in self.index.unresolved_entries(&page) {
                let scope = ScopeId(address.scope);
                resolved.insert(address, self.read_parts_list(scope, stream, &packs).await?);
            }
            tokio::task::block_in_place(|| loader.entries(&page, &resolved))?;
        }
        loader.finish(through, self.operation_at(through).await?)?;
        self.tell_of_all()?;
        self.all_wait_longer(through);
        // What others moved away meanwhile lies under this gateway's lease, and nobody else deletes it.
        self.scanned.store(0, Ordering::Relaxed);
        self.news.fetch_max(through.0, Ordering::AcqRel);
        self.applied.store(through.0, Ordering::Release);
        self.reloading.store(false, Ordering::Release);
        Ok(())
    }

    /// The operation of the append with this sequence, while the ledger holds it.
    async fn operation_at(&self, sequence: Sequence) -> Result<Option<[u8; 16]>, SessionError> {
        let before = Sequence(sequence.0.saturating_sub(1));
        let appends = match self.ledger.tail(before, 1).await? {
            Tail::Appends(appends) => appends,
            Tail::Compacted => return Ok(None),
        };
        let append = appends.first().filter(|append| append.sequence == sequence);
        Ok(append.map(|append| append.operation))
    }

    /// Empties a view that does not stand on this ledger, as after the ledger was put back from a copy: only if the last append
    /// in the view is the ledger's append of that sequence is everything before it the same.
    pub(crate) async fn check_view(&self) -> Result<(), SessionError> {
        let through = self.index.applied_through()?;
        if through == Sequence(0) {
            return Ok(());
        }
        let known = self.index.applied_operation()?;
        if known.is_none() || known != self.operation_at(through).await? {
            tracing::warn!(
                through = through.0,
                "the object index is not of this ledger and is made anew"
            );
            self.index.clear()?;
            self.applied.store(0, Ordering::Release);
        }
        Ok(())
    }

    /// Keeps the entries of the packs that these appends retire: somebody may hold one and find it in the view until that has changed.
    fn keep_retired(&self, applied: &[AppliedAppend]) -> Result<Vec<PackId>, SessionError> {
        let writes = applied
            .iter()
            .flat_map(|append| append.writes.iter().map(|write| (write, append.sequence)));
        let removed =
            writes.filter(|(write, _)| write.address.kind == EntryKind::Pack && write.value.is_none());
        let mut kept = Vec::new();
        for (write, sequence) in removed {
            self.wait_longer(&write.address.slot, sequence);
            if let Some((id, row)) = self.index.pack_at(&write.address)? {
                self.pins.keep(id, row.entry);
                kept.push(id);
            }
        }
        Ok(kept)
    }

    /// Keeps the entries of the packs that are held, before the view is emptied.
    fn keep_held(&self) -> Result<BTreeSet<PackId>, SessionError> {
        let held = self.pins.held();
        for id in &held {
            if let Some(row) = self.index.pack(id)? {
                self.pins.keep(*id, row.entry);
            }
        }
        Ok(held)
    }

    /// Tells the cluster client what other gateways did to packs, before the view shows it and before this gateway says that it is past it.
    fn tell_of_others(&self, applied: &[AppliedAppend]) -> Result<(), SessionError> {
        let others = applied.iter().filter(|append| append.lease != self.lease);
        let writes = others.flat_map(|append| &append.writes);
        for write in writes.filter(|write| write.address.kind == EntryKind::Pack) {
            let Some(value) = &write.value else {
                self.cluster.note_retired_elsewhere(write.address.slot);
                continue;
            };
            let Ok(entry) = PackEntry::decode(value) else {
                continue;
            };
            let before = self.index.pack(&entry.summary.id)?;
            match before.and_then(|row| decode_pack(&row.entry).ok()) {
                None => self.cluster.note_put_elsewhere(&entry),
                Some(before) if before.drives != entry.drives => self.cluster.note_moved_elsewhere(&entry),
                Some(_) => {}
            }
        }
        Ok(())
    }

    /// The same after the view was made anew, which hears of no append: what is known to lack shards is compared with it.
    fn tell_of_all(&self) -> Result<(), SessionError> {
        let under_way = self.pins.pinned();
        for lacking in self.cluster.lacking(self.vault.0) {
            let id = lacking.id();
            match self.index.pack(&id)? {
                Some(row) => self.cluster.note_moved_elsewhere(&decode_pack(&row.entry)?),
                // One that is being written here has no entry yet.
                None if under_way.contains(&id) => {}
                None => self.cluster.note_retired_elsewhere(id.slot()),
            }
        }
        Ok(())
    }

    /// The newest append in the view that says more than how far a gateway is.
    pub(crate) fn news(&self) -> Sequence {
        Sequence(self.news.load(Ordering::Acquire))
    }

    /// Nothing that runs here relies on a state of the ledger before this.
    pub(crate) fn horizon(&self) -> Sequence {
        let claims = self.claims.lock().unwrap_or_else(PoisonError::into_inner);
        claims.settled_below(self.applied()).min(self.pins.horizon())
    }

    async fn apply(self: &Arc<Self>, applied: Vec<AppliedAppend>) -> Result<(), SessionError> {
        let writes = applied.iter().flat_map(|append| &append.writes);
        let entries = writes.filter_map(|write| Some((write.address, write.value.as_ref()?)));
        let resolved = self
            .resolve_all(self.index.unresolved(&applied)?, entries)
            .await?;
        self.tell_of_others(&applied)?;
        let kept = self.keep_retired(&applied)?;
        // A view write takes some tens of microseconds, a large batch milliseconds.
        let changed = tokio::task::block_in_place(|| self.index.apply(&applied, &resolved));
        self.pins.drop_unheld(&kept);
        changed?;
        if !self.view.is_on_disk() && !self.view_in_memory.swap(true, Ordering::Relaxed) {
            tracing::error!(
                "the object index cannot be written, as on a full disk, and goes on in memory; the next start writes it again"
            );
        }
        let news = applied.iter().rev().find(|append| !gateways::is_progress(append));
        if let Some(news) = news {
            self.news.fetch_max(news.sequence.0, Ordering::AcqRel);
        }
        if let Some(last) = applied.last() {
            self.applied.store(last.sequence.0, Ordering::Release);
        }
        Ok(())
    }
}

/// Keeps the view of a session with the ledger while others write there, so that the ledger never compacts past it; ends with
/// the session.
pub(crate) fn follow(inner: &Arc<Inner>) {
    let weak = Arc::downgrade(inner);
    let mut stop = inner.stop.subscribe();
    let mut changed = inner.ledger.changed();
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = stop.wait_for(|stop| *stop) => return,
                seen = changed.changed() => if seen.is_err() { return },
            }
            let position = *changed.borrow_and_update();
            let Some(inner) = weak.upgrade() else { return };
            if let Err(error) = inner.apply_through(position).await {
                tracing::warn!(%error, "the object index could not follow the ledger; it will try again");
            }
            drop(inner);
            // The session's own appends are applied by those who wait for them; this is for what others wrote.
            tokio::select! {
                _ = stop.wait_for(|stop| *stop) => return,
                () = tokio::time::sleep(FOLLOW_EVERY) => {}
            }
        }
    });
}

/// Runs a commit to its end in a task of its own, whatever becomes of the caller.
pub(crate) async fn detached<T: Send + 'static>(
    work: impl Future<Output = Result<T, SessionError>> + Send + 'static,
) -> Result<T, SessionError> {
    let done = tokio::spawn(work).await;
    done.map_err(|_| SessionError::Internal {
        what: "a commit stopped",
    })?
}
