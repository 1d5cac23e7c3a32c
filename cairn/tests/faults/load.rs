//! The load: 100 operations a second over S3, whether or not the earlier ones were answered.
//!
//! Each operation is due at a moment that the rate gives; its latency counts from there, so that a load that cannot be started in time is seen
//! as one that waits. Register and set share the rate. Invariant: what is asked for, of which key and with how many bytes, follows from the
//! seed and, where a condition or a read names what was met before, from the answers.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use cairn::s3_client::{Call, listing};
use http::Method;
use http::header::{IF_MATCH, IF_NONE_MATCH};
use tokio::task::JoinSet;

use super::connections::{Answer, Connections};
use super::history::Action;
use super::random::Random;
use super::register::{self, Registers};
use super::report::{Kind, Sample};
use super::set::{self, Set};

const BUCKET: &str = "faults";
/// Operations a second, all together.
pub(crate) const RATE: u32 = 100;
/// Reads at the same time when everything is read at the end.
const READERS: usize = 16;

/// What is to be done next.
#[derive(Debug, Clone, Copy)]
enum Act {
    Write(usize),
    /// On condition that the version is there that was met last.
    Swap(usize),
    /// On condition that nothing is there.
    Create(usize),
    Read(usize),
    Delete(usize),
    Put,
    /// One of those that are acknowledged, by chance.
    ReadMember(u64),
    DeleteMember(u64),
    List(u64),
}

impl Act {
    fn draw(random: &mut Random) -> Self {
        let key = random.place(register::KEYS);
        match random.below(100) {
            0..12 => Self::Write(key),
            12..22 => Self::Swap(key),
            22..26 => Self::Create(key),
            26..52 => Self::Read(key),
            52..55 => Self::Delete(key),
            55..77 => Self::Put,
            77..91 => Self::ReadMember(random.next()),
            91..95 => Self::DeleteMember(random.next()),
            _ => Self::List(random.below(set::PREFIXES)),
        }
    }

    const fn kind(self) -> Kind {
        match self {
            Self::Write(_) | Self::Swap(_) | Self::Create(_) | Self::Put => Kind::Put,
            Self::Read(_) | Self::ReadMember(_) => Kind::Get,
            Self::Delete(_) | Self::DeleteMember(_) => Kind::Delete,
            Self::List(_) => Kind::List,
        }
    }
}

/// See the module.
pub(crate) struct Load {
    connections: Connections,
    pub(crate) registers: Registers,
    pub(crate) set: Set,
    /// Orders the beginnings and ends of all operations, and numbers versions and keys.
    count: AtomicU64,
    samples: Mutex<Vec<Sample>>,
}

impl Load {
    pub(crate) fn new(connections: Connections) -> Self {
        Self {
            connections,
            registers: Registers::default(),
            set: Set::default(),
            count: AtomicU64::new(1),
            samples: Mutex::default(),
        }
    }

