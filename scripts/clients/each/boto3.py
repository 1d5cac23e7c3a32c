"""boto3, and its managed transfers."""
import hashlib, io, os, urllib.request

import boto3
from botocore.config import Config


def version(work):
    return boto3.__version__


def client(work, **kw):
    return boto3.client("s3", endpoint_url=work.endpoint, aws_access_key_id=work.access, aws_secret_access_key=work.secret, region_name=work.region, **kw)


def run(work):
    s3, bucket = client(work), work.bucket
    with work.step("make bucket"):
        s3.create_bucket(Bucket=bucket)
    with work.step("put"):
        for name in work.names:
            body = work.sample(name)
            put = s3.put_object(Bucket=bucket, Key=name, Body=body)
            work.equal(put["ETag"], f'"{hashlib.md5(body).hexdigest()}"', "the ETag")
    with work.step("multipart"):
        s3.upload_file(work.large, bucket, "large.bin")
        assert "-" in s3.head_object(Bucket=bucket, Key="large.bin")["ETag"]
    with work.step("list"):
        for operation in ("list_objects_v2", "list_objects"):
            pages = list(s3.get_paginator(operation).paginate(Bucket=bucket))
            work.equal([o["Key"] for page in pages for o in page["Contents"]], sorted([*work.names, "large.bin"], key=str.encode), operation)
        folders = s3.list_objects_v2(Bucket=bucket, Delimiter="/")
        work.equal([p["Prefix"] for p in folders["CommonPrefixes"]], ["many/", "odd/"], "the common prefixes")
    with work.step("get"):
        for name in work.names:
            work.same(s3.get_object(Bucket=bucket, Key=name)["Body"].read(), work.sample(name), name)
        s3.download_file(bucket, "large.bin", work.out + "/large.bin")
        work.same_file(work.out + "/large.bin", work.large)
    with work.step("range"):
        whole = work.read_file(work.large)
        for range_, want in (("bytes=8388600-8388700", whole[8388600:8388701]), ("bytes=-9", whole[-9:]), (f"bytes={len(whole) - 5}-", whole[-5:])):
            work.same(s3.get_object(Bucket=bucket, Key="large.bin", Range=range_)["Body"].read(), want, range_)
    with work.step("copy"):
        s3.copy({"Bucket": bucket, "Key": "large.bin"}, bucket, "copies/large.bin")
        s3.copy_object(Bucket=bucket, Key="copies/ünï code/", CopySource={"Bucket": bucket, "Key": "odd/percent%41%2F.bin"})
        work.same(s3.get_object(Bucket=bucket, Key="copies/large.bin")["Body"].read(), whole, "a copy in parts")
        work.same(s3.get_object(Bucket=bucket, Key="copies/ünï code/")["Body"].read(), work.sample("odd/percent%41%2F.bin"), "a copy")
    conditional(work, s3)
    checksums(work, s3)
    with work.step("metadata"):
        s3.put_object(Bucket=bucket, Key="meta", Body=b"m", Metadata={"colour": "green"}, ContentType="text/x", CacheControl="no-cache", Tagging="a=1&b=2")
        head = s3.head_object(Bucket=bucket, Key="meta")
        work.equal([head["Metadata"], head["ContentType"], head["CacheControl"]], [{"colour": "green"}, "text/x", "no-cache"], "the metadata")
        work.equal(s3.get_object_tagging(Bucket=bucket, Key="meta")["TagSet"], [{"Key": "a", "Value": "1"}, {"Key": "b", "Value": "2"}], "the tags")
    presigned(work)
    versions(work, s3)
    with work.step("delete many"):
        everything = [{"Key": v["Key"], "VersionId": v["VersionId"]} for page in s3.get_paginator("list_object_versions").paginate(Bucket=bucket)
                      for v in [*page.get("Versions", []), *page.get("DeleteMarkers", [])]]
        for at in range(0, len(everything), 1000):
            gone = s3.delete_objects(Bucket=bucket, Delete={"Objects": everything[at:at + 1000]})
            assert not gone.get("Errors"), gone["Errors"][:3]
    with work.step("remove bucket"):
        s3.delete_bucket(Bucket=bucket)


