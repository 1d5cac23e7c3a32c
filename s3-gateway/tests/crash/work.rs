//! A seeded workload of everything that changes a vault, noted step by step in a history.

use super::{History, Value};
use crate::rig::{Opening, Rig, body, caller, object_key};
use engine::disk::Disk;
use engine::view::{MemoryView, View};
use s3_gateway::session::{
    Attributes, Bucket, Caller, CollectOptions, CompletePart, Completion, Condition, CopyChanges, ETagMatch,
    FinishedStream, NewObject, NewPart, NewUpload, SessionError, Stored,
};
use std::path::Path;
use std::sync::Arc;
use vault::object::UploadId;

/// Where the vault stands on the simulated disk.
pub const ROOT: &str = "/data";

/// SplitMix64 (Steele, Lea, Flood 2014).
pub struct Draw(pub u64);

impl Draw {
    pub fn below(&mut self, most: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % most
    }
}

/// A short name for a body, which its object's metadata carries.
pub fn sum(body: &[u8]) -> String {
    engine::pack::ShardHash::of(body).0[..8]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

fn md5_of(body: &[u8]) -> [u8; 16] {
    engine::pack::ShardHash::of(body).0[..16].try_into().unwrap()
}

fn attributes(body: &[u8]) -> Attributes {
    Attributes {
        metadata: vec![("x-amz-meta-sum".to_owned(), sum(body))],
        ..Attributes::default()
    }
}

/// A vault at work.
pub struct Work {
    pub history: Arc<History>,
    pub rig: Rig,
    opening: Opening,
    view: Arc<dyn View>,
    uploads: u64,
}

impl Work {
    pub async fn begin(seed: u64, opening: Opening) -> Self {
        let history = Arc::new(History::new(seed));
        let (rig, view) = open(&history, &opening).await;
        history.opened();
        Self {
            history,
            opening,
            rig,
            view,
            uploads: 0,
        }
    }

    /// Closes and opens again, as a restart does.
    pub async fn restart(self) -> Self {
        self.rig.close().await;
        let opening = Opening {
            create: false,
            ..self.opening.clone()
        };
        let (rig, view) = open(&self.history, &opening).await;
        Self { rig, view, ..self }
    }

    pub async fn finish(self) -> Arc<History> {
        self.rig.close().await;
        self.history
    }

    pub fn keep_view(&self) {
        self.history.keep_view(&*self.view);
    }

    pub async fn step<T>(
        &self,
        what: &str,
        changes: Vec<(String, Value)>,
        operation: impl AsyncFnOnce(&Caller) -> Result<T, SessionError>,
    ) -> T {
        let caller = caller();
        // Only what changes something travels with a ledger append; other records follow within a moment.
        let changing = changes
            .iter()
            .any(|(cell, value)| self.history.now(cell) != *value);
        let recorded = changing.then_some(caller.operation_id);
        let number = self.history.begin(what.to_owned(), recorded, changes);
        let done = operation(&caller).await;
        let done = done.unwrap_or_else(|error| panic!("{what}: {error}"));
        self.history.end(number);
        done
    }

    pub async fn create_bucket(&self, name: &str) -> Bucket {
        let parsed = s3_gateway::key::BucketName::parse(name).unwrap();
        self.step(
            &format!("create {name}"),
            vec![(format!("bucket {name}"), Some(Arc::default()))],
            async |caller| self.rig.session.create_bucket(caller, &parsed).await,
        )
        .await
    }

    pub async fn delete_bucket(&self, name: &str) {
        self.step(
            &format!("drop {name}"),
            vec![(format!("bucket {name}"), None)],
            async |caller| self.rig.session.delete_bucket(caller, name).await,
        )
        .await;
    }

    async fn stream(&self, bucket: &Bucket, body: &[u8]) -> Result<FinishedStream, SessionError> {
        let mut writer = self.rig.session.stream(bucket, None).await?;
        for piece in body.chunks(50_000) {
            writer.write(bytes::Bytes::copy_from_slice(piece)).await?;
        }
        writer.finish().await
    }

    pub async fn put(&self, bucket: &Bucket, key: &str, body: Vec<u8>, condition: Condition) {
        let new = NewObject {
            attributes: attributes(&body),
            etag_md5: md5_of(&body),
            ..NewObject::default()
        };
        let body = Arc::new(body);
        let name = &bucket.name;
        self.step(
            &format!("put {name}/{key} of {} under {condition:?}", body.len()),
            vec![(format!("object {name}/{key}"), Some(Arc::clone(&body)))],
            async |caller| {
                let stream = self.stream(bucket, &body).await?;
                let session = &self.rig.session;
                session
                    .put_object(caller, bucket, &object_key(key), stream, new, condition)
                    .await
            },
        )
        .await;
    }

    /// A conditional put that must be refused: it begins, ends and changes nothing.
    pub async fn refused_put(&self, bucket: &Bucket, key: &str, condition: Condition) {
        let what = format!("refused put {}/{key}", bucket.name);
        let number = self.history.begin(what, None, Vec::new());
        let stream = self.stream(bucket, b"never seen").await.unwrap();
        let (session, new) = (&self.rig.session, NewObject::default());
        let refused = session
            .put_object(&caller(), bucket, &object_key(key), stream, new, condition)
            .await
            .unwrap_err();
        assert!(
            matches!(
                refused,
                SessionError::PreconditionFailed { .. } | SessionError::NoSuchKey
            ),
            "{refused}"
        );
        self.history.end(number);
    }

    pub async fn delete(&self, bucket: &Bucket, key: &str) {
        let name = &bucket.name;
        self.step(
            &format!("delete {name}/{key}"),
            vec![(format!("object {name}/{key}"), None)],
            async |caller| {
                let session = &self.rig.session;
                session
                    .delete_object(caller, bucket, &object_key(key), Condition::None)
                    .await
            },
        )
        .await;
    }

    pub async fn copy(&self, from: &Bucket, key: &str, to: &Bucket, new_key: &str) {
        let Some(body) = self.history.now(&format!("object {}/{key}", from.name)) else {
            return;
        };
        let session = &self.rig.session;
        let stored: Stored = session.object(from, &object_key(key)).await.unwrap();
        self.step(
            &format!("copy {}/{key} to {}/{new_key}", from.name, to.name),
            vec![(format!("object {}/{new_key}", to.name), Some(body))],
            async |caller| {
                let to = (to, &object_key(new_key));
                let changes = CopyChanges::none(&stored);
                session
                    .copy_object(caller, (from, &stored), to, changes, Condition::None)
                    .await
            },
        )
        .await;
    }

    /// An upload from its creation to its completion or its end, parts replaced on the way.
    pub async fn multipart(&mut self, bucket: &Bucket, parts: &[Vec<u8>], complete: bool) {
        self.uploads += 1;
        let (name, key) = (&bucket.name, format!("upload{}", self.uploads));
        let (session, object) = (&self.rig.session, object_key(&key));
        let whole = parts.concat();
        let new = NewUpload {
            attributes: attributes(&whole),
            ..NewUpload::default()
        };
        let upload_cell = format!("upload {name}/{key}");
        let id = self
            .step(
                &format!("begin {upload_cell}"),
                vec![(upload_cell.clone(), Some(Arc::default()))],
                async |caller| session.create_upload(caller, bucket, &object, new).await,
            )
            .await;
        let target = (bucket, &object, id);
        self.part(target, 1, b"a first attempt at the first part").await;
        let mut chosen = Vec::new();
        let mut gone = vec![(upload_cell, None)];
        for (number, part) in (1..).zip(parts) {
            let etag = self.part(target, number, part).await;
            chosen.push(CompletePart {
                number,
                etag,
                checksum: None,
            });
            gone.push((format!("part {name}/{key}/{number}"), None));
        }
        if !complete {
            self.step(&format!("abort {name}/{key}"), gone, async |caller| {
                session.abort_upload(caller, bucket, &object, id).await
            })
            .await;
            return;
        }
        let completion = Completion {
            parts: chosen,
            expected: None,
            expected_bytes: Some(whole.len() as u64),
            customer: None,
        };
        gone.push((format!("object {name}/{key}"), Some(Arc::new(whole))));
        self.step(&format!("complete {name}/{key}"), gone, async |caller| {
            session
                .complete_upload(caller, target, completion, Condition::None)
                .await
        })
        .await;
    }

    async fn part(
        &self,
        (bucket, key, id): (&Bucket, &s3_gateway::key::ObjectKey, UploadId),
        number: u16,
        body: &[u8],
    ) -> String {
        let md5 = md5_of(body);
        let cell = format!("part {}/{}/{number}", bucket.name, key.as_str());
        let stored = self
            .step(
                &format!("put {cell}"),
                vec![(cell.clone(), Some(Arc::new(md5.to_vec())))],
                async |caller| {
                    let stream = self.stream(bucket, body).await?;
                    let session = &self.rig.session;
                    let new = NewPart {
                        number,
                        etag_md5: md5,
                        checksum: None,
                        operation: "UploadPart",
                    };
                    session.put_part(caller, (bucket, key, id), new, stream).await
                },
            )
            .await;
        stored.entry.etag()
    }

    pub async fn collect(&self) {
        let number = self.history.begin("collect".to_owned(), None, Vec::new());
        let options = CollectOptions { everything: true };
        self.rig.session.collect(options, &|_| {}).await.unwrap();
        self.history.end(number);
    }

    pub async fn checkpoint(&self) {
        let number = self.history.begin("checkpoint".to_owned(), None, Vec::new());
        self.rig.session.checkpoint().await.unwrap();
        self.history.end(number);
    }

    /// One of everything, in an order and with keys drawn from the seed, `steps` times over.
    pub async fn small(mut self, draw: &mut Draw, steps: u64) -> Self {
        let first = self.create_bucket("first").await;
        let second = self.create_bucket("second").await;
        for step in 0..steps {
            let bucket = if draw.below(3) == 0 { &second } else { &first };
            let key = format!("dir/k{}", draw.below(8));
            let bytes = [0, 1, 600, 3_000, 9_000][draw.below(5) as usize];
            let new = body(draw.below(u64::MAX), bytes);
            let now = self.history.now(&format!("object {}/{key}", bucket.name));
            match (step * 7 + draw.below(2)) % 16 {
                0..=3 => self.put(bucket, &key, new, Condition::None).await,
                4 => {
                    let absent = Condition::IfNoneMatch(ETagMatch::Any);
                    match now {
                        Some(_) => self.refused_put(bucket, &key, absent).await,
                        None => self.put(bucket, &key, new, absent).await,
                    }
                }
                5 => {
                    let etag = now.as_ref().map(|now| hex(&md5_of(now)));
                    let same = Condition::IfMatch(ETagMatch::Tag(etag.unwrap_or_default()));
                    match now {
                        Some(_) => self.put(bucket, &key, new, same).await,
                        None => self.refused_put(bucket, &key, same).await,
                    }
                }
                6 => self.delete(bucket, &key).await,
                7 => {
                    let keys = [draw.below(3), 3 + draw.below(3), 6 + draw.below(2)];
                    let keys = keys.map(|n| format!("dir/k{n}"));
                    futures::future::join_all(keys.iter().map(|key| self.delete(bucket, key))).await;
                }
                8 => self.copy(bucket, &key, bucket, "copied").await,
                9 => self.copy(&first, &key, &second, "across").await,
                10 => {
                    let puts = (0..4).map(|n| {
                        let new = body(step * 100 + n, 700);
                        self.put(
                            bucket,
                            ["dir/k0", "dir/k2", "dir/k4", "dir/k6"][n as usize],
                            new,
                            Condition::None,
                        )
                    });
                    futures::future::join_all(puts).await;
                }
                11 => self.multipart(&first, &[new], true).await,
                12 => self.multipart(&second, &[new], false).await,
                13 => {
                    let spare = self.create_bucket("spare").await;
                    self.put(&spare, "only", new, Condition::None).await;
                    self.delete(&spare, "only").await;
                    self.delete_bucket("spare").await;
                }
                14 => self.checkpoint().await,
                _ => self.collect().await,
            }
            self.keep_view();
            if step == steps / 2 {
                self = self.restart().await;
            }
        }
        self
    }
}

async fn open(history: &History, opening: &Opening) -> (Rig, Arc<dyn View>) {
    let view: Arc<dyn View> = Arc::new(MemoryView::default());
    let opening = Opening {
        view: Some(Arc::clone(&view)),
        ..opening.clone()
    };
    let disk: Arc<dyn Disk> = Arc::new(history.disk.clone());
    let rig = Rig::open_with(disk, Path::new(ROOT), opening).await.unwrap();
    (rig, view)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
