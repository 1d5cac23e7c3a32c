//! The gateway's verifier against the one in s3s: the same requests, good ones and ones altered in one place, have to
//! get the same verdict from both, but where s3s is known to be laxer, which is said by name.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use futures::StreamExt as _;
use http::request::Parts;
use http::{HeaderName, HeaderValue, Method, Request};
use http_body_util::{BodyExt as _, Full};
use s3_gateway::body::RawBody;
use s3s::access::{S3Access, S3AccessContext};
use s3s::auth::SimpleAuth;
use s3s::dto::{PutObjectInput, PutObjectOutput};
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s::{S3, S3Request, S3Response, S3Result, s3_error};

use crate::client::{Ask, Bench, KEY, SECRET, signed_chunks};

const SIGNED_CHUNKS: &str = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD";

/// s3s with its own verifier, as it would stand without a gate.
struct Oracle {
    service: S3Service,
    passed: Arc<AtomicBool>,
}

/// Reads bodies to their end and keeps nothing.
struct Sink;

#[async_trait::async_trait]
impl S3 for Sink {
    async fn put_object(&self, request: S3Request<PutObjectInput>) -> S3Result<S3Response<PutObjectOutput>> {
        if let Some(mut body) = request.input.body {
            while let Some(part) = body.next().await {
                part.map_err(|_| s3_error!(IncompleteBody))?;
            }
        }
        Ok(S3Response::new(PutObjectOutput::default()))
    }
}

/// Notes that a signature held, and lets everything pass.
struct Noting(Arc<AtomicBool>);

#[async_trait::async_trait]
impl S3Access for Noting {
    async fn check(&self, _context: &mut S3AccessContext<'_>) -> S3Result<()> {
        self.0.store(true, Ordering::Relaxed);
        Ok(())
    }
}

impl Oracle {
    fn new() -> Self {
        let passed = Arc::new(AtomicBool::new(false));
        let mut builder = S3ServiceBuilder::new(Sink);
        builder.set_auth(SimpleAuth::from_single(KEY, SECRET));
        builder.set_access(Noting(Arc::clone(&passed)));
        Self {
            service: builder.build(),
            passed,
        }
    }

    /// Whether s3s takes a request and, if it is a PUT, its body.
    async fn accepts(&self, case: &Case) -> bool {
        self.passed.store(false, Ordering::Relaxed);
        let body = s3s::Body::from(case.body.clone());
        let request = Request::from_parts(case.head.clone(), body);
        let answer = self.service.call(request).await;
        let whole =
            case.head.method != Method::PUT || answer.is_ok_and(|answer| answer.status().is_success());
        self.passed.load(Ordering::Relaxed) && whole
    }
}

/// A request that can be sent twice.
#[derive(Clone)]
struct Case {
    head: Parts,
    body: Bytes,
}

impl Case {
    async fn of(request: Request<RawBody>) -> Self {
        let (head, body) = request.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Self { head, body }
    }

    /// Whether the gate takes it, body included.
    async fn passes(&self, bench: &Bench) -> bool {
        let body = Full::new(self.body.clone()).map_err(|never| match never {});
        let request = Request::from_parts(self.head.clone(), body.boxed_unsync());
        bench.send(request).await.status == 200
    }

    fn set_uri(&mut self, uri: &str) {
        self.head.uri = uri.parse().unwrap();
    }

    fn header(&self, name: &str) -> &str {
        self.head
            .headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }

    fn set_header(&mut self, name: &str, value: &str) {
        let name: HeaderName = name.parse().unwrap();
        self.head
            .headers
            .insert(name, HeaderValue::from_str(value).unwrap());
    }

    fn show(&self) -> String {
        let body = self.body.escape_ascii().to_string();
        format!(
            "{} {}\n{:#?}\n{body:.300}",
            self.head.method, self.head.uri, self.head.headers
        )
    }
}

/// Numbers that follow from a seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from((self.0 >> 11) % sides as u64).unwrap()
    }

    fn pick<'a>(&mut self, all: &[&'a str]) -> &'a str {
        all[self.roll(all.len())]
    }

    fn text(&mut self, from: &[&str], most: usize) -> String {
        (0..1 + self.roll(most)).map(|_| self.pick(from)).collect()
    }
}

