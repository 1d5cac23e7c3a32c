//! The house rules of ARCHITECTURE.md, checked against the sources themselves: who may import whom, where each fenced
//! dependency may be named, how long files and functions may be, which file names say nothing.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use syn::spanned::Spanned;
use syn::visit::Visit;

/// Each room and the rooms that it may depend on.
const IMPORTS: [(&str, &[&str]); 9] = [
    ("engine", &[]),
    ("scopes", &[]),
    ("activity", &["engine", "scopes"]),
    ("vault", &["engine", "scopes"]),
    ("net", &["engine", "scopes", "activity"]),
    ("s3-gateway", &["vault", "net", "activity", "scopes", "engine"]),
    (
        "cairn",
        &["engine", "scopes", "activity", "vault", "net", "s3-gateway"],
    ),
    (
        "benches",
        &[
            "engine",
            "scopes",
            "activity",
            "vault",
            "net",
            "s3-gateway",
            "cairn",
        ],
    ),
    (
        "fuzz",
        &[
            "engine",
            "scopes",
            "activity",
            "vault",
            "net",
            "s3-gateway",
            "cairn",
        ],
    ),
];

/// Rooms without an async runtime.
const SYNCHRONOUS: [&str; 4] = ["engine", "scopes", "activity", "vault"];

/// Each fenced crate and the only files (or folders) that may name it.
const FENCES: [(&str, &[&str]); 10] = [
    (
        "reed_solomon_erasure",
        &["engine/src/erasure.rs", "engine/src/erasure/"],
    ),
    ("fjall", &["engine/src/view.rs", "engine/src/view/"]),
    ("bao_tree", &["engine/src/proof.rs", "engine/src/proof/"]),
    ("aws_lc_rs", &["vault/src/seal.rs", "vault/src/seal/"]),
    ("aes_gcm", &["vault/"]),
    ("schnorrkel", &["scopes/src/wallet/sr25519.rs"]),
    (
        "k256",
        &["scopes/src/wallet/secp256k1.rs", "scopes/tests/wallets.rs"],
    ),
    ("quinn", &["net/src/peer/quic.rs", "net/src/peer/quic/"]),
    (
        "openraft",
        &["net/src/ledger/replicated.rs", "net/src/ledger/replicated/"],
    ),
    ("s3s", &S3S_FILES),
];

/// The files that speak to s3s.
const S3S_FILES: [&str; 4] = [
    "s3-gateway/src/service/",
    "s3-gateway/src/service.rs",
    "s3-gateway/src/access.rs",
    "s3-gateway/tests/",
];

const LINES_PER_FILE_MAX: usize = 500;
const LINES_PER_FUNCTION_MAX: usize = 80;
const EMPTY_NAMES: [&str; 6] = ["utils", "common", "helpers", "manager", "types", "prelude"];

/// Rooms that own formats, and so golden files.
const GOLDEN: [&str; 4] = [
    "engine/golden",
    "scopes/golden",
    "activity/golden",
    "vault/golden",
];

fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Every file below `directory`, as paths from the top with `/`.
fn walk(directory: &Path, found: &mut Vec<String>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            if !matches!(name.as_str(), "target" | ".git" | "cairn-data") {
                walk(&path, found);
            }
        } else {
            found.push(path.strip_prefix(top()).unwrap().to_string_lossy().into_owned());
        }
    }
}

fn files() -> Vec<String> {
    let mut found = Vec::new();
    walk(&top(), &mut found);
    found.sort();
    found
}

fn sources() -> Vec<(String, String)> {
    let rust = files().into_iter().filter(|path| path.ends_with(".rs"));
    rust.map(|path| (path.clone(), fs::read_to_string(top().join(path)).unwrap()))
        .collect()
}

fn assert_none(rule: &str, broken: &[String]) {
    assert!(broken.is_empty(), "{rule}:\n  {}", broken.join("\n  "));
}

