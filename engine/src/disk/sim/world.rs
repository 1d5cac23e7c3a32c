//! The state of the simulated disk: what is there now, what is durable, and which changes lie between the two.
//!
//! Not thread-safe and knows no faults; the disk around it does. Invariant: `current` is `durable` with all of
//! `pending` applied in order. Copies are cheap: contents are shared until written.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::CrashChoice;

const SECTOR_BYTES: u64 = 512;

/// One change of the disk.
#[derive(Clone)]
pub(super) enum Op {
    CreateDir { dir: PathBuf },
    Create { path: PathBuf, file: u64 },
    Remove { path: PathBuf },
    RemoveDir { dir: PathBuf },
    Rename { from: PathBuf, to: PathBuf },
    SyncDir { dir: PathBuf },
    Write { file: u64, offset: u64, data: Arc<[u8]> },
    SetLen { file: u64, bytes: u64 },
    SyncData { file: u64 },
    SyncFailed { file: u64 },
    Vanish { path: PathBuf },
    FlipBit { file: u64, offset: u64 },
}

#[derive(Clone)]
enum Change {
    Write { offset: u64, data: Arc<[u8]> },
    SetLen(u64),
    FlipBit(usize),
}

#[derive(Clone, Default)]
struct Inode {
    current: Arc<Vec<u8>>,
    durable: Arc<Vec<u8>>,
    pending: Vec<Change>,
    /// Changes since a sync failed that stand behind `durable` in order, each with whether it is durable too: those that the failed
    /// sync left behind a crash may keep or drop, and no later sync settles them, but they never come over what was written after them.
    since_failure: Vec<(Change, bool)>,
}

type Names = BTreeMap<PathBuf, u64>;

#[derive(Clone, Default)]
pub(super) struct World {
    dirs: BTreeSet<PathBuf>,
    names: Names,
    durable_names: Names,
    pending_names: Vec<Op>,
    files: BTreeMap<u64, Inode>,
    last_file: u64,
}

impl World {
    pub(super) fn next_file(&self) -> u64 {
        self.last_file + 1
    }

    pub(super) fn file_named(&self, path: &Path) -> Option<u64> {
        self.names.get(path).copied()
    }

    pub(super) fn has_dir(&self, dir: &Path) -> bool {
        self.dirs.contains(dir)
    }

    pub(super) fn list(&self, dir: &Path) -> Vec<String> {
        let names = self
            .names
            .keys()
            .chain(self.dirs.iter())
            .filter(|path| path.parent() == Some(dir));
        let names: BTreeSet<String> = names
            .filter_map(|path| path.file_name()?.to_str().map(str::to_owned))
            .collect();
        names.into_iter().collect()
    }

    pub(super) fn len(&self, file: u64) -> u64 {
        self.files
            .get(&file)
            .map_or(0, |inode| inode.current.len() as u64)
    }

    /// Bytes of the files that have a name.
    pub(super) fn used_bytes(&self) -> u64 {
        self.names.values().map(|file| self.len(*file)).sum()
    }

    pub(super) fn is_linked(&self, file: u64) -> bool {
        self.names.values().any(|named| *named == file)
    }

    pub(super) fn read(&self, file: u64, buffer: &mut [u8], offset: u64) -> usize {
        let content = self
            .files
            .get(&file)
            .map_or(&[][..], |inode| inode.current.as_slice());
        let from = usize::try_from(offset).unwrap_or(usize::MAX);
        let rest = content.get(from..).unwrap_or(&[]);
        let bytes = rest.len().min(buffer.len());
        if let (Some(to), Some(from)) = (buffer.get_mut(..bytes), rest.get(..bytes)) {
            to.copy_from_slice(from);
        }
        bytes
    }