def conditional(work, s3):
    with work.step("conditional put and get"):
        first = s3.put_object(Bucket=work.bucket, Key="once", Body=b"1", IfNoneMatch="*")["ETag"]
        work.refused(lambda: s3.put_object(Bucket=work.bucket, Key="once", Body=b"2", IfNoneMatch="*"), "PreconditionFailed", "a second put")
        second = s3.put_object(Bucket=work.bucket, Key="once", Body=b"3", IfMatch=first)["ETag"]
        work.refused(lambda: s3.put_object(Bucket=work.bucket, Key="once", Body=b"4", IfMatch=first), "PreconditionFailed", "a put over a stale ETag")
        work.refused(lambda: s3.get_object(Bucket=work.bucket, Key="once", IfNoneMatch=second), ("304", "Not Modified"), "a get of what is known")
        work.same(s3.get_object(Bucket=work.bucket, Key="once", IfMatch=second)["Body"].read(), b"3", "the winner")


def checksums(work, s3):
    with work.step("checksums"):
        body = work.sample("middle.bin")
        for algorithm in ("CRC32", "SHA1", "SHA256"):
            put = s3.put_object(Bucket=work.bucket, Key="sum", Body=body, ChecksumAlgorithm=algorithm)
            got = s3.get_object(Bucket=work.bucket, Key="sum", ChecksumMode="ENABLED")
            work.equal(got[f"Checksum{algorithm}"], put[f"Checksum{algorithm}"], algorithm)
            work.same(got["Body"].read(), body, algorithm)
        work.refused(lambda: s3.put_object(Bucket=work.bucket, Key="sum", Body=body, ChecksumSHA256="A" * 43 + "="), "BadDigest", "a wrong checksum")
        # A stream of unknown length is sent in chunks with a trailer.
        s3.upload_fileobj(io.BytesIO(body), work.bucket, "stream")
        parts = s3.get_object_attributes(Bucket=work.bucket, Key="large.bin", ObjectAttributes=["ObjectParts", "ObjectSize", "Checksum"])
        work.equal([parts["ObjectSize"], parts["ObjectParts"]["TotalPartsCount"]], [os.path.getsize(work.large), -(-os.path.getsize(work.large) // (8 << 20))], "the parts")


def presigned(work):
    with work.step("presigned"):
        s3, body = client(work, config=Config(signature_version="s3v4")), work.sample("odd/hash#tag.bin")
        key = {"Bucket": work.bucket, "Key": "signed/a b+c#%?.bin"}
        work.fetch(s3.generate_presigned_url("put_object", Params=key, ExpiresIn=60), data=body, headers={"content-type": ""})
        work.same(work.fetch(s3.generate_presigned_url("get_object", Params=key, ExpiresIn=60)), body, "a presigned get")
        form = s3.generate_presigned_post(work.bucket, "form/${filename}", Conditions=[["starts-with", "$key", "form/"]])
        line = "line-of-the-form"
        fields = "".join(f'--{line}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n' for name, value in form["fields"].items())
        data = f'{fields}--{line}\r\nContent-Disposition: form-data; name="file"; filename="posted.bin"\r\n\r\n'.encode() + body + f"\r\n--{line}--\r\n".encode()
        urllib.request.urlopen(urllib.request.Request(form["url"], data=data, headers={"content-type": f"multipart/form-data; boundary={line}"}), timeout=60)
        work.same(s3.get_object(Bucket=work.bucket, Key="form/posted.bin")["Body"].read(), body, "what a form posted")


def versions(work, s3):
    with work.step("versions"):
        s3.put_bucket_versioning(Bucket=work.bucket, VersioningConfiguration={"Status": "Enabled"})
        ids = [s3.put_object(Bucket=work.bucket, Key="versioned", Body=b"%d" % n)["VersionId"] for n in range(3)]
        s3.delete_object(Bucket=work.bucket, Key="versioned")
        work.refused(lambda: s3.get_object(Bucket=work.bucket, Key="versioned"), "NoSuchKey", "a get of what was deleted")
        for n, version in enumerate(ids):
            work.same(s3.get_object(Bucket=work.bucket, Key="versioned", VersionId=version)["Body"].read(), b"%d" % n, f"version {n}")
