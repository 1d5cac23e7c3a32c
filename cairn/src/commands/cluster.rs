//! The part of `cairn status` that draws the cluster: storage peers, what is being placed anew, durability, the invitation.
//!
//! Invariant: what is to be copied stands on a line of its own, whole.

use serde_json::Value;

use crate::byte_size::ByteSize;
use crate::commands::status::{PEER_PREFIX, count, figure, flag, is_away, list, sentence};
use crate::output::{Table, print_line};

/// Prints the storage peers, and which of them do not answer.
pub(super) fn peers(status: &Value) {
    let peers: Vec<&Value> = list(status, "peers")
        .iter()
        .filter(|peer| text(peer, "standing") != "gone")
        .collect();
    if peers.is_empty() {
        return;
    }
    let mut table = Table::new(&[
        "peer", "address", "domain", "standing", "answers", "ledger", ">drives",
    ]);
    for peer in &peers {
        let id = text(peer, "peer_id");
        let short = id.strip_prefix(PEER_PREFIX).unwrap_or(id);
        table.row([
            short.chars().take(ID_CHARS).collect(),
            text(peer, "address").to_owned(),
            match text(peer, "domain") {
                "" => "itself".to_owned(),
                domain => domain.to_owned(),
            },
            text(peer, "standing").to_owned(),
            match flag(peer, "cut_off") {
                true => "cut off".to_owned(),
                false => word(peer, "answers", "yes", "no"),
            },
            match peer.get("ledger_member").and_then(Value::as_bool) {
                Some(true) => "member",
                Some(false) => "-",
                None => "?",
            }
            .to_owned(),
            list(peer, "drives").len().to_string(),
        ]);
    }
    table.print(2);
    said_of_ledgers(status);
    for peer in &peers {
        // One that was started by hand runs too.
        if flag(peer, "answers") {
            continue;
        }
        let (id, address) = (text(peer, "peer_id"), text(peer, "address"));
        match peer.get("start_again").and_then(Value::as_str) {
            Some(command) => {
                sentence(&format!(
                    "{id} at {address} DOES NOT RUN. This starts it again (it ends by itself alone then, not with `cairn up`):"
                ));
                // To be copied whole.
                print_line(format!("    {command}"));
            }
            None => sentence(&format!(
                "{id} at {address} DOES NOT ANSWER: {}",
                text(peer, "why_silent")
            )),
        }
    }
    print_line("");
}

/// Says which storage peers hear nothing of the ledger, have lost their copy of it, or keep another.
fn said_of_ledgers(status: &Value) {
    if list(status, "peers").iter().any(|peer| flag(peer, "cut_off")) {
        sentence(
            "those that are cut off run, but have not heard from the ledger for so long that they serve no shards",
        );
    }
    let empty = list(&status["ledger"], "members_without_copy");
    for id in empty.iter().filter_map(Value::as_str) {
        sentence(&format!(
            "{id} is a member and HAS LOST ITS COPY of the ledger: it counts as lost until it was given another, which is done within a minute while the \
             ledger answers"
        ));
    }
    for id in keep_another(status) {
        // Where this gateway's own answers, the other was given up.
        sentence(&match is_away(status) {
            false => format!(
                "{id} KEEPS ANOTHER LEDGER of this cluster, of which nothing is taken: stop it and run `cairn node reset-ledger` there \
                 (docs/operating.md, Losing the ledger)"
            ),
            true => format!("{id} KEEPS ANOTHER LEDGER than this gateway's copy"),
        });
    }
}

/// The storage peers that keep another ledger than this gateway.
pub(super) fn keep_another(status: &Value) -> impl Iterator<Item = &str> {
    let others = list(&status["ledger"], "peers_of_another");
    others.iter().filter_map(Value::as_str)
}

/// Prints the gateways that serve the cluster, if there are several, and which of them others wait for.
pub(super) fn gateways(status: &Value) {
    let gateways = list(status, "gateways");
    if gateways.len() < 2 {
        return;
    }
    let mut table = Table::new(&["gateway", ">lease", "background work", "heard of"]);
    for gateway in gateways {
        let id = text(gateway, "peer_id");
        let short = id.strip_prefix(PEER_PREFIX).unwrap_or(id);
        let this = if flag(gateway, "this") { " (this)" } else { "" };
        let lease = gateway.get("lease").and_then(Value::as_u64).unwrap_or(0);
        table.row([
            format!("{}{this}", short.chars().take(ID_CHARS).collect::<String>()),
            lease.to_string(),
            word(gateway, "background_work", "yes", "-"),
            word(gateway, "silent", "not for a minute", "yes"),
        ]);
    }
    table.print(2);
    for gateway in gateways
        .iter()
        .filter(|gateway| flag(gateway, "holds_collection_back"))
    {
        let id = text(gateway, "peer_id");
        sentence(&format!(
            "the collector waits for the gateway {id}: what it may be reading is not deleted. Start it again or let its long requests end; if it will \
             not come back, `cairn node remove --lost {id}`"
        ));
    }
    for gateway in gateways
        .iter()
        .filter(|gateway| flag(gateway, "holds_records_back"))
    {
        let id = text(gateway, "peer_id");
        sentence(&format!(
            "the ledger keeps every record until the gateway {id} has taken its own, and grows meanwhile. Start it again; if it will not come \
             back, `cairn node remove --lost {id}`"
        ));
    }
    print_line("");
}