/// What keys and values are made of: reserved characters, escapes that look like escapes, other scripts, dots.
const ODD: [&str; 36] = [
    "a", "Z", "0", " ", "%", "%25", "%2F", "+", "é", "ключ", "😀", "/", "//", "..", ".", "\\", "~", "!", "*",
    "'", "(", ")", "=", "&", "?", "#", ":", "@", ",", ";", "$", "\"", "<", "\u{1}", "_", "-",
];
/// The same for header values, which are ASCII.
const SPACED: [&str; 9] = ["a", "B", " ", "  ", "\t", ",", "\"q  r\"", "=", ";"];

fn encode(text: &str, kept: &[u8]) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || kept.contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// A good request of any kind.
async fn draw(dice: &mut Dice) -> Case {
    let method = [Method::GET, Method::HEAD, Method::PUT, Method::DELETE][dice.roll(4)].clone();
    let key = format!("k{}", dice.text(&ODD, 12));
    let mut ask = Ask::new(method.clone(), &format!("/photos/{}", encode(&key, b"/")));
    let mut names = ["prefix", "marker", "x-odd", "é", "a b"].to_vec();
    for _ in 0..dice.roll(4) {
        let name = names.swap_remove(dice.roll(names.len()));
        let value = if dice.roll(4) == 0 {
            String::new()
        } else {
            dice.text(&ODD, 6)
        };
        ask = ask.query(&encode(name, b""), &encode(&value, b""));
    }
    // s3s sorts the values of a repeated header and takes no repeated metadata.
    for (name, most) in [("x-amz-meta-a", 1), ("x-amz-meta-b", 1), ("x-other", 3)] {
        let mut values: Vec<String> = (0..dice.roll(most + 1))
            .map(|_| format!("v{}", dice.text(&SPACED, 5)))
            .collect();
        values.sort();
        ask.headers
            .extend(values.into_iter().map(|value| (name.into(), value)));
    }
    let body: Vec<u8> = (0..dice.roll(300))
        .map(|_| u8::try_from(dice.roll(256)).unwrap())
        .collect();
    let presigned = dice.roll(3) == 0;
    let request = match (method == Method::PUT, presigned) {
        (true, true) => ask.body(&body).presigned(60),
        (false, true) => ask.presigned(60),
        (false, false) => ask.signed(),
        (true, false) => match dice.roll(3) {
            0 => ask.body(&body).signed(),
            1 => ask.body(&body).payload("UNSIGNED-PAYLOAD").signed(),
            _ => chunked(ask, &body, 1 + dice.roll(200)),
        },
    };
    let mut case = Case::of(request).await;
    loosen(dice, &mut case);
    case
}

fn chunked(ask: Ask, body: &[u8], chunk: usize) -> Request<RawBody> {
    let bytes = body.chunks(chunk).chain(std::iter::once(&[][..]));
    // `<hex>;chunk-signature=<64 digits>` and two line ends.
    let framed: usize = bytes
        .map(|part| format!("{:x}", part.len()).len() + 85 + part.len())
        .sum();
    let ask = ask.body(body).payload(SIGNED_CHUNKS);
    let ask = ask
        .set("x-amz-decoded-content-length", &body.len().to_string())
        .set("content-length", &framed.to_string());
    ask.signed_with(|signed, body| signed_chunks(signed, body, chunk, None))
}

/// Writes a path in another way that means the same: the signature is over the one canonical spelling.
fn loosen(dice: &mut Dice, case: &mut Case) {
    let uri = case.head.uri.to_string();
    let (path, query) = uri
        .split_once('?')
        .map_or((uri.as_str(), ""), |(path, query)| (path, query));
    let (path, mut query) = match dice.roll(3) {
        0 => (
            path.replace("%21", "!").replace("%40", "@").replace("%3A", ":"),
            query.to_owned(),
        ),
        1 => (path.replace("%2A", "%2a").replace("%C3", "%c3"), query.to_owned()),
        _ => (path.to_owned(), query.replace("%20", "+").replace("%2A", "*")),
    };
    if !query.is_empty() {
        query.insert(0, '?');
    }
    case.set_uri(&format!("{path}{query}"));
}

/// One alteration; `None` where it does not apply.
type Alter = fn(&mut Dice, &mut Case) -> Option<()>;

