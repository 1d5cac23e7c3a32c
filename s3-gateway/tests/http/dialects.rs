//! What clients write in more ways than one, read as AWS reads it.

use crate::shop::{Shop, get, post, put, refused};

/// The CRC32 of nothing, as it stands in a URL.
const CRC32_OF_NOTHING: &str = "AAAAAA%3D%3D";

async fn delete(shop: &Shop, key: &str) -> Vec<String> {
    use base64::Engine as _;
    use md5::Digest as _;
    let xml = format!("<Delete><Object><Key>{key}</Key></Object></Delete>");
    let md5 = base64::engine::general_purpose::STANDARD.encode(md5::Md5::digest(&xml));
    let reply = shop
        .ask(post("/bkt", "delete", "", &xml).set("content-md5", &md5))
        .await;
    assert_eq!(reply.status, 200, "{key}: {}", reply.text);
    reply.all("Key")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_in_a_body_is_the_same_as_reference_as_cdata_and_as_text() {
    let shop = Shop::open().await;
    for (path, key) in [
        ("/bkt/%F0%9F%AA%A8", "&#129704;"),
        ("/bkt/%F0%9F%AA%A8", "&#x1faa8;"),
        ("/bkt/%C3%BC%E6%97%A5", "&#252;&#26085;"),
        ("/bkt/xyz", "x<![CDATA[y]]>z"),
        ("/bkt/a%26b%3Cc", "<![CDATA[a&b<c]]>"),
        ("/bkt/a%20", "<![CDATA[a ]]>"),
    ] {
        shop.put("/bkt/xz", b"beside").await;
        shop.put(path, b"1").await;
        delete(&shop, key).await;
        assert_eq!(shop.get(path).await.status, 404, "{key}");
        assert_eq!(shop.get("/bkt/xz").await.status, 200, "{key}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plus_in_the_name_of_a_copys_source_is_a_space() {
    let shop = Shop::open().await;
    shop.put("/bkt/a%20b", b"space").await;
    shop.put("/bkt/a%2Bb", b"plus").await;
    for (source, content) in [
        ("bkt/a+b", "space"),
        ("bkt/a%20b", "space"),
        ("/bkt/a%2Bb", "plus"),
    ] {
        let copied = shop
            .ask(put("/bkt/copy", b"").set("x-amz-copy-source", source))
            .await;
        assert_eq!(copied.status, 200, "{source}: {}", copied.text);
        assert_eq!(shop.get("/bkt/copy").await.text, content, "{source}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_url_signed_with_the_checksum_of_nothing_takes_any_body_and_one_with_another_checksum_only_its_own()
{
    let shop = Shop::open().await;
    let url = |checksum: &str| {
        put("/bkt/o", b"hello")
            .query("x-amz-checksum-crc32", checksum)
            .query("x-amz-sdk-checksum-algorithm", "CRC32")
    };
    assert_eq!(shop.send(url(CRC32_OF_NOTHING).presigned(60)).await.status, 200);
    assert_eq!(shop.get("/bkt/o").await.text, "hello");
    let own = shop.send(url("NhCmhg%3D%3D").presigned(60)).await;
    assert_eq!(own.status, 200, "{}", own.text);
    let other = shop.send(url("AAAAAQ%3D%3D").presigned(60)).await;
    assert_eq!(other.outcome(), refused("BadDigest", 400));
    // In a header it was sent with the body, and counts.
    let sent = put("/bkt/o", b"hello").set("x-amz-checksum-crc32", "AAAAAA==");
    assert_eq!(shop.ask(sent).await.outcome(), refused("BadDigest", 400));
    assert_eq!(shop.ask(get("/bkt/o")).await.text, "hello");
}
