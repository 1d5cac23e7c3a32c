//! Benches: criterion per stage, and whole paths over S3.
//!
//! What is here is the frame that the stages share: a stage runs its cases in criterion and ends with a table of what
//! each costs in CPU time, beside the figure that its crate is known for. The stages are in `benches/`.
//!
//! Figures are by CPU time, because the machines that this runs on are shared: wall time tells about the neighbours.

mod clock;
pub mod server;
mod table;

use std::time::Duration;

use criterion::{Criterion, Throughput};

pub use clock::{Clock, Spent};
pub use table::{Row, print_table};

/// What one iteration of a case works on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Amount {
    /// Bytes: the figure is GB (10^9 bytes) per CPU-second.
    Bytes(u64),
    /// Operations: the figure is CPU-microseconds per operation.
    Operations(u64),
}

/// A case of a stage.
#[derive(Debug, Clone, Copy)]
pub struct Case {
    /// Its name, unique in the stage.
    pub name: &'static str,
    /// What one iteration does.
    pub amount: Amount,
    /// Whose CPU time counts.
    pub clock: Clock,
    /// The figure of docs/measurements.md for the crate alone, in the unit of [`Amount`]; none if there is none.
    pub reference: Option<f64>,
}

impl Case {
    /// A case that one thread works on.
    pub const fn new(name: &'static str, amount: Amount, reference: Option<f64>) -> Self {
        Self {
            name,
            amount,
            clock: Clock::Thread,
            reference,
        }
    }

    /// The same, with the CPU time of the whole process.
    #[must_use]
    pub const fn of_process(self) -> Self {
        Self {
            clock: Clock::Process,
            ..self
        }
    }
}

/// The cases of one stage, as they run.
pub struct Stage {
    name: &'static str,
    criterion: Criterion,
    rows: Vec<Row>,
}

impl std::fmt::Debug for Stage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stage")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl Stage {
    /// A stage without cases yet. It takes criterion's arguments from the command line.
    pub fn new(name: &'static str) -> Self {
        let criterion = Criterion::default()
            .warm_up_time(Duration::from_millis(500))
            .measurement_time(Duration::from_secs(2))
            .sample_size(20)
            .without_plots()
            .configure_from_args();
        Self {
            name,
            criterion,
            rows: Vec::new(),
        }
    }

    /// Measures one case; `work` is one iteration.
    pub fn case<T>(&mut self, case: Case, mut work: impl FnMut() -> T) {
        let mut samples: Vec<Spent> = Vec::new();
        let mut group = self.criterion.benchmark_group(self.name);
        group.throughput(match case.amount {
            Amount::Bytes(bytes) => Throughput::BytesDecimal(bytes),
            Amount::Operations(operations) => Throughput::Elements(operations),
        });
        group.bench_function(case.name, |bencher| {
            bencher.iter_custom(|iterations| {
                let spent = case.clock.measure(|| {
                    for _ in 0..iterations {
                        std::hint::black_box(work());
                    }
                });
                samples.push(spent.each(iterations));
                spent.cpu
            });
        });
        group.finish();
        if let Some(row) = Row::of(case, samples) {
            self.rows.push(row);
        }
    }

    /// The figure of a case that has run, in the unit of its amount.
    pub fn figure(&self, name: &str) -> Option<f64> {
        self.rows
            .iter()
            .find(|row| row.name == name)
            .map(|row| row.figure)
    }

    /// Prints the table.
    pub fn finish(self) {
        self.criterion.final_summary();
        print_table(self.name, &self.rows);
    }
}

/// Whether figures mean anything: a release build that was asked to measure, by `cargo bench`.
pub fn measures() -> bool {
    !cfg!(debug_assertions) && std::env::args().any(|argument| argument == "--bench")
}

/// Bytes without a pattern that any stage could profit from: splitmix64.
pub fn noise(bytes: usize) -> Vec<u8> {
    let mut state = bytes as u64;
    let mut out = Vec::with_capacity(bytes + 8);
    while out.len() < bytes {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        out.extend_from_slice(&(z ^ (z >> 31)).to_le_bytes());
    }
    out.truncate(bytes);
    out
}