/// Alterations, and whether s3s is known to take what they make although the gate refuses it.
const ALTERATIONS: [(&str, bool, Alter); 18] = [
    ("nothing", false, |_, _| Some(())),
    ("an unsigned header of no weight", false, |_, case| {
        case.set_header("user-agent", "another");
        Some(())
    }),
    ("spaces around a header", false, |_, case| {
        let spaced = format!("  {} ", case.header("x-amz-meta-a"));
        (case.head.headers.get_all("x-amz-meta-a").iter().count() == 1).then(|| {
            case.set_header("x-amz-meta-a", &spaced);
        })
    }),
    ("the method", false, |_, case| {
        let get = case.head.method == Method::GET;
        case.head.method = if get { Method::DELETE } else { Method::GET };
        Some(())
    }),
    ("a character more in the key", false, |dice, case| {
        let more = encode(dice.pick(&ODD), b"");
        let uri = case
            .head
            .uri
            .to_string()
            .replacen("/photos/", &format!("/photos/{more}"), 1);
        case.set_uri(&uri);
        Some(())
    }),
    ("an escape escaped once more", false, |_, case| {
        let uri = case.head.uri.to_string();
        uri.contains('%')
            .then(|| case.set_uri(&uri.replacen('%', "%25", 1)))
    }),
    ("the bucket", false, |_, case| {
        let uri = case.head.uri.to_string().replacen("photos", "photoz", 1);
        case.set_uri(&uri);
        Some(())
    }),
    ("a query parameter more", false, |_, case| {
        let uri = case.head.uri.to_string();
        let joint = if uri.contains('?') { '&' } else { '?' };
        case.set_uri(&format!("{uri}{joint}delimiter=x"));
        Some(())
    }),
    ("a query parameter less", false, |_, case| {
        let uri = case.head.uri.to_string();
        let (path, query) = uri.split_once('?')?;
        let (_, rest) = query.split_once('&').unwrap_or((query, ""));
        case.set_uri(&format!("{path}?{rest}"));
        Some(())
    }),
    ("a query value", false, |_, case| {
        let uri = case.head.uri.to_string();
        uri.contains("prefix=")
            .then(|| case.set_uri(&uri.replacen("prefix=", "prefix=x", 1)))
    }),
    ("a signed header's value", false, |_, case| {
        let changed = format!("{}x", case.header("x-amz-meta-b"));
        case.head
            .headers
            .contains_key("x-amz-meta-b")
            .then(|| case.set_header("x-amz-meta-b", &changed))
    }),
    ("a signed header less", false, |_, case| {
        case.head.headers.remove("x-amz-meta-a").map(drop)
    }),
    ("the host", false, |_, case| {
        case.set_header("host", "127.0.0.2:9000");
        Some(())
    }),
    ("an unsigned x-amz header", true, |_, case| {
        case.set_header("x-amz-added", "public-read");
        Some(())
    }),
    ("a digit of the signature", false, |dice, case| {
        altered_signature(dice, case)
    }),
    ("the scope's region", false, |_, case| {
        scope(case, "us-east-1", "us-east-2")
    }),
    ("the scope's service", false, |_, case| {
        scope(case, "s3/aws4", "s4/aws4")
    }),
    ("a byte of a signed body", false, |dice, case| {
        let signed = !["", "UNSIGNED-PAYLOAD"].contains(&case.header("x-amz-content-sha256"));
        let mut body = case.body.to_vec();
        let end = body
            .len()
            .checked_sub(2)
            .filter(|_| signed && case.head.method == Method::PUT)?;
        let at = dice.roll(end.max(1));
        *body.get_mut(at)? ^= 1;
        case.body = body.into();
        Some(())
    }),
];

fn altered_signature(dice: &mut Dice, case: &mut Case) -> Option<()> {
    let flip = |text: &str, at: usize| {
        let mut bytes = text.as_bytes().to_vec();
        bytes[at] = if bytes[at] == b'0' { b'1' } else { b'0' };
        String::from_utf8(bytes).unwrap()
    };
    let (mut value, in_header) = match case.header("authorization") {
        "" => (case.head.uri.to_string(), false),
        value => (value.to_owned(), true),
    };
    let start = value.rfind("Signature=")? + "Signature=".len();
    value = flip(&value, start + dice.roll(64));
    if in_header {
        case.set_header("authorization", &value);
    } else {
        case.set_uri(&value);
    }
    Some(())
}

