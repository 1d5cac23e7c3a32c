//! Forms and their policies, whole and in pieces.

use futures::StreamExt as _;
use http_body_util::StreamBody;
use proptest::prelude::*;

use super::policy::{PostError, check};
use super::*;

fn body(bytes: &[u8], piece: usize) -> RawBody {
    let frames: Vec<_> = bytes
        .chunks(piece)
        .map(|part| Ok(Frame::data(Bytes::copy_from_slice(part))))
        .collect();
    StreamBody::new(futures::stream::iter(frames)).boxed_unsync()
}

async fn read(bytes: &[u8], piece: usize) -> Result<(Form, Result<Vec<u8>, BodyError>), FormError> {
    let form = open(
        "multipart/form-data; boundary=xyz",
        body(bytes, piece),
        Duration::from_secs(5),
    )
    .await?;
    let (fields, filename) = (form.fields.clone(), form.filename.clone());
    let mut file = form.file.bounded((2, 100_000)).into_data_stream();
    let mut content = Ok(Vec::new());
    while let Some(part) = file.next().await {
        match (part, &mut content) {
            (Ok(part), Ok(content)) => content.extend_from_slice(&part),
            (Err(error), content) => *content = Err(*error.downcast::<BodyError>().unwrap()),
            (Ok(_), Err(_)) => {}
        }
    }
    let empty = open(
        "multipart/form-data; boundary=xyz",
        body(bytes, piece),
        Duration::from_secs(5),
    )
    .await?;
    Ok((
        Form {
            fields,
            filename,
            file: empty.file,
        },
        content,
    ))
}

fn form(file: &[u8]) -> Vec<u8> {
    let start = "--xyz\r\nContent-Disposition: form-data; name=\"kEy\"\r\n\r\na/b\r\n\
                 --xyz\r\nContent-Disposition: form-data; name=\"acl\"\r\nContent-Type: text/plain\r\n\r\n\r\n\
                 --xyz\r\ncontent-disposition: form-data; filename=\"C:\\dir\\f \\\"1\\\".txt\"; name=\"file\"\r\n\r\n";
    [
        start.as_bytes(),
        file,
        b"\r\n--xyz\r\nContent-Disposition: form-data; name=\"after\"\r\n\r\nx\r\n--xyz--\r\n",
    ]
    .concat()
}

#[tokio::test]
async fn fields_and_file_come_out_however_the_bytes_arrive() {
    for file in [
        &b"abc"[..],
        b"\r\n--xy",
        b"\r\n--xyw\r\n\r\n--",
        &[7; 70_000],
        b"\r\n\r\n",
    ] {
        for piece in [1, 2, 7, 64, 1 << 20] {
            let (form, content) = read(&form(file), piece).await.unwrap();
            assert_eq!(
                form.fields,
                [("key".into(), "a/b".into()), ("acl".into(), String::new())]
            );
            assert_eq!(form.filename, "f \"1\".txt");
            assert_eq!(content.unwrap(), file);
        }
    }
}

#[tokio::test]
async fn a_form_that_is_none_or_a_file_out_of_bounds_is_refused() {
    let whole = form(b"abc");
    for (bytes, error) in [
        (&b""[..], FormError::Malformed),
        (b"--xyz--\r\n", FormError::NoFile),
        (b"--xyz\r\nnothing\r\n\r\n", FormError::Malformed),
        (&whole[..40], FormError::Malformed),
    ] {
        assert_eq!(
            read(bytes, 10).await.err(),
            Some(error),
            "{}",
            String::from_utf8_lossy(bytes)
        );
    }
    let field = format!(
        "--xyz\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n{}\r\n",
        "x".repeat(FIELDS_BYTES_MAX + 1)
    );
    assert_eq!(read(field.as_bytes(), 4096).await.err(), Some(FormError::TooLong));
    let fields = "--xyz\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nx\r\n".repeat(FIELDS_MAX + 2);
    assert_eq!(
        read(fields.as_bytes(), 4096).await.err(),
        Some(FormError::TooLong)
    );
    let (_, short) = read(&form(b"a"), 4096).await.unwrap();
    assert_eq!(short, Err(BodyError::TooSmall { least: 2 }));
    let (_, long) = read(&form(&[1; 100_001]), 4096).await.unwrap();
    assert_eq!(long, Err(BodyError::TooLarge { most: 100_000 }));
    let cut = whole.windows(3).position(|part| part == b"abc").unwrap() + 3;
    let (_, broken) = read(&whole[..cut], 4096).await.unwrap();
    assert_eq!(broken, Err(BodyError::Broken));
    for content_type in [
        "multipart/form-data",
        "multipart/form-data; boundary=",
        "multipart/form-data; boundary=\"\u{e4}\"",
    ] {
        let opened = open(content_type, body(&whole, 10), Duration::from_secs(5)).await;
        assert_eq!(opened.err(), Some(FormError::Boundary));
    }
}

