#!/usr/bin/env python3
"""Runs the ceph/s3-tests suite, unpatched, against a fresh `cairn up` and says of every case: passed, failed, not applicable and why.

    scripts/s3_tests.py CHECKOUT [--cairn BIN] [--venv DIR] [--shards N] [--peers N] [--only REGEX] [--rounds N]
                        [--check | --update-stable] [--write-docs]

CHECKOUT is a clone of https://github.com/ceph/s3-tests. Every shard has a `cairn up` of its own on free ports, in a temporary
directory, with one vault for each account that the suite knows. --venv names a Python environment that has what the suite needs;
it is made if it is not there. --check runs the cases of scripts/s3-tests-passing.txt and fails if one of them does;
--update-stable writes the cases that passed in every round there; --write-docs makes docs/s3-compatibility.md.
Exit status: 0 the suite ran (with --check: and every listed case passed), 1 not.
"""
import argparse, collections, json, os, re, secrets, shutil, socket, subprocess, sys, tempfile, time, venv

from s3_tests_table import FAILED_BY_DESIGN, FAMILIES, NOT_APPLICABLE

HERE = os.path.dirname(os.path.abspath(__file__))
STABLE = os.path.join(HERE, "s3-tests-passing.txt")
DOCS = os.path.join(HERE, "..", "docs", "s3-compatibility.md")
FILES = ["s3tests/functional/test_s3.py", "s3tests/functional/test_headers.py"]
CASE_SECONDS_MAX = 120
ACCOUNTS = {"s3 main": "main", "s3 alt": "alt", "s3 tenant": "tenant", "iam": "iam", "iam root": "iam-root", "iam alt root": "iam-alt-root"}

# Loaded into pytest beside the suite: it chooses the cases and writes down how each phase of each ended. What a failed case leaves
# behind makes the clean-up of every later one fail, so that those get a bucket prefix of their own.
PROBE = '''
import json, os

wanted = set(open(os.environ["CAIRN_CASES"]).read().split("\\n")) if "CAIRN_CASES" in os.environ else None
out = open(os.environ["CAIRN_RESULTS"], "a")


def case_of(nodeid):
    return nodeid.split("/")[-1]


def pytest_collection_modifyitems(items):
    if wanted is not None:
        items[:] = [item for item in items if case_of(item.nodeid) in wanted]
    for item in items:
        json.dump({"case": case_of(item.nodeid), "marks": sorted({m.name for m in item.iter_markers()})}, out)
        out.write("\\n")
    out.flush()


def pytest_runtest_logreport(report):
    why = ""
    if report.failed:
        crash = getattr(report.longrepr, "reprcrash", None)
        why = (crash.message if crash else str(report.longrepr)).strip().split("\\n")[0][:300]
    elif report.skipped:
        why = str(report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr)[:300]
    json.dump({"case": case_of(report.nodeid), "phase": report.when, "outcome": report.outcome,
               "seconds": round(report.duration, 2), "why": why}, out)
    out.write("\\n")
    out.flush()
    if report.failed and report.when != "call":
        import s3tests.functional as suite
        suite.prefix = suite.choose_bucket_prefix(template="cairn-{random}-")
'''