    pub(crate) fn samples(&self) -> Vec<Sample> {
        self.samples
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn tick(&self) -> u64 {
        self.count.fetch_add(1, Ordering::SeqCst)
    }

    pub(crate) async fn make_bucket(&self) -> Answer {
        let call = Call::new(Method::PUT, BUCKET, "");
        self.connections.ask(call, Instant::now()).await
    }

    /// Runs from `start` on for a while, then waits until every operation has its answer or its deadline is over.
    pub(crate) async fn run(self: Arc<Self>, seed: u64, start: Instant, lasts: Duration) {
        let mut random = Random::new(seed);
        let mut under_way = JoinSet::new();
        for number in 0.. {
            let due = start + Duration::from_secs(1) * number / RATE;
            if due >= start + lasts {
                break;
            }
            tokio::time::sleep_until(due.into()).await;
            // Those that have ended make room; none waits longer than its deadline.
            while under_way.try_join_next().is_some() {}
            let (load, act) = (Arc::clone(&self), Act::draw(&mut random));
            under_way.spawn(async move { load.carry_out(act, due).await });
        }
        under_way.join_all().await;
    }

    async fn carry_out(&self, act: Act, due: Instant) {
        let answer = match act {
            Act::Write(key) => self.write(key, due).await,
            Act::Swap(key) => self.swap(key, due).await,
            Act::Create(key) => self.create(key, due).await,
            Act::Read(key) => self.read(key, due).await,
            Act::Delete(key) => self.delete(key, due).await,
            Act::Put => self.put(due).await,
            Act::ReadMember(chance) => match self.set.acknowledged(chance) {
                Some(number) => self.read_member(number, due).await,
                None => return,
            },
            Act::DeleteMember(chance) => match self.set.begin_deletion(chance, self.tick()) {
                Some(number) => self.delete_member(number, due).await,
                None => return,
            },
            Act::List(prefix) => self.list(&set::prefix(prefix), due).await,
        };
        let sample = Sample {
            kind: act.kind(),
            due,
            ended: Instant::now(),
            is_done: matches!(answer, Answer::Done(..)),
            error: match answer {
                Answer::Unknown(kind) => Some(kind),
                _ => None,
            },
        };
        let mut samples = self.samples.lock().unwrap_or_else(PoisonError::into_inner);
        samples.push(sample);
    }

    /// Takes down what became of a write; of a refusal, what that says.
    fn note_write(&self, key: usize, began: u64, to: u64, answer: &Answer, action: Action, refused: Action) {
        let ended = self.tick();
        match answer {
            Answer::Done(_, etag) => {
                self.registers.meet(key, to, etag.clone());
                self.registers.note(key, began, Some(ended), action);
            }
            Answer::Refused => self.registers.note(key, began, Some(ended), refused),
            // There was nothing that could have had an entity tag.
            Answer::Absent => self.registers.note(key, began, Some(ended), Action::Read(None)),
            Answer::Unknown(_) => self.registers.note(key, began, None, action),
        }
    }

    fn put_of(key: usize, version: u64) -> Call {
        Call::new(Method::PUT, BUCKET, &register::name(key)).body(Bytes::from(register::body(key, version)))
    }

    async fn write(&self, key: usize, due: Instant) -> Answer {
        let began = self.tick();
        let answer = self.connections.ask(Self::put_of(key, began), due).await;
        let action = Action::Write(Some(began));
        // A write without a condition is refused by none: no history has this read.
        self.note_write(key, began, began, &answer, action, Action::Read(Some(u64::MAX)));
        answer
    }

    async fn swap(&self, key: usize, due: Instant) -> Answer {
        let Some((from, etag)) = self.registers.met(key) else {
            return self.create(key, due).await;
        };
        let began = self.tick();
        let call = Self::put_of(key, began).header(IF_MATCH, etag);
        let answer = self.connections.ask(call, due).await;
        let action = Action::Swap(Some(from), Some(began));
        self.note_write(key, began, began, &answer, action, Action::Differs(Some(from)));
        answer
    }

    async fn create(&self, key: usize, due: Instant) -> Answer {
        let began = self.tick();
        let call = Self::put_of(key, began).header(IF_NONE_MATCH, "*");
        let answer = self.connections.ask(call, due).await;
        let action = Action::Swap(None, Some(began));
        self.note_write(key, began, began, &answer, action, Action::Differs(None));
        answer
    }

    async fn delete(&self, key: usize, due: Instant) -> Answer {
        let began = self.tick();
        let call = Call::new(Method::DELETE, BUCKET, &register::name(key));
        let answer = self.connections.ask(call, due).await;
        let ended = self.tick();
        let ended = answer.is_known().then_some(ended);
        self.registers.note(key, began, ended, Action::Write(None));
        answer
    }

    async fn read(&self, key: usize, due: Instant) -> Answer {
        let began = self.tick();
        let call = Call::new(Method::GET, BUCKET, &register::name(key));
        let answer = self.connections.ask(call, due).await;
        let ended = self.tick();
        match &answer {
            Answer::Done(body, etag) => {
                self.registers
                    .note_read(key, began, ended, Some((body, etag.clone())));
            }
            Answer::Absent => self.registers.note_read(key, began, ended, None),
            Answer::Refused | Answer::Unknown(_) => {}
        }
        answer
    }

    async fn put(&self, due: Instant) -> Answer {
        let number = self.tick();
        self.set.begin_put(number, number);
        let body = Bytes::from(set::body(number));
        let call = Call::new(Method::PUT, BUCKET, &set::name(number)).body(body);
        let answer = self.connections.ask(call, due).await;
        if matches!(answer, Answer::Done(..)) {
            self.set.acknowledge_put(number, self.tick());
        }
        answer
    }

    async fn read_member(&self, number: u64, due: Instant) -> Answer {
        let began = self.tick();
        let call = Call::new(Method::GET, BUCKET, &set::name(number));
        let answer = self.connections.ask(call, due).await;
        let ended = self.tick();
        match &answer {
            Answer::Done(body, _) => self.set.note_read(number, began, ended, Some(body)),
            Answer::Absent => self.set.note_read(number, began, ended, None),
            Answer::Refused | Answer::Unknown(_) => {}
        }
        answer
    }

    async fn delete_member(&self, number: u64, due: Instant) -> Answer {
        let call = Call::new(Method::DELETE, BUCKET, &set::name(number));
        let answer = self.connections.ask(call, due).await;
        if matches!(answer, Answer::Done(..)) {
            self.set.acknowledge_deletion(number, self.tick());
        }
        answer
    }

    async fn list(&self, prefix: &str, due: Instant) -> Answer {
        let began = self.tick();
        let (mut listed, mut next) = (BTreeMap::new(), None::<String>);
        loop {
            let mut call = Call::new(Method::GET, BUCKET, "")
                .query("list-type", "2")
                .query("encoding-type", "url")
                .query("prefix", prefix);
            if let Some(token) = next.take() {
                call = call.query("continuation-token", token);
            }
            let answer = self.connections.ask(call, due).await;
            let Answer::Done(body, _) = &answer else {
                return answer;
            };
            let Ok(page) = listing(body) else {
                return Answer::Unknown("a listing that does not read".to_owned());
            };
            listed.extend(page.objects.into_iter().map(|object| (object.key, object.bytes)));
            next = page.next;
            if next.is_none() {
                self.set.note_listing(prefix, began, self.tick(), &listed);
                return answer;
            }
        }
    }

    /// Reads and lists everything; what was not answered.
    pub(crate) async fn read_everything(self: Arc<Self>) -> Vec<String> {
        let now = Instant::now;
        let mut unanswered = Vec::new();
        for prefix in 0..set::PREFIXES {
            let prefix = set::prefix(prefix);
            if let Answer::Unknown(kind) = self.list(&prefix, now()).await {
                unanswered.push(format!("the last listing of {prefix}: {kind}"));
            }
        }
        let registers = (0..register::KEYS).map(Ok);
        let mut left = registers.chain(self.set.all().into_iter().map(Err));
        let mut under_way = JoinSet::new();
        loop {
            while under_way.len() < READERS
                && let Some(next) = left.next()
            {
                let load = Arc::clone(&self);
                under_way.spawn(async move {
                    let (name, answer) = match next {
                        Ok(key) => (register::name(key), load.read(key, now()).await),
                        Err(number) => (set::name(number), load.read_member(number, now()).await),
                    };
                    match answer {
                        Answer::Unknown(kind) => Some(format!("the last read of {name}: {kind}")),
                        _ => None,
                    }
                });
            }
            match under_way.join_next().await {
                Some(read) => unanswered.extend(read.ok().flatten()),
                None => return unanswered,
            }
        }
    }
}
