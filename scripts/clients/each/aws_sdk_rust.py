"""The AWS SDK for Rust: the program of `aws-sdk-rust/` does the work."""
import re

from ..program import run_program


def version(work):
    with open(work.tool("Cargo.lock")) as file:
        return re.search(r'name = "aws-sdk-s3"\nversion = "([^"]+)"', file.read())[1]


def run(work):
    run_program(work, [work.tool("aws-sdk-rust-client")])
