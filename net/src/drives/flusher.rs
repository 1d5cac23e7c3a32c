//! The flusher of one physical device: a thread (in a simulation, a task) that owns the writers of every drive on it and turns many shard puts
//! into few flushes.
//!
//! One turn takes what is queued, appends all of it and then commits every touched drive, all at one time.
//! There is no artificial delay: what arrives during a flush makes the next batch. Invariant: a job is answered with
//! success only after its drive's commit, and a drive whose commit failed is lost and its writer gone.

mod commit;

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use engine::disk::Disk;
use engine::drive::{Compaction, DriveError, DriveWriter, ShardHeader, ShardKey};
use engine::log::Position;
use engine::slots::AcceptedLeases;
use tokio::sync::oneshot;

use commit::Helpers;

use super::drive::{DriveFailure, LocalDrive, classify};
use super::{DrivesConfig, PutSpace};
use crate::offload::{Flushing, Worker};
use crate::queue::{Queue, Queued, Room};

/// The answer to a job.
pub(super) type Reply<T> = oneshot::Sender<Result<T, DriveFailure>>;

/// What a flusher is asked. `drive` is the drive's number in the layout.
pub(super) enum Job {
    /// Stores a shard.
    Put {
        drive: usize,
        header: ShardHeader,
        shard: Bytes,
        space: PutSpace,
        reply: Reply<()>,
    },
    /// Deletes a shard that is damaged and stores the right one, in one commit.
    Replace {
        drive: usize,
        header: ShardHeader,
        shard: Bytes,
        reply: Reply<()>,
    },
    /// Deletes a shard; with a place only the copy that lies there.
    Delete {
        drive: usize,
        key: ShardKey,
        at: Option<Position>,
        reply: Reply<()>,
    },
    /// Refuses puts under leases that are not accepted from now on.
    EndLeases {
        drive: usize,
        accepted: AcceptedLeases,
        reply: Reply<()>,
    },
    /// Compacts one bounded step.
    Compact {
        drive: usize,
        min_garbage: f64,
        budget_bytes: u64,
        reply: Reply<Compaction>,
    },
    /// Gives back preallocated space.
    Trim { drive: usize, reply: Reply<()> },
    /// Takes over a writer.
    Attach {
        drive: Arc<LocalDrive>,
        writer: Box<DriveWriter>,
    },
    /// Lets go of a drive's writer: the drive is lost.
    Detach { drive: usize, reply: Reply<()> },
    /// Closes every drive and ends the thread.
    Close,
}

/// Most jobs of a turn.
const JOBS_MAX: usize = 2_048;
/// Most shard bytes of a turn.
const TURN_BYTES_MAX: usize = 16 << 20;
/// A closing frame is written after so long without a write.
const IDLE: Duration = Duration::from_secs(1);
/// How long an idle flusher sleeps; a job wakes it.
const ASLEEP: Duration = Duration::from_secs(60);

/// The handle of a device's flusher.
pub(super) struct Flusher {
    queue: Queue<Job>,
    flushes: AtomicU64,
    worker: Mutex<Option<Worker>>,
}

impl Flusher {
    /// Starts the flusher of device `device`.
    pub(super) fn start(
        device: u64,
        disk: Arc<dyn Disk>,
        config: &DrivesConfig,
    ) -> std::io::Result<Arc<Self>> {
        let flusher = Arc::new(Self {
            queue: Queue::new(config.queue_bytes),
            flushes: AtomicU64::new(0),
            worker: Mutex::new(None),
        });
        let turns = Turns {
            flusher: Arc::clone(&flusher),
            disk,
            headroom_bytes: config.headroom_bytes,
            drives: BTreeMap::new(),
            helpers: Helpers::new(device, config.offload.is_threaded()),
            dirty: false,
        };
        let worker = config.offload.start(format!("flush-{device}"), turns)?;
        *flusher.worker.lock().unwrap_or_else(PoisonError::into_inner) = Some(worker);
        Ok(flusher)
    }

    /// Queues a job of `bytes` shard bytes, once there is room.
    pub(super) async fn push(&self, job: Job, bytes: usize) -> Result<(), DriveFailure> {
        // Every job weighs something, so that the number of small ones is bounded too.
        let weight = bytes.saturating_add(JOB_BYTES);
        self.queue
            .push(job, weight)
            .await
            .map_err(|_| DriveFailure::Closed)
    }

    /// Queues a job at once: attaching and closing.
    pub(super) fn push_control(&self, job: Job) -> Result<(), DriveFailure> {
        self.queue.push_control(job).map_err(|_| DriveFailure::Closed)
    }

    /// Commits so far, each one flush of one drive.
    pub(super) fn flushes(&self) -> u64 {
        self.flushes.load(Ordering::Relaxed)
    }

    /// Takes no more jobs; whoever queued one gets no answer, which reads as closed.
    fn shut(&self) {
        self.queue.close();
        drop(self.queue.take(usize::MAX, usize::MAX, Duration::ZERO));
    }