def run(*command, **kw):
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, **kw)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}: {done.stdout[-600:]} {done.stderr[-1200:]}")
    return done.stdout


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Gateway:
    """A `cairn up` with a vault for each account, until it is closed."""

    def __init__(self, cairn, directory, peers=None):
        over = ["--peers", str(peers)] if peers else []
        self.data, self.port = os.path.join(directory, "data"), free_port()
        self.log = open(os.path.join(directory, "up.log"), "w")
        self.process = subprocess.Popen(
            [cairn, "--data", self.data, "--json", "up", *over, "--shorten-lifecycle-day-to", "10s", "--s3", f"127.0.0.1:{self.port}", "--admin", f"127.0.0.1:{free_port()}"],
            stdout=subprocess.PIPE, stderr=self.log, text=True)
        self.first = json.loads(self.process.stdout.readline() or "{}")
        if self.process.stdout.readline().strip() != "ready":
            raise RuntimeError(f"cairn up did not start; see {self.log.name}")
        self.keys = {}
        for section, vault in ACCOUNTS.items():
            if vault != "main":
                run(cairn, "--data", self.data, "--json", "vault", "create", vault)
            key = run(cairn, "--data", self.data, "--json", "key", "create", "--vault", vault, "--scope", "*", "--op", "all", "--expires", "24h")
            self.keys[section] = json.loads(key) | {"name": vault}

    def config(self):
        lines = ["[DEFAULT]", "host = 127.0.0.1", f"port = {self.port}", "is_secure = False", "ssl_verify = False",
                 "[fixtures]", "bucket prefix = cairn-{random}-"]
        for section, key in self.keys.items():
            lines += [f"[{section}]", f"display_name = {key['name']}", f"user_id = {key['vault_id']}", f"email = {key['name']}@example.com",
                      f"access_key = {key['access_key_id']}", f"secret_key = {key['secret_access_key']}"]
            if section == "s3 main":
                lines += ["api_name = ", "lc_debug_interval = 10"]
            if section == "s3 tenant":
                lines += ["tenant = "]
        return "\n".join(lines) + "\n"

    def close(self):
        self.process.terminate()
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()


