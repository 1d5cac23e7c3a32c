//! `cairn status`: drives, space, and what is at risk.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use crate::byte_size::ByteSize;
use crate::cli::GlobalArgs;
use crate::commands::reach::ask;
use crate::commands::{cluster, conduct};
use crate::exit::Failure;
use crate::output::{Table, print_json, print_line, wrapped};
use crate::request::Request;

pub(super) async fn run(global: &GlobalArgs) -> Result<(), Failure> {
    let status = ask(global, "status", Request::Status).await?;
    if global.json {
        print_json(&status);
        return Ok(());
    }
    let text = |pointer: &str| status.pointer(pointer).and_then(Value::as_str).unwrap_or("-");
    let number = |pointer: &str| status.pointer(pointer).and_then(Value::as_u64).unwrap_or(0);
    let size = |pointer: &str| ByteSize(number(pointer)).to_string();

    let running = status.get("running").and_then(Value::as_bool).unwrap_or(false);
    let endpoint = if running { text("/endpoint") } else { "not running" };
    print_line(format!("{} ({endpoint}), {}", text("/data"), text("/code")));
    sentence(text("/survives"));
    if !running {
        let of_peers = list(&status, "peers");
        let is_gateway = !of_peers.is_empty() && of_peers.iter().all(|peer| peer["directory"].is_null());
        let command = if is_gateway { "gateway" } else { "up" };
        sentence(&format!(
            "nothing is running, so nothing is served: `cairn {command}` starts it"
        ));
    }
    served(&status, running);
    print_line("");
    drives(&status).print(2);
    for (reason, numbers) in reasons(&status) {
        let which = if numbers.len() == 1 { "drive" } else { "drives" };
        sentence(&format!("{which} {}: {reason}", numbers.join(", ")));
    }
    conduct::misdeeds(&status);
    print_line("");
    cluster::peers(&status);
    cluster::gateways(&status);
    figure("packs", &packs(&status));
    cluster::replacing(&status);
    conduct::challenges(&status);
    // What the drives of storage peers hold is not known while these serve nothing.
    if !is_away(&status) {
        figure(
            "space",
            &format!(
                "{} live, {} garbage, {} allocated",
                size("/live_bytes"),
                size("/garbage_bytes"),
                size("/allocated_bytes")
            ),
        );
    }
    open_uploads(&status);
    figure(
        "ledger",
        &format!(
            "{}, sequence {}, {} entries, {}",
            text("/ledger/state"),
            number("/ledger/sequence"),
            number("/ledger/entries"),
            size("/ledger/bytes")
        ),
    );
    figure("activity", &format!("{} records", number("/activity/records")));
    // A key is one word, to be copied whole.
    figure("log key", text("/activity/log_key"));
    cluster::durability(&status);
    cluster::invitation(&status);
    print_line("");
    vaults(&status).print(2);
    Ok(())
}

/// Says whether reads and writes are served, and if not, what to do.
fn served(status: &Value, running: bool) {
    let away = status.pointer("/ledger/why_away").and_then(Value::as_str);
    let writes = status.get("writes_refused_because").and_then(Value::as_str);
    let is_silent = silent_peers(status);
    match (away, writes) {
        (Some(reason), _) => nothing_served(status, reason),
        (_, Some(reason)) if is_silent => sentence(&format!(
            "WRITES ARE REFUSED: {reason}. See to the storage peers that do not answer or are cut off, below; one that will not come back is \
             replaced (`cairn node remove --lost`, `cairn node admit`)"
        )),
        (_, Some(reason)) => sentence(&format!(
            "WRITES ARE REFUSED: {reason}. `cairn repair` brings drives back"
        )),
        _ if !running => {}
        _ => sentence("reads and writes are served"),
    }
}

