//! Server-side encryption as headers speak of it: kept with the object, given back, and reached by no other header.

use crate::shop::{Shop, get, post, put, refused};

const SSE: &str = "x-amz-server-side-encryption";
const KEY_ID: &str = "x-amz-server-side-encryption-aws-kms-key-id";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_named_algorithm_and_key_come_back_with_the_object_and_not_with_its_copy() {
    let shop = Shop::open().await;
    let kms = put("/bkt/o", b"x").set(SSE, "aws:kms").set(KEY_ID, "key-1");
    let reply = shop.ask(kms.set("x-amz-meta-a", "b")).await;
    assert_eq!(
        (reply.status, reply.header(SSE), reply.header(KEY_ID)),
        (200, "aws:kms", "key-1")
    );
    let reply = shop.get("/bkt/o").await;
    assert_eq!((reply.header(SSE), reply.header(KEY_ID)), ("aws:kms", "key-1"));
    let copy = |to: &str| put(to, b"").set("x-amz-copy-source", "/bkt/o");
    assert_eq!(shop.ask(copy("/bkt/plain")).await.header(SSE), "");
    let reply = shop.get("/bkt/plain").await;
    assert_eq!((reply.header(SSE), reply.header("x-amz-meta-a")), ("", "b"));
    assert_eq!(
        shop.ask(copy("/bkt/s3").set(SSE, "AES256")).await.header(SSE),
        "AES256"
    );
    let reply = shop.get("/bkt/s3").await;
    assert_eq!((reply.header(SSE), reply.header(KEY_ID)), ("AES256", ""));
    // A copy onto itself that changes nothing else.
    assert_eq!(
        shop.ask(copy("/bkt/o")).await.outcome(),
        refused("InvalidRequest", 400)
    );
    assert_eq!(shop.ask(copy("/bkt/o").set(SSE, "AES256")).await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_and_its_parts_are_answered_as_its_beginning_asked() {
    let shop = Shop::open().await;
    let begun = shop
        .ask(post("/bkt/m", "uploads", "", "").set(SSE, "AES256"))
        .await;
    assert_eq!((begun.status, begun.header(SSE)), (200, "AES256"));
    let id = begun.all("UploadId").remove(0);
    let part = put("/bkt/m", b"x")
        .query("partNumber", "1")
        .query("uploadId", &id);
    let part = shop.ask(part).await;
    assert_eq!(part.header(SSE), "AES256");
    let list = format!(
        "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{}</ETag></Part></CompleteMultipartUpload>",
        part.header("etag").replace('"', "&quot;")
    );
    let done = shop.ask(post("/bkt/m", "uploadId", &id, &list)).await;
    assert_eq!((done.status, done.header(SSE)), (200, "AES256"), "{}", done.text);
    assert_eq!(shop.get("/bkt/m").await.header(SSE), "AES256");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn headers_of_encryption_that_make_no_sense_are_refused() {
    let shop = Shop::open().await;
    assert_eq!(shop.put("/bkt/o", b"x").await.status, 200);
    for ask in [
        put("/bkt/p", b"x").set(SSE, "aes:kms"),
        put("/bkt/p", b"x").set(KEY_ID, "key-1"),
        put("/bkt/p", b"x").set(SSE, "AES256").set(KEY_ID, "key-1"),
        get("/bkt/o").set(SSE, "AES256"),
    ] {
        assert_eq!(shop.ask(ask).await.outcome(), refused("InvalidArgument", 400));
    }
    assert_eq!(shop.get("/bkt/p").await.outcome(), refused("NoSuchKey", 404));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn user_metadata_beyond_ascii_is_kept_as_text_and_returned_as_an_encoded_word() {
    let shop = Shop::open().await;
    let word = "=?UTF-8?B?5L2g5aW977yM5LiW55WM?=";
    for sent in ["你好，世界", word] {
        assert_eq!(
            shop.ask(put("/bkt/o", b"x").set("x-amz-meta-a", sent))
                .await
                .status,
            200
        );
        assert_eq!(shop.get("/bkt/o").await.header("x-amz-meta-a"), word);
    }
}
