#!/usr/bin/env python3
"""Runs real S3 clients with their default settings and byte-checks what comes back: one line a client.

    scripts/clients.py [--only NAME,...] [--require NAME,...|all] [--cairn PATH] [--venv DIR] [--upgrade] [--peers N] [--quick] [--json]

Installs what is missing into --venv and starts a fresh `cairn up` in a temporary directory. Where CAIRN_ACCESS_KEY is set, the
gateway at CAIRN_ENDPOINT is used instead, with CAIRN_ACCESS_KEY, CAIRN_SECRET_KEY and CAIRN_REGION, and nothing is installed
unless --install says so.

A client that is not there is reported as absent, one that cannot do its work on this machine as skipped, with the reason; with
--require either is a failure. CLIENTS_TRACE=1 shows where a client failed. Exit status 0: every client that ran passed.
"""
from clients.command import main

if __name__ == "__main__":
    main(__doc__)