fn scope(case: &mut Case, from: &str, to: &str) -> Option<()> {
    match case.header("authorization").to_owned().as_str() {
        "" => {
            let escaped = |text: &str| text.replace('/', "%2F");
            let uri = case
                .head
                .uri
                .to_string()
                .replacen(&escaped(from), &escaped(to), 1);
            case.set_uri(&uri);
        }
        value => case.set_header("authorization", &value.replacen(from, to, 1)),
    }
    Some(())
}

#[tokio::test]
async fn both_verifiers_agree_on_good_requests_and_on_ones_altered_in_one_place() {
    let seed = match std::env::var("CAIRN_ORACLE_SEED") {
        Ok(text) => text.parse().unwrap(),
        Err(_) => random_seed(),
    };
    println!("CAIRN_ORACLE_SEED={seed}");
    let (bench, oracle, mut dice) = (Bench::new(), Oracle::new(), Dice(seed | 1));
    let mut seen = [[0; 2]; ALTERATIONS.len()];
    for round in 0..1_500 {
        let good = draw(&mut dice).await;
        let which = round % ALTERATIONS.len();
        let (name, laxer, alter) = ALTERATIONS[which];
        let mut case = good.clone();
        if alter(&mut dice, &mut case).is_none() {
            continue;
        }
        let (ours, theirs) = (case.passes(&bench).await, oracle.accepts(&case).await);
        let known = laxer && !ours && theirs;
        assert!(
            ours == theirs || known,
            "{name}: the gate says {ours}, s3s {theirs}\n{}",
            case.show()
        );
        assert!(
            which > 2 || ours,
            "{name}: a good request was refused\n{}",
            case.show()
        );
        seen[which][usize::from(ours)] += 1;
    }
    for ((name, ..), [refused, passed]) in ALTERATIONS.iter().zip(seen).skip(3) {
        assert!(
            refused > 0 && passed == 0,
            "{name}: {refused} refused, {passed} passed"
        );
    }
}

fn random_seed() -> u64 {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).unwrap();
    u64::from_le_bytes(bytes)
}

/// What s3s takes and the gate does not; should s3s become stricter, a name can go.
#[tokio::test]
async fn where_s3s_is_laxer_than_the_gate() {
    let put = || Ask::new(Method::PUT, "/photos/k").body(b"meow");
    let mut unsigned_host = put();
    unsigned_host.leave_out.push("host".into());
    let mut foreign_region = put();
    foreign_region.region = "eu-west-1".into();
    let mut other_service = put();
    other_service.service = "sts".into();
    let mut raw_path = put();
    raw_path.path = "/photos/a!b".into();
    let mut descending = put();
    descending.query = vec![("a".into(), "1".into()), ("a".into(), "2".into())];
    let cut = chunked(put(), b"meow", 4);
    let mut cut = Case::of(cut).await;
    cut.body.truncate(cut.body.len() - 86);
    let mut descending = Case::of(descending.signed()).await;
    descending.set_uri("/photos/k?a=2&a=1");
    let cases = [
        ("host is not signed", Case::of(unsigned_host.signed()).await),
        ("a foreign region", Case::of(foreign_region.signed()).await),
        ("the service sts", Case::of(other_service.signed()).await),
        (
            "a URL of more than seven days",
            Case::of(put().presigned(604_801)).await,
        ),
        (
            "a session token that nobody gave out",
            Case::of(put().set("x-amz-security-token", "anything").signed()).await,
        ),
        (
            "a path signed in another spelling than the canonical one",
            Case::of(raw_path.signed()).await,
        ),
        ("a chunked body without its end", cut),
    ];
    let (bench, oracle) = (Bench::new(), Oracle::new());
    for (name, case) in cases {
        assert!(oracle.accepts(&case).await, "{name}: s3s refuses it by now");
        assert!(!case.passes(&bench).await, "{name}: the gate takes it");
    }
    // And two the other way round, as the specification says: a repeated parameter is sorted by its value too, and the
    // values of a repeated header are not sorted.
    let mut repeated = put();
    repeated
        .headers
        .extend(["b", "a"].map(|value| ("x-amz-meta-r".into(), value.into())));
    for case in [descending, Case::of(repeated.signed()).await] {
        assert!(
            case.passes(&bench).await && !oracle.accepts(&case).await,
            "{}",
            case.show()
        );
    }
}
