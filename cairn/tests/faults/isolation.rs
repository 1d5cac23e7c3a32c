//! A place where dropped packets and full disks touch nobody else: network, mount and process namespaces of this test's own.
//!
//! The test starts itself again inside `unshare`. What cannot be had there (no root and no user namespaces, no iptables) is left out, and
//! said. Invariant: rules and mounts are made only inside; all processes inside end with the first of them, stopped ones too.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use rustix::fs::FallocateFlags;

/// Set inside.
const INSIDE: &str = "CAIRN_FAULTS_INSIDE";
/// Bytes of the small file system that a storage peer's directory is, where it is to be filled: its logs reserve 16 MiB at a time.
const SMALL_DISK: &str = "size=384m";

/// What this machine lets a test do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Can {
    pub(crate) drop_packets: bool,
    pub(crate) mount: bool,
}

fn succeeds(program: &str, arguments: &[&str]) -> bool {
    let mut command = Command::new(program);
    command
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output();
    let output = output.unwrap_or_else(|error| panic!("{program}: {error}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {said}");
}

const OF_ROOT: [&str; 6] = ["-n", "-m", "-p", "--fork", "--kill-child", "--mount-proc"];
const OF_OTHERS: [&str; 8] = [
    "-U",
    "-r",
    "-n",
    "-m",
    "-p",
    "--fork",
    "--kill-child",
    "--mount-proc",
];

/// Runs the test again inside, if that can be; its exit code.
pub(crate) fn inside() -> Option<ExitCode> {
    if std::env::var_os(INSIDE).is_some() {
        return None;
    }
    let ways: [&[&str]; 2] = [&OF_ROOT, &OF_OTHERS];
    let able = |way: &&&[&str]| succeeds("unshare", &[**way, &["true"]].concat());
    let way = ways.iter().find(able)?;
    let status = Command::new("unshare")
        .args(*way)
        .arg("--")
        .arg(std::env::current_exe().ok()?)
        .args(std::env::args_os().skip(1))
        .env(INSIDE, "1")
        .status()
        .ok()?;
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Some(code.map_or(ExitCode::FAILURE, ExitCode::from))
}

impl Can {
    pub(crate) const EVERYTHING: Self = Self {
        drop_packets: true,
        mount: true,
    };

    /// Tries it out.
    pub(crate) fn find_out() -> Self {
        if std::env::var_os(INSIDE).is_none() {
            return Self {
                drop_packets: false,
                mount: false,
            };
        }
        let is_up = succeeds("ip", &["link", "set", "lo", "up"]);
        assert!(
            is_up,
            "in a network of its own the loopback device cannot be set up: is iproute2 there?"
        );
        let rule = ["INPUT", "-p", "udp", "--dport", "9", "--sport", "9", "-j", "DROP"];
        let there = tempfile::tempdir().unwrap();
        let path = there.path().to_str().unwrap();
        let mount = ["-t", "tmpfs", "-o", "size=1m", "none", path];
        Self {
            drop_packets: succeeds("iptables", &[&["-A"], &rule[..]].concat())
                && succeeds("iptables", &[&["-D"], &rule[..]].concat()),
            mount: succeeds("mount", &mount) && succeeds("umount", &[path]),
        }
    }
}

/// Between which UDP ports nothing passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cut {
    /// A port and everybody.
    Off(u16),
    /// Two ports, in both directions.
    Apart(u16, u16),
}

impl Cut {
    fn each_rule(self, what: &str) {
        let rule = |ends: &[&str]| {
            let arguments = [&["-w", what, "INPUT", "-p", "udp"], ends, &["-j", "DROP"]].concat();
            run("iptables", &arguments);
        };
        match self {
            Self::Off(port) => {
                let port = port.to_string();
                rule(&["--sport", &port]);
                rule(&["--dport", &port]);
            }
            Self::Apart(one, other) => {
                let (one, other) = (one.to_string(), other.to_string());
                rule(&["--sport", &one, "--dport", &other]);
                rule(&["--sport", &other, "--dport", &one]);
            }
        }
    }

    pub(crate) fn make(self) {
        self.each_rule("-A");
    }

    pub(crate) fn heal(self) {
        self.each_rule("-D");
    }
}

/// A directory that is a small file system of its own, until it is dropped.
pub(crate) struct SmallDisk(PathBuf);

impl SmallDisk {
    /// Makes the directory too.
    pub(crate) fn mount(directory: PathBuf) -> Self {
        std::fs::create_dir_all(&directory).unwrap();
        let path = directory.to_str().unwrap();
        run("mount", &["-t", "tmpfs", "-o", SMALL_DISK, "none", path]);
        Self(directory)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a process that is being killed may still have a file of it open.
        succeeds("umount", &["-l", self.0.to_str().unwrap_or_default()]);
    }
}

/// Takes every byte that is left; how many.
pub(crate) fn fill(directory: &Path) -> u64 {
    let file = std::fs::File::create(directory.join("filler")).unwrap();
    let (mut at, mut step) = (0, 64 << 20);
    while step >= 4096 {
        match rustix::fs::fallocate(&file, FallocateFlags::empty(), at, step) {
            Ok(()) => at += step,
            Err(_) => step /= 2,
        }
    }
    at
}

/// Gives them back.
pub(crate) fn free(directory: &Path) {
    std::fs::remove_file(directory.join("filler")).unwrap();
}
