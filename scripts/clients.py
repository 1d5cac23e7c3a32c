#!/usr/bin/env python3
"""Runs real S3 clients against a running gateway and byte-checks what comes back: one line a client.

    scripts/clients.py [--require NAME,...]    endpoint and keys from CAIRN_ENDPOINT, CAIRN_ACCESS_KEY, CAIRN_SECRET_KEY

Each client copies in, lists, reads a range where it can, copies out and deletes. A client that is not installed is
reported as absent; with --require it is a failure. Exit status 0: every client that ran passed.
"""
import argparse, filecmp, hashlib, os, secrets, shutil, subprocess, sys, tempfile, traceback, urllib.request

ENDPOINT = os.environ.get("CAIRN_ENDPOINT", "http://127.0.0.1:9000")
ACCESS, SECRET = os.environ["CAIRN_ACCESS_KEY"], os.environ["CAIRN_SECRET_KEY"]
SIZES = {"small.bin": 4_096, "empty.bin": 0, "odd name+%&.bin": 70_001, "dir/large.bin": 24_000_000}


def run(*command, env=None, **kw):
    done = subprocess.run(command, env={**os.environ, **(env or {})}, capture_output=True, text=True, timeout=300, **kw)
    if done.returncode != 0:
        raise RuntimeError(f"{command[0]} ended with {done.returncode}: {done.stdout[-600:]} {done.stderr[-1200:]}")
    return done.stdout


def same_tree(a, b):
    for name in SIZES:
        if not filecmp.cmp(os.path.join(a, name), os.path.join(b, name), shallow=False):
            raise AssertionError(f"{name} came back different")


# What a person's own settings would change.
for name in ["AWS_PROFILE", "AWS_SESSION_TOKEN"] + ([] if ENDPOINT.startswith("https") else ["AWS_CA_BUNDLE"]):
    os.environ.pop(name, None)
os.environ.update(AWS_CONFIG_FILE=os.devnull, AWS_SHARED_CREDENTIALS_FILE=os.devnull)


def aws_env():
    return {"AWS_ACCESS_KEY_ID": ACCESS, "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": ENDPOINT, "AWS_EC2_METADATA_DISABLED": "true"}


def boto(bucket, src, out):
    import boto3
    from boto3.s3.transfer import TransferConfig
    from botocore.config import Config
    from botocore.exceptions import ClientError
    s3 = boto3.client("s3", endpoint_url=ENDPOINT, aws_access_key_id=ACCESS, aws_secret_access_key=SECRET, region_name="us-east-1")
    s3.create_bucket(Bucket=bucket)
    multipart = TransferConfig(multipart_threshold=8 << 20, multipart_chunksize=8 << 20)
    for name in SIZES:
        s3.upload_file(os.path.join(src, name), bucket, name, Config=multipart)
    listed = [o["Key"] for o in s3.list_objects_v2(Bucket=bucket)["Contents"]]
    assert listed == sorted(SIZES, key=lambda n: n.encode()), listed
    whole = open(os.path.join(src, "dir/large.bin"), "rb").read()
    part = s3.get_object(Bucket=bucket, Key="dir/large.bin", Range="bytes=8388600-8388700")["Body"].read()
    assert part == whole[8388600:8388701]
    for name in SIZES:
        os.makedirs(os.path.dirname(os.path.join(out, name)), exist_ok=True)
        s3.download_file(bucket, name, os.path.join(out, name))
    same_tree(src, out)
    s3.put_object(Bucket=bucket, Key="once", Body=b"1", IfNoneMatch="*")
    try:
        s3.put_object(Bucket=bucket, Key="once", Body=b"2", IfNoneMatch="*")
        raise AssertionError("a second If-None-Match PUT went through")
    except ClientError as error:
        assert error.response["Error"]["Code"] == "PreconditionFailed", error
    s3.copy_object(Bucket=bucket, Key="copy", CopySource={"Bucket": bucket, "Key": "odd name+%&.bin"})
    body = open(os.path.join(src, "odd name+%&.bin"), "rb").read()
    assert s3.get_object(Bucket=bucket, Key="copy")["Body"].read() == body
    put = s3.put_object(Bucket=bucket, Key="dir/ä b+c", Body=body, Metadata={"colour": "green"}, ContentType="text/x")
    assert put["ETag"].strip('"') == hashlib.md5(body).hexdigest()
    got = s3.get_object(Bucket=bucket, Key="dir/ä b+c")
    assert got["Body"].read() == body and got["Metadata"] == {"colour": "green"} and got["ContentType"] == "text/x"
    assert s3.head_object(Bucket=bucket, Key="dir/large.bin")["ETag"].strip('"').endswith("-3")
    signed = boto3.client("s3", endpoint_url=ENDPOINT, aws_access_key_id=ACCESS, aws_secret_access_key=SECRET, region_name="us-east-1",
                          config=Config(signature_version="s3v4"))
    url = signed.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": "copy"}, ExpiresIn=60)
    assert urllib.request.urlopen(url).read() == body
    gone = s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": k} for k in [*SIZES, "once", "copy", "dir/ä b+c"]]})
    assert not gone.get("Errors") and len(gone["Deleted"]) == len(SIZES) + 3, gone
    assert "Contents" not in s3.list_objects_v2(Bucket=bucket)
    s3.delete_bucket(Bucket=bucket)


