//! CPU time and wall time of a stretch of work.

use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// Whose CPU time counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clock {
    /// The calling thread's.
    Thread,
    /// Every thread of this process.
    Process,
}

/// What a stretch of work took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spent {
    /// CPU time, user and system.
    pub cpu: Duration,
    /// Time on the wall.
    pub wall: Duration,
}

impl Clock {
    fn now(self) -> Duration {
        let time = clock_gettime(match self {
            Self::Thread => ClockId::ThreadCPUTime,
            Self::Process => ClockId::ProcessCPUTime,
        });
        // A CPU clock starts at zero and grows.
        Duration::new(
            time.tv_sec.unsigned_abs(),
            u32::try_from(time.tv_nsec).unwrap_or(0),
        )
    }

    /// Does the work and says what it took.
    pub fn measure(self, work: impl FnOnce()) -> Spent {
        let (cpu, wall) = (self.now(), Instant::now());
        work();
        Spent {
            cpu: self.now().saturating_sub(cpu),
            wall: wall.elapsed(),
        }
    }
}

impl Spent {
    /// What one of so many iterations took.
    #[must_use]
    pub fn each(self, iterations: u64) -> Self {
        let part = |whole: Duration| Duration::from_secs_f64(whole.as_secs_f64() / iterations.max(1) as f64);
        Self {
            cpu: part(self.cpu),
            wall: part(self.wall),
        }
    }
}
