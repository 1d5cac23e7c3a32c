//! What a bucket opens to others: anonymous requests and credentials of another vault, by policy and by access control list.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use engine::disk::RealDisk;
use http::Method;
use s3_gateway::gate::{Gate, GateConfig};
use s3_gateway::host::{Hosts, Peer};
use s3_gateway::service::Front;
use s3_gateway::session::{NewCredential, Secret, Session};
use s3_gateway::sessions::Sessions;
use scopes::{OperationSet, ScopeSet, VaultId, Window};
use serde_json::{Value, json};
use vault::keys::{Keyring, RootKey};

use crate::client::{Ask, REGION, Reply, SECRET};
use crate::shop::{Shop, get, put, refused};

/// A gateway over two vaults: the shop's, and one whose credential is `OTHER`.
struct Two {
    shop: Shop,
    gate: Gate<Sessions, Front>,
}

impl Two {
    async fn open(directory: &Path) -> Self {
        let shop = Shop::open().await;
        let (mut parts, _) = crate::rig::parts(Arc::new(RealDisk), directory, true)
            .await
            .unwrap();
        parts.keyring = Keyring::new(RootKey::from_bytes([8; 32]), VaultId([8; 16]));
        let other = Session::open(parts).await.unwrap();
        let new = NewCredential {
            label: String::new(),
            scopes: ScopeSet::All,
            operations: OperationSet::all(),
            window: Window::default(),
            owner: false,
            fixed: Some(("OTHERVAULTSKEY".to_owned(), Secret::new(SECRET.to_owned()))),
        };
        other.create_credential(new).await.unwrap();
        let sessions = Sessions::new(vec![shop.rig.session.clone(), other]);
        let config = GateConfig {
            region: REGION.to_owned(),
            hosts: Hosts::default(),
            host_id: "two".to_owned(),
            body_patience: Duration::from_secs(10),
        };
        let front = Front::new(sessions.clone(), REGION.to_owned());
        let gate = Gate::new(config, sessions, front);
        Self { shop, gate }
    }

    async fn send(&self, request: http::Request<s3_gateway::body::RawBody>) -> Reply {
        let peer = Peer {
            address: "127.0.0.1".parse().unwrap(),
            tls: false,
        };
        Reply::of(self.gate.serve(request, peer).await).await
    }

    /// Asks without any credentials.
    async fn nobody(&self, ask: Ask) -> Reply {
        self.send(ask.build()).await
    }

    /// Asks as the owner of the shop's vault.
    async fn owner(&self, ask: Ask) -> Reply {
        self.send(ask.signed()).await
    }

    /// Asks with the other vault's credential.
    async fn other(&self, mut ask: Ask) -> Reply {
        ask.key = "OTHERVAULTSKEY".into();
        self.send(ask.signed()).await
    }

    async fn policy(&self, statements: Value) {
        let text = json!({"Version": "2012-10-17", "Statement": statements}).to_string();
        let reply = self.owner(put("/bkt", text.as_bytes()).query("policy", "")).await;
        assert_eq!(reply.status, 204, "{}", reply.text);
    }
}

fn statement(effect: &str, principal: Value, action: &str, resource: &str) -> Value {
    let resource = format!("arn:aws:s3:::{resource}");
    json!({"Effect": effect, "Principal": principal, "Action": action, "Resource": resource})
}

