//! GetObjectAttributes.

use crate::client::Ask;
use crate::shop::{Shop, get, post, put, refused};

/// Uploads an object in parts of 5 MiB and 7 bytes; returns the parts' checksums.
async fn upload(shop: &Shop) -> Vec<String> {
    let begin = post("/bkt/m", "uploads", "", "").set("x-amz-checksum-algorithm", "SHA256");
    let id = shop.ask(begin).await.all("UploadId").remove(0);
    let (mut list, mut sums) = (String::new(), Vec::new());
    for (number, bytes) in [(1, 5 << 20), (2, 7)] {
        let part = put("/bkt/m", &vec![b'x'; bytes]).query("partNumber", &number.to_string());
        let part = shop.ask(part.query("uploadId", &id)).await;
        let (etag, sum) = (
            part.header("etag").trim_matches('"'),
            part.header("x-amz-checksum-sha256"),
        );
        list.push_str(&format!(
            "<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag><ChecksumSHA256>{sum}</ChecksumSHA256></Part>"
        ));
        sums.push(sum.to_owned());
    }
    let list = format!("<CompleteMultipartUpload>{list}</CompleteMultipartUpload>");
    let done = shop.ask(post("/bkt/m", "uploadId", &id, &list)).await;
    assert_eq!(done.status, 200, "{}", done.text);
    sums
}

fn about(attributes: &str) -> Ask {
    get("/bkt/m")
        .query("attributes", "")
        .set("x-amz-object-attributes", attributes)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_known_of_an_object_and_its_parts_is_told_without_its_bytes() {
    let shop = Shop::open().await;
    let sums = upload(&shop).await;
    let all = || about("ETag,Checksum,ObjectParts,StorageClass,ObjectSize");
    let reply = shop.ask(all()).await;
    assert_eq!(
        reply.all("ObjectSize"),
        [((5 << 20) + 7).to_string()],
        "{}",
        reply.text
    );
    let etag = shop
        .get("/bkt/m")
        .await
        .header("etag")
        .trim_matches('"')
        .to_owned();
    assert_eq!(reply.all("ETag"), [etag]);
    assert_eq!(reply.all("PartNumber"), ["1", "2"]);
    assert_eq!(reply.all("PartsCount"), ["2"]);
    let told = reply.all("ChecksumSHA256");
    assert!(sums.iter().all(|sum| told.contains(sum)), "{}", reply.text);
    assert_eq!(reply.all("StorageClass"), ["STANDARD"]);
    assert_eq!(reply.all("ChecksumType"), ["COMPOSITE"]);
    let second = all()
        .set("x-amz-max-parts", "1")
        .set("x-amz-part-number-marker", "1");
    let page = shop.ask(second).await;
    assert_eq!(page.all("PartNumber"), ["2"]);
    assert_eq!(page.all("IsTruncated"), ["false"]);
    let second = get("/bkt/m")
        .query("partNumber", "2")
        .set("x-amz-checksum-mode", "ENABLED");
    assert_eq!(shop.ask(second).await.header("x-amz-checksum-sha256"), sums[1]);
    let one = shop.ask(about("ObjectSize")).await;
    assert!(
        !one.text.contains("ETag") && !one.text.contains("Part"),
        "{}",
        one.text
    );
    assert_eq!(
        shop.ask(about("Colour")).await.outcome(),
        refused("InvalidArgument", 400)
    );
    let none = get("/bkt/m").query("attributes", "");
    assert_eq!(shop.ask(none).await.outcome(), refused("InvalidRequest", 400));
}