/// Says that the ledger is away: who its members are, who of them answers, and what to do.
fn nothing_served(status: &Value, reason: &str) {
    let members = list(&status["ledger"], "members");
    let empty = list(&status["ledger"], "members_without_copy");
    let answers = |member: &&Value| {
        let mut peers = list(status, "peers").iter();
        let own = peers.find(|peer| peer.get("peer_id") == Some(member));
        !empty.contains(member) && own.is_some_and(|peer| flag(peer, "answers"))
    };
    if cluster::keep_another(status).next().is_some() {
        sentence(&format!(
            "NOTHING IS SERVED: {reason}. Storage peers keep another ledger than this gateway's copy, below: if theirs is the one in use (another gateway \
             made it anew, or member/ was put back), stop this gateway, move its ledger/ aside and start it again; if they came back with one that was \
             given up, run `cairn node reset-ledger` there (docs/operating.md, Losing the ledger)"
        ));
        return;
    }
    let answering = members.iter().filter(answers).count();
    let all = members.len();
    let wanted = all / 2 + 1;
    let which = match all {
        0 => "None of those that answer says who they are".to_owned(),
        _ if answering >= wanted => format!(
            "{answering} of {all} answer now and {wanted} have to: they will agree on who leads, or their logs say why not"
        ),
        _ => format!(
            "{answering} of {all} answer and have their copy, and {wanted} have to: start those marked as members below that do not"
        ),
    };
    sentence(&format!("NOTHING IS SERVED: {reason}. {which}"));
    sentence(
        "if so many of them are lost for good, disks and all, docs/operating.md says under \"Losing the ledger\" how it is made anew from the drives",
    );
}

/// Prints what lies in parts of uploads that nobody completed.
fn open_uploads(status: &Value) {
    let open = list(status, "vaults")
        .iter()
        .filter_map(|vault| vault.get("open_upload_bytes").and_then(Value::as_u64))
        .fold(0, u64::saturating_add);
    if open > 0 {
        let open = ByteSize(open);
        figure(
            "uploads",
            &format!("{open} in parts of uploads that are not completed: aborting them gives it back"),
        );
    }
}

/// Prints a sentence below the first line.
pub(super) fn sentence(text: &str) {
    wrapped("  ", text, 2, WIDTH).into_iter().for_each(print_line);
}

/// Prints a figure under its name.
pub(super) fn figure(name: &str, text: &str) {
    let first = format!("  {name:<FIGURE_NAME$}  ");
    wrapped(&first, text, FIGURE_NAME + 4, WIDTH)
        .into_iter()
        .for_each(print_line);
}

/// What a terminal shows of a line; the longest name of a figure.
const WIDTH: usize = 80;
const FIGURE_NAME: usize = 8;
/// How the name of a storage peer begins.
pub(super) const PEER_PREFIX: &str = "ed25519:";

/// How many packs there are, and what is missing of them.
fn packs(status: &Value) -> String {
    let number = |name: &str| {
        let figure = status.get("packs").and_then(|packs| packs.get(name));
        figure.and_then(Value::as_u64).unwrap_or(0)
    };
    let (at_risk, lost) = (number("at_risk"), number("unreadable"));
    let mut line = format!("{}, ", number("total"));
    if is_away(status) {
        return line + "what is missing of them cannot be told while the ledger does not answer";
    }
    if at_risk == 0 {
        return line + "none at risk";
    }
    line += &format!(
        "{at_risk} at risk, {} of {} missing",
        number("shards_missing"),
        count(number("shards"), "shard")
    );
    let mendable = at_risk.saturating_sub(lost);
    if silent_peers(status) {
        line += "; see to the storage peers that do not answer or are cut off, below: what is missing then, `cairn repair` makes whole again";
    } else if mendable > 0 {
        line += &format!("; `cairn repair` makes {} whole again", count(mendable, "pack"));
    }
    if lost > 0 {
        line += &format!("; {}", unreadable(lost));
    }
    line
}

/// Whether nobody leads the ledger, so that storage peers say nothing.
pub(super) fn is_away(status: &Value) -> bool {
    let why = status.pointer("/ledger/why_away");
    why.is_some_and(|why| !why.is_null())
}

