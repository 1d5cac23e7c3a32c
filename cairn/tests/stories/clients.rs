//! Real S3 clients, where they are installed: boto3 and the aws command line. Where they are not, the story says so.

use std::process::{Command, Stdio};

use super::process::{Place, content, text};

const BOTO3: &str = r#"
import os, sys, hashlib, boto3
from botocore.config import Config
from botocore.exceptions import ClientError
s3 = boto3.client('s3', endpoint_url=sys.argv[1], region_name='us-east-1', config=Config(retries={'max_attempts': 1}))
s3.create_bucket(Bucket='boto')
body = os.urandom(300000)
put = s3.put_object(Bucket='boto', Key='dir/ä b+c', Body=body, Metadata={'colour': 'green'}, ContentType='text/x')
assert put['ETag'].strip('"') == hashlib.md5(body).hexdigest()
got = s3.get_object(Bucket='boto', Key='dir/ä b+c')
assert got['Body'].read() == body and got['Metadata'] == {'colour': 'green'} and got['ContentType'] == 'text/x'
part = s3.get_object(Bucket='boto', Key='dir/ä b+c', Range='bytes=1000-1999')
assert part['Body'].read() == body[1000:2000] and part['ResponseMetadata']['HTTPStatusCode'] == 206
s3.copy_object(Bucket='boto', Key='copy', CopySource={'Bucket': 'boto', 'Key': 'dir/ä b+c'})
assert s3.head_object(Bucket='boto', Key='copy')['ContentLength'] == 300000
names = [o['Key'] for o in s3.list_objects_v2(Bucket='boto')['Contents']]
assert names == ['copy', 'dir/ä b+c'], names
big = os.urandom(12 << 20)
up = s3.create_multipart_upload(Bucket='boto', Key='big')['UploadId']
parts = []
for n, at in enumerate(range(0, len(big), 6 << 20), 1):
    e = s3.upload_part(Bucket='boto', Key='big', UploadId=up, PartNumber=n, Body=big[at:at + (6 << 20)])['ETag']
    parts.append({'PartNumber': n, 'ETag': e})
done = s3.complete_multipart_upload(Bucket='boto', Key='big', UploadId=up, MultipartUpload={'Parts': parts})
assert done['ETag'].strip('"').endswith('-2')
assert s3.get_object(Bucket='boto', Key='big')['Body'].read() == big
try:
    s3.put_object(Bucket='boto', Key='copy', Body=b'x', IfNoneMatch='*')
    raise SystemExit('a condition did not hold and was not refused')
except ClientError as error:
    assert error.response['ResponseMetadata']['HTTPStatusCode'] == 412, error
import urllib.request
signed = boto3.client('s3', endpoint_url=sys.argv[1], region_name='us-east-1', config=Config(signature_version='s3v4'))
url = signed.generate_presigned_url('get_object', Params={'Bucket': 'boto', 'Key': 'copy'}, ExpiresIn=60)
assert urllib.request.urlopen(url).read() == body
left = s3.delete_objects(Bucket='boto', Delete={'Objects': [{'Key': k} for k in names + ['big']]})
assert len(left['Deleted']) == 3
assert 'Contents' not in s3.list_objects_v2(Bucket='boto')
s3.delete_bucket(Bucket='boto')
"#;

fn has(program: &str, args: &[&str]) -> bool {
    let found = Command::new(program)
        .args(args)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    found.is_ok_and(|status| status.success())
}

fn with_key(place: &Place, command: &mut Command) {
    let key = place.root_key();
    command
        .env("AWS_ACCESS_KEY_ID", key.id)
        .env("AWS_SECRET_ACCESS_KEY", key.secret)
        .env("AWS_DEFAULT_REGION", "us-east-1")
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .env("AWS_CONFIG_FILE", "/nonexistent")
        .env("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
        .env_remove("AWS_PROFILE")
        .env_remove("AWS_SESSION_TOKEN");
}

#[test]
fn boto3_works_unchanged() {
    if !has("python3", &["-c", "import boto3"]) {
        eprintln!("note: python3 with boto3 is not here; nothing was tried");
        return;
    }
    let place = Place::new();
    let running = place.up();
    let mut python = Command::new("python3");
    python.args(["-c", BOTO3, running.endpoint()]);
    with_key(&place, &mut python);
    let output = python.output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
}

#[test]
fn the_aws_command_line_works_unchanged() {
    if !has("aws", &["--version"]) {
        eprintln!("note: the aws command line is not here; nothing was tried");
        return;
    }
    let place = Place::new();
    let running = place.up();
    let (up, down) = (place.root().join("up"), place.root().join("down"));
    std::fs::write(&up, content("up", 30_000_000)).unwrap();
    let (up, down) = (up.to_str().unwrap(), down.to_str().unwrap());
    for line in [
        vec!["s3", "mb", "s3://first"],
        vec!["s3", "cp", up, "s3://first/a/up"],
        vec!["s3", "cp", "s3://first/a/up", down],
        vec!["s3", "ls", "s3://first/a/"],
        vec!["s3", "mv", "s3://first/a/up", "s3://first/b"],
        vec!["s3", "rm", "s3://first/b"],
        vec!["s3", "rb", "s3://first"],
    ] {
        let mut aws = Command::new("aws");
        aws.args(["--endpoint-url", running.endpoint()]).args(&line);
        with_key(&place, &mut aws);
        let output = aws.output().unwrap();
        assert!(output.status.success(), "{line:?}: {}", text(&output));
    }
    assert!(std::fs::read(down).unwrap() == content("up", 30_000_000));
}
