#!/usr/bin/env python3
"""Runs the s3s-e2e program (crate s3s-e2e, `cargo install s3s-e2e --version 0.14.1`) against a fresh `cairn up`.

    scripts/s3s_e2e.py [--e2e BIN] [--cairn BIN]

Exit status 0: every case passed but those of STS, which there is none of.
"""
import argparse, json, os, subprocess, sys, tempfile

from s3_tests import HERE, Gateway

# There is no token service.
NOT_APPLICABLE = {"test_assume_role"}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--e2e", metavar="BIN", default="s3s-e2e")
    parser.add_argument("--cairn", metavar="BIN", default=os.path.join(HERE, "..", "target", "debug", "cairn"))
    parser.add_argument("--peers", type=int, metavar="N", help="over so many storage peers")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="cairn-s3s-e2e-") as directory:
        gateway = Gateway(os.path.abspath(args.cairn), directory, args.peers)
        try:
            report_path, key = os.path.join(directory, "report.json"), gateway.keys["s3 main"]
            env = {k: v for k, v in os.environ.items() if not k.startswith("AWS_")}
            env.update(AWS_ACCESS_KEY_ID=key["access_key_id"], AWS_SECRET_ACCESS_KEY=key["secret_access_key"], AWS_REGION="us-east-1",
                       AWS_ENDPOINT_URL=f"http://127.0.0.1:{gateway.port}", RUST_LOG="error")
            done = subprocess.run([args.e2e, "--json", report_path], env=env, capture_output=True, text=True, timeout=600)
            with open(report_path) as f:
                report = json.load(f)
        finally:
            gateway.close()
    passed, failed = 0, []
    for suite in report["suites"]:
        for fixture in suite["fixtures"]:
            for case in fixture["cases"]:
                if case["passed"]:
                    passed += 1
                else:
                    failed.append(case["name"])
                    print(f"failed  {suite['name']}/{fixture['name']}/{case['name']}: {json.dumps(case['run'])[:400]}")
    print(f"{passed} passed, {len(failed)} failed")
    if passed + len(failed) == 0:
        print(done.stdout[-2000:], done.stderr[-2000:])
        return 1
    return 1 if set(failed) - NOT_APPLICABLE else 0


if __name__ == "__main__":
    sys.exit(main())
