//! `cairn gateway`: S3 in front of storage peers elsewhere; before there are any, the invitation for them.

use serde_json::json;

use crate::cli::{GatewayArgs, GlobalArgs};
use crate::commands::up;
use crate::config::UpConfig;
use crate::data_dir::DataDir;
use crate::exit::Failure;
use crate::introduction::Invitation;
use crate::key_store::peer_key;
use crate::layout::Layout;
use crate::output::{print_json_line, print_line, print_note};
use crate::runtime::RuntimeError;

pub(super) async fn run(global: &GlobalArgs, args: &GatewayArgs) -> Result<(), Failure> {
    let config = UpConfig::of_gateway(args, &|name| std::env::var(name).ok())?;
    let data = DataDir::create_or_open(&global.data)?;
    let layout = Layout::waiting(&data, args.cluster, config.code).map_err(RuntimeError::from)?;
    let invitation = Invitation {
        cluster: layout.cluster,
        gateways: vec![peer_key(&data.peer_key()).map_err(RuntimeError::from)?.id()],
    };
    let is_waiting = layout.peers.is_empty();
    if is_waiting && args.join.is_empty() {
        invite(global, &invitation, args.cluster.is_some());
        return Ok(());
    }
    let served = up::serve(global, data, config).await;
    if is_waiting && !layout.own_log && served.is_err() {
        // What its peers may have been started without.
        print_note(format!(
            "storage peers of this gateway run with\n  cairn node --join {invitation} --listen ADDRESS:PORT"
        ));
    }
    served
}

/// Says what storage peers are started with. It ends then: without them there is nothing to serve.
fn invite(global: &GlobalArgs, invitation: &Invitation, joins: bool) {
    if global.json {
        print_json_line(&json!({
            "peer_id": invitation.gateways.first().map(ToString::to_string),
            "cluster_id": hex::encode(invitation.cluster),
            "invitation": invitation.to_string(),
        }));
        return;
    }
    let at = global.data.display();
    if let (true, Some(gateway)) = (joins, invitation.gateways.first()) {
        print_line("Where a gateway serves this cluster, let this one in:");
        print_line(format!("\n  cairn node admit --gateway {gateway}\n"));
        print_line(format!(
            "copy its keys/ to {at}/keys, and start this one with every storage peer:"
        ));
        print_line(format!(
            "\n  cairn gateway --data {at} --join ed25519:…@ADDRESS:7400 --join …"
        ));
        return;
    }
    print_line("This gateway has no storage peers yet. Start each, on its machine, with");
    print_line(format!(
        "\n  cairn node --join {invitation} \\\n    --listen ADDRESS:7400 --domain SITE\n"
    ));
    print_line("and then start this again with what each of them prints, all in one command:");
    print_line(format!(
        "\n  cairn gateway --data {at} --join ed25519:…@ADDRESS:7400 --join …"
    ));
}
