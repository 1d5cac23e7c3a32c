//! Members of the ledger that lose their copy of it while the others go on.

use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::process::{Place, Running, content, get, make_bucket, put, text};

/// The numbers of two members' places, and their ids.
fn two_members(status: &Value) -> Vec<(usize, String)> {
    let peers = status["peers"].as_array().unwrap();
    let members = peers
        .iter()
        .enumerate()
        .filter(|(_, peer)| peer["ledger_member"] == true);
    let id = |peer: &Value| peer["peer_id"].as_str().unwrap().to_owned();
    members.map(|(number, peer)| (number, id(peer))).take(2).collect()
}

fn kill(status: &Value, number: usize) {
    let pid = status["peers"][number]["pid"].as_i64().unwrap();
    kill_process(Pid::from_raw(pid as i32).unwrap(), Signal::KILL).unwrap();
}

/// A status for which something holds, before a deadline.
fn until(place: &Place, holds: impl Fn(&Value) -> bool) -> Value {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let status = place.json(["status"]);
        if holds(&status) {
            return status;
        }
        assert!(Instant::now() < deadline, "{status:#}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[tokio::test]
async fn a_member_that_was_reset_is_given_its_copy_again_and_counts() {
    let place = Place::new();
    let mut up = place.command(["up", "--json", "--peers", "6"]);
    up.args(["--ledger-members", "3"]);
    let running = place.up_with(up);
    let mut client = running.client(&place.root_key()).await;
    make_bucket(&mut client, "first").await;
    put(&mut client, "first", "before", content("before", 5_000))
        .await
        .unwrap();
    let begun = until(&place, |status| two_members(status).len() == 2);
    let (reset, other) = match &two_members(&begun)[..] {
        [first, second] => (first.clone(), second.0),
        members => panic!("{members:?}"),
    };
    kill(&begun, reset.0);
    let data = place.data().join(format!("peers/{}", reset.0));
    let data = data.to_str().unwrap();
    // Until the killed process has let go of its directory.
    until(&place, |_| {
        let done = place.run(["node", "reset-ledger", "--data", data]);
        let said = text(&done);
        assert!(done.status.success() || said.contains("in use"), "{said}");
        done.status.success()
    });
    let mut again = place.command(["node", "--data", data]);
    again.env_remove("CAIRN_DATA");
    let again = Running::ready(again);
    // It has taken everything, and is no longer named.
    until(&place, |status| {
        let empty = status["ledger"]["members_without_copy"].as_array().unwrap();
        let peer = &status["peers"][reset.0];
        empty.is_empty() && peer["ledger_member"] == true && peer["answers"] == true
    });
    // With it there are two of three.
    kill(&begun, other);
    let put_again = async {
        while put(&mut client, "first", "after", content("after", 5_000))
            .await
            .is_err()
        {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let written = tokio::time::timeout(Duration::from_secs(30), put_again).await;
    assert!(written.is_ok(), "it does not count");
    assert_eq!(
        get(&mut client, "first", "before").await.unwrap(),
        content("before", 5_000)
    );
    again.stop();
}
