//! A multipart upload, as a client makes one.

use crate::client::Ask;
use crate::shop::{Shop, get, post, put};

pub(crate) fn base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

/// An upload under way.
pub(crate) struct Upload<'a> {
    shop: &'a Shop,
    path: &'a str,
    pub(crate) id: String,
}

impl<'a> Upload<'a> {
    pub(crate) async fn begin(shop: &'a Shop, path: &'a str) -> Self {
        Self::begin_with(shop, path, "", "").await
    }

    /// With a checksum algorithm and a type, where they are not empty.
    pub(crate) async fn begin_with(shop: &'a Shop, path: &'a str, algorithm: &str, kind: &str) -> Self {
        let reply = shop.ask(creation(path, algorithm, kind)).await;
        assert_eq!(reply.status, 200, "{}", reply.text);
        let id = reply.all("UploadId").pop().unwrap();
        Self { shop, path, id }
    }

    /// An upload that was begun otherwise.
    pub(crate) fn known(shop: &'a Shop, path: &'a str, id: String) -> Self {
        Self { shop, path, id }
    }

    pub(crate) fn part(&self, number: usize, body: &[u8]) -> Ask {
        put(self.path, body)
            .query("partNumber", &number.to_string())
            .query("uploadId", &self.id)
    }

    /// Uploads a part and returns its ETag.
    pub(crate) async fn put(&self, number: usize, body: &[u8]) -> String {
        let reply = self.shop.ask(self.part(number, body)).await;
        assert_eq!(reply.status, 200, "{}", reply.text);
        reply.header("etag").to_owned()
    }

    pub(crate) fn complete(&self, parts: &[(usize, &str)]) -> Ask {
        self.complete_with(parts, "", &[])
    }

    /// Repeats the checksums of the first parts, as many as are given.
    pub(crate) fn complete_with(&self, parts: &[(usize, &str)], algorithm: &str, sums: &[Vec<u8>]) -> Ask {
        let parts: String = parts
            .iter()
            .enumerate()
            .map(|(at, (n, etag))| {
                let sum = sums.get(at).map_or(String::new(), |sum| {
                    format!("<Checksum{algorithm}>{}</Checksum{algorithm}>", base64(sum))
                });
                format!("<Part><PartNumber>{n}</PartNumber><ETag>{etag}</ETag>{sum}</Part>")
            })
            .collect();
        let xml = format!("<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>");
        post(self.path, "uploadId", &self.id, &xml)
    }

    pub(crate) async fn is_open(&self) -> bool {
        self.shop
            .ask(get(self.path).query("uploadId", &self.id))
            .await
            .status
            == 200
    }
}

/// What begins an upload with a checksum algorithm and a type, where they are not empty.
pub(crate) fn creation(path: &str, algorithm: &str, kind: &str) -> Ask {
    let mut ask = post(path, "uploads", "", "");
    if !algorithm.is_empty() {
        ask = ask.set("x-amz-checksum-algorithm", algorithm);
    }
    if !kind.is_empty() {
        ask = ask.set("x-amz-checksum-type", kind);
    }
    ask
}
