//! `cairn node admit`, `drain` and `remove`: what the owner does about storage peers.

use serde_json::Value;

use crate::byte_size::ByteSize;
use crate::cli::{AdmitArgs, DrainArgs, GlobalArgs, NodeCommand, RemoveArgs};
use crate::commands::reach::ask;
use crate::commands::status::count;
use crate::exit::Failure;
use crate::output::{print_json, print_line};
use crate::request::Request;

pub(super) async fn run(global: &GlobalArgs, command: &NodeCommand) -> Result<(), Failure> {
    let (work, request) = match command {
        NodeCommand::Admit(AdmitArgs {
            gateway: Some(gateway),
            ..
        }) => {
            let gateway = gateway.to_string();
            ("admit", Request::GatewayAdmit { gateway })
        }
        NodeCommand::Admit(AdmitArgs { peer, domain, .. }) => {
            let peer = peer.map(|peer| peer.to_string()).unwrap_or_default();
            let domain = domain.clone();
            ("admit", Request::NodeAdmit { peer, domain })
        }
        NodeCommand::Drain(DrainArgs { peer, undo }) => {
            let (peer, undo) = (peer.clone(), *undo);
            ("drain", Request::NodeDrain { peer, undo })
        }
        NodeCommand::ResetLedger(args) => return super::node::reset_ledger(global, args).await,
        NodeCommand::Remove(RemoveArgs { peer, lost }) => {
            let (peer, lost) = (peer.clone(), *lost);
            ("remove", Request::NodeRemove { peer, lost })
        }
    };
    let answer = ask(global, work, request).await?;
    if global.json {
        print_json(&answer);
        return Ok(());
    }
    let text = |name: &str| answer.get(name).and_then(Value::as_str).unwrap_or_default();
    let number = |name: &str| answer.get(name).and_then(Value::as_u64).unwrap_or(0);
    let id = text("peer_id");
    match command {
        NodeCommand::Admit(AdmitArgs { gateway: Some(_), .. }) => print_line(format!(
            "{id} may serve this cluster, once the storage peers have heard of it: in a few seconds"
        )),
        NodeCommand::Admit(_) => {
            let domain = match text("domain") {
                "" => "its own failure domain".to_owned(),
                domain => format!("in the failure domain {domain}"),
            };
            let drives = count(number("drives"), "drive");
            print_line(format!("{id} takes part, with {drives}, {domain}"));
            if answer.get("new").and_then(Value::as_bool).unwrap_or(false) {
                print_line("new packs go there from now on; `cairn rebalance` moves old ones");
            }
        }
        // Was done without the gateway.
        NodeCommand::ResetLedger(_) => {}
        NodeCommand::Drain(args) if args.undo => print_line(format!("{id} takes part again")),
        NodeCommand::Drain(_) => print_line(format!(
            "nothing is left on {id} that anybody needs: `cairn node remove {id}` lets it go"
        )),
        NodeCommand::Remove(_) => {
            print_line(format!("{id} is no peer of this cluster any more"));
            if number("shards_to_rebuild") > 0 {
                print_line(format!(
                    "{} ({}) are made anew elsewhere: `cairn status` shows how far it is",
                    count(number("shards_to_rebuild"), "shard"),
                    ByteSize(number("bytes_to_rebuild"))
                ));
            }
        }
    }
    Ok(())
}
