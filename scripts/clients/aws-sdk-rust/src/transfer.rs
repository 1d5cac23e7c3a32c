//! Objects in, listed, out again, copied and deleted.

use aws_sdk_s3::primitives::{ByteStream, Length};
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart, Delete, ObjectIdentifier};

use crate::{Outcome, Work, equal, said};

const PART_BYTES: usize = 8 << 20;
/// What a multi-delete takes.
const DELETED_AT_ONCE_MAX: usize = 1000;

pub(crate) async fn make_bucket(work: &Work) -> Outcome {
    let made = work.s3.create_bucket().bucket(&work.bucket).send().await;
    made.map(drop).map_err(said)
}

pub(crate) async fn remove_bucket(work: &Work) -> Outcome {
    let gone = work.s3.delete_bucket().bucket(&work.bucket).send().await;
    gone.map(drop).map_err(said)
}

pub(crate) async fn put(work: &Work) -> Outcome {
    for (name, bytes) in &work.samples {
        work.put(name, bytes).await?;
    }
    Ok(())
}

/// The file in parts, each read from disk as it is sent.
pub(crate) async fn multipart(work: &Work) -> Outcome {
    let (bucket, key) = (&work.bucket, "large.bin");
    let begun = work.s3.create_multipart_upload().bucket(bucket).key(key).send();
    let id = begun.await.map_err(said)?.upload_id.unwrap_or_default();
    let mut parts = Vec::new();
    for (at, offset) in (0..work.large.len()).step_by(PART_BYTES).enumerate() {
        let length = PART_BYTES.min(work.large.len() - offset) as u64;
        let body = ByteStream::read_from()
            .path(&work.large_path)
            .offset(offset as u64);
        let body = body.length(Length::Exact(length)).build().await?;
        let number = i32::try_from(at + 1)?;
        let part = work.s3.upload_part().bucket(bucket).key(key).upload_id(&id);
        let part = part.part_number(number).body(body).send().await.map_err(said)?;
        let done = CompletedPart::builder().part_number(number).set_e_tag(part.e_tag);
        parts.push(done.set_checksum_crc32(part.checksum_crc32).build());
    }
    complete(work, key, &id, parts).await
}

async fn complete(work: &Work, key: &str, id: &str, parts: Vec<CompletedPart>) -> Outcome {
    let parts = CompletedMultipartUpload::builder().set_parts(Some(parts)).build();
    let done = work.s3.complete_multipart_upload().bucket(&work.bucket).key(key);
    let done = done.upload_id(id).multipart_upload(parts).send().await;
    done.map(drop).map_err(said)
}

pub(crate) async fn list(work: &Work) -> Outcome {
    let mut listed = Vec::new();
    let mut pages = work
        .s3
        .list_objects_v2()
        .bucket(&work.bucket)
        .into_paginator()
        .send();
    while let Some(page) = pages.next().await {
        let page = page.map_err(said)?;
        listed.extend(
            page.contents
                .unwrap_or_default()
                .into_iter()
                .filter_map(|object| object.key),
        );
    }
    let mut want: Vec<String> = work.samples.keys().cloned().collect();
    want.push("large.bin".to_owned());
    want.sort();
    equal(listed, want, "the listing")
}

pub(crate) async fn get(work: &mut Work) -> Outcome {
    for (name, bytes) in work.samples.clone() {
        let got = work.read(&name).await?;
        work.same(&got, &bytes, &name)?;
    }
    let (got, large) = (work.read("large.bin").await?, work.large.clone());
    work.same(&got, &large, "large.bin")
}

pub(crate) async fn range(work: &mut Work) -> Outcome {
    let got = work.s3.get_object().bucket(&work.bucket).key("large.bin");
    let got = got.range("bytes=8388600-8388700").send().await.map_err(said)?;
    let (got, want) = (
        got.body.collect().await?,
        work.large[8_388_600..=8_388_700].to_vec(),
    );
    work.same(&got.to_vec(), &want, "a range")
}

pub(crate) async fn copy(work: &mut Work) -> Outcome {
    let (name, to) = ("odd/plus+sign.bin", "copies/ünï code/");
    let source = format!("{}/{}", work.bucket, name.replace('+', "%2B"));
    let copied = work
        .s3
        .copy_object()
        .bucket(&work.bucket)
        .key(to)
        .copy_source(source);
    copied.send().await.map_err(said)?;
    let (got, want) = (work.read(to).await?, work.samples[name].clone());
    work.same(&got, &want, "a copy")?;

    let (bucket, key) = (&work.bucket, "copies/parts");
    let begun = work.s3.create_multipart_upload().bucket(bucket).key(key).send();
    let id = begun.await.map_err(said)?.upload_id.unwrap_or_default();
    let mut parts = Vec::new();
    for (number, range) in [
        (1, format!("0-{}", PART_BYTES - 1)),
        (2, format!("{PART_BYTES}-{}", work.large.len() - 1)),
    ] {
        let part = work
            .s3
            .upload_part_copy()
            .bucket(bucket)
            .key(key)
            .upload_id(&id)
            .part_number(number);
        let part = part
            .copy_source(format!("{bucket}/large.bin"))
            .copy_source_range(format!("bytes={range}"));
        let part = part.send().await.map_err(said)?.copy_part_result;
        let done = CompletedPart::builder().part_number(number);
        parts.push(done.set_e_tag(part.and_then(|part| part.e_tag)).build());
    }
    complete(work, key, &id, parts).await?;
    let (got, large) = (work.read(key).await?, work.large.clone());
    work.same(&got, &large, "a copy in parts")
}

/// Every version of everything.
pub(crate) async fn delete_all(work: &Work) -> Outcome {
    let mut every = Vec::new();
    let (mut key, mut id) = (None, None);
    loop {
        let page = work.s3.list_object_versions().bucket(&work.bucket);
        let page = page
            .set_key_marker(key)
            .set_version_id_marker(id)
            .send()
            .await
            .map_err(said)?;
        let versions = page
            .versions
            .unwrap_or_default()
            .into_iter()
            .map(|v| (v.key, v.version_id));
        every.extend(versions);
        let markers = page
            .delete_markers
            .unwrap_or_default()
            .into_iter()
            .map(|m| (m.key, m.version_id));
        every.extend(markers);
        if page.is_truncated != Some(true) {
            break;
        }
        (key, id) = (page.next_key_marker, page.next_version_id_marker);
    }
    for some in every.chunks(DELETED_AT_ONCE_MAX) {
        let mut objects = Vec::new();
        for (key, version) in some {
            let object = ObjectIdentifier::builder().set_key(key.clone());
            objects.push(object.set_version_id(version.clone()).build()?);
        }
        let objects = Delete::builder().set_objects(Some(objects)).build()?;
        let gone = work
            .s3
            .delete_objects()
            .bucket(&work.bucket)
            .delete(objects)
            .send();
        let errors = gone.await.map_err(said)?.errors.unwrap_or_default();
        equal(errors, Vec::new(), "errors of the delete")?;
    }
    Ok(())
}