def python_of(directory, checkout):
    """The interpreter of an environment that has what the suite needs."""
    python = os.path.join(directory, "bin", "python")
    if not os.path.exists(python):
        venv.create(directory, with_pip=True)
        run(python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", os.path.join(checkout, "requirements.txt"), "pytest-timeout")
    return python


def read_results(path):
    """What the probe wrote, a dictionary for each case."""
    cases = {}
    with open(path) as lines:
        for line in map(json.loads, lines):
            case = cases.setdefault(line["case"], {"marks": [], "phases": {}})
            if "marks" in line:
                case["marks"] = line["marks"]
            else:
                case["phases"][line["phase"]] = line
    return cases


def pytest(python, checkout, scratch, config, chosen, collect_only=False):
    """Starts pytest on some cases; gives the process and the path of its results."""
    results, env = os.path.join(scratch, "results.jsonl"), {**os.environ}
    for name in [n for n in env if n.startswith("AWS_") or n == "S3_USE_SIGNATURE_V4"]:
        del env[name]
    paths = {"s3tests.conf": config, "cairn_probe.py": PROBE, "cases": "\n".join(chosen or [])}
    for name, text in paths.items():
        with open(os.path.join(scratch, name), "w") as f:
            f.write(text)
    open(results, "w").close()
    env.update(S3TEST_CONF=os.path.join(scratch, "s3tests.conf"), CAIRN_RESULTS=results, PYTHONPATH=scratch, PYTHONDONTWRITEBYTECODE="1",
               AWS_CONFIG_FILE=os.devnull, AWS_SHARED_CREDENTIALS_FILE=os.devnull, AWS_EC2_METADATA_DISABLED="true")
    if chosen is not None:
        env["CAIRN_CASES"] = os.path.join(scratch, "cases")
    command = [python, "-m", "pytest", "-q", "-p", "cairn_probe", "-p", "no:cacheprovider", f"--timeout={CASE_SECONDS_MAX}", "--tb=short",
               *(["--collect-only"] if collect_only else []), *FILES]
    log = open(os.path.join(scratch, "pytest.log"), "w")
    return subprocess.Popen(command, cwd=checkout, env=env, stdout=log, stderr=subprocess.STDOUT), results


def collect(python, checkout, scratch):
    os.makedirs(scratch, exist_ok=True)
    config = "[DEFAULT]\nhost = 127.0.0.1\nport = 9\nis_secure = False\n" + "".join(
        f"[{s}]\ndisplay_name = x\nuser_id = x\nemail = x\naccess_key = x\nsecret_key = x\ntenant = \n" for s in ACCOUNTS)
    process, results = pytest(python, checkout, scratch, config, None, collect_only=True)
    if process.wait() != 0:
        raise RuntimeError("the suite cannot be collected: " + open(os.path.join(scratch, "pytest.log")).read()[-2000:])
    return read_results(results)


def run_suite(python, checkout, cairn, scratch, cases, shards, peers):
    """Runs the cases, dealt out over so many gateways at once."""
    running, found = [], {}
    try:
        for number in range(shards):
            directory = os.path.join(scratch, f"shard-{number}")
            os.makedirs(directory)
            gateway = Gateway(cairn, directory, peers)
            running.append((gateway, *pytest(python, checkout, directory, gateway.config(), cases[number::shards])))
        for _, process, results in running:
            process.wait()
            found.update(read_results(results))
    finally:
        for gateway, process, _ in running:
            if process.poll() is None:
                process.kill()
            gateway.close()
    return found


def family(case):
    name = case.split("::test_")[1]
    return next(family for family, pattern, _ in FAMILIES if re.match(pattern, name))


def judge(case, result):
    """`passed`, `failed` or `not applicable`, and why."""
    phases = result["phases"]
    bad = next((p for p in ("setup", "call", "teardown") if phases.get(p, {}).get("outcome") != "passed"), None)
    if bad is None:
        return "passed", ""
    name = case.split("::test_")[1]
    for reason, marks, pattern in NOT_APPLICABLE:
        if marks & set(result["marks"]) or (pattern and re.match(pattern, name)):
            return "not applicable", reason
    for reason, pattern in FAILED_BY_DESIGN:
        if re.match(pattern, name):
            return "failed", reason
    why = phases.get(bad, {}).get("why", "did not end")
    return "failed", f"{bad}: {why}" if bad != "call" else why


def short(why):
    why = re.sub(r"botocore\.exceptions\.|An error occurred |when calling the (\w+) operation", r"\1", why)
    why = re.sub(r"cairn-[a-z0-9]{8,}-\d*|v-[0-9a-f]{32}|\b[0-9A-F]{20,}\b|\b[0-9a-f]{32,}\b|\d{4}-\d\d-\d\dT[\d:.+Z-]+|0x[0-9a-f]+|127\.0\.0\.1:\d+", "…", why)
    return re.sub(r"\s+", " ", why).replace("|", "\\|").replace("<", "&lt;").strip()[:140]


def write_docs(judged, head):
    total = collections.Counter(outcome for outcome, _ in judged.values())
    by_family = collections.defaultdict(collections.Counter)
    for case, (outcome, _) in judged.items():
        by_family[family(case)][outcome] += 1
    lines = ["# S3 compatibility", "",
             "Made by `scripts/s3_tests.py CHECKOUT --write-docs`; do not edit. The suite is [ceph/s3-tests](https://github.com/ceph/s3-tests), unpatched,",
             f"at commit {head[:12]}: `test_s3.py` and `test_headers.py` against a fresh `cairn up` with a vault for each account of the suite.", "",
             f"**{total['passed']} of {len(judged)} cases pass**, {total['failed']} fail, {total['not applicable']} are not applicable. A case counts as not applicable only if it",
             "does not pass. The cases that pass each time stand in `scripts/s3-tests-passing.txt`; a change after which one of them fails does not go in.", "",
             "## By family", "", "| family | cases | passed | budget | failed | not applicable |", "|---|--:|--:|--:|--:|--:|"]
    for name, _, budget in FAMILIES:
        n = by_family[name]
        lines.append(f"| {name} | {sum(n.values())} | {n['passed']} | {budget} | {n['failed']} | {n['not applicable']} |")
    lines += [f"| all | {len(judged)} | {total['passed']} | {sum(b for *_, b in FAMILIES)} | {total['failed']} | {total['not applicable']} |", "",
              "Cases are named without `test_`."]
    for outcome, title in (("failed", "Failed"), ("not applicable", "Not applicable")):
        by_reason = collections.defaultdict(list)
        for case, (o, why) in sorted(judged.items()):
            if o == outcome:
                by_reason[short(why)].append(case.split("::test_")[1])
        lines += ["", f"## {title}", "", "| reason | n | cases |", "|---|--:|---|"]
        lines += [f"| {why} | {len(names)} | {', '.join(names)} |" for why, names in sorted(by_reason.items(), key=lambda x: (-len(x[1]), x[0]))]
    with open(DOCS, "w") as f:
        f.write("\n".join(lines) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkout", metavar="CHECKOUT")
    parser.add_argument("--cairn", metavar="BIN", default=os.path.join(HERE, "..", "target", "debug", "cairn"))
    parser.add_argument("--venv", metavar="DIR", default=os.path.join(HERE, "..", "target", "s3-tests-venv"))
    parser.add_argument("--shards", type=int, default=max(2, os.cpu_count() or 2))
    parser.add_argument("--peers", type=int, metavar="N", help="over so many storage peers (`cairn up --peers N`)")
    parser.add_argument("--only", metavar="REGEX", help="cases whose name matches, without `test_`")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--keep", metavar="DIR", help="keep the logs and results here")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--update-stable", action="store_true")
    parser.add_argument("--write-docs", action="store_true")
    args = parser.parse_args()
    if args.only and (args.update_stable or args.write_docs):
        parser.error("--only runs a part of the suite; the list and the page are of the whole")
    checkout, cairn = os.path.abspath(args.checkout), os.path.abspath(args.cairn)
    python = python_of(os.path.abspath(args.venv), checkout)
    scratch = os.path.abspath(args.keep) if args.keep else tempfile.mkdtemp(prefix="cairn-s3-tests-")
    started = time.time()
    try:
        cases = sorted(collect(python, checkout, os.path.join(scratch, f"collect-{secrets.token_hex(4)}")))
        if args.only:
            cases = [c for c in cases if re.search(args.only, c.split("::test_")[1])]
        stable = set()
        if args.check:
            stable = {line for line in open(STABLE).read().splitlines() if line and not line.startswith("#")}
            gone = stable - set(cases) if not args.only else set()
            for case in sorted(gone):
                print(f"gone    {case}: the suite no longer has it")
            cases = [c for c in cases if c in stable]
        always, judged = set(cases), {}
        for round_number in range(args.rounds):
            found = run_suite(python, checkout, cairn, os.path.join(scratch, f"round-{round_number}-{secrets.token_hex(4)}"), cases, args.shards, args.peers)
            judged = {case: judge(case, found.get(case, {"marks": [], "phases": {}})) for case in cases}
            always &= {case for case, (outcome, _) in judged.items() if outcome == "passed"}
        if args.check and (bad := sorted(set(cases) - always)):
            # Once more and alone: a machine that is busy with other things is no defect.
            found = run_suite(python, checkout, cairn, os.path.join(scratch, f"again-{secrets.token_hex(4)}"), bad, 1, args.peers)
            judged.update({case: judge(case, found.get(case, {"marks": [], "phases": {}})) for case in bad})
            always |= {case for case in bad if judged[case][0] == "passed"}
    finally:
        if not args.keep:
            shutil.rmtree(scratch, ignore_errors=True)
    for case, (outcome, why) in sorted(judged.items()):
        if outcome == "failed" or (args.check and case not in always):
            print(f"{outcome:7} {case}: {short(why)}")
    total = collections.Counter(outcome for outcome, _ in judged.values())
    print(f"{total['passed']} passed, {total['failed']} failed, {total['not applicable']} not applicable of {len(judged)} in {time.time() - started:.0f} s")
    if args.update_stable:
        with open(STABLE, "w") as f:
            f.write("# Cases of ceph/s3-tests that pass every time. Written by scripts/s3_tests.py --update-stable.\n")
            f.writelines(case + "\n" for case in sorted(always))
    if args.write_docs:
        write_docs(judged, run("git", "-C", checkout, "rev-parse", "HEAD").strip())
    return 1 if args.check and (set(cases) - always or not cases) else 0


if __name__ == "__main__":
    sys.exit(main())
