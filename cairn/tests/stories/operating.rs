//! `docs/operating.md`, carried out: each machine of it is a data directory and its processes on a loopback address of its own.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::process::{Place, Running, text};

/// What the page has done at one point of it.
enum Step {
    /// A command at a machine.
    Run { machine: String, line: String },
    /// Machines that lose their power.
    Kill(Vec<String>),
    /// A command at a machine that is refused, with these words.
    Refused {
        machine: String,
        line: String,
        words: String,
    },
    /// Waiting until nothing is missing.
    UntilWhole,
}

fn steps(page: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut in_console = false;
    for line in page.lines() {
        if let Some(told) = line
            .strip_prefix("<!-- test: ")
            .and_then(|line| line.strip_suffix(" -->"))
        {
            let mut words = told.split(' ').map(str::to_owned);
            steps.push(match words.next().as_deref() {
                Some("kill") => Step::Kill(words.collect()),
                Some("until") => Step::UntilWhole,
                Some("refused") => {
                    let (machine, told) = told.trim_start_matches("refused ").split_once("$ ").unwrap();
                    let (line, words) = told.split_once(": ").unwrap();
                    let (machine, line, words) = (machine.to_owned(), line.to_owned(), words.to_owned());
                    Step::Refused { machine, line, words }
                }
                Some("run") => {
                    let (machine, line) = told.trim_start_matches("run ").split_once("$ ").unwrap();
                    let (machine, line) = (machine.to_owned(), line.to_owned());
                    Step::Run { machine, line }
                }
                other => panic!("{other:?} is nothing that the test knows"),
            });
        } else if line.starts_with("```") {
            in_console = line == "```console";
        } else if in_console {
            let (machine, line) = line.split_once("$ ").unwrap();
            steps.push(Step::Run {
                machine: machine.to_owned(),
                line: line.to_owned(),
            });
        }
    }
    steps
}

/// The machines of the page.
struct Machines {
    place: Place,
    /// The second number of the loopback addresses: this test's own.
    net: u8,
    running: HashMap<String, Running>,
    /// What stands for the words in capitals.
    words: BTreeMap<String, String>,
}

impl Machines {
    fn dir(&self, machine: &str) -> PathBuf {
        let dir = self.place.root().join(machine);
        std::fs::create_dir_all(&dir).unwrap();
        dir
    }

    /// The words of a line, as this machine has them.
    fn args(&self, machine: &str, line: &str) -> Vec<String> {
        let data = self.dir(machine).join("srv").display().to_string();
        let mut line = line.replace("/srv/cairn", &data);
        line = line.replace(" 10.0.1.", &format!(" 127.{}.1.", self.net));
        line = line.replace("@10.0.1.", &format!("@127.{}.1.", self.net));
        // The longest first: one may begin like another.
        for (word, stands_for) in self.words.iter().rev() {
            line = line.replace(word.as_str(), stands_for);
        }
        line.split(' ').map(str::to_owned).collect()
    }

    fn run(&mut self, machine: &str, line: &str) {
        if line == "^C" {
            self.running.remove(machine).unwrap().stop();
            return;
        }
        let args = self.args(machine, line);
        let (program, args) = args.split_first().unwrap();
        if program == "scp" {
            // From another machine's directory, as it stands there.
            let from = line.split(' ').find_map(|word| word.split_once(':')).unwrap();
            let data = self.dir(from.0).join("srv").display().to_string();
            let (from, to) = (from.1.replace("/srv/cairn", &data), args.last().unwrap());
            let copied = Command::new("cp").args(["-r", &from, to]).status().unwrap();
            assert!(copied.success(), "{machine}$ {line}");
            return;
        }
        if program != "cairn" {
            let mut command = Command::new(program);
            let status = command
                .args(args)
                .current_dir(self.dir(machine))
                .status()
                .unwrap();
            assert!(status.success(), "{machine}$ {line}: {status}");
            return;
        }
        let mut command = self.place.command(args);
        command.env_remove("CAIRN_DATA").current_dir(self.dir(machine));
        let is_new_gateway = line.starts_with("cairn gateway") && !self.words.contains_key("INVITATION");
        let joins = line.contains("--cluster CLUSTER");
        let stays = !is_new_gateway
            && !joins
            && (line.starts_with("cairn gateway") || line.starts_with("cairn node --"));
        if stays {
            if line.starts_with("cairn gateway") {
                command.args(["--s3", "127.0.0.1:0", "--admin", "127.0.0.1:0"]);
            }
            self.keep(machine, Running::ready(command));
            return;
        }
        let output = command.output().unwrap();
        assert!(output.status.success(), "{machine}$ {line}: {}", text(&output));
        let shown = text(&output);
        if is_new_gateway {
            let invitation = shown.split_whitespace().find(|word| word.contains("@ed25519:"));
            self.words
                .insert("INVITATION".to_owned(), invitation.unwrap().to_owned());
            let (cluster, _) = invitation.unwrap().split_once('@').unwrap();
            self.words.insert("CLUSTER".to_owned(), cluster.to_owned());
        }
        if joins {
            let id = shown.split_whitespace().find(|word| word.starts_with("ed25519:"));
            let word = format!("PEER-{}", machine.to_uppercase());
            self.words.insert(word, id.unwrap().to_owned());
        }
    }

