//! Slow clients: what they hold of the memory for uploads, and what is left to others.

use std::collections::HashSet;
use std::time::Duration;

use http::Method;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::Instant;
use vault::object::{Manifest, PackRef};

use crate::client::Ask;
use crate::rig::{body, object_key};
use crate::shop::{Port, Shop, get, post, put};
use crate::wire::{Answer, exchange, rest, wire};

/// The least budget that there is: about a full pack, and so much less than a chunk or two for each of the slow.
const MEMORY_BYTES: u64 = 144 * 98_304;
const SLOW: u64 = 64;
const SLOW_BYTES: usize = 500_000;

/// Sends a body in portions of a chunk, each a while after the last, until it is all sent.
async fn slowly(stream: &mut TcpStream, bytes: &[u8]) {
    for portion in bytes.chunks(70_000) {
        stream.write_all(portion).await.unwrap();
        tokio::time::sleep(Duration::from_millis(600)).await;
    }
}

async fn upload_id(shop: &Shop) -> String {
    let begun = shop.ask(post("/bkt/parts", "uploads", "", "")).await;
    begun.all("UploadId").pop().unwrap()
}

/// An object, or a part of the upload.
fn slow_put(number: u64, upload: &str) -> Ask {
    let bytes = body(number, SLOW_BYTES);
    if number.is_multiple_of(2) {
        return put(&format!("/bkt/slow-{number}"), &bytes);
    }
    let part = (number + 1).to_string();
    put("/bkt/parts", &bytes)
        .query("partNumber", &part)
        .query("uploadId", upload)
}

/// The packs of all slow objects, how many it would be if none were shared, and how many objects lie in more than one.
async fn packs_of_slow_objects(shop: &Shop) -> (HashSet<PackRef>, usize, usize) {
    let bucket = shop.rig.bucket("bkt").await;
    let (mut all, mut unshared, mut in_several) = (HashSet::new(), 0, 0);
    for number in (0..SLOW).step_by(2) {
        let key = object_key(&format!("slow-{number}"));
        let stored = shop.rig.session.object(&bucket, &key).await.unwrap();
        let Manifest::Inline(parts) = stored.object.manifest else {
            panic!("a long manifest");
        };
        let packs: HashSet<PackRef> = parts[0].extents.iter().map(|extent| extent.pack).collect();
        unshared += packs.len();
        in_several += usize::from(packs.len() > 1);
        all.extend(packs);
    }
    (all, unshared, in_several)
}

async fn connect(port: &Port) -> TcpStream {
    TcpStream::connect(port.address).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_uploads_share_one_budget_and_a_fast_client_is_not_kept_waiting() {
    let shop = Shop::open_with(|options| options.upload_memory_bytes = MEMORY_BYTES).await;
    let (port, upload) = (shop.listen(None).await, upload_id(&shop).await);
    let (mut slow, begun_slow) = (JoinSet::new(), Instant::now());
    for number in 0..SLOW {
        let (mut stream, ask) = (connect(&port).await, slow_put(number, &upload));
        slow.spawn(async move {
            slowly(&mut stream, &wire(ask.signed()).await).await;
            Answer::read(&mut stream, false).await.status
        });
    }
    let mut fast = connect(&port).await;
    let (large, mut puts, mut longest) = (body(99, 3 << 20), 0, Duration::ZERO);
    while slow.try_join_next().is_none() {
        let begun = Instant::now();
        assert_eq!(exchange(&mut fast, put("/bkt/fast", &large)).await.status, 200);
        longest = longest.max(begun.elapsed());
        puts += 1;
    }
    let slow_took = begun_slow.elapsed();
    assert!(
        puts >= 2 && longest < slow_took,
        "{puts} writes, the slowest took {longest:?}, the first of the slow {slow_took:?}"
    );
    while let Some(status) = slow.join_next().await {
        assert_eq!(status.unwrap(), 200);
    }
    for number in (0..SLOW).step_by(2) {
        let got = shop.get(&format!("/bkt/slow-{number}")).await;
        assert!(got.body == body(number, SLOW_BYTES), "{number}");
    }
    let (all, unshared, in_several) = packs_of_slow_objects(&shop).await;
    assert!(
        in_several > SLOW as usize / 4 && all.len() < unshared,
        "{in_several} left bit by bit, in {} packs; unshared {unshared}",
        all.len()
    );
    assert!(exchange(&mut fast, get("/bkt/fast")).await.body == large);
    assert_eq!(shop.rig.session.upload_memory_bytes(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn uploads_that_stall_are_dropped_and_their_memory_comes_back() {
    let shop = Shop::open_with(|options| options.upload_memory_bytes = MEMORY_BYTES)
        .await
        .patient_for(Duration::from_millis(500));
    let (port, upload) = (shop.listen(None).await, upload_id(&shop).await);
    let session = shop.rig.session.clone();
    let held = tokio::spawn(async move {
        while session.upload_memory_bytes() == 0 {
            tokio::task::yield_now().await;
        }
    });
    let mut stalled = Vec::new();
    for number in 0..SLOW {
        let mut stream = connect(&port).await;
        let bytes = wire(slow_put(number, &upload).signed()).await;
        stream.write_all(&bytes[..bytes.len() / 2]).await.unwrap();
        stalled.push(stream);
    }
    tokio::time::timeout(Duration::from_secs(20), held)
        .await
        .expect("they hold memory")
        .unwrap();
    for stream in &mut stalled {
        let said = tokio::time::timeout(Duration::from_secs(20), rest(stream)).await;
        let said = said.unwrap();
        assert!(
            said.is_empty() || said.contains("<Code>RequestTimeout</Code>"),
            "{said}"
        );
    }
    let empty = async {
        while shop.rig.session.upload_memory_bytes() > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), empty)
        .await
        .unwrap();
    assert_eq!(shop.get("/bkt").await.all("Key").len(), 0);
    assert_eq!(shop.ask(Ask::new(Method::GET, "/bkt")).await.status, 200);
}