fn dependencies(room: &str, table: &str) -> BTreeSet<String> {
    let manifest = fs::read_to_string(top().join(room).join("Cargo.toml")).unwrap();
    let manifest: toml::Table = manifest.parse().unwrap();
    let table = manifest.get(table).and_then(|value| value.as_table());
    table
        .map(|table| table.keys().cloned().collect())
        .unwrap_or_default()
}

#[test]
fn rooms_import_only_what_the_table_allows() {
    let rooms: BTreeSet<&str> = IMPORTS.iter().map(|(room, _)| *room).collect();
    let mut broken = Vec::new();
    for (room, allowed) in IMPORTS {
        for dependency in dependencies(room, "dependencies") {
            if rooms.contains(dependency.as_str()) && !allowed.contains(&dependency.as_str()) {
                broken.push(format!("{room} depends on {dependency}"));
            }
        }
    }
    assert_none("these rooms may not know each other", &broken);
}

#[test]
fn every_workspace_member_is_in_the_table() {
    let manifest: toml::Table = fs::read_to_string(top().join("Cargo.toml"))
        .unwrap()
        .parse()
        .unwrap();
    let members = manifest["workspace"]["members"].as_array().unwrap();
    let members: BTreeSet<&str> = members.iter().map(|member| member.as_str().unwrap()).collect();
    let table: BTreeSet<&str> = IMPORTS.iter().map(|(room, _)| *room).collect();
    assert_eq!(members, table);
}

#[test]
fn rooms_below_the_network_have_no_async_runtime() {
    let mut broken = Vec::new();
    for room in SYNCHRONOUS {
        for dependency in dependencies(room, "dependencies") {
            if matches!(dependency.as_str(), "tokio" | "futures" | "hyper" | "async-trait") {
                broken.push(format!("{room} depends on {dependency}"));
            }
        }
    }
    assert_none("these rooms plan and compute, and wait for nothing", &broken);
}

/// The crates that a file names: first segments of paths and of imports.
#[derive(Default)]
struct Named(BTreeSet<String>);

impl Visit<'_> for Named {
    fn visit_path(&mut self, path: &syn::Path) {
        if let Some(first) = path.segments.first().filter(|_| path.segments.len() > 1) {
            self.0.insert(first.ident.to_string());
        }
        syn::visit::visit_path(self, path);
    }

    fn visit_item_use(&mut self, item: &syn::ItemUse) {
        self.add_tree(&item.tree);
    }

    fn visit_item_extern_crate(&mut self, item: &syn::ItemExternCrate) {
        self.0.insert(item.ident.to_string());
    }
}

impl Named {
    /// The first names of an import: `use {a::b, c}` has two.
    fn add_tree(&mut self, tree: &syn::UseTree) {
        match tree {
            syn::UseTree::Path(path) => drop(self.0.insert(path.ident.to_string())),
            syn::UseTree::Name(name) => drop(self.0.insert(name.ident.to_string())),
            syn::UseTree::Rename(name) => drop(self.0.insert(name.ident.to_string())),
            syn::UseTree::Group(group) => group.items.iter().for_each(|tree| self.add_tree(tree)),
            syn::UseTree::Glob(_) => {}
        }
    }
}

#[test]
fn fenced_crates_are_named_only_behind_their_fence() {
    let mut broken = Vec::new();
    for (path, text) in sources() {
        let mut named = Named::default();
        named.visit_file(&syn::parse_file(&text).unwrap_or_else(|error| panic!("{path}: {error}")));
        for (fenced, places) in FENCES {
            let allowed = places.iter().any(|place| path.starts_with(place)) || is_measurement(&path);
            if named.0.contains(fenced) && !allowed {
                broken.push(format!("{path} names {fenced}"));
            }
        }
    }
    assert_none("a fenced crate is named outside its place", &broken);
}

/// What a storage peer runs, beside `engine` and `net`, which cannot import `vault` at all.
const STORAGE_PEER: [&str; 4] = ["cairn/src/node", "cairn/src/commands/node.rs", "net/", "engine/"];

