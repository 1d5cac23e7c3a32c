"""minio-py."""
import io
from datetime import timedelta

import minio
from minio.commonconfig import ENABLED, ComposeSource, CopySource, Tags
from minio.deleteobjects import DeleteObject
from minio.versioningconfig import VersioningConfig


def version(work):
    return minio.__version__


def run(work):
    s3 = minio.Minio(endpoint=work.host, access_key=work.access, secret_key=work.secret, secure=work.scheme == "https", region=work.region)
    bucket = {"bucket_name": work.bucket}

    def read(name, **kw):
        answer = s3.get_object(**bucket, object_name=name, **kw)
        try:
            return answer.read()
        finally:
            answer.close()
            answer.release_conn()

    with work.step("make bucket"):
        s3.make_bucket(**bucket)
        assert s3.bucket_exists(**bucket)
    with work.step("put"):
        for name in work.names:
            body = work.sample(name)
            s3.put_object(**bucket, object_name=name, data=io.BytesIO(body), length=len(body))
    with work.step("multipart"):
        s3.fput_object(**bucket, object_name="large.bin", file_path=work.large)
        with open(work.large, "rb") as file:
            s3.put_object(**bucket, object_name="stream.bin", data=file, length=-1, part_size=10 << 20)
    with work.step("list"):
        listed = [o.object_name for o in s3.list_objects(**bucket, recursive=True)]
        work.equal(listed, sorted([*work.names, "large.bin", "stream.bin"], key=str.encode), "the listing")
        work.equal([o.object_name for o in s3.list_objects(**bucket, prefix="many/", use_api_v1=True)], [f"many/{n}/" for n in range(7)], "the folders")
    with work.step("get"):
        for name in work.names:
            work.same(read(name), work.sample(name), name)
        for name in ("large.bin", "stream.bin"):
            s3.fget_object(**bucket, object_name=name, file_path=f"{work.out}/{name}")
            work.same_file(f"{work.out}/{name}", work.large)
    with work.step("range"):
        whole = work.read_file(work.large)
        work.same(read("large.bin", offset=5_242_870, length=100), whole[5_242_870:5_242_970], "a range")
    with work.step("copy"):
        s3.copy_object(**bucket, object_name="copies/a+b %41/", source=CopySource(**bucket, object_name="odd/ünïcödé/日本 語/🪨.bin"))
        work.same(read("copies/a+b %41/"), work.sample("odd/ünïcödé/日本 語/🪨.bin"), "a copy")
        sources = [ComposeSource(**bucket, object_name="large.bin"), ComposeSource(**bucket, object_name="middle.bin", offset=3, length=1000)]
        s3.compose_object(**bucket, object_name="copies/composed", sources=sources)
        work.same(read("copies/composed"), whole + work.sample("middle.bin")[3:1003], "what was composed")
    with work.step("tags and metadata"):
        tags = Tags.new_object_tags()
        tags["colour"] = "green"
        s3.set_object_tags(**bucket, object_name="middle.bin", tags=tags)
        work.equal(dict(s3.get_object_tags(**bucket, object_name="middle.bin")), {"colour": "green"}, "the tags")
        s3.put_object(**bucket, object_name="meta", data=io.BytesIO(b"m"), length=1, metadata={"shape": "round"})
        work.equal(s3.stat_object(**bucket, object_name="meta").metadata["x-amz-meta-shape"], "round", "the metadata")
    with work.step("presigned"):
        body = work.sample("odd/hash#tag.bin")
        work.fetch(s3.presigned_put_object(**bucket, object_name="signed/a b+#", expires=timedelta(minutes=1)), data=body, headers={"content-type": ""})
        work.same(work.fetch(s3.presigned_get_object(**bucket, object_name="signed/a b+#", expires=timedelta(minutes=1))), body, "a presigned get")
    with work.step("versions"):
        s3.set_bucket_versioning(**bucket, config=VersioningConfig(ENABLED))
        ids = [s3.put_object(**bucket, object_name="versioned", data=io.BytesIO(b"%d" % n), length=1).version_id for n in range(3)]
        s3.remove_object(**bucket, object_name="versioned")
        for n, id_ in enumerate(ids):
            work.same(read("versioned", version_id=id_), b"%d" % n, f"version {n}")
    with work.step("delete many"):
        everything = [DeleteObject(o.object_name, o.version_id) for o in s3.list_objects(**bucket, recursive=True, include_version=True)]
        work.equal([str(error) for error in s3.remove_objects(**bucket, delete_object_list=everything)], [], "errors of the delete")
        work.equal([o.object_name for o in s3.list_objects(**bucket, recursive=True, include_version=True)], [], "what is left")
    with work.step("remove bucket"):
        s3.remove_bucket(**bucket)