    /// Whether it has ended or is about to.
    pub(super) fn is_shut(&self) -> bool {
        self.queue.is_closed()
    }

    /// Closes every drive of the device and waits for the end.
    pub(super) async fn close(&self) {
        // The queue may be closed already; then there is nobody to tell.
        let _ = self.queue.push_control(Job::Close);
        let worker = self.worker.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(worker) = worker
            && !worker.ended().await
        {
            tracing::error!("a flusher panicked");
        }
    }
}

/// The weight of a job beyond its shard, in bytes.
const JOB_BYTES: usize = 512;

struct Owned {
    place: Arc<LocalDrive>,
    writer: DriveWriter,
    dir: PathBuf,
    waiting: Vec<Reply<()>>,
    touched: bool,
    checked_space: bool,
}

struct Turns {
    flusher: Arc<Flusher>,
    disk: Arc<dyn Disk>,
    headroom_bytes: u64,
    drives: BTreeMap<usize, Owned>,
    helpers: Helpers,
    dirty: bool,
}

/// A turn whose commits are still to come.
#[derive(Default)]
struct Begun {
    close: bool,
    idle: bool,
    slow: Vec<Job>,
    /// The jobs' room in the queue, given back after the commits.
    room: Vec<Room>,
}

impl Flushing for Turns {
    type Job = Job;
    type Turn = Begun;
    const JOBS_MAX: usize = JOBS_MAX;
    const TURN_BYTES_MAX: usize = TURN_BYTES_MAX;

    fn queue(&mut self) -> &Queue<Job> {
        &self.flusher.queue
    }

    fn wait(&self) -> Duration {
        if self.dirty { IDLE } else { ASLEEP }
    }

    fn begin(&mut self, batch: Vec<Queued<Job>>) -> ControlFlow<(), Begun> {
        let mut begun = Begun::default();
        if batch.is_empty() {
            self.idle();
            begun.idle = true;
        }
        for queued in batch {
            let (job, held) = queued.split();
            begun.room.push(held);
            match job {
                Job::Close => begun.close = true,
                job @ (Job::Compact { .. } | Job::Trim { .. }) => begun.slow.push(job),
                job => self.append(job),
            }
        }
        ControlFlow::Continue(begun)
    }

    fn finish(&mut self, begun: Begun) -> ControlFlow<()> {
        if begun.idle {
            return ControlFlow::Continue(());
        }
        self.commit();
        drop(begun.room);
        for job in begun.slow {
            self.maintain(job);
        }
        match begun.close {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    }

    fn end(mut self) {
        self.flusher.shut();
        for (number, owned) in std::mem::take(&mut self.drives) {
            if let Err(error) = owned.writer.close() {
                tracing::error!(drive = number, %error, "a drive did not close cleanly");
            }
        }
    }
}

impl Turns {
    /// Appends what a job asks for; the answer waits for the commit.
    fn append(&mut self, job: Job) {
        match job {
            Job::Put {
                drive,
                header,
                shard,
                space,
                reply,
            } => {
                if space == PutSpace::Free && self.is_short_of_space(drive) {
                    return answer(reply, Err(DriveFailure::Full));
                }
                self.with(drive, reply, |writer| writer.put(&header, &shard));
            }
            Job::Replace {
                drive,
                header,
                shard,
                reply,
            } => {
                // Asked before the delete, so that a full drive keeps what it has.
                if self.is_short_of_space(drive) {
                    return answer(reply, Err(DriveFailure::Full));
                }
                self.with(drive, reply, |writer| {
                    // Before the delete: what cannot be put must not take away what is there.
                    writer.check_lease(header.lease)?;
                    writer.delete(header.key())?;
                    writer.put(&header, &shard)
                });
            }
            Job::Delete {
                drive,
                key,
                at,
                reply,
            } => self.with(drive, reply, |writer| writer.delete_copy(key, at).map(drop)),
            Job::EndLeases {
                drive,
                accepted,
                reply,
            } => {
                self.with(drive, reply, |writer| writer.end_leases(&accepted));
            }
            Job::Attach { drive, writer } => {
                let owned = Owned {
                    dir: drive.dir.clone(),
                    writer: *writer,
                    waiting: Vec::new(),
                    touched: true,
                    checked_space: false,
                    place: drive,
                };
                self.drives.insert(owned.place.number, owned);
            }
            Job::Detach { drive, reply } => {
                self.lose(drive);
                answer(reply, Ok(()));
            }
            // The caller keeps these for after the commit.
            Job::Compact { .. } | Job::Trim { .. } | Job::Close => {}
        }
    }

    fn is_short_of_space(&mut self, number: usize) -> bool {
        let Some(owned) = self.drives.get_mut(&number) else {
            return false;
        };
        // Once a turn: a turn is at most a few packs.
        if !owned.checked_space {
            owned.checked_space = true;
            let free = self.disk.available_bytes(&owned.dir).unwrap_or(u64::MAX);
            owned.place.set_full(free < self.headroom_bytes);
        }
        owned.place.is_full()
    }

