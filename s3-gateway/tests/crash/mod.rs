//! What was asked of a vault on a simulated disk, what was answered, and what a crash may therefore leave of it.
//!
//! Everything visible is a *cell*: a bucket, an object, an upload, a part. A step changes some cells, all or none; it begins
//! and, once it was answered, ends. After a crash each cell must be as the last ended step left it, unless a step that had
//! begun and not ended changed it, and then all cells of that step are as before it or all as after it.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "shared by test files, each of which uses its own part"
)]

#[allow(dead_code, reason = "not every test rebuilds")]
pub mod rebuilding;
pub mod states;
pub mod work;

use crate::rig::{Rig, object_key};
use engine::disk::SimDisk;
use engine::view::{Change, MemoryView, View};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use vault::index::{ListQuery, UploadQuery};

/// What a cell holds; nothing if it is not there.
pub type Value = Option<Arc<Vec<u8>>>;
/// Everything that is there.
pub type Seen = BTreeMap<String, Arc<Vec<u8>>>;

/// The mark "the vault was opened for the first time".
const OPENED: u64 = 0;

struct Step {
    what: String,
    /// The client operation whose record must be in the activity log once the step ended.
    operation: Option<[u8; 16]>,
    changes: Vec<(String, Value)>,
}

/// A workload's steps, over the disk that recorded them.
pub struct History {
    pub disk: SimDisk,
    steps: Mutex<Vec<Step>>,
    /// Contents of the object index's view, each with the number of disk operations before it was copied.
    views: Mutex<Vec<(usize, Vec<Change>)>>,
}

impl History {
    pub fn new(seed: u64) -> Self {
        Self {
            disk: SimDisk::new(seed),
            steps: Mutex::new(Vec::new()),
            views: Mutex::new(Vec::new()),
        }
    }

    pub fn opened(&self) {
        self.disk.marker(OPENED);
    }

    /// Notes that a step is about to be asked for.
    pub fn begin(&self, what: String, operation: Option<[u8; 16]>, changes: Vec<(String, Value)>) -> usize {
        let mut steps = self.steps.lock().unwrap();
        steps.push(Step {
            what,
            operation,
            changes,
        });
        let number = steps.len() - 1;
        self.disk.marker(2 * number as u64 + 1);
        number
    }

    /// Notes that a step was answered as done.
    pub fn end(&self, number: usize) {
        self.disk.marker(2 * number as u64 + 2);
    }

    /// The value of a cell after everything that was begun.
    pub fn now(&self, cell: &str) -> Value {
        let steps = self.steps.lock().unwrap();
        let changes = steps.iter().rev().flat_map(|step| &step.changes);
        changes.into_iter().find(|(name, _)| name == cell)?.1.clone()
    }

    /// Every cell that some step changed.
    pub fn cells(&self) -> BTreeSet<String> {
        let steps = self.steps.lock().unwrap();
        let changes = steps.iter().flat_map(|step| &step.changes);
        changes.map(|(cell, _)| cell.clone()).collect()
    }

    /// Whether a cell ever held this.
    pub fn ever(&self, cell: &str, value: &Arc<Vec<u8>>) -> bool {
        let steps = self.steps.lock().unwrap();
        let mut changes = steps.iter().flat_map(|step| &step.changes);
        changes.any(|(name, held)| name == cell && held.as_ref() == Some(value))
    }

    /// Copies a view as it is now.
    pub fn keep_view(&self, view: &dyn View) {
        let mut rows = Vec::new();
        let mut copy = |key: &[u8], value: &[u8]| {
            rows.push((key.to_vec(), Some(value.to_vec())));
            true
        };
        view.scan(&[], None, false, &mut copy).unwrap();
        let mut views = self.views.lock().unwrap();
        views.push((self.disk.ops(), rows));
    }

    /// A view as it was `back` copies before operation `at`.
    pub fn view_before(&self, at: usize, back: usize) -> Option<Arc<dyn View>> {
        let views = self.views.lock().unwrap();
        let (_, rows) = views.iter().rev().filter(|(ops, _)| *ops <= at).nth(back)?;
        let view = MemoryView::new();
        view.apply(rows.clone()).unwrap();
        Some(Arc::new(view))
    }

    /// What was answered before a crash after operation `at`.
    pub fn answered(&self, at: usize) -> Answered {
        let marks = self.disk.markers_before(at);
        let numbers = |rest: u64| {
            let numbers = marks.iter().filter(move |mark| **mark > 0 && **mark % 2 == rest);
            numbers
                .map(|mark| (*mark as usize - 1) / 2)
                .collect::<BTreeSet<_>>()
        };
        Answered {
            opened: marks.contains(&OPENED),
            begun: numbers(1),
            ended: numbers(0),
        }
    }