fn delete(path: &str) -> Ask {
    Ask::new(Method::DELETE, path)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_never_shared_is_not_there_for_others() {
    let dir = tempfile::tempdir().unwrap();
    let two = Two::open(dir.path()).await;
    assert_eq!(two.owner(put("/bkt/o", b"mine")).await.status, 200);
    let denied = refused("AccessDenied", 403);
    for ask in [
        get("/"),
        get("/bkt"),
        get("/bkt/o"),
        get("/none/o"),
        put("/bkt/o", b"x"),
        put("/new", b""),
        delete("/bkt/o"),
        delete("/bkt"),
        get("/bkt").query("policy", ""),
        put("/bkt", b"{}").query("policy", ""),
        put("/bkt", b"").query("acl", "").set("x-amz-acl", "public-read"),
        get("/bkt").query("nonsense", "").query("torrent", ""),
    ] {
        let what = format!("{} {} {:?}", ask.method, ask.path, ask.query);
        assert_eq!(two.nobody(ask).await.outcome(), denied, "{what}");
    }
    assert_eq!(
        two.other(get("/bkt/o")).await.outcome(),
        refused("NoSuchBucket", 404)
    );
    // Two vaults may have a bucket of the same name, and each sees its own.
    assert_eq!(two.other(put("/bkt", b"")).await.status, 200);
    assert_eq!(two.other(put("/bkt/o", b"theirs")).await.status, 200);
    assert_eq!(two.owner(get("/bkt/o")).await.text, "mine");
    assert_eq!(two.other(get("/bkt/o")).await.text, "theirs");
    assert_eq!(two.other(delete("/bkt/o")).await.status, 204);
    assert_eq!(two.owner(get("/bkt/o")).await.text, "mine");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_opens_what_it_grants_and_no_more() {
    let dir = tempfile::tempdir().unwrap();
    let two = Two::open(dir.path()).await;
    let acl = |path: &str, name: &str| put(path, b"").query("acl", "").set("x-amz-acl", name);
    let open = put("/bkt/open", b"x").set("x-amz-acl", "public-read");
    assert_eq!(two.owner(open).await.status, 200);
    assert_eq!(two.owner(put("/bkt/closed", b"x")).await.status, 200);
    assert_eq!(two.nobody(get("/bkt/open")).await.text, "x");
    assert_eq!(
        two.nobody(get("/bkt/closed")).await.outcome(),
        refused("AccessDenied", 403)
    );
    assert_eq!(
        two.nobody(get("/bkt/none")).await.outcome(),
        refused("AccessDenied", 403)
    );
    assert_eq!(
        two.nobody(get("/bkt")).await.outcome(),
        refused("AccessDenied", 403)
    );
    assert_eq!(two.owner(acl("/bkt", "public-read")).await.status, 200);
    assert_eq!(two.nobody(get("/bkt")).await.all("Key"), ["closed", "open"]);
    assert_eq!(
        two.nobody(get("/bkt/none")).await.outcome(),
        refused("NoSuchKey", 404)
    );
    assert_eq!(
        two.nobody(put("/bkt/new", b"x")).await.outcome(),
        refused("AccessDenied", 403)
    );
    assert_eq!(two.owner(acl("/bkt", "public-read-write")).await.status, 200);
    assert_eq!(two.nobody(put("/bkt/new", b"x")).await.status, 200);
    assert_eq!(two.other(delete("/bkt/new")).await.status, 204);
    assert_eq!(
        two.owner(acl("/bkt/closed", "authenticated-read")).await.status,
        200
    );
    assert_eq!(two.other(get("/bkt/closed")).await.text, "x");
    assert_eq!(
        two.nobody(get("/bkt/closed")).await.outcome(),
        refused("AccessDenied", 403)
    );
    let grants = two.owner(get("/bkt/closed").query("acl", "")).await;
    assert_eq!(grants.all("Permission"), ["READ", "FULL_CONTROL"]);
    assert!(
        grants.all("URI")[0].ends_with("/AuthenticatedUsers"),
        "{}",
        grants.text
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_block_of_public_access_and_the_owners_enforcement_close_what_lists_opened() {
    let dir = tempfile::tempdir().unwrap();
    let two = Two::open(dir.path()).await;
    let acl = |path: &str, name: &str| put(path, b"").query("acl", "").set("x-amz-acl", name);
    let open = put("/bkt/open", b"x").set("x-amz-acl", "public-read");
    assert_eq!(two.owner(open).await.status, 200);
    let block = |what: &str| {
        let text =
            format!("<PublicAccessBlockConfiguration><{what}>true</{what}></PublicAccessBlockConfiguration>");
        put("/bkt", text.as_bytes()).query("publicAccessBlock", "")
    };
    assert_eq!(two.owner(block("BlockPublicAcls")).await.status, 200);
    assert_eq!(two.nobody(get("/bkt/open")).await.text, "x");
    assert_eq!(
        two.owner(acl("/bkt", "public-read")).await.outcome(),
        refused("AccessDenied", 403)
    );
    assert_eq!(
        two.owner(acl("/bkt/open", "public-read")).await.outcome(),
        refused("AccessDenied", 403)
    );
    let public = put("/bkt/p", b"x").set("x-amz-acl", "public-read");
    assert_eq!(two.owner(public).await.outcome(), refused("AccessDenied", 403));
    assert_eq!(two.owner(block("IgnorePublicAcls")).await.status, 200);
    assert_eq!(
        two.nobody(get("/bkt/open")).await.outcome(),
        refused("AccessDenied", 403)
    );
    assert_eq!(
        two.owner(delete("/bkt").query("publicAccessBlock", ""))
            .await
            .status,
        204
    );
    assert_eq!(two.nobody(get("/bkt/open")).await.text, "x");
    let enforced = b"<OwnershipControls><Rule><ObjectOwnership>BucketOwnerEnforced</ObjectOwnership></Rule></OwnershipControls>";
    assert_eq!(
        two.owner(put("/bkt", enforced).query("ownershipControls", ""))
            .await
            .status,
        200
    );
    assert_eq!(
        two.nobody(get("/bkt/open")).await.outcome(),
        refused("AccessDenied", 403)
    );
    let reply = two.owner(acl("/bkt/open", "public-read")).await;
    assert_eq!(reply.outcome(), refused("AccessControlListNotSupported", 400));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_policy_opens_and_closes_and_locks_nobody_out() {
    let dir = tempfile::tempdir().unwrap();
    let two = Two::open(dir.path()).await;
    for key in ["pub/a", "pub/b", "team/a", "own/a"] {
        assert_eq!(
            two.owner(put(&format!("/bkt/{key}"), key.as_bytes()))
                .await
                .status,
            200
        );
    }
    let other = json!({"AWS": format!("arn:aws:iam::{}:root", VaultId([8; 16]))});
    two.policy(json!([
        statement("Allow", json!("*"), "s3:GetObject", "bkt/pub/*"),
        statement("Allow", other, "s3:*", "bkt/team/*"),
        statement("Deny", json!("*"), "s3:DeleteObject", "bkt/own/*"),
        statement("Deny", json!("*"), "s3:GetBucketPolicy", "bkt"),
    ]))
    .await;
    let denied = refused("AccessDenied", 403);
    assert_eq!(two.nobody(get("/bkt/pub/a")).await.text, "pub/a");
    assert_eq!(two.nobody(get("/bkt/team/a")).await.outcome(), denied);
    assert_eq!(two.nobody(get("/bkt")).await.outcome(), denied);
    assert_eq!(two.nobody(put("/bkt/pub/a", b"x")).await.outcome(), denied);
    assert_eq!(two.other(get("/bkt/team/a")).await.text, "team/a");
    assert_eq!(two.other(put("/bkt/team/b", b"x")).await.status, 200);
    assert_eq!(two.other(get("/bkt/own/a")).await.outcome(), denied);
    // What a policy denies, it denies to the owner too, one key at a time.
    assert_eq!(two.owner(delete("/bkt/own/a")).await.outcome(), denied);
    let list = "<Delete><Object><Key>own/a</Key></Object><Object><Key>pub/b</Key></Object></Delete>";
    let md5 = {
        use base64::Engine as _;
        use md5::Digest as _;
        base64::engine::general_purpose::STANDARD.encode(md5::Md5::digest(list))
    };
    let multi = |ask: Ask| ask.query("delete", "").set("content-md5", &md5);
    let reply = two
        .owner(multi(Ask::new(Method::POST, "/bkt").body(list.as_bytes())))
        .await;
    assert_eq!(
        (reply.all("Code"), reply.all("Key")),
        (
            vec!["AccessDenied".to_owned()],
            vec!["pub/b".to_owned(), "own/a".to_owned()]
        ),
        "{}",
        reply.text
    );
    // The policy itself stays in its owner's hands, and nobody else's.
    assert_eq!(two.owner(get("/bkt").query("policy", "")).await.status, 200);
    assert_eq!(
        two.other(get("/bkt").query("policy", "")).await.outcome(),
        refused("NoSuchBucket", 404)
    );
    assert_eq!(
        two.owner(get("/bkt").query("policyStatus", ""))
            .await
            .all("IsPublic"),
        ["true"]
    );
    // Another vault's credential gets no more than its owner gave it either.
    assert_eq!(two.owner(delete("/bkt").query("policy", "")).await.status, 204);
    assert_eq!(two.owner(delete("/bkt/own/a")).await.status, 204);
    assert_eq!(two.nobody(get("/bkt/pub/a")).await.outcome(), denied);
    let reply = two.owner(get("/bkt").query("policy", "")).await;
    assert_eq!(reply.outcome(), refused("NoSuchBucketPolicy", 404));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conditions_of_a_policy_are_asked_of_the_request() {
    let dir = tempfile::tempdir().unwrap();
    let two = Two::open(dir.path()).await;
    let tagged = put("/bkt/o", b"x").set("x-amz-tagging", "class=open");
    assert_eq!(two.owner(tagged).await.status, 200);
    let with = |action: &str, resource: &str, condition: Value| {
        let mut one = statement("Allow", json!("*"), action, resource);
        one["Condition"] = condition;
        one
    };
    let referer = || get("/bkt/o").set("referer", "http://good.org/x");
    #[rustfmt::skip]
    let cases = [
        (with("s3:GetObject", "bkt/*", json!({"StringLike": {"aws:Referer": "http://good.org/*"}})), referer(), get("/bkt/o")),
        (with("s3:GetObject", "bkt/*", json!({"IpAddress": {"aws:SourceIp": "127.0.0.0/8"}})), get("/bkt/o"), put("/bkt/o", b"")),
        (with("s3:GetObject", "bkt/*", json!({"Bool": {"aws:SecureTransport": "false"}})), get("/bkt/o"), put("/bkt/o", b"")),
        (with("s3:ListBucket", "bkt", json!({"StringLike": {"s3:prefix": "a/*"}})), get("/bkt").query("prefix", "a%2Fb"), get("/bkt").query("prefix", "b")),
        (with("s3:ListBucket", "bkt", json!({"StringNotEquals": {"s3:prefix": "b"}})), get("/bkt").query("prefix", "a"), get("/bkt").query("prefix", "a").query("prefix", "b")),
        (with("s3:GetObject", "bkt/*", json!({"StringEquals": {"s3:ExistingObjectTag/class": "open"}})), get("/bkt/o"), get("/bkt/p")),
        (with("s3:PutObject", "bkt/*", json!({"StringEquals": {"s3:RequestObjectTag/class": "new"}})), put("/bkt/p", b"").set("x-amz-tagging", "class=new"), put("/bkt/p", b"")),
        (with("s3:PutObject", "bkt/*", json!({"Null": {"s3:x-amz-server-side-encryption": "false"}})), put("/bkt/p", b"").set("x-amz-server-side-encryption", "AES256"), put("/bkt/p", b"")),
    ];
    for (one, good, bad) in cases {
        let said = one["Condition"].to_string();
        two.policy(json!([one])).await;
        let reply = two.nobody(good).await;
        assert!(reply.status < 300, "{said}: {}", reply.text);
        assert_eq!(
            two.nobody(bad).await.outcome(),
            refused("AccessDenied", 403),
            "{said}"
        );
    }
    let bad = json!({"Version": "2012-10-17", "Statement": statement("Allow", json!("*"), "s3:Fly", "bkt")});
    let reply = two
        .owner(put("/bkt", bad.to_string().as_bytes()).query("policy", ""))
        .await;
    assert_eq!(reply.outcome(), refused("MalformedPolicy", 400));
    drop(two.shop);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn others_neither_lock_what_they_write_nor_say_how_it_is_shown() {
    let dir = tempfile::tempdir().unwrap();
    let two = Two::open(dir.path()).await;
    let locked = put("/lck", b"").set("x-amz-bucket-object-lock-enabled", "true");
    assert_eq!(
        two.owner(locked.set("x-amz-acl", "public-read-write"))
            .await
            .status,
        200
    );
    let lock = || put("/lck/o", b"x").set("x-amz-object-lock-legal-hold", "ON");
    let denied = refused("AccessDenied", 403);
    assert_eq!(two.nobody(lock()).await.outcome(), denied);
    assert_eq!(two.other(lock()).await.outcome(), denied);
    let public = || put("/lck/p", b"x").set("x-amz-acl", "public-read");
    assert_eq!(two.nobody(public()).await.outcome(), denied);
    assert_eq!(two.owner(public()).await.status, 200);
    assert_eq!(two.nobody(get("/lck/p")).await.text, "x");
    let shown = || get("/lck/p").query("response-content-type", "text%2Fhtml");
    assert_eq!(
        two.nobody(shown()).await.outcome(),
        refused("InvalidRequest", 400)
    );
    assert_eq!(two.owner(shown()).await.header("content-type"), "text/html");
    // Governance is its owner's to bypass, also where another vault's credential may delete.
    two.policy(json!([statement("Allow", json!("*"), "s3:*", "bkt/*")]))
        .await;
    assert_eq!(two.owner(put("/bkt/o", b"x")).await.status, 200);
    let version = delete("/bkt/o").query("versionId", "null");
    let bypass = version.set("x-amz-bypass-governance-retention", "true");
    assert_eq!(two.other(bypass).await.outcome(), denied);
    assert_eq!(two.other(delete("/bkt/o")).await.status, 204);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_only_writes_opens_nothing_to_others_and_takes_no_hold_off() {
    let dir = tempfile::tempdir().unwrap();
    let two = Two::open(dir.path()).await;
    let locked = put("/lck", b"").set("x-amz-bucket-object-lock-enabled", "true");
    assert_eq!(two.owner(locked).await.status, 200);
    assert_eq!(two.owner(put("/lck/o", b"x")).await.status, 200);
    two.shop
        .credential("writer", ScopeSet::All, "read,write,delete".parse().unwrap())
        .await;
    let writer = async |ask: Ask| {
        let key = "writer".to_owned();
        two.send(Ask { key, ..ask }.signed()).await.outcome()
    };
    let denied = refused("AccessDenied", 403);
    let public = |ask: Ask| ask.set("x-amz-acl", "public-read");
    assert_eq!(writer(public(put("/lck/o", b"").query("acl", ""))).await, denied);
    assert_eq!(writer(public(put("/lck/p", b"x"))).await, denied);
    let hold = |status: &str| {
        let xml = format!("<LegalHold><Status>{status}</Status></LegalHold>");
        put("/lck/o", xml.as_bytes()).query("legal-hold", "")
    };
    assert_eq!(writer(hold("ON")).await, refused("", 200));
    assert_eq!(writer(hold("OFF")).await, denied);
    assert_eq!(two.owner(hold("OFF")).await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_that_lets_others_write_takes_no_old_version_away_and_no_policy_lets_them_configure() {
    let dir = tempfile::tempdir().unwrap();
    let two = Two::open(dir.path()).await;
    let on = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>";
    assert_eq!(
        two.owner(put("/bkt", on).query("versioning", "")).await.status,
        200
    );
    let id = two
        .owner(put("/bkt/o", b"1"))
        .await
        .header("x-amz-version-id")
        .to_owned();
    let open = put("/bkt", b"")
        .query("acl", "")
        .set("x-amz-acl", "public-read-write");
    assert_eq!(two.owner(open).await.status, 200);
    let denied = refused("AccessDenied", 403);
    let for_good = delete("/bkt/o").query("versionId", &id);
    assert_eq!(two.nobody(for_good).await.outcome(), denied);
    assert_eq!(two.nobody(delete("/bkt/o")).await.status, 204);
    assert_eq!(two.owner(get("/bkt/o").query("versionId", &id)).await.text, "1");
    let everything = json!({"Version": "2012-10-17", "Statement": [{
        "Effect": "Allow", "Principal": "*", "Action": "s3:*",
        "Resource": ["arn:aws:s3:::bkt", "arn:aws:s3:::bkt/*"],
    }]});
    let policy = put("/bkt", everything.to_string().as_bytes()).query("policy", "");
    assert_eq!(two.owner(policy).await.status, 204);
    let off = b"<VersioningConfiguration><Status>Suspended</Status></VersioningConfiguration>";
    for setting in ["versioning", "lifecycle", "acl", "cors", "publicAccessBlock"] {
        let ask = put("/bkt", off).query(setting, "");
        assert_eq!(two.nobody(ask).await.outcome(), denied, "{setting}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_policy_about_a_copys_source_sees_the_key_that_is_copied() {
    let dir = tempfile::tempdir().unwrap();
    let two = Two::open(dir.path()).await;
    for path in ["/bkt/public", "/bkt/public%3Fx", "/bkt/public%3Fx%20y"] {
        assert_eq!(two.owner(put(path, path.as_bytes())).await.status, 200);
    }
    let copies = async |source: &str, named: &str| {
        let mut deny = statement("Deny", json!("*"), "s3:PutObject", "bkt/*");
        deny["Condition"] = json!({"StringNotLike": {"s3:x-amz-copy-source": named}});
        two.policy(json!([deny])).await;
        let copy = put("/bkt/copy", b"").set("x-amz-copy-source", source);
        two.owner(copy).await.status == 200
    };
    for (source, key) in [
        ("bkt/public", "bkt/public"),
        ("/bkt/public?versionId=null", "bkt/public"),
        ("bkt/public?x", "bkt/public?x"),
        ("bkt/public%3Fx", "bkt/public?x"),
        ("bkt/public?x?versionId=null", "bkt/public?x"),
        ("bkt/public?x+y", "bkt/public?x y"),
    ] {
        for named in ["bkt/public", "bkt/public?x", "bkt/public?x y"] {
            assert_eq!(copies(source, named).await, named == key, "{source} as {named}");
        }
    }
}
