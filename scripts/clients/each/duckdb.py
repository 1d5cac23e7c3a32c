"""DuckDB's httpfs."""
import glob, os

import duckdb

from ..work import Skipped

ROWS, ROWS_QUICK = 6_000_000, 300_000
# More files than a page of a listing has.
PARTS, PARTS_QUICK = 1_050, 20


def extension():
    """The file of the extension in the Python package that has it."""
    try:
        import duckdb_extension_httpfs as package
    except ImportError:
        return None
    return next(iter(glob.glob(os.path.join(list(package.__path__)[0], "**", "httpfs.duckdb_extension"), recursive=True)), None)


def connect(work):
    connection = duckdb.connect()
    file = extension()
    try:
        if not file:
            connection.execute("INSTALL httpfs")
        connection.execute(f"LOAD '{file}'" if file else "LOAD httpfs")
    except Exception as error:
        raise Skipped(f"not available: DuckDB {duckdb.__version__} cannot get its extension httpfs: {error}") from error
    connection.execute(
        f"CREATE SECRET (TYPE s3, KEY_ID '{work.access}', SECRET '{work.secret}', REGION '{work.region}', ENDPOINT '{work.host}', "
        f"URL_STYLE 'path', USE_SSL {'true' if work.scheme == 'https' else 'false'})")
    return connection


def version(work):
    return duckdb.__version__


def run(work):
    db = connect(work)
    work.make_bucket()
    url, rows, parts = f"s3://{work.bucket}", *((ROWS_QUICK, PARTS_QUICK) if work.quick else (ROWS, PARTS))

    def one(query):
        return db.execute(query).fetchone()

    # hash() is not random to the eye of a compressor only, so that the files are large.
    db.execute(f"CREATE TABLE t AS SELECT i AS n, hash(i) AS h, 'wört ' || i % 1000 AS word, i % {parts} AS part FROM range({rows}) r(i)")
    want = one("SELECT count(*), sum(n), bit_xor(hash(n, h, word, part)) FROM t")
    with work.step("put parquet in parts"):
        db.execute(f"COPY t TO '{url}/t a+b.parquet'")
    with work.step("get"):
        work.equal(one(f"SELECT count(*), sum(n), bit_xor(hash(n, h, word, part)) FROM '{url}/t a+b.parquet'"), want, "the table")
    with work.step("range"):
        work.equal(one(f"SELECT word, h FROM '{url}/t a+b.parquet' WHERE n = 123456"), one("SELECT word, h FROM t WHERE n = 123456"), "a row")
        work.equal(one(f"SELECT sum(num_rows) FROM (SELECT DISTINCT row_group_id, row_group_num_rows AS num_rows FROM parquet_metadata('{url}/t a+b.parquet'))")[0], rows, "the rows of the footer")
    with work.step("csv"):
        db.execute(f"COPY t TO '{url}/ünïcödé %41.csv'")
        db.execute(f"COPY t TO '{work.out}/t.csv'")
        work.same(bytes(one(f"SELECT content FROM read_blob('{url}/ünïcödé %41.csv')")[0]), work.read_file(work.out + "/t.csv"), "the CSV file")
    with work.step("partitioned put"):
        db.execute(f"COPY (SELECT n, word, part FROM t WHERE n < {parts * 2}) TO '{url}/parts' (FORMAT parquet, PARTITION_BY (part))")
    with work.step("list over pages"):
        work.equal(one(f"SELECT count(*) FROM glob('{url}/parts/*/*.parquet')")[0], parts, "the files")
        work.equal(one(f"SELECT count(*), sum(n) FROM read_parquet('{url}/parts/**/*.parquet', hive_partitioning = true) WHERE part = 7"), (2, 7 + 7 + parts), "a partition")
        work.equal(one(f"SELECT count(*), sum(n) FROM read_parquet('{url}/parts/*/*.parquet')"), one(f"SELECT count(*), sum(n) FROM t WHERE n < {parts * 2}"), "all partitions")
