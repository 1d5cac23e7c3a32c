//! `cairn ls`: scopes, or the objects of one, through the S3 gateway and the root key.

use http::Method;
use serde_json::json;

use crate::byte_size::ByteSize;
use crate::cli::{GlobalArgs, LsArgs};
use crate::commands::place::split;
use crate::commands::reach::S3Connection;
use crate::exit::Failure;
use crate::output::{Table, print_json};
use crate::s3_client::{Call, ListedObject, S3Client, listing, scopes};

pub(super) async fn run(global: &GlobalArgs, args: LsArgs) -> Result<(), Failure> {
    let mut connection = S3Connection::open(global, args.vault.vault.clone()).await?;
    let listed = match &args.place {
        None => all_scopes(global, &mut connection.client).await,
        Some(place) => objects(global, &mut connection.client, place, args.recursive).await,
    };
    connection.close().await;
    listed
}

async fn all_scopes(global: &GlobalArgs, client: &mut S3Client) -> Result<(), Failure> {
    let (_, body) = client.fetch(Call::new(Method::GET, "", "")).await?;
    let found = scopes(&body)?;
    if global.json {
        let found: Vec<_> = found
            .iter()
            .map(|(scope, created)| json!({"scope": scope, "created": created}))
            .collect();
        print_json(&json!({"scopes": found}));
        return Ok(());
    }
    let mut table = Table::new(&["created", "scope"]);
    for (scope, created) in found {
        table.row([created, scope]);
    }
    table.print(0);
    Ok(())
}

async fn objects(
    global: &GlobalArgs,
    client: &mut S3Client,
    place: &str,
    recursive: bool,
) -> Result<(), Failure> {
    let (scope, prefix) = split(place)?;
    let mut next: Option<String> = None;
    let (mut objects, mut prefixes): (Vec<ListedObject>, Vec<String>) = (Vec::new(), Vec::new());
    loop {
        let mut call = Call::new(Method::GET, scope, "")
            .query("list-type", "2")
            .query("encoding-type", "url")
            .query("prefix", prefix);
        if !recursive {
            call = call.query("delimiter", "/");
        }
        if let Some(token) = next.take() {
            call = call.query("continuation-token", token);
        }
        let (_, body) = client.fetch(call).await?;
        let page = listing(&body)?;
        if global.json {
            objects.extend(page.objects);
            prefixes.extend(page.prefixes);
        } else {
            show(page.prefixes, page.objects);
        }
        match page.next {
            Some(token) => next = Some(token),
            None => break,
        }
    }
    if global.json {
        print_json(&json!({"scope": scope, "prefixes": prefixes, "objects": objects}));
    }
    Ok(())
}

/// Prints one page, so that a long listing is not held in memory.
fn show(prefixes: Vec<String>, objects: Vec<ListedObject>) {
    let mut table = Table::new(&["", ">", ""]);
    for prefix in prefixes {
        table.row(["", "folder", prefix.as_str()]);
    }
    for object in objects {
        table.row([object.modified, ByteSize(object.bytes).to_string(), object.key]);
    }
    for line in table.lines(0).into_iter().skip(1) {
        crate::output::print_line(line);
    }
}