fn checked(policy: &str, fields: &[(&str, &str)]) -> Result<(u64, u64), PostError> {
    let fields: Vec<_> = fields
        .iter()
        .map(|&(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    check(policy.as_bytes(), &fields, "bkt", 1_000)
}

#[test]
fn a_policy_lets_pass_what_it_names_and_nothing_else() {
    let policy = |conditions: &str| {
        format!(r#"{{"expiration": "2030-01-01T00:00:00Z", "conditions": [{conditions}]}}"#)
    };
    let good = policy(
        r#"{"bucket": "bkt"}, ["starts-with", "$Key", "a/"], ["eq", "$acl", "private"], ["content-length-range", 1, 9]"#,
    );
    let fields = [
        ("key", "a/b"),
        ("acl", "private"),
        ("policy", "…"),
        ("x-amz-signature", "…"),
        ("x-ignore-me", "1"),
    ];
    assert_eq!(checked(&good, &fields), Ok((1, 9)));
    assert!(matches!(
        checked(&good, &[("key", "b/a"), ("acl", "private")]),
        Err(PostError::Condition(_))
    ));
    assert!(matches!(
        checked(&good, &[("key", "a/b")]),
        Err(PostError::Condition(_))
    ));
    let more = [("key", "a/b"), ("acl", "private"), ("x-amz-meta-a", "1")];
    assert_eq!(
        checked(&good, &more),
        Err(PostError::Extra("x-amz-meta-a".into()))
    );
    let other = policy(r#"{"bucket": "other"}, ["starts-with", "$key", ""]"#);
    assert!(matches!(
        checked(&other, &[("key", "a")]),
        Err(PostError::Condition(_))
    ));
    let expired = good.replace("2030", "1960");
    assert_eq!(checked(&expired, &fields), Err(PostError::Expired));
    for bad in [
        "[]",
        "{}",
        "",
        "not json",
        r#"{"expiration": "tomorrow", "conditions": []}"#,
        r#"{"expiration": "2030-01-01T00:00:00Z"}"#,
        r#"{"EXPIRATION": "2030-01-01T00:00:00Z", "conditions": []}"#,
        &policy("{}"),
        &policy(r#"{"a": "1", "b": "2"}"#),
        &policy(r#"["eq", "key", "a"]"#),
        &policy(r#"["like", "$key", "a"]"#),
        &policy(r#"["content-length-range", 0]"#),
        &policy(r#"["content-length-range", -1, 0]"#),
        &policy(r#"["content-length-range", 2, 1]"#),
    ] {
        assert!(matches!(checked(bad, &[]), Err(PostError::Document(_))), "{bad}");
    }
}

proptest! {
    #[test]
    fn no_bytes_break_the_reader(text in "(--xyz|\r\n|\r|\n|Content-Disposition: form-data; name=\"|file|\"|a|;|=|\\\\){0,30}", piece in 1usize..9) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let _ = runtime.block_on(read(text.as_bytes(), piece));
    }
}

#[tokio::test]
async fn fields_that_trickle_are_cut_off_and_slow_ones_are_not() {
    let open_at = |piece: usize, pause_ms: u64| async move {
        let whole = form(b"x");
        let pieces: Vec<Vec<u8>> = whole.chunks(piece).map(<[u8]>::to_vec).collect();
        let frames = futures::stream::iter(pieces).then(move |piece| async move {
            tokio::time::sleep(Duration::from_millis(pause_ms)).await;
            Ok(Frame::data(Bytes::from(piece)))
        });
        let body = StreamBody::new(Box::pin(frames)).boxed_unsync();
        let patience = Duration::from_millis(400);
        open("multipart/form-data; boundary=xyz", body, patience)
            .await
            .err()
    };
    assert_eq!(open_at(1, 20).await, Some(FormError::Slow));
    assert_eq!(open_at(200, 20).await, None);
}