    pub(super) fn apply(&mut self, op: &Op) {
        match op {
            Op::CreateDir { dir } => self.dirs.extend(dir.ancestors().map(Path::to_owned)),
            Op::Create { file, .. } => {
                self.last_file = self.last_file.max(*file);
                self.files.insert(*file, Inode::default());
                self.rename_op(op);
            }
            Op::Remove { .. } | Op::Rename { .. } => self.rename_op(op),
            Op::RemoveDir { dir } => {
                self.dirs.retain(|known| !known.starts_with(dir));
                self.rename_op(op);
            }
            Op::SyncDir { dir } => {
                let (settled, open) = self.pending_names.drain(..).partition(|op| touches(op, dir));
                self.pending_names = open;
                let settled: Vec<Op> = settled;
                for op in &settled {
                    apply_name(&mut self.durable_names, op);
                }
            }
            Op::Write { file, offset, data } => {
                self.change(
                    *file,
                    Change::Write {
                        offset: *offset,
                        data: Arc::clone(data),
                    },
                );
            }
            Op::SetLen { file, bytes } => self.change(*file, Change::SetLen(*bytes)),
            Op::SyncData { file } => {
                if let Some(inode) = self.files.get_mut(file) {
                    inode.sync();
                }
            }
            Op::SyncFailed { file } => {
                if let Some(inode) = self.files.get_mut(file) {
                    let left = inode.pending.drain(..).map(|change| (change, false));
                    inode.since_failure.extend(left);
                }
            }
            Op::Vanish { path } => {
                self.dirs.retain(|known| !known.starts_with(path));
                self.names.retain(|known, _| !known.starts_with(path));
                self.durable_names.retain(|known, _| !known.starts_with(path));
                self.pending_names.retain(|op| !name_of(op).starts_with(path));
            }
            Op::FlipBit { file, offset } => {
                let at = usize::try_from(*offset).unwrap_or(usize::MAX);
                if let Some(inode) = self.files.get_mut(file) {
                    flip(&mut inode.current, at);
                    // What is not durable yet may be written over the flipped byte at a crash; that is as on a real disk.
                    if inode.since_failure.is_empty() {
                        flip(&mut inode.durable, at);
                    } else {
                        inode.since_failure.push((Change::FlipBit(at), true));
                    }
                }
            }
        }
    }

    fn rename_op(&mut self, op: &Op) {
        apply_name(&mut self.names, op);
        self.pending_names.push(op.clone());
    }

    fn change(&mut self, file: u64, change: Change) {
        if let Some(inode) = self.files.get_mut(&file) {
            apply_whole(&mut inode.current, &change);
            inode.pending.push(change);
        }
    }

    /// Becomes what a crash now would leave, everything of it durable.
    pub(super) fn crash(&mut self, choice: CrashChoice) {
        let mut draw = Draw::new(choice);
        let pending_names = std::mem::take(&mut self.pending_names);
        for op in pending_names {
            if draw.keep() {
                apply_name(&mut self.durable_names, &op);
            }
        }
        self.names = self.durable_names.clone();
        // A removal of a directory that did not happen leaves the directory as well as its files.
        let dirs: Vec<PathBuf> = self
            .names
            .keys()
            .flat_map(|path| path.ancestors().skip(1))
            .map(Path::to_owned)
            .collect();
        self.dirs.extend(dirs);
        let linked: BTreeSet<u64> = self.names.values().copied().collect();
        self.files.retain(|file, _| linked.contains(file));
        for inode in self.files.values_mut() {
            if choice == CrashChoice::KeepAll {
                inode.durable = Arc::clone(&inode.current);
            } else {
                let pending = inode.pending.drain(..).map(|change| (change, false));
                for (change, is_durable) in inode.since_failure.drain(..).chain(pending) {
                    if is_durable {
                        apply_whole(&mut inode.durable, &change);
                    } else {
                        draw.apply(&mut inode.durable, &change);
                    }
                }
                inode.current = Arc::clone(&inode.durable);
            }
            inode.pending.clear();
            inode.since_failure.clear();
        }
    }
}

impl Inode {
    fn sync(&mut self) {
        if self.since_failure.is_empty() {
            self.durable = Arc::clone(&self.current);
            self.pending.clear();
            return;
        }
        let settled = self.pending.drain(..).map(|change| (change, true));
        self.since_failure.extend(settled);
    }
}