/// How much of an id is shown: enough to type it.
const ID_CHARS: usize = 12;

/// Prints how far shards are that are placed anew.
pub(super) fn replacing(status: &Value) {
    let Some(work) = status.get("replacing").filter(|work| work.is_object()) else {
        return;
    };
    let number = |name: &str| work.get(name).and_then(Value::as_u64).unwrap_or(0);
    let left = work.get("seconds_left").and_then(Value::as_u64);
    let left = left.map_or_else(String::new, |seconds| format!(", about {seconds} s left"));
    figure(
        "moving",
        &format!(
            "{} of {} looked at, {} placed anew ({}){left}",
            number("packs_done"),
            count(number("packs"), "pack"),
            count(number("shards_rebuilt"), "shard"),
            ByteSize(number("bytes_rebuilt"))
        ),
    );
}

/// Prints the three durability numbers with what they take for granted.
pub(super) fn durability(status: &Value) {
    let Some(report) = status.get("durability").filter(|report| report.is_object()) else {
        return;
    };
    if report.get("packs").and_then(Value::as_u64).unwrap_or(0) == 0 {
        return;
    }
    let chance = |name: &str| {
        let of = report.get(name);
        let loss = of
            .and_then(|of| of.get("any_loss_per_year")?.as_f64())
            .unwrap_or(1.0);
        let given = of
            .and_then(|of| of.get("assumptions")?.as_str())
            .unwrap_or_default();
        format!(
            "{} that anything is lost within a year, if {given}",
            percent(loss)
        )
    };
    figure("chance", &chance("independent"));
    figure("or", &chance("with_domain_losses"));
    domains(report);
    let seen = |name: &str| {
        report
            .pointer(&format!("/observed/{name}"))
            .and_then(Value::as_f64)
    };
    let at_most = seen("shard_losses_per_year_at_most");
    let at_most = match at_most {
        Some(rate) if rate < 1.0 => format!(": at most {} of the shards a year, with 95 %", percent(rate)),
        _ => ": too little yet to say what that means for a year".to_owned(),
    };
    figure(
        "seen",
        &format!(
            "{} lost in {:.4} shard years since the start{at_most}",
            count(seen("shards_lost").unwrap_or(0.0) as u64, "shard"),
            seen("shard_years").unwrap_or(0.0)
        ),
    );
}

/// Prints what the loss of any one failure domain does.
fn domains(report: &Value) {
    let number = |name: &str| {
        report
            .pointer(&format!("/domains/{name}"))
            .and_then(Value::as_u64)
            .unwrap_or(0)
    };
    let domains = number("count");
    let of = |stopped: u64, what: &str, goes_on: &str| match stopped {
        0 => format!("{what} {goes_on}"),
        _ if stopped == domains => format!("{what} STOP"),
        _ => format!("{what} STOP if it is one of {stopped}"),
    };
    if domains > 1 {
        let reads = of(number("whose_loss_stops_reads"), "reads", "go on");
        let writes = of(number("whose_loss_stops_writes"), "writes", "go on");
        let ledger = report
            .pointer("/domains/whose_loss_stops_the_ledger")
            .and_then(Value::as_u64);
        // Without members there is no answer, which stands above.
        let ledger = ledger.map_or_else(String::new, |stopped| {
            format!(", {}", of(stopped, "and the ledger", "goes on"))
        });
        let and = if ledger.is_empty() { " and" } else { "," };
        figure(
            "domains",
            &format!("{domains}; when any one is lost with everything in it, {reads}{and} {writes}{ledger}"),
        );
    }
}

/// A chance, with two digits that mean something.
fn percent(chance: f64) -> String {
    match chance * 100.0 {
        none if none <= 0.0 => "0 %".to_owned(),
        small if small < 0.01 => format!("{small:.1e} %"),
        percent => format!("{percent:.2} %"),
    }
}

/// Prints what another storage peer is started with.
pub(super) fn invitation(status: &Value) {
    if let Some(invitation) = status.get("invitation").and_then(Value::as_str) {
        print_line("  another storage peer is started with");
        print_line(format!(
            "    cairn node --join {invitation} --listen ADDRESS:PORT"
        ));
    }
}

fn text<'a>(peer: &'a Value, name: &str) -> &'a str {
    peer.get(name).and_then(Value::as_str).unwrap_or_default()
}

fn word(peer: &Value, name: &str, if_so: &str, if_not: &str) -> String {
    match flag(peer, name) {
        true => if_so.to_owned(),
        false => if_not.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::percent;

    #[test]
    fn small_chances_keep_their_size() {
        assert_eq!(percent(0.0), "0 %");
        assert_eq!(percent(0.1234), "12.34 %");
        assert_eq!(percent(3.2e-9), "3.2e-7 %");
    }
}