/// Whether a storage peer that should be there does not answer, or serves nothing.
fn silent_peers(status: &Value) -> bool {
    let there = |peer: &&Value| peer.get("standing").and_then(Value::as_str) != Some("gone");
    list(status, "peers")
        .iter()
        .filter(there)
        .any(|peer| !flag(peer, "answers") || flag(peer, "cut_off"))
}

/// What packs that lost more shards than their parity mean to their owner, and what to do.
pub(super) fn unreadable(packs: u64) -> String {
    let have = if packs == 1 { "has" } else { "have" };
    format!(
        "{} {have} lost more shards than parity makes up for: objects there cannot be read, and `cairn repair` cannot \
         rebuild them, until a lost drive is back with its data. Bring one back, or put those objects again (`cairn get` \
         of an object says whether it can be read)",
        count(packs, "pack")
    )
}

/// A number of things, in words: one of them has no s.
pub(super) fn count(number: u64, thing: &str) -> String {
    match number {
        1 => format!("1 {thing}"),
        _ => format!("{number} {thing}s"),
    }
}

/// Why drives are lost, and which.
fn reasons(status: &Value) -> BTreeMap<&str, Vec<String>> {
    let mut reasons: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for drive in list(status, "drives") {
        if let Some(reason) = drive.get("reason").and_then(Value::as_str) {
            let number = drive.get("number").and_then(Value::as_u64).unwrap_or(0);
            reasons.entry(reason).or_default().push(number.to_string());
        }
    }
    reasons
}

fn drives(status: &Value) -> Table {
    let data = status.get("data").and_then(Value::as_str).unwrap_or_default();
    let mut table = Table::new(&[
        "drive",
        "state",
        ">live",
        ">garbage",
        ">free",
        ">shards",
        "directory",
    ]);
    for drive in list(status, "drives") {
        let size = |name: &str| ByteSize(drive.get(name).and_then(Value::as_u64).unwrap_or(0)).to_string();
        let text = |name: &str| drive.get(name).and_then(Value::as_str).unwrap_or_default();
        let number = |name: &str| drive.get(name).and_then(Value::as_u64).unwrap_or(0).to_string();
        // Below the data directory, which stands above, unless it is elsewhere.
        let directory = Path::new(text("directory"));
        let directory = directory.strip_prefix(data).unwrap_or(directory);
        let directory = directory.display().to_string();
        // A storage peer's drive: peer and drive, the kind of key goes without saying.
        let directory = directory.strip_prefix(PEER_PREFIX).unwrap_or(&directory);
        table.row([
            number("number"),
            text("state").to_owned(),
            size("live_bytes"),
            size("garbage_bytes"),
            size("free_bytes"),
            number("shards"),
            directory.to_owned(),
        ]);
    }
    table
}

/// The vaults of a status or of a vault list.
pub(super) fn vaults(answer: &Value) -> Table {
    let mut table = Table::new(&["vault", "id", ">scopes", ">objects", ">size"]);
    for vault in list(answer, "vaults") {
        let text = |name: &str| {
            vault
                .get(name)
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        let number = |name: &str| vault.get(name).and_then(Value::as_u64).unwrap_or(0);
        table.row([
            text("name"),
            text("vault_id"),
            number("scopes").to_string(),
            number("objects").to_string(),
            ByteSize(number("bytes")).to_string(),
        ]);
    }
    table
}

/// Whether an answer says yes under this name.
pub(super) fn flag(answer: &Value, name: &str) -> bool {
    answer.get(name).and_then(Value::as_bool).unwrap_or(false)
}

/// The list of this name in an answer.
pub(super) fn list<'a>(answer: &'a Value, name: &str) -> &'a [Value] {
    answer
        .get(name)
        .and_then(Value::as_array)
        .map(Vec::as_slice)
        .unwrap_or_default()
}
