use super::*;

fn path(name: &str) -> PathBuf {
    Path::new("/d").join(name)
}

fn disk_with_file(disk: &SimDisk) -> Box<dyn DiskFile> {
    disk.create_dir_all(Path::new("/d")).unwrap();
    let file = disk.open(&path("a"), OpenMode::CreateNew).unwrap();
    disk.sync_dir(Path::new("/d")).unwrap();
    file
}

#[test]
fn synced_bytes_survive_every_choice_and_unsynced_ones_only_some() {
    let disk = SimDisk::new(1);
    let file = disk_with_file(&disk);
    file.write_all_at(&[&[1; 2048]], 0).unwrap();
    file.sync_data().unwrap();
    file.write_all_at(&[&[2; 2048]], 2048).unwrap();
    let (mut with, mut without, mut torn) = (0, 0, 0);
    for seed in 0..200 {
        let state = disk.crash_state(disk.ops(), CrashChoice::Seeded(seed));
        let content = state.read_small(&path("a")).unwrap();
        assert_eq!(&content[..2048], &[1; 2048]);
        match content[2048..].iter().filter(|byte| **byte == 2).count() {
            0 => without += 1,
            2048 => with += 1,
            some => {
                assert_eq!(some % 512, 0);
                torn += 1;
            }
        }
    }
    assert!(with > 10 && without > 10 && torn > 10, "{with} {without} {torn}");
}

#[test]
fn a_later_write_may_be_there_while_an_earlier_one_is_not() {
    let disk = SimDisk::new(2);
    let file = disk_with_file(&disk);
    file.write_all_at(&[&[1; 512]], 0).unwrap();
    file.write_all_at(&[&[2; 512]], 512).unwrap();
    let reordered = (0..100).any(|seed| {
        let content = disk
            .crash_state(disk.ops(), CrashChoice::Seeded(seed))
            .read_small(&path("a"))
            .unwrap();
        content.len() == 1024 && content[0] == 0 && content[600] == 2
    });
    assert!(reordered);
}

#[test]
fn names_are_durable_only_after_their_directory_is_synced() {
    let disk = SimDisk::new(3);
    disk.create_dir_all(Path::new("/d")).unwrap();
    disk.open(&path("b"), OpenMode::CreateNew)
        .unwrap()
        .sync_data()
        .unwrap();
    assert!(
        !disk
            .crash_state(disk.ops(), CrashChoice::DropAll)
            .exists(&path("b"))
    );
    assert!(
        disk.crash_state(disk.ops(), CrashChoice::KeepAll)
            .exists(&path("b"))
    );
    disk.sync_dir(Path::new("/d")).unwrap();
    assert!(
        disk.crash_state(disk.ops(), CrashChoice::DropAll)
            .exists(&path("b"))
    );
    disk.remove_file(&path("b")).unwrap();
    assert!(
        disk.crash_state(disk.ops(), CrashChoice::DropAll)
            .exists(&path("b"))
    );
}

#[test]
fn what_a_directory_holds_that_was_removed_and_made_again_stays_when_the_removal_becomes_durable() {
    let disk = SimDisk::unrecorded(10);
    drop(disk_with_file(&disk));
    disk.remove_dir_all(Path::new("/d")).unwrap();
    drop(disk_with_file(&disk));
    disk.sync_dir(Path::new("/")).unwrap();
    assert!(disk.crashed(CrashChoice::DropAll).exists(&path("a")));
}

#[test]
fn a_sync_after_a_failed_one_does_not_save_what_the_failed_one_lost() {
    let disk = SimDisk::new(4);
    let file = disk_with_file(&disk);
    file.write_all_at(&[&[1; 512]], 0).unwrap();
    disk.fail_sync(Path::new("/d"));
    assert!(file.sync_data().is_err());
    disk.heal();
    file.write_all_at(&[&[2; 512]], 512).unwrap();
    file.sync_data().unwrap();
    let content = disk
        .crash_state(disk.ops(), CrashChoice::DropAll)
        .read_small(&path("a"))
        .unwrap();
    assert_eq!((content[0], content[512]), (0, 2));
}