def aws(bucket, src, out):
    env = aws_env()
    run("aws", "s3", "mb", f"s3://{bucket}", env=env)
    run("aws", "s3", "cp", "--recursive", "--no-progress", src, f"s3://{bucket}/", env=env)
    listing = run("aws", "s3", "ls", "--recursive", f"s3://{bucket}/", env=env)
    assert all(name in listing for name in SIZES), listing
    run("aws", "s3api", "get-object", "--bucket", bucket, "--key", "small.bin", "--range", "bytes=10-19", os.path.join(out, "range"), env=env)
    with open(os.path.join(out, "range"), "rb") as got, open(os.path.join(src, "small.bin"), "rb") as want:
        assert got.read() == want.read()[10:20]
    run("aws", "s3", "sync", "--no-progress", f"s3://{bucket}/", out, env=env)
    same_tree(src, out)
    run("aws", "s3", "mv", f"s3://{bucket}/small.bin", f"s3://{bucket}/moved", env=env)
    run("aws", "s3", "rb", "--force", f"s3://{bucket}", env=env)


def s5cmd(bucket, src, out):
    env, url = aws_env(), ["s5cmd", "--endpoint-url", ENDPOINT]
    run(*url, "mb", f"s3://{bucket}", env=env)
    run(*url, "cp", src + "/", f"s3://{bucket}/", env=env)
    listing = run(*url, "ls", f"s3://{bucket}/*", env=env)
    assert all(name in listing for name in SIZES), listing
    run(*url, "cp", f"s3://{bucket}/*", out + "/", env=env)
    same_tree(src, out)
    run(*url, "rm", f"s3://{bucket}/*", env=env)
    run(*url, "rb", f"s3://{bucket}", env=env)


def rclone(bucket, src, out):
    env = {"RCLONE_CONFIG_C_TYPE": "s3", "RCLONE_CONFIG_C_PROVIDER": "Other", "RCLONE_CONFIG_C_ACCESS_KEY_ID": ACCESS,
           "RCLONE_CONFIG_C_SECRET_ACCESS_KEY": SECRET, "RCLONE_CONFIG_C_ENDPOINT": ENDPOINT, "RCLONE_CONFIG_C_REGION": "us-east-1"}
    run("rclone", "mkdir", f"c:{bucket}", env=env)
    run("rclone", "sync", src, f"c:{bucket}", env=env)
    run("rclone", "check", "--download", src, f"c:{bucket}", env=env)
    with open(os.path.join(src, "small.bin"), "rb") as want:
        got = subprocess.run(["rclone", "cat", "--offset", "100", "--count", "50", f"c:{bucket}/small.bin"], env={**os.environ, **env}, capture_output=True, timeout=60).stdout
        assert got == want.read()[100:150]
    run("rclone", "copy", f"c:{bucket}", out, env=env)
    same_tree(src, out)
    run("rclone", "purge", f"c:{bucket}", env=env)


