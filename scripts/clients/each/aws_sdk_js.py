"""The AWS SDK for JavaScript: `aws-sdk-js/main.mjs` does the work."""
import os, shutil

from ..program import run_program

PROGRAM = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "aws-sdk-js", "main.mjs")


def version(work):
    return ""


def run(work):
    # Imports are looked up from where the file is.
    run_program(work, [work.tool("node"), shutil.copy(PROGRAM, work.tool("packages"))])