    fn with(
        &mut self,
        number: usize,
        reply: Reply<()>,
        append: impl FnOnce(&mut DriveWriter) -> Result<(), DriveError>,
    ) {
        let Some(owned) = self.drives.get_mut(&number) else {
            return answer(reply, Err(DriveFailure::Lost));
        };
        owned.touched = true;
        match append(&mut owned.writer) {
            Ok(()) => owned.waiting.push(reply),
            Err(error) => {
                let failure = classify(&error);
                if failure == DriveFailure::Full {
                    tracing::warn!(drive = number, "the drive is full");
                    owned.place.set_full(true);
                }
                answer(reply, Err(failure));
                if owned.writer.drive().is_lost().is_some() {
                    self.lose(number);
                }
            }
        }
    }

    fn commit(&mut self) {
        let is_touched = |owned: &Owned| owned.touched;
        let numbers: Vec<usize> = self
            .drives
            .iter()
            .filter(|(_, owned)| is_touched(owned))
            .map(|(number, _)| *number)
            .collect();
        let touched: Vec<Owned> = numbers
            .iter()
            .filter_map(|number| self.drives.remove(number))
            .collect();
        if touched.is_empty() {
            return;
        }
        self.dirty = true;
        self.flusher
            .flushes
            .fetch_add(touched.len() as u64, Ordering::Relaxed);
        for (mut owned, result) in self.helpers.commit(touched) {
            owned.touched = false;
            owned.checked_space = false;
            let number = owned.place.number;
            match result {
                Ok(()) => {
                    for reply in owned.waiting.drain(..) {
                        answer(reply, Ok(()));
                    }
                    self.drives.insert(number, owned);
                }
                Err(error) => {
                    tracing::error!(drive = number, %error, "a commit failed; the drive is taken out");
                    owned
                        .writer
                        .drive()
                        .mark_lost(engine::drive::LostReason::WriteFailed);
                    self.drives.insert(number, owned);
                    self.lose(number);
                }
            }
        }
    }

    /// Takes a drive out: whoever waits for it hears that it is lost.
    fn lose(&mut self, number: usize) {
        if let Some(owned) = self.drives.remove(&number) {
            for reply in owned.waiting {
                answer(reply, Err(DriveFailure::Lost));
            }
        }
    }

    fn maintain(&mut self, job: Job) {
        match job {
            Job::Compact {
                drive,
                min_garbage,
                budget_bytes,
                reply,
            } => {
                let done = self.slow(drive, |writer| writer.compact(min_garbage, budget_bytes));
                answer(reply, done);
            }
            Job::Trim { drive, reply } => {
                let done = self.slow(drive, DriveWriter::trim);
                answer(reply, done);
            }
            _ => {}
        }
    }

    fn slow<T>(
        &mut self,
        number: usize,
        work: impl FnOnce(&mut DriveWriter) -> Result<T, DriveError>,
    ) -> Result<T, DriveFailure> {
        let owned = self.drives.get_mut(&number).ok_or(DriveFailure::Lost)?;
        let done = work(&mut owned.writer);
        self.dirty = true;
        if owned.writer.drive().is_lost().is_some() {
            self.lose(number);
            return Err(DriveFailure::Lost);
        }
        done.map_err(|error| {
            tracing::warn!(drive = number, %error, "compaction failed");
            classify(&error)
        })
    }

    fn idle(&mut self) {
        self.dirty = false;
        let mut lost = Vec::new();
        for (number, owned) in &mut self.drives {
            match owned.writer.idle() {
                Ok(()) => {}
                Err(DriveError::Full { .. }) if owned.writer.drive().is_lost().is_none() => {
                    // Nothing is lost by it; the closing frame is written after a later change.
                    tracing::warn!(
                        drive = number,
                        "a full drive has no room for its log's closing frame"
                    );
                    owned.place.set_full(true);
                }
                Err(error) => {
                    tracing::error!(drive = number, %error, "a closing frame failed; the drive is taken out");
                    owned
                        .writer
                        .drive()
                        .mark_lost(engine::drive::LostReason::WriteFailed);
                    lost.push(*number);
                }
            }
        }
        for number in lost {
            self.lose(number);
        }
    }
}

impl Drop for Turns {
    /// Also when a turn panics: nobody waits for a thread that is gone, and nothing more is written to its drives.
    fn drop(&mut self) {
        self.flusher.shut();
        for owned in self.drives.values() {
            owned
                .writer
                .drive()
                .mark_lost(engine::drive::LostReason::TakenOut);
        }
    }
}

/// Answers; a caller that no longer waits is no error.
fn answer<T>(reply: Reply<T>, result: Result<T, DriveFailure>) {
    let _ = reply.send(result);
}