#[test]
fn what_a_failed_sync_left_behind_never_comes_over_what_was_synced_later() {
    let disk = SimDisk::new(8);
    let file = disk_with_file(&disk);
    file.write_all_at(&[&[1; 1024]], 0).unwrap();
    file.sync_data().unwrap();
    file.set_len(512).unwrap();
    file.write_all_at(&[&[2; 512]], 0).unwrap();
    disk.fail_sync(Path::new("/d"));
    assert!(file.sync_data().is_err());
    disk.heal();
    file.write_all_at(&[&[3; 1024]], 0).unwrap();
    file.sync_data().unwrap();
    assert!(disk.flip_bit(&path("a"), 1));
    for seed in 0..64 {
        let state = disk.crash_state(disk.ops(), CrashChoice::Seeded(seed));
        let mut expected = [3; 1024];
        expected[1] ^= 1;
        assert_eq!(state.read_small(&path("a")).unwrap(), expected, "seed {seed}");
    }
}

#[test]
fn crash_states_see_only_the_operations_and_marks_before_them() {
    let disk = SimDisk::new(5);
    let file = disk_with_file(&disk);
    for step in 0..100_u64 {
        file.write_all_at(&[&[u8::try_from(step).unwrap()]], step)
            .unwrap();
        disk.marker(step);
    }
    let first = disk.ops() - 100;
    let content = disk
        .crash_state(first + 40, CrashChoice::KeepAll)
        .read_small(&path("a"))
        .unwrap();
    assert_eq!(content, (0..40).collect::<Vec<u8>>());
    assert_eq!(disk.markers_before(first + 40).len(), 40);
}

#[test]
fn a_crash_now_leaves_what_was_synced_also_without_a_history() {
    let disk = SimDisk::unrecorded(7);
    let file = disk_with_file(&disk);
    file.write_all_at(&[&[1; 600]], 0).unwrap();
    file.sync_data().unwrap();
    file.write_all_at(&[&[2; 600]], 0).unwrap();
    let content = |choice| disk.crashed(choice).read_small(&path("a")).unwrap();
    assert_eq!(content(CrashChoice::DropAll), [1; 600]);
    assert_eq!(content(CrashChoice::KeepAll), [2; 600]);
    let torn = content(CrashChoice::Seeded(3));
    assert_eq!(torn, content(CrashChoice::Seeded(3)));
    assert!(torn.iter().all(|byte| [1, 2].contains(byte)));
}

#[test]
fn an_unlinked_file_is_seen_as_such_and_a_full_disk_refuses_growth() {
    let disk = SimDisk::new(6);
    let file = disk_with_file(&disk);
    file.allocate(0, 4096).unwrap();
    disk.fail_write_enospc(Path::new("/d"));
    assert!(file.write_all_at(&[&[1; 4096]], 0).is_ok());
    assert!(super::super::is_full(
        &file.write_all_at(&[&[1; 10]], 4090).unwrap_err()
    ));
    assert!(super::super::is_full(&file.allocate(4096, 1).unwrap_err()));
    assert!(file.is_linked().unwrap());
    disk.unlink(Path::new("/d"));
    assert!(!file.is_linked().unwrap());
    assert!(!disk.exists(Path::new("/d")));
}

#[test]
fn a_disk_of_a_given_size_is_full_until_something_is_removed_or_cut_off() {
    let disk = SimDisk::unrecorded(20);
    let file = disk_with_file(&disk);
    disk.set_capacity(10_000);
    file.write_all_at(&[&[1; 6_000]], 0).unwrap();
    assert_eq!(
        (disk.used_bytes(), disk.available_bytes(&path("a")).unwrap()),
        (6_000, 4_000)
    );
    let other = disk.open(&path("b"), OpenMode::CreateNew).unwrap();
    assert!(super::super::is_full(&other.allocate(0, 4_001).unwrap_err()));
    other.allocate(0, 4_000).unwrap();
    // What is allocated already can be written.
    other.write_all_at(&[&[2; 4_000]], 0).unwrap();
    assert!(file.write_all_at(&[&[1; 1]], 6_000).is_err());
    file.set_len(5_000).unwrap();
    file.write_all_at(&[&[1; 1_000]], 5_000).unwrap();
    disk.remove_file(&path("b")).unwrap();
    file.write_all_at(&[&[1; 4_000]], 6_000).unwrap();
    assert_eq!(disk.available_bytes(&path("a")).unwrap(), 0);
}