#[test]
fn what_runs_as_a_storage_peer_names_nothing_that_decrypts() {
    let (mut broken, mut looked_at) = (Vec::new(), 0);
    for (path, text) in sources() {
        if !STORAGE_PEER.iter().any(|place| path.starts_with(place)) {
            continue;
        }
        looked_at += usize::from(path.starts_with("cairn/"));
        let mut named = Named::default();
        named.visit_file(&syn::parse_file(&text).unwrap_or_else(|error| panic!("{path}: {error}")));
        for secret in ["vault", "s3_gateway", "aes_gcm", "argon2"] {
            if named.0.contains(secret) {
                broken.push(format!("{path} names {secret}"));
            }
        }
    }
    assert!(
        looked_at >= 3,
        "the program's part of a storage peer is elsewhere"
    );
    assert_none("a storage peer can open nothing", &broken);
}

/// Benches compare with a crate's own figures, so they name it.
fn is_measurement(path: &str) -> bool {
    path.starts_with("benches/")
}

#[test]
fn no_file_is_longer_than_500_lines() {
    let mut broken = Vec::new();
    for (path, text) in sources() {
        let lines = text.lines().count();
        if lines > LINES_PER_FILE_MAX {
            broken.push(format!("{path} has {lines} lines"));
        }
    }
    assert_none("a file does one thing, in at most 500 lines", &broken);
}

/// Functions and their lengths in lines, from the signature to the closing brace.
struct Functions<'a> {
    path: &'a str,
    long: Vec<String>,
}

impl Functions<'_> {
    fn check(&mut self, signature: &syn::Signature, body: &syn::Block) {
        let lines = body.span().end().line - signature.span().start().line + 1;
        if lines > LINES_PER_FUNCTION_MAX {
            self.long
                .push(format!("{}: {} has {lines} lines", self.path, signature.ident));
        }
    }
}

impl Visit<'_> for Functions<'_> {
    fn visit_item_fn(&mut self, item: &syn::ItemFn) {
        self.check(&item.sig, &item.block);
        syn::visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &syn::ImplItemFn) {
        self.check(&item.sig, &item.block);
        syn::visit::visit_impl_item_fn(self, item);
    }

    fn visit_trait_item_fn(&mut self, item: &syn::TraitItemFn) {
        if let Some(body) = &item.default {
            self.check(&item.sig, body);
        }
        syn::visit::visit_trait_item_fn(self, item);
    }
}

#[test]
fn no_function_is_longer_than_80_lines() {
    let mut broken = Vec::new();
    for (path, text) in sources() {
        let mut functions = Functions {
            path: &path,
            long: Vec::new(),
        };
        functions.visit_file(&syn::parse_file(&text).unwrap_or_else(|error| panic!("{path}: {error}")));
        broken.append(&mut functions.long);
    }
    assert_none("a function fits on a screen, 80 lines", &broken);
}

#[test]
fn the_line_counter_sees_long_functions() {
    let long = format!(
        "impl X {{\n fn f() {{\n{} }}\n}}\n",
        "  g();\n".repeat(LINES_PER_FUNCTION_MAX)
    );
    let mut functions = Functions {
        path: "x",
        long: Vec::new(),
    };
    functions.visit_file(&syn::parse_file(&long).unwrap());
    assert_eq!(functions.long.len(), 1);
    let short = format!("fn f() {{\n{}}}\n", "  g();\n".repeat(LINES_PER_FUNCTION_MAX - 2));
    let mut functions = Functions {
        path: "x",
        long: Vec::new(),
    };
    functions.visit_file(&syn::parse_file(&short).unwrap());
    assert!(functions.long.is_empty());
}

#[test]
fn every_file_opens_with_what_it_is() {
    let mut broken = Vec::new();
    for (path, text) in sources() {
        // A module's unit tests say what they are by standing beside it.
        let beside = path.contains("/src/") && (path.ends_with("/tests.rs") || path.contains("/tests/"));
        if !beside && !text.starts_with("//!") {
            broken.push(path);
        }
    }
    assert_none("a module opens with //!", &broken);
}

