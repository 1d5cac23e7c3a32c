"""OpenDAL."""
import asyncio

import opendal


def version(work):
    from importlib.metadata import version as of
    return of("opendal")


def run(work):
    options = {"bucket": work.bucket, "endpoint": work.endpoint, "region": work.region, "access_key_id": work.access, "secret_access_key": work.secret}
    op = opendal.Operator("s3", **options)
    work.make_bucket()
    # It trims the spaces off the end of a path.
    work.names = [name for name in work.names if not name.endswith(" ")]
    with work.step("put"):
        for name in work.names:
            op.write(name, work.sample(name))
    with work.step("multipart"):
        whole = work.read_file(work.large)
        op.write("large.bin", whole, chunk=8 << 20, concurrent=4)
        with op.open("stream.bin", "wb") as file:
            for at in range(0, len(whole), 3_000_001):
                file.write(whole[at:at + 3_000_001])
    with work.step("list"):
        listed = [entry.path for entry in op.list("/", recursive=True)]
        work.equal(sorted(path for path in listed if not path.endswith("/")), sorted([*work.names, "large.bin", "stream.bin"]), "the listing")
        work.equal(sorted(entry.path for entry in op.list("many/") if entry.path != "many/"), [f"many/{n}/" for n in range(7)], "the folders")
    with work.step("get"):
        for name in work.names:
            work.same(bytes(op.read(name)), work.sample(name), name)
        for name in ("large.bin", "stream.bin"):
            work.same(bytes(op.read(name, chunk=4 << 20, concurrent=4)), whole, name)
    with work.step("range"):
        work.same(bytes(op.read("large.bin", offset=8_388_600, size=100)), whole[8_388_600:8_388_700], "a range")
        with op.open("large.bin", "rb") as file:
            file.seek(20_000_000)
            work.same(bytes(file.read(1000)), whole[20_000_000:20_001_000], "a range after a seek")
    with work.step("conditional put and get"):
        op.write("once", b"1", if_not_exists=True)
        work.refused(lambda: op.write("once", b"2", if_not_exists=True), "ConditionNotMatch", "a second put")
        etag = op.stat("once").etag
        op.write("once", b"3", if_match=etag)
        work.refused(lambda: op.write("once", b"4", if_match=etag), "ConditionNotMatch", "a put over a stale ETag")
        work.refused(lambda: op.read("once", if_match=etag), "ConditionNotMatch", "a get of what has changed")
        work.same(bytes(op.read("once")), b"3", "the winner")
    with work.step("copy"):
        op.copy("odd/percent%41%2F.bin", "copies/ünï+code.bin")
        work.same(bytes(op.read("copies/ünï+code.bin")), work.sample("odd/percent%41%2F.bin"), "a copy")
    with work.step("metadata"):
        op.write("meta", b"m", content_type="text/x", cache_control="no-cache", user_metadata={"colour": "green"})
        stat = op.stat("meta")
        work.equal([stat.content_type, stat.user_metadata], ["text/x", {"colour": "green"}], "the metadata")
    with work.step("presigned"):
        presigned(work, options)
    with work.step("directories"):
        op.create_dir("empty/")
        assert op.stat("empty/").is_dir
    with work.step("delete many"):
        op.remove_all("/")
        work.equal([entry.path for entry in op.list("/", recursive=True) if entry.path != "/"], [], "what is left")
    work.remove_bucket()


def presigned(work, options):
    async def urls():
        op = opendal.AsyncOperator("s3", **options)
        return await op.presign_write("signed/a+b #%.bin", 60), await op.presign_read("signed/a+b #%.bin", 60)

    put, get = asyncio.run(urls())
    work.fetch(put.url, data=work.sample("middle.bin"), headers={"content-type": "", **{k: v for k, v in put.headers.items() if k.lower() != "host"}})
    work.same(work.fetch(get.url), work.sample("middle.bin"), "a presigned get")