/// Which unsynced changes survive.
struct Draw {
    choice: CrashChoice,
    state: u64,
    /// Of 8 changes, how many survive on average.
    keep_of_8: u64,
}

impl Draw {
    fn new(choice: CrashChoice) -> Self {
        let seed = if let CrashChoice::Seeded(seed) = choice {
            seed
        } else {
            0
        };
        let mut draw = Self {
            choice,
            state: seed,
            keep_of_8: 4,
        };
        draw.keep_of_8 = match draw.next() % 4 {
            0 => 1,
            1 => 7,
            _ => 4,
        };
        draw
    }

    /// SplitMix64 (Steele, Lea, Flood 2014).
    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn keep(&mut self) -> bool {
        match self.choice {
            CrashChoice::KeepAll => true,
            CrashChoice::DropAll => false,
            CrashChoice::Seeded(_) => self.next() % 8 < self.keep_of_8,
        }
    }

    fn apply(&mut self, content: &mut Arc<Vec<u8>>, change: &Change) {
        let Change::Write { offset, data } = change else {
            if self.keep() {
                apply_whole(content, change);
            }
            return;
        };
        let torn = matches!(self.choice, CrashChoice::Seeded(_)) && self.next().is_multiple_of(3);
        if !torn {
            if self.keep() {
                apply_whole(content, change);
            }
            return;
        }
        let mut at = *offset;
        let mut rest: &[u8] = data;
        while !rest.is_empty() {
            let to_sector_end = SECTOR_BYTES - at % SECTOR_BYTES;
            let bytes = rest
                .len()
                .min(usize::try_from(to_sector_end).unwrap_or(usize::MAX));
            let (sector, after) = rest.split_at(bytes);
            if self.next().is_multiple_of(2) {
                write(content, at, sector);
            }
            at += to_sector_end;
            rest = after;
        }
    }
}

fn apply_whole(content: &mut Arc<Vec<u8>>, change: &Change) {
    match change {
        Change::Write { offset, data } => write(content, *offset, data),
        Change::SetLen(bytes) => {
            Arc::make_mut(content).resize(usize::try_from(*bytes).unwrap_or(usize::MAX), 0);
        }
        Change::FlipBit(at) => flip(content, *at),
    }
}

fn write(content: &mut Arc<Vec<u8>>, offset: u64, data: &[u8]) {
    let content = Arc::make_mut(content);
    let from = usize::try_from(offset).unwrap_or(usize::MAX);
    let end = from.saturating_add(data.len());
    if content.len() < end {
        content.resize(end, 0);
    }
    if let Some(to) = content.get_mut(from..end) {
        to.copy_from_slice(data);
    }
}

fn flip(content: &mut Arc<Vec<u8>>, at: usize) {
    if content.len() > at
        && let Some(byte) = Arc::make_mut(content).get_mut(at)
    {
        *byte ^= 1;
    }
}

fn apply_name(names: &mut Names, op: &Op) {
    match op {
        Op::Create { path, file } => {
            names.insert(path.clone(), *file);
        }
        Op::Remove { path } => {
            names.remove(path);
        }
        Op::Rename { from, to } => {
            if let Some(file) = names.remove(from) {
                names.insert(to.clone(), file);
            }
        }
        Op::RemoveDir { dir } => names.retain(|path, _| !path.starts_with(dir)),
        _ => {}
    }
}

fn name_of(op: &Op) -> &Path {
    match op {
        Op::Create { path, .. } | Op::Remove { path } | Op::Rename { to: path, .. } => path,
        Op::RemoveDir { dir } => dir,
        _ => Path::new(""),
    }
}

fn touches(op: &Op, dir: &Path) -> bool {
    match op {
        Op::Rename { from, to } => from.parent() == Some(dir) || to.parent() == Some(dir),
        // Of a directory that was removed and made again, what it holds now is durable only behind its removal.
        Op::RemoveDir { dir: removed } => removed == dir || removed.parent() == Some(dir),
        other => name_of(other).parent() == Some(dir),
    }
}