def restic(bucket, src, out):
    env = {**aws_env(), "RESTIC_PASSWORD": "test", "RESTIC_REPOSITORY": f"s3:{ENDPOINT}/{bucket}", "RESTIC_CACHE_DIR": os.path.join(out, ".cache")}
    run("restic", "init", env=env)
    run("restic", "backup", ".", env=env, cwd=src)
    run("restic", "check", "--read-data", env=env)
    run("restic", "restore", "latest", "--target", out, env=env)
    same_tree(src, out)
    run("restic", "forget", "--prune", "--keep-last", "1", env=env)
    run("restic", "check", env=env)


def s3cmd(bucket, src, out):
    host = ENDPOINT.split("://", 1)[1]
    base = ["s3cmd", "--config=/dev/null", f"--access_key={ACCESS}", f"--secret_key={SECRET}", f"--host={host}", f"--host-bucket={host}",
            "--region=us-east-1", "--no-progress"] + ([] if ENDPOINT.startswith("https") else ["--no-ssl"])
    run(*base, "mb", f"s3://{bucket}")
    run(*base, "put", "--recursive", src + "/", f"s3://{bucket}/")
    listing = run(*base, "ls", "--recursive", f"s3://{bucket}/")
    assert all(name in listing for name in SIZES), listing
    run(*base, "get", "--recursive", "--force", f"s3://{bucket}/", out + "/")
    same_tree(src, out)
    run(*base, "rb", "--recursive", "--force", f"s3://{bucket}")


def pyarrow(bucket, src, out):
    import pyarrow as pa, pyarrow.dataset as ds, pyarrow.fs as fs
    s3 = fs.S3FileSystem(access_key=ACCESS, secret_key=SECRET, endpoint_override=ENDPOINT.split("://", 1)[1],
                         scheme=ENDPOINT.split("://", 1)[0], region="us-east-1", allow_bucket_creation=True, allow_bucket_deletion=True)
    s3.create_dir(bucket)
    table = pa.table({"n": list(range(200_000)), "part": [i % 3 for i in range(200_000)]})
    ds.write_dataset(table, f"{bucket}/t", filesystem=s3, format="parquet", partitioning=["part"])
    back = ds.dataset(f"{bucket}/t", filesystem=s3, format="parquet", partitioning=["part"]).to_table(filter=ds.field("n") < 1000)
    assert sorted(back["n"].to_pylist()) == list(range(1000))
    with s3.open_output_stream(f"{bucket}/raw") as sink:
        sink.write(open(os.path.join(src, "dir/large.bin"), "rb").read())
    with s3.open_input_file(f"{bucket}/raw") as source:
        source.seek(12_000_000)
        assert source.read(1000) == open(os.path.join(src, "dir/large.bin"), "rb").read()[12_000_000:12_001_000]
    names = [f.path for f in s3.get_file_info(fs.FileSelector(bucket, recursive=True))]
    assert f"{bucket}/raw" in names, names
    s3.delete_dir_contents(bucket)
    s3.delete_dir(bucket)


CLIENTS = {"aws": aws, "boto3": boto, "s5cmd": s5cmd, "rclone": rclone, "restic": restic, "s3cmd": s3cmd, "pyarrow": pyarrow}


def present(name):
    if name in ("boto3", "pyarrow"):
        try:
            __import__(name)
            return True
        except ImportError:
            return False
    return shutil.which(name) is not None


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--require", default="", help="comma list of clients that must be present")
    args.add_argument("--only", default=",".join(CLIENTS), help="comma list of clients to run")
    options = args.parse_args()
    required, failed = set(filter(None, options.require.split(","))), 0
    with tempfile.TemporaryDirectory() as work:
        src = os.path.join(work, "src")
        for name, size in SIZES.items():
            os.makedirs(os.path.dirname(os.path.join(src, name)), exist_ok=True)
            with open(os.path.join(src, name), "wb") as file:
                file.write(secrets.token_bytes(size))
        for name in options.only.split(","):
            if not present(name):
                failed += name in required
                print(f"{name:8} absent", flush=True)
                continue
            out = os.path.join(work, "out-" + name)
            os.makedirs(out)
            try:
                CLIENTS[name](f"clients-{name}-{secrets.token_hex(3)}", src, out)
                print(f"{name:8} ok", flush=True)
            except Exception as error:
                failed += 1
                print(f"{name:8} FAILED: {error}", flush=True)
                if os.environ.get("CLIENTS_TRACE"):
                    traceback.print_exc()
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
