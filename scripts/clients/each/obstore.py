"""obstore: Rust's object_store."""
from datetime import timedelta

import obstore
from obstore.store import S3Store


def version(work):
    from importlib.metadata import version as of
    return of("obstore")


def run(work):
    options = {"endpoint": work.endpoint, "region": work.region, "access_key_id": work.access, "secret_access_key": work.secret}
    store = S3Store(work.bucket, **options, client_options={"allow_http": True})
    work.make_bucket()

    def read(name):
        return bytes(store.get(name).bytes())

    with work.step("put"):
        for name in work.names:
            store.put(name, work.sample(name))
    with work.step("multipart"):
        whole = work.read_file(work.large)
        store.put("large.bin", whole)
        with obstore.open_writer(store, "stream.bin") as sink:
            for at in range(0, len(whole), 3_000_001):
                sink.write(whole[at:at + 3_000_001])
    with work.step("list"):
        listed = [entry["path"] for page in store.list() for entry in page]
        work.equal(listed, sorted([*work.names, "large.bin", "stream.bin"], key=str.encode), "the listing")
        work.equal(store.list_with_delimiter("many")["common_prefixes"], [f"many/{n}" for n in range(7)], "the folders")
        after = [entry["path"] for page in store.list(offset="many/6/") for entry in page]
        work.equal(after, [name for name in listed if name > "many/6/"], "the listing from a key on")
    with work.step("get"):
        for name in work.names:
            work.same(read(name), work.sample(name), name)
        for name in ("large.bin", "stream.bin"):
            work.same(b"".join(bytes(part) for part in store.get(name).stream()), whole, name)
    with work.step("range"):
        work.same(bytes(store.get_range("large.bin", start=5_242_870, length=100)), whole[5_242_870:5_242_970], "a range")
        parts = store.get_ranges("large.bin", starts=[0, 9_000_000, 20_000_000], lengths=[10, 100, 1000])
        work.same(b"".join(map(bytes, parts)), whole[:10] + whole[9_000_000:9_000_100] + whole[20_000_000:20_001_000], "ranges")
    with work.step("conditional put and get"):
        first = store.put("once", b"1", mode="create")
        work.refused(lambda: store.put("once", b"2", mode="create"), "AlreadyExists", "a second put")
        store.put("once", b"3", mode={"e_tag": first["e_tag"]})
        work.refused(lambda: store.put("once", b"4", mode={"e_tag": first["e_tag"]}), "Precondition", "a put over a stale ETag")
        work.refused(lambda: store.get("once", options={"if_match": first["e_tag"]}), "Precondition", "a get of what has changed")
        work.same(read("once"), b"3", "the winner")
    with work.step("copy"):
        store.copy("odd/percent%41%2F.bin", "copies/ünï+code.bin")
        store.rename("copies/ünï+code.bin", "copies/renamed.bin")
        work.same(read("copies/renamed.bin"), work.sample("odd/percent%41%2F.bin"), "a copy")
        careful = S3Store(work.bucket, **options, client_options={"allow_http": True}, copy_if_not_exists="multipart")
        work.refused(lambda: careful.copy("middle.bin", "copies/renamed.bin", overwrite=False), "AlreadyExists", "a copy over something")
    with work.step("metadata"):
        store.put("meta", b"m", attributes={"Content-Type": "text/x", "colour": "green"}, tags={"a": "1"})
        got = store.get("meta").attributes
        work.equal([got["Content-Type"], got["colour"]], ["text/x", "green"], "the metadata")
    with work.step("presigned"):
        put, get = (obstore.sign(store, method, "signed/a+b %.bin", timedelta(minutes=1)) for method in ("PUT", "GET"))
        work.fetch(put, data=work.sample("middle.bin"), headers={"content-type": ""})
        work.same(work.fetch(get), work.sample("middle.bin"), "a presigned get")
    with work.step("delete many"):
        store.delete([entry["path"] for page in store.list() for entry in page])
        work.equal([entry["path"] for page in store.list() for entry in page], [], "what is left")
    work.remove_bucket()
