//! Locking, format and refusals.

use super::*;

#[test]
fn a_fresh_directory_is_private_and_names_its_format() {
    let parent = tempfile::tempdir().unwrap();
    let root = parent.path().join("deep/data");
    let data = DataDir::create_or_open(&root).unwrap();
    assert_eq!(
        std::fs::metadata(&root).unwrap().permissions().mode() & 0o777,
        0o700
    );
    assert_eq!(std::fs::read_to_string(root.join("FORMAT")).unwrap(), "cairn 1\n");
    drop(data);
    DataDir::open(&root).unwrap();
}

#[test]
fn a_second_holder_is_told_who_the_first_is() {
    let parent = tempfile::tempdir().unwrap();
    let first = DataDir::create_or_open(parent.path()).unwrap();
    let message = DataDir::create_or_open(parent.path()).unwrap_err().to_string();
    assert!(
        message.ends_with(&format!("is in use by process {}", std::process::id())),
        "{message}"
    );
    drop(first);
    DataDir::create_or_open(parent.path()).unwrap();
}

#[test]
fn a_newer_format_is_refused_with_a_sentence() {
    let parent = tempfile::tempdir().unwrap();
    std::fs::write(parent.path().join("FORMAT"), "cairn 2\n").unwrap();
    let error = DataDir::open(parent.path()).unwrap_err();
    assert!(matches!(error, DataDirError::Newer { found: 2, .. }), "{error}");
    assert!(error.to_string().contains("use a newer cairn"));
}

#[test]
fn a_damaged_format_file_is_named() {
    for text in ["", "cairn", "cairn x\n", "cairn 1", "cairn 0\n", "restic 1\n"] {
        let parent = tempfile::tempdir().unwrap();
        std::fs::write(parent.path().join("FORMAT"), text).unwrap();
        let error = DataDir::open(parent.path()).unwrap_err();
        assert!(
            matches!(error, DataDirError::BadFormat { .. }),
            "{text:?}: {error}"
        );
    }
}

#[test]
fn somebody_elses_directory_is_left_alone() {
    let parent = tempfile::tempdir().unwrap();
    std::fs::write(parent.path().join("thesis.tex"), "x").unwrap();
    assert!(matches!(
        DataDir::create_or_open(parent.path()),
        Err(DataDirError::Foreign { .. })
    ));
    assert_eq!(std::fs::read_dir(parent.path()).unwrap().count(), 1);
}

#[test]
fn a_start_cut_off_before_the_format_file_can_be_repeated() {
    let parent = tempfile::tempdir().unwrap();
    std::fs::write(parent.path().join("LOCK"), "").unwrap();
    std::fs::write(parent.path().join(".FORMAT.new"), "cai").unwrap();
    DataDir::create_or_open(parent.path()).unwrap();
}

#[test]
fn commands_other_than_up_make_no_directory() {
    let parent = tempfile::tempdir().unwrap();
    let root = parent.path().join("none");
    assert!(matches!(DataDir::open(&root), Err(DataDirError::Absent { .. })));
    assert!(!root.exists());
}

#[test]
fn drives_without_a_ledger_name_the_command_that_helps() {
    let parent = tempfile::tempdir().unwrap();
    let data = DataDir::create_or_open(parent.path()).unwrap();
    let drives: Vec<PathBuf> = (0..6).map(|n| data.drives().join(n.to_string())).collect();
    assert_eq!(
        data.contents(&drives),
        Contents {
            keys: false,
            ledger: false,
            drives: false
        }
    );
    data.check_startable(data.contents(&drives)).unwrap();

    std::fs::create_dir_all(&drives[3]).unwrap();
    std::fs::write(drives[3].join("drive.json"), "{}").unwrap();
    let error = data.check_startable(data.contents(&drives)).unwrap_err();
    assert!(matches!(error, DataDirError::KeysAbsent { .. }));

    std::fs::create_dir_all(data.keys()).unwrap();
    std::fs::write(data.keys().join("x"), "").unwrap();
    let message = data
        .check_startable(data.contents(&drives))
        .unwrap_err()
        .to_string();
    assert!(message.contains("cairn vault rebuild"), "{message}");

    std::fs::create_dir_all(data.ledger()).unwrap();
    std::fs::write(data.ledger().join("00000000.seg"), "").unwrap();
    data.check_startable(data.contents(&drives)).unwrap();
}

#[test]
fn durable_files_are_private_and_replace_whole() {
    let parent = tempfile::tempdir().unwrap();
    let path = parent.path().join("secret");
    write_durably(&path, b"one").unwrap();
    write_durably(&path, b"two").unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), b"two");
    assert_eq!(
        std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o600
    );
    assert_eq!(std::fs::read_dir(parent.path()).unwrap().count(), 1);
}
