"""pyarrow: its file system and data sets."""
import pyarrow
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.dataset as ds
import pyarrow.fs as pafs
import pyarrow.parquet as pq


def version(work):
    return pyarrow.__version__


def run(work):
    s3 = pafs.S3FileSystem(access_key=work.access, secret_key=work.secret, endpoint_override=work.host, scheme=work.scheme, region=work.region,
                           allow_bucket_creation=True, allow_bucket_deletion=True)
    at = work.bucket

    def write(name, data):
        with s3.open_output_stream(f"{at}/{name}") as sink:
            sink.write(data)

    def read(name):
        with s3.open_input_stream(f"{at}/{name}") as source:
            return source.read()

    def files(directory):
        return sorted(f.path for f in s3.get_file_info(pafs.FileSelector(f"{at}/{directory}", recursive=True)) if f.type == pafs.FileType.File)

    with work.step("make bucket"):
        s3.create_dir(at)
    with work.step("put"):
        for name in work.names:
            write(f"tree/{name}", work.sample(name))
    with work.step("multipart"):
        whole = work.read_file(work.large)
        write("large.bin", whole)
    with work.step("list"):
        work.equal(files("tree"), sorted(f"{at}/tree/{name}" for name in work.names), "the listing")
    with work.step("get"):
        for name in work.names:
            work.same(read(f"tree/{name}"), work.sample(name), name)
        work.same(read("large.bin"), whole, "large.bin")
    with work.step("range"):
        with s3.open_input_file(f"{at}/large.bin") as source:
            work.same(source.read_at(1000, 12_000_000), whole[12_000_000:12_001_000], "a range")
    with work.step("copy"):
        s3.copy_file(f"{at}/tree/odd/hash#tag.bin", f"{at}/copies/a+b %41.bin")
        s3.move(f"{at}/copies/a+b %41.bin", f"{at}/copies/moved.bin")
        work.same(read("copies/moved.bin"), work.sample("odd/hash#tag.bin"), "what was moved")
    with work.step("partitioned data set"):
        table = pyarrow.table({"n": list(range(300_000)), "part": [f"p {i % 5}" for i in range(300_000)], "x": [i * 0.5 for i in range(300_000)]})
        ds.write_dataset(table, f"{at}/table", filesystem=s3, format="parquet", partitioning=ds.partitioning(pyarrow.schema([("part", "string")]), flavor="hive"))
        work.equal(len(files("table")), 5, "the files of the data set")
    with work.step("filtered read"):
        there = ds.dataset(f"{at}/table", filesystem=s3, format="parquet", partitioning="hive")
        back = there.to_table(filter=(ds.field("part") == "p 3") & (ds.field("n") < 10_000), columns=["n", "x"]).sort_by("n")
        want = table.filter(pc.and_(pc.equal(table["part"], "p 3"), pc.less(table["n"], 10_000))).select(["n", "x"])
        work.equal(back.equals(want), True, "the filtered rows")
        work.equal(there.to_table(columns=["n", "part", "x"]).sort_by("n").cast(table.schema).equals(table), True, "all rows")
    with work.step("parquet and csv"):
        pq.write_table(table, f"{at}/one.parquet", filesystem=s3)
        work.equal(pq.read_table(f"{at}/one.parquet", filesystem=s3).equals(table), True, "the Parquet file")
        with s3.open_output_stream(f"{at}/one.csv") as sink:
            pyarrow.csv.write_csv(table, sink)
        buffer = pyarrow.BufferOutputStream()
        pyarrow.csv.write_csv(table, buffer)
        work.same(read("one.csv"), buffer.getvalue().to_pybytes(), "the CSV file")
    with work.step("delete many"):
        s3.delete_dir_contents(at)
    with work.step("remove bucket"):
        s3.delete_dir(at)
