"""delta-rs: a table with optimistic commits, which two writers contend for."""
import threading

import deltalake
import pyarrow as pa
from deltalake import DeltaTable, write_deltalake

COMMITS = 12


def version(work):
    return deltalake.__version__


def rows(first, count, who):
    return pa.table({"n": list(range(first, first + count)), "who": [who] * count, "x": [i / 3 for i in range(count)]})


def run(work):
    options = {"AWS_ACCESS_KEY_ID": work.access, "AWS_SECRET_ACCESS_KEY": work.secret, "AWS_REGION": work.region, "AWS_ENDPOINT_URL": work.endpoint,
               "AWS_ALLOW_HTTP": "true"}
    uri = f"s3://{work.bucket}/a table"
    work.make_bucket()

    def table(**kw):
        return DeltaTable(uri, storage_options=options, **kw)

    def same(got, want, what):
        got = pa.table(got).select(want.column_names).sort_by("n").cast(want.schema)
        if not got.equals(want.sort_by("n")):
            raise AssertionError(f"{what}: {got.num_rows} rows, {want.num_rows} were written, or other ones")
        work.report["bytes"] += want.nbytes

    first = rows(0, 200_000, "first")
    with work.step("create"):
        write_deltalake(uri, first, storage_options=options)
        same(table().to_pyarrow_table(), first, "the table")
    with work.step(f"append from two writers, {COMMITS} commits each"):
        whole = pa.concat_tables([first, *contend(uri, options)])
        same(table().to_pyarrow_table(), whole, "the table after both")
        work.equal(table().version(), 2 * COMMITS, "the version")
        work.equal(sorted(entry["version"] for entry in table().history()), list(range(2 * COMMITS + 1)), "the history")
    with work.step("time travel"):
        same(table(version=0).to_pyarrow_table(), first, "version 0")
    with work.step("delete and filtered read"):
        table().delete("who = 'a'")
        kept = whole.filter(pa.compute.not_equal(whole["who"], "a"))
        same(table().to_pyarrow_table(), kept, "the table after the delete")
        few = table().to_pyarrow_table(filters=[("n", "<", 100)])
        same(few, first.slice(0, 100), "a filtered read")
    with work.step("optimize"):
        done = table().optimize.compact()
        assert done["numFilesRemoved"] > 1, done
        same(table().to_pyarrow_table(), kept, "the compacted table")
    with work.step("checkpoint"):
        table().create_checkpoint()
        same(table().to_pyarrow_table(), kept, "the table from its checkpoint")
    with work.step("vacuum"):
        gone = table().vacuum(retention_hours=0, enforce_retention_duration=False, dry_run=False)
        assert len(gone) > COMMITS, gone
        same(table().to_pyarrow_table(), kept, "the vacuumed table")
    with work.step("overwrite"):
        write_deltalake(uri, first.slice(0, 10), mode="overwrite", storage_options=options)
        same(table().to_pyarrow_table(), first.slice(0, 10), "the new table")


def contend(uri, options):
    """Two writers append at once; what both wrote."""
    written, errors, start = [], [], threading.Barrier(2)

    def write(who, base):
        try:
            start.wait(30)
            for n in range(COMMITS):
                part = rows(base + n * 100, 100, who)
                write_deltalake(uri, part, mode="append", storage_options=options)
                written.append(part)
        except Exception as error:
            errors.append(f"writer {who}: {type(error).__name__} {error}")

    writers = [threading.Thread(target=write, args=args) for args in (("a", 1_000_000), ("b", 2_000_000))]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    if errors:
        raise AssertionError("; ".join(errors))
    return written