    /// It is not carried out, and says why.
    fn is_refused(&self, machine: &str, line: &str, words: &str) {
        let args = self.args(machine, line);
        let mut command = self.place.command(args.iter().skip(1));
        command.env_remove("CAIRN_DATA").current_dir(self.dir(machine));
        let mut ending = Command::new("timeout");
        ending
            .arg("60")
            .arg(command.get_program())
            .args(command.get_args())
            .current_dir(self.dir(machine));
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => ending.env(name, value),
                None => ending.env_remove(name),
            };
        }
        let output = ending.output().unwrap();
        let (said, words) = (text(&output), self.args(machine, words).join(" "));
        assert!(
            !output.status.success() && said.contains(&words),
            "{machine}$ {line}: {said}"
        );
    }

    fn keep(&mut self, machine: &str, running: Running) {
        let all = running.printed.join("\n");
        if let Some(id) = all.split_whitespace().find(|word| word.starts_with("ed25519:")) {
            let word = format!("PEER-{}", machine.to_uppercase());
            // A second gateway, which prints its peers, is known already.
            self.words.entry(word).or_insert_with(|| id.to_owned());
        }
        let before = self.running.insert(machine.to_owned(), running);
        assert!(before.is_none(), "something runs at {machine} already");
    }

    fn status(&self) -> Value {
        let data = self.dir("gw").join("srv");
        let output = self.place.run([
            "status".as_ref(),
            "--json".as_ref(),
            "--data".as_ref(),
            data.as_os_str(),
        ]);
        assert!(output.status.success(), "{}", text(&output));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Waits until every shard that should be there is, and new ones can be written.
    fn until_whole(&self) -> Value {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let status = self.status();
            if status["packs"]["at_risk"] == 0 && status["writable"] == true && status["drives_lost"] == 0 {
                return status;
            }
            assert!(Instant::now() < deadline, "it does not become whole: {status:#}");
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    fn is_copied(&self, machine: &str) -> bool {
        let (copy, report) = (
            self.dir(machine).join("copy.pdf"),
            self.dir("gw").join("report.pdf"),
        );
        std::fs::read(copy).ok() == std::fs::read(report).ok()
    }
}

fn page() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/operating.md");
    std::fs::read_to_string(path).unwrap()
}

#[test]
fn the_page_on_operating_is_carried_out_to_its_end_and_loses_nothing() {
    let net = 1 + (std::process::id() % 250) as u8;
    println!("on 127.{net}.1.0/24");
    let mut machines = Machines {
        place: Place::new(),
        net,
        running: HashMap::new(),
        words: BTreeMap::new(),
    };
    let report = super::process::content("report.pdf", 5_000_000);
    std::fs::write(machines.dir("gw").join("report.pdf"), report).unwrap();
    let (mut commands, mut copied) = (0, 0);
    for step in steps(&page()) {
        match step {
            Step::Run { machine, line } => {
                machines.run(&machine, &line);
                commands += 1;
                if line.contains("copy.pdf") {
                    assert!(machines.is_copied(&machine), "{machine}$ {line}");
                    std::fs::remove_file(machines.dir(&machine).join("copy.pdf")).unwrap();
                    copied += 1;
                }
            }
            Step::Kill(lost) => lost
                .iter()
                .for_each(|machine| machines.running.remove(machine).unwrap().kill()),
            Step::Refused { machine, line, words } => machines.is_refused(&machine, &line, &words),
            Step::UntilWhole => drop(machines.until_whole()),
        }
    }
    assert!(
        commands >= 70 && copied == 4,
        "{commands} commands, {copied} copies: the page was cut"
    );
    let status = machines.until_whole();
    let peers = status["peers"].as_array().unwrap();
    let of = |standing: &str| peers.iter().filter(|peer| peer["standing"] == standing).count();
    // Of those that are gone the rebuilt ledger knows nothing.
    assert_eq!((of("active"), of("gone")), (6, 0), "{status:#}");
    let members: Vec<&Value> = peers
        .iter()
        .filter(|peer| peer["ledger_member"] == true)
        .collect();
    let mut sites: Vec<&str> = members
        .iter()
        .map(|peer| peer["domain"].as_str().unwrap())
        .collect();
    sites.sort_unstable();
    assert_eq!(sites, ["site-a", "site-b", "site-d"]);
    machines.run("gw", "cairn get papers/report.pdf copy.pdf --data /srv/cairn");
    assert!(machines.is_copied("gw"));
    assert_eq!(status["gateways"].as_array().unwrap().len(), 1, "{status:#}");
}