    /// Checks what is there against what was answered; says what is wrong.
    pub fn judge(&self, answered: &Answered, seen: &Seen) -> Result<(), String> {
        let steps = self.steps.lock().unwrap();
        let mut before: BTreeMap<&str, &Value> = BTreeMap::new();
        for number in &answered.ended {
            let changes = &steps[*number].changes;
            before.extend(changes.iter().map(|(cell, value)| (cell.as_str(), value)));
        }
        let mut open = BTreeSet::new();
        for number in answered.begun.difference(&answered.ended) {
            let step = &steps[*number];
            let is = |cell: &str, value: &Value| seen.get(cell) == value.as_ref();
            let done = step.changes.iter().all(|(cell, value)| is(cell, value));
            let nothing = None;
            let undone = step
                .changes
                .iter()
                .all(|(cell, _)| is(cell, before.get(cell.as_str()).copied().unwrap_or(&nothing)));
            if !done && !undone {
                return Err(format!("'{}' is neither done nor undone", step.what));
            }
            open.extend(step.changes.iter().map(|(cell, _)| cell.as_str()));
        }
        for (cell, value) in &before {
            if !open.contains(cell) && seen.get(*cell) != value.as_ref() {
                let lengths = (seen.get(*cell).map(|v| v.len()), value.as_ref().map(|v| v.len()));
                return Err(format!("{cell}: (bytes there, bytes acknowledged) {lengths:?}"));
            }
        }
        let unknown = |cell: &&String| !before.contains_key(cell.as_str()) && !open.contains(cell.as_str());
        match seen.keys().find(unknown) {
            Some(cell) => Err(format!("{cell}: there, and nobody asked for it")),
            None => Ok(()),
        }
    }

    /// As [`Self::judge`], after a rebuild: what was removed may be back, and what was asked for and never answered may be there.
    pub fn judge_rebuilt(&self, answered: &Answered, seen: &Seen) -> Result<(), String> {
        let steps = self.steps.lock().unwrap();
        let mut before: BTreeMap<&str, &Value> = BTreeMap::new();
        for number in &answered.ended {
            let changes = &steps[*number].changes;
            before.extend(changes.iter().map(|(cell, value)| (cell.as_str(), value)));
        }
        let open: BTreeSet<(&str, &Value)> = answered
            .begun
            .difference(&answered.ended)
            .flat_map(|number| &steps[*number].changes)
            .map(|(cell, value)| (cell.as_str(), value))
            .collect();
        for (cell, value) in before.iter().filter(|(_, value)| value.is_some()) {
            let there = seen.get(*cell).cloned();
            if there != **value && !open.contains(&(*cell, &there)) {
                return Err(format!(
                    "{cell}: {:?} bytes after a rebuild",
                    there.map(|v| v.len())
                ));
            }
        }
        Ok(())
    }

    /// Checks that every answered operation has its one record, in an activity log that passes an audit.
    pub async fn judge_activity(&self, answered: &Answered, rig: &Rig) -> Result<(), String> {
        let records = rig.session.activity(&Default::default()).await;
        let records = records.map_err(|error| error.to_string())?;
        let mut counts: BTreeMap<[u8; 16], usize> = BTreeMap::new();
        for opened in &records {
            *counts.entry(opened.record.operation_id.0).or_default() += 1;
        }
        let steps = self.steps.lock().unwrap();
        for number in &answered.ended {
            let step = &steps[*number];
            let count = step
                .operation
                .map_or(1, |operation| counts.get(&operation).copied().unwrap_or_default());
            if count != 1 {
                return Err(format!("'{}' has {count} records", step.what));
            }
        }
        drop(steps);
        let audit = activity::audit(rig.recorder.reader()).map_err(|error| error.to_string())?;
        (audit.uncovered == 0)
            .then_some(())
            .ok_or_else(|| "records that no checkpoint covers".to_owned())
    }
}

/// Which steps had begun and which had ended.
pub struct Answered {
    pub opened: bool,
    begun: BTreeSet<usize>,
    ended: BTreeSet<usize>,
}

/// Everything that a client can see of a vault. Fails where list and get do not agree.
pub async fn observe(rig: &Rig) -> Result<Seen, String> {
    let session = &rig.session;
    let mut seen = Seen::new();
    let text = |error: s3_gateway::session::SessionError| error.to_string();
    for bucket in session.buckets().await.map_err(text)? {
        let name = &bucket.name;
        seen.insert(format!("bucket {name}"), Arc::default());
        let mut query = ListQuery {
            max_keys: 7,
            ..ListQuery::default()
        };
        loop {
            let page = session.list(&bucket, &query).await.map_err(text)?;
            for listed in &page.objects {
                let key = &listed.object.key;
                let stored = session.object(&bucket, &object_key(key)).await.map_err(text)?;
                if (
                    stored.sequence,
                    &stored.object.etag(),
                    stored.object.plaintext_bytes,
                ) != (
                    listed.sequence,
                    &listed.object.etag(),
                    listed.object.plaintext_bytes,
                ) {
                    return Err(format!("{name}/{key}: list and get do not agree"));
                }
                let body = rig.read(&bucket, &stored, 0..stored.object.plaintext_bytes).await;
                let body = body.map_err(|error| format!("{name}/{key}: {error}"))?;
                if stored.object.metadata("x-amz-meta-sum") != Some(&work::sum(&body)) {
                    return Err(format!("{name}/{key}: body and metadata are of two versions"));
                }
                seen.insert(format!("object {name}/{key}"), Arc::new(body));
            }
            if !page.truncated {
                break;
            }
            query.start_after = page.next;
        }
        let query = UploadQuery {
            max_uploads: 1_000,
            ..UploadQuery::default()
        };
        for upload in session.uploads(&bucket, &query).await.map_err(text)?.uploads {
            let key = &upload.key;
            seen.insert(format!("upload {name}/{key}"), Arc::default());
            for part in session
                .parts(&bucket, upload.id, 0, 100)
                .await
                .map_err(text)?
                .parts
            {
                let cell = format!("part {name}/{key}/{}", part.entry.part.number);
                seen.insert(cell, Arc::new(part.entry.etag_md5.to_vec()));
            }
        }
    }
    Ok(seen)
}
