//! Seeds of what an owner says of a bucket and what a browser posts.

use s3_gateway::service::parsers::OWNER;

use super::Seed;

fn texts<const N: usize>(seeds: [(&'static str, &str); N]) -> Vec<Seed> {
    seeds
        .into_iter()
        .map(|(name, text)| (name, text.as_bytes().to_vec()))
        .collect()
}

pub(super) fn bucket_policy() -> Vec<Seed> {
    let of = |statement: &str| format!(r#"{{"Version":"2012-10-17","Statement":[{statement}]}}"#);
    let allow =
        r#""Effect":"Allow","Principal":"*","Action":"s3:GetObject","Resource":"arn:aws:s3:::photos/*""#;
    texts([
        ("public", &of(&format!("{{{allow}}}"))),
        (
            "deny",
            &of(
                r#"{"Sid":"no","Effect":"Deny","Principal":{"AWS":["*"]},"Action":["s3:Put*","s3:DeleteObject"],"Resource":["arn:aws:s3:::photos","arn:aws:s3:::photos/a/*"]}"#,
            ),
        ),
        (
            "address",
            &of(&format!(
                r#"{{{allow},"Condition":{{"IpAddress":{{"aws:SourceIp":["10.0.0.0/8","::1/128"]}}}}}}"#
            )),
        ),
        (
            "conditions",
            &of(&format!(
                r#"{{{allow},"Condition":{{"StringLike":{{"aws:Referer":"http://a/*"}},"Bool":{{"aws:SecureTransport":"true"}},"DateLessThan":{{"aws:CurrentTime":"2030-01-01T00:00:00Z"}}}}}}"#
            )),
        ),
        (
            "except",
            &of(
                r#"{"Effect":"Deny","NotPrincipal":{"AWS":"0707"},"NotAction":"s3:Get*","NotResource":"arn:aws:s3:::photos/b"}"#,
            ),
        ),
    ])
}

pub(super) fn post_form() -> Vec<Seed> {
    let part = |name: &str, value: &str| {
        format!("--xyz\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
    };
    let file = |name: &str, value: &str| {
        format!(
            "--xyz\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{name}\"\r\nContent-Type: text/plain\r\n\r\n{value}\r\n"
        )
    };
    let form = |parts: &[String]| format!("{}--xyz--\r\n", parts.concat());
    texts([
        (
            "plain",
            &form(&[part("key", "a/${filename}"), file("f.txt", "meow")]),
        ),
        ("empty-file", &form(&[part("key", "a"), file("", "")])),
        (
            "after",
            &form(&[
                part("Key", "a"),
                part("acl", "private"),
                file("C:\\d\\f", "--xy\r\n--x"),
                part("later", "1"),
            ]),
        ),
        (
            "preamble",
            &format!("before\r\n{}", form(&[part("key", ""), file("../../f", "x")])),
        ),
        ("only-file", &form(&[file("f \\\"1\\\"", "\r\n\r\n")])),
    ])
}

pub(super) fn post_policy() -> Vec<Seed> {
    let of = |conditions: &str| {
        format!(r#"{{"expiration":"2100-01-01T00:00:00.000Z","conditions":[{conditions}]}}"#)
    };
    let rest = r#"{"acl":"private"},["starts-with","$Content-Type","text/"]"#;
    texts([
        (
            "plain",
            &of(&format!(r#"{{"bucket":"photos"}},{{"key":"up/a"}},{rest}"#)),
        ),
        (
            "prefix",
            &of(&format!(
                r#"["eq","$bucket","photos"],["starts-with","$key","up/"],{rest}"#
            )),
        ),
        (
            "length",
            &of(&format!(
                r#"{{"bucket":"photos"}},["starts-with","$key",""],["content-length-range",1,1048576],{rest}"#
            )),
        ),
        (
            "any",
            &of(
                r#"["starts-with","$bucket",""],["starts-with","$key",""],["starts-with","$acl",""],["starts-with","$Content-Type",""]"#,
            ),
        ),
        (
            "twice",
            &of(&format!(
                r#"{{"bucket":"photos"}},{{"key":"up/a"}},["content-length-range",0,10],["content-length-range","5","20"],{rest}"#
            )),
        ),
    ])
}

pub(super) fn cors_rules() -> Vec<Seed> {
    let of = |rules: &str| {
        format!(
            "<CORSConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">{rules}</CORSConfiguration>"
        )
    };
    let rule = |more: &str| {
        format!(
            "<CORSRule><AllowedOrigin>https://*.example.org</AllowedOrigin><AllowedMethod>GET</AllowedMethod>{more}</CORSRule>"
        )
    };
    texts([
        ("plain", &of(&rule(""))),
        (
            "any",
            &of(
                "<CORSRule><AllowedOrigin>*</AllowedOrigin><AllowedMethod>PUT</AllowedMethod><AllowedMethod>GET</AllowedMethod></CORSRule>",
            ),
        ),
        (
            "headers",
            &of(&rule(
                "<AllowedHeader>x-amz-*</AllowedHeader><ExposeHeader>ETag</ExposeHeader><MaxAgeSeconds>3000</MaxAgeSeconds>",
            )),
        ),
        ("id", &of(&rule("<ID>one &amp; only</ID>"))),
        (
            "two",
            &of(&format!(
                "{}{}",
                rule("<ID>1</ID>"),
                rule("<MaxAgeSeconds>0</MaxAgeSeconds>")
            )),
        ),
    ])
}

pub(super) fn access_list() -> Vec<Seed> {
    let of = |grants: &str| {
        format!(
            "<AccessControlPolicy><Owner><ID>{OWNER}</ID></Owner><AccessControlList>{grants}</AccessControlList></AccessControlPolicy>"
        )
    };
    let grant = |kind: &str, who: &str, permission: &str| {
        format!(
            "<Grant><Grantee xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\" xsi:type=\"{kind}\">{who}</Grantee><Permission>{permission}</Permission></Grant>"
        )
    };
    let own = grant(
        "CanonicalUser",
        &format!("<ID>{OWNER}</ID><DisplayName>me</DisplayName>"),
        "FULL_CONTROL",
    );
    let group = |name: &str, permission: &str| {
        grant(
            "Group",
            &format!("<URI>http://acs.amazonaws.com/groups/global/{name}</URI>"),
            permission,
        )
    };
    texts([
        ("own", &of(&own)),
        ("public", &of(&format!("{own}{}", group("AllUsers", "READ")))),
        (
            "authenticated",
            &of(&format!("{}{own}", group("AuthenticatedUsers", "READ_ACP"))),
        ),
        ("none", &of("")),
        (
            "write",
            &of(&format!(
                "{}{}",
                group("AllUsers", "WRITE"),
                group("AllUsers", "WRITE_ACP")
            )),
        ),
    ])
}

pub(super) fn lifecycle_rules() -> Vec<Seed> {
    let of = |rules: &str| format!("<LifecycleConfiguration>{rules}</LifecycleConfiguration>");
    let rule = |filter: &str, action: &str| {
        format!("<Rule><ID>r</ID>{filter}<Status>Enabled</Status>{action}</Rule>")
    };
    let days = "<Expiration><Days>30</Days></Expiration>";
    texts([
        (
            "days",
            &of(&rule("<Filter><Prefix>logs/</Prefix></Filter>", days)),
        ),
        ("prefix", &of(&rule("<Prefix>old/</Prefix>", days))),
        (
            "date",
            &of(&rule(
                "<Filter/>",
                "<Expiration><Date>2030-01-01T00:00:00Z</Date></Expiration>",
            )),
        ),
        (
            "and",
            &of(&rule(
                "<Filter><And><Prefix>a</Prefix><Tag><Key>k</Key><Value>v</Value></Tag><ObjectSizeGreaterThan>1</ObjectSizeGreaterThan><ObjectSizeLessThan>99</ObjectSizeLessThan></And></Filter>",
                days,
            )),
        ),
        (
            "versions",
            &of(&rule(
                "<Filter><Prefix></Prefix></Filter>",
                "<NoncurrentVersionExpiration><NoncurrentDays>5</NoncurrentDays><NewerNoncurrentVersions>2</NewerNoncurrentVersions></NoncurrentVersionExpiration><AbortIncompleteMultipartUpload><DaysAfterInitiation>7</DaysAfterInitiation></AbortIncompleteMultipartUpload>",
            )),
        ),
        (
            "markers",
            &of(&rule(
                "<Filter><Tag><Key>k</Key><Value></Value></Tag></Filter>",
                "<Expiration><Days>1</Days></Expiration>",
            )),
        ),
    ])
}

pub(super) fn tagging_header() -> Vec<Seed> {
    texts([
        ("one", "key=value"),
        ("two", "a=1&b=2"),
        ("encoded", "a%20b=c%2Fd&e+f=%C3%A9"),
        ("empty-value", "k=&l"),
        ("most", "a=1&b=2&c=3&d=4&e=5&f=6&g=7&h=8&i=9&j=10"),
    ])
}

pub(super) fn copy_source() -> Vec<Seed> {
    texts([
        ("plain", "photos/a/b"),
        ("slash", "/photos/a/b"),
        ("encoded", "/photos/a%2Fb%20c%C3%A9"),
        ("version", "photos/a?versionId=null"),
        ("odd", "photos/../a//b"),
        ("plus", "photos/a+b?c+d?versionId=e+f"),
    ])
}
