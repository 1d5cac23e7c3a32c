"""s3fs, with pandas and polars on it."""
import pandas
import polars
import s3fs


def version(work):
    return s3fs.__version__


def run(work):
    options = {"key": work.access, "secret": work.secret, "endpoint_url": work.endpoint, "client_kwargs": {"region_name": work.region}}
    fs, at = s3fs.S3FileSystem(**options), work.bucket
    with work.step("make bucket"):
        fs.mkdir(at)
    with work.step("put"):
        fs.put(work.src + "/", at + "/tree/", recursive=True)
    with work.step("multipart"):
        fs.put_file(work.large, at + "/large.bin")
        with fs.open(at + "/stream.bin", "wb") as file:
            file.write(work.read_file(work.large))
    with work.step("list"):
        work.equal(sorted(fs.find(at + "/tree")), sorted(f"{at}/tree/{name}" for name in work.names), "find")
        work.equal(sorted(fs.ls(at + "/tree/many", detail=False)), [f"{at}/tree/many/{n}" for n in range(7)], "ls")
    with work.step("get"):
        fs.get(at + "/tree/", work.out + "/tree/", recursive=True)
        work.same_tree(work.out + "/tree", work.src)
        for name in ("large.bin", "stream.bin"):
            work.same(fs.cat_file(f"{at}/{name}"), work.read_file(work.large), name)
    with work.step("range"):
        whole = work.read_file(work.large)
        with fs.open(at + "/large.bin", "rb") as file:
            file.seek(6_000_000)
            work.same(file.read(1000), whole[6_000_000:6_001_000], "a range")
        work.same(b"".join(fs.cat_ranges([at + "/large.bin"] * 2, [5, 20_000_000], [10, 20_000_100])), whole[5:10] + whole[20_000_000:20_000_100], "ranges")
    with work.step("copy"):
        fs.copy(at + "/large.bin", at + "/copies/large.bin")
        fs.mv(at + "/tree/odd/plus+sign.bin", at + "/copies/a+b %41.bin")
        work.same(fs.cat_file(at + "/copies/large.bin"), whole, "a copy")
        work.same(fs.cat_file(at + "/copies/a+b %41.bin"), work.sample("odd/plus+sign.bin"), "what was moved")
    with work.step("conditional put"):
        fs.pipe_file(at + "/once", b"1", mode="create")
        work.refused(lambda: fs.pipe_file(at + "/once", b"2", mode="create"), ("exists", "PreconditionFailed"), "a second put")
    with work.step("presigned"):
        signed = s3fs.S3FileSystem(**options, config_kwargs={"signature_version": "s3v4"})
        work.same(work.fetch(signed.sign(at + "/large.bin", expiration=60)), whole, "a presigned get")
    frames(work, fs, options)
    with work.step("delete many"):
        fs.rm(at, recursive=True)
        fs.invalidate_cache()
        assert not fs.exists(at)


def frames(work, fs, options):
    rows = 200_000
    columns = {"n": list(range(rows)), "word": [f"wört {i % 1000}" for i in range(rows)], "x": [i / 7 for i in range(rows)]}
    with work.step("pandas"):
        frame = pandas.DataFrame(columns)
        for name, write, read in (("p.parquet", frame.to_parquet, pandas.read_parquet), ("p.csv", lambda *a, **kw: frame.to_csv(*a, index=False, **kw), pandas.read_csv)):
            write(f"s3://{work.bucket}/{name}", storage_options=options)
            pandas.testing.assert_frame_equal(read(f"s3://{work.bucket}/{name}", storage_options=options), frame)
        work.same(fs.cat_file(f"{work.bucket}/p.csv"), frame.to_csv(index=False).encode(), "the table as CSV")
    with work.step("polars"):
        frame = polars.DataFrame(columns)
        with fs.open(f"{work.bucket}/polars/a.parquet", "wb") as file:
            frame.write_parquet(file)
        with fs.open(f"{work.bucket}/polars/a.parquet", "rb") as file:
            assert polars.read_parquet(file).equals(frame)
        # And by its own way to S3.
        own = {"aws_access_key_id": work.access, "aws_secret_access_key": work.secret, "aws_endpoint_url": work.endpoint, "aws_region": work.region}
        frame.write_parquet(f"s3://{work.bucket}/polars/b.parquet", storage_options=own)
        work.equal(polars.scan_parquet(f"s3://{work.bucket}/polars/*.parquet", storage_options=own).filter(polars.col("n") < 50).collect().height, 100, "rows")
        with fs.open(f"{work.bucket}/polars/c.csv", "wb") as file:
            frame.write_csv(file)
        work.same(fs.cat_file(f"{work.bucket}/polars/c.csv"), frame.write_csv().encode(), "the table as CSV")
