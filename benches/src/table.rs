//! The table at the end of each stage.

use std::time::Duration;

use crate::{Amount, Case, Spent};

/// A line of the table.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// The case.
    pub name: &'static str,
    /// GB per CPU-second, or CPU-microseconds per operation: the median of the samples.
    pub figure: f64,
    /// GB/s or operations per second on the wall.
    pub wall: f64,
    /// The unit of `figure`.
    pub unit: &'static str,
    /// The unit of `wall`.
    pub wall_unit: &'static str,
    /// What `figure` is compared with.
    pub reference: Option<f64>,
}

impl Row {
    /// The row of a case, from what one iteration took in each sample; none if it did not run.
    pub fn of(case: Case, samples: Vec<Spent>) -> Option<Self> {
        let cpu = median(samples.iter().map(|spent| spent.cpu).collect())?;
        let wall = median(samples.iter().map(|spent| spent.wall).collect())?;
        let (name, reference) = (case.name, case.reference);
        Some(match case.amount {
            Amount::Bytes(bytes) => {
                let gigabytes = bytes as f64 / 1e9;
                let (figure, wall) = (gigabytes / cpu, gigabytes / wall);
                Self {
                    name,
                    figure,
                    wall,
                    unit: "GB/CPU-s",
                    wall_unit: "GB/s",
                    reference,
                }
            }
            Amount::Operations(operations) => {
                let operations = operations as f64;
                let (figure, wall) = (cpu * 1e6 / operations, operations / wall);
                Self {
                    name,
                    figure,
                    wall,
                    unit: "CPU-us/op",
                    wall_unit: "op/s",
                    reference,
                }
            }
        })
    }

    /// How the figure compares: above 1 is better than the reference, whichever way the unit counts.
    pub fn ratio(&self) -> Option<f64> {
        let reference = self.reference?;
        Some(if self.unit == "CPU-us/op" {
            reference / self.figure
        } else {
            self.figure / reference
        })
    }
}

/// The median in seconds, never zero; none of nothing.
fn median(mut samples: Vec<Duration>) -> Option<f64> {
    samples.sort_unstable();
    let middle = samples.get(samples.len() / 2)?;
    Some(middle.as_secs_f64().max(1e-12))
}

/// Prints the rows of a stage.
pub fn print_table(stage: &str, rows: &[Row]) {
    let width = rows
        .iter()
        .map(|row| row.name.len())
        .max()
        .unwrap_or(0)
        .max(stage.len());
    println!(
        "\n{stage:<width$}  {:>22}  {:>22}  {:>11}  {:>5}",
        "by CPU time", "on the wall", "reference", "ratio"
    );
    for row in rows {
        let reference = row.reference.map_or_else(|| "-".to_owned(), short);
        let ratio = row
            .ratio()
            .map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}"));
        println!(
            "{:<width$}  {:>12} {:<9}  {:>17} {:<4}  {reference:>11}  {ratio:>5}",
            row.name,
            short(row.figure),
            row.unit,
            short(row.wall),
            row.wall_unit
        );
    }
    println!();
}

/// A figure to three digits or so.
fn short(figure: f64) -> String {
    match figure {
        big if big >= 1000.0 => format!("{big:.0}"),
        middle if middle >= 10.0 => format!("{middle:.1}"),
        small => format!("{small:.3}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Clock;

    fn row(amount: Amount, reference: f64) -> Row {
        let spent = |ms| Spent {
            cpu: Duration::from_millis(ms),
            wall: Duration::from_millis(2 * ms),
        };
        let case = Case {
            name: "case",
            amount,
            clock: Clock::Thread,
            reference: Some(reference),
        };
        Row::of(case, vec![spent(900), spent(100), spent(90)]).unwrap()
    }

    #[test]
    fn bytes_are_counted_by_cpu_second_at_the_median() {
        let row = row(Amount::Bytes(1_000_000_000), 5.0);
        assert!(
            (row.figure - 10.0).abs() < 1e-9 && (row.wall - 5.0).abs() < 1e-9,
            "{row:?}"
        );
        assert!((row.ratio().unwrap() - 2.0).abs() < 1e-9);
    }

    #[test]
    fn a_ratio_above_one_is_better_for_costs_too() {
        let row = row(Amount::Operations(1000), 200.0);
        assert!((row.figure - 100.0).abs() < 1e-9, "{row:?}");
        assert!((row.ratio().unwrap() - 2.0).abs() < 1e-9);
    }

    #[test]
    fn a_case_that_did_not_run_has_no_row() {
        assert_eq!(
            Row::of(Case::new("case", Amount::Bytes(1), None), Vec::new()),
            None
        );
    }
}
