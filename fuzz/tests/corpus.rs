//! The corpus, replayed, and mutated a little, by an ordinary test.
//!
//! `CAIRN_FUZZ_SEED` chooses other mutations and `CAIRN_FUZZ_MUTATIONS` how many for each target.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use fuzz::{TARGETS, Target, memory_bytes_max};
use peak_alloc::PeakAlloc;

mod mutator;

use mutator::Mutator;

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// Memory is counted for the whole process, so one test runs at a time.
static ALONE: Mutex<()> = Mutex::new(());

const FILES_MIN: usize = 24;
const MUTATIONS: u64 = 4_000;
const SEED: u64 = 0x00ca_1240;

fn files(target: &Target) -> Vec<(PathBuf, Vec<u8>)> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("corpus")
        .join(target.name);
    let entries = std::fs::read_dir(&dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
        .into_iter()
        .map(|path| (path.clone(), std::fs::read(path).unwrap()))
        .collect()
}

/// Runs a target and says what is wrong, if anything is.
fn defect(target: &Target, input: &[u8]) -> Result<bool, String> {
    let before = MEMORY.current_usage();
    MEMORY.reset_peak_usage();
    let run = std::panic::catch_unwind(|| (target.run)(input));
    let taken_bytes = MEMORY.peak_usage().saturating_sub(before);
    let taken = run.map_err(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        text.or_else(|| panic.downcast_ref::<&str>().copied())
            .unwrap_or("it panicked")
            .to_owned()
    })?;
    let limit = memory_bytes_max(input.len());
    if taken_bytes > limit {
        return Err(format!(
            "{taken_bytes} bytes of memory for {} bytes of input, at most {limit}",
            input.len()
        ));
    }
    Ok(taken)
}

#[test]
fn corpus_is_replayed() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut defects = Vec::new();
    for target in &TARGETS {
        let files = files(target);
        assert!(
            files.len() >= FILES_MIN,
            "{} has {} files of {FILES_MIN}",
            target.name,
            files.len()
        );
        for (path, input) in files {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            match defect(target, &input) {
                Err(what) => defects.push(format!("{}/{name}: {what}", target.name)),
                Ok(false) if name.starts_with("valid-") => {
                    defects.push(format!("{}/{name}: is valid and was not taken", target.name));
                }
                Ok(_) => {}
            }
        }
    }
    assert!(defects.is_empty(), "{}", defects.join("\n"));
}

#[test]
fn mutations_of_the_corpus_hold() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let number = |name: &str, otherwise: u64| match std::env::var(name) {
        Ok(text) => text
            .parse()
            .unwrap_or_else(|_| panic!("{name}={text} is not a number")),
        Err(_) => otherwise,
    };
    let (seed, mutations) = (
        number("CAIRN_FUZZ_SEED", SEED),
        number("CAIRN_FUZZ_MUTATIONS", MUTATIONS),
    );
    println!("CAIRN_FUZZ_SEED={seed} CAIRN_FUZZ_MUTATIONS={mutations}");
    let mut defects = Vec::new();
    for target in &TARGETS {
        let corpus: Vec<Vec<u8>> = files(target).into_iter().map(|(_, input)| input).collect();
        for round in 0..mutations {
            let input = Mutator::new(seed ^ round.rotate_left(32)).mutate(&corpus);
            if let Err(what) = defect(target, &input) {
                let path = std::env::temp_dir().join(format!("cairn-fuzz-{}-{seed}-{round}", target.name));
                std::fs::write(&path, &input).unwrap();
                defects.push(format!("{} (kept as {}): {what}", target.name, path.display()));
                break;
            }
        }
    }
    assert!(defects.is_empty(), "{}", defects.join("\n"));
}

#[test]
fn a_target_that_allocates_by_a_length_in_its_input_is_found() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    fn greedy(input: &[u8]) -> bool {
        let bytes = input
            .first_chunk()
            .map_or(0, |length| u32::from_le_bytes(*length));
        std::hint::black_box(vec![1_u8; bytes as usize]).is_empty()
    }
    let target = Target {
        name: "greedy",
        run: greedy,
    };
    assert!(defect(&target, &100_000_u32.to_le_bytes()).is_ok());
    assert!(defect(&target, &100_000_000_u32.to_le_bytes()).is_err());
}