#[test]
fn file_names_say_what_is_in_them() {
    let mut broken = Vec::new();
    for path in files() {
        let path = Path::new(&path);
        let names = path
            .iter()
            .filter_map(|part| Path::new(part).file_stem()?.to_str());
        if names.clone().any(|name| EMPTY_NAMES.contains(&name)) {
            broken.push(path.display().to_string());
        }
    }
    assert_none("a file is named after what is in it", &broken);
}

#[test]
fn no_file_names_a_path_of_one_machine() {
    let roots = [["/wo", "rk/"], ["/fa", "rm/"], ["/ho", "me/"], ["/ro", "ot/"]].map(|parts| parts.concat());
    let mut broken = Vec::new();
    for path in files() {
        // Binary golden files and corpora are not text.
        let Ok(text) = fs::read_to_string(top().join(&path)) else {
            continue;
        };
        for (number, line) in text.lines().enumerate() {
            if roots.iter().any(|root| names_path(line, root)) {
                broken.push(format!("{path}:{}", number + 1));
            }
        }
    }
    assert_none("a path that exists on one machine only", &broken);
}

/// Whether `root` stands in `line` as the start of an absolute path, and not inside a longer one or a URL.
fn names_path(line: &str, root: &str) -> bool {
    line.match_indices(root).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + root.len()..].chars().next();
        before.is_none_or(|c| !c.is_ascii_alphanumeric() && !matches!(c, '.' | '/' | '-' | '_' | '}'))
            && after.is_some_and(|c| c.is_ascii_lowercase() || c == '.')
    })
}

#[test]
fn every_test_that_the_page_of_advisories_names_is_there() {
    let page = fs::read_to_string(top().join("docs/advisories.md")).unwrap();
    let sources: String = sources().into_iter().map(|(_, text)| text).collect();
    let rows: Vec<&str> = page.lines().filter(|line| line.starts_with("| S")).collect();
    let mut broken = Vec::new();
    for (number, row) in rows.iter().enumerate() {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        if cells.get(1) != Some(&format!("S{}", number + 1).as_str()) {
            broken.push(format!("{row}: out of order"));
        }
        let named: Vec<&str> = row
            .split('`')
            .skip(1)
            .step_by(2)
            .filter(|name| name.contains('_'))
            .collect();
        if named.is_empty() && !row.contains("none here") {
            broken.push(format!("{row}: names no test"));
        }
        let missing = named
            .iter()
            .filter(|name| !sources.contains(&format!("fn {name}(")));
        broken.extend(missing.map(|name| format!("{}: no test {name}", cells.get(1).unwrap())));
    }
    assert_eq!(rows.len(), 45);
    assert_none("docs/advisories.md names tests that exist", &broken);
}

#[test]
fn the_gateway_has_no_client_of_its_own() {
    // A server that calls where a client says can be sent anywhere.
    let clients = ["reqwest", "ureq", "curl", "isahc", "surf", "hickory-resolver"];
    let names = dependencies("s3-gateway", "dependencies");
    assert!(clients.iter().all(|client| !names.contains(*client)));
    let manifest = fs::read_to_string(top().join("s3-gateway/Cargo.toml")).unwrap();
    assert!(!manifest.contains("\"client"), "no HTTP client as a feature");
    let dials = [
        "TcpStream::connect",
        "UdpSocket",
        "lookup_host",
        "client::conn",
        "client::legacy",
    ];
    let mut broken = Vec::new();
    for (path, text) in sources() {
        if path.starts_with("s3-gateway/src/") {
            broken.extend(
                dials
                    .iter()
                    .filter(|dial| text.contains(**dial))
                    .map(|dial| format!("{path}: {dial}")),
            );
        }
    }
    assert_none("the gateway connects to nobody", &broken);
}

#[test]
fn rooms_with_formats_have_golden_files() {
    for directory in GOLDEN {
        let entries = fs::read_dir(top().join(directory))
            .map(Iterator::count)
            .unwrap_or(0);
        assert!(entries > 0, "{directory}/ is missing or empty");
    }
}
