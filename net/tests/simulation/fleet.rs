//! The gateways of a run, and the clients that use them.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use crate::gateway::{Death, Gateway, Unavailable};
use crate::keeper;
use crate::operator::Operator;
use crate::records::Histories;
use crate::world::World;

struct Seat {
    gateway: Option<Arc<Gateway>>,
    lives: u64,
    died: Arc<Death>,
}

pub struct Fleet {
    pub world: Arc<World>,
    pub histories: Arc<Histories>,
    pub keys: u64,
    seats: Mutex<Vec<Seat>>,
}

impl Fleet {
    pub fn new(world: Arc<World>) -> Arc<Self> {
        let count = world.gateways().len();
        let seat = |_| Seat {
            gateway: None,
            lives: 0,
            died: Arc::default(),
        };
        Arc::new(Self {
            histories: Arc::default(),
            keys: world.random.between(2, 8),
            seats: Mutex::new((0..count).map(seat).collect()),
            world,
        })
    }

    fn seats(&self) -> std::sync::MutexGuard<'_, Vec<Seat>> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn gateway(&self, number: usize) -> Option<Arc<Gateway>> {
        self.seats()[number].gateway.clone()
    }

    /// Starts a gateway that is down; it serves once the ledger has given it a lease.
    pub async fn start(self: &Arc<Self>, number: usize) {
        let (life, died) = {
            let mut seats = self.seats();
            let seat = &mut seats[number];
            seat.lives += 1;
            seat.died = Arc::default();
            (seat.lives, Arc::clone(&seat.died))
        };
        self.world.gateways()[number] = life;
        let (world, histories) = (Arc::clone(&self.world), Arc::clone(&self.histories));
        let Some(gateway) = Gateway::start(world, number, life, died, histories).await else {
            return;
        };
        if self.world.gateway_life(number) != life {
            return;
        }
        self.world
            .trace
            .step("gateway serves", &[number as u64, gateway.lease]);
        self.seats()[number].gateway = Some(Arc::clone(&gateway));
        let (fleet, failing) = (Arc::downgrade(self), Arc::clone(&gateway));
        tokio::spawn(async move {
            tokio::select! {
                biased;
                () = failing.died.wait() => {}
                () = failing.ledger.fenced() => {
                    if let Some(fleet) = fleet.upgrade() {
                        fleet.replace(&failing);
                    }
                }
            }
        });
        let follower = Arc::clone(&gateway);
        tokio::spawn(async move { follower.follow().await });
        if number == 0 {
            if let Some(ledger) = gateway.followed.clone() {
                let (operator, died) = (
                    Operator::new(&self.world, life, ledger),
                    Arc::clone(&gateway.died),
                );
                tokio::spawn(async move {
                    tokio::select! {
                        biased;
                        () = died.wait() => {}
                        () = operator.keep() => {}
                    }
                });
            }
            tokio::spawn(async move {
                let keeping = keeper::keep(Arc::clone(&gateway));
                tokio::select! {
                    biased;
                    () = gateway.died.wait() => {}
                    () = keeping => {}
                }
            });
        }
    }

    pub fn crash(&self, number: usize) {
        self.world.crash_gateway(number);
        let (gateway, died) = {
            let mut seats = self.seats();
            let seat = &mut seats[number];
            (seat.gateway.take(), Arc::clone(&seat.died))
        };
        died.come();
        drop(gateway);
    }

    /// Ends the process of a gateway that cannot go on, and starts another in its place.
    fn replace(self: &Arc<Self>, gateway: &Arc<Gateway>) {
        let number = gateway.number;
        let is_it = self.gateway(number).is_some_and(|now| Arc::ptr_eq(&now, gateway));
        if !is_it {
            return;
        }
        self.world.trace.step("gateway ends", &[number as u64]);
        self.crash(number);
        let (fleet, after) = (Arc::clone(self), self.world.random.ms(500, 9_000));
        tokio::spawn(async move {
            tokio::time::sleep(after).await;
            fleet.start(number).await;
        });
    }

    /// One client: one operation after the other, through any gateway that serves.
    pub async fn client(self: Arc<Self>) {
        let world = &self.world;
        while !world.trace.is_over() {
            tokio::time::sleep(world.random.ms(0, 250)).await;
            let number = world.random.index(self.seats().len());
            let Some(gateway) = self.gateway(number) else {
                continue;
            };
            let key = world.random.below(self.keys);
            let what = world.random.below(100);
            world.trace.step("client", &[number as u64, key, what]);
            let done = tokio::select! {
                biased;
                () = gateway.died.wait() => Err(Unavailable("the gateway died".to_owned())),
                done = self.operate(&gateway, key, what) => done,
            };
            // One whose lease another's has ended never writes again.
            if gateway.has_ended.load(Ordering::Relaxed) {
                self.replace(&gateway);
            }
            match done {
                Ok(()) => world.trace.step("done", &[number as u64, key, what]),
                Err(Unavailable(why)) => {
                    world.trace.step("not done", &[number as u64, key, what]);
                    world.trace.note(&why);
                }
            }
        }
    }

    async fn operate(&self, gateway: &Gateway, key: u64, what: u64) -> Result<(), Unavailable> {
        match what {
            0..38 => gateway.get(key).await.map(drop),
            38..65 => gateway.put(key, false).await,
            65..82 => gateway.put(key, true).await,
            82..95 => gateway.delete(key).await,
            _ => gateway.list(self.keys).await.map(drop),
        }
    }
}
