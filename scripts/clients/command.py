"""The command line: which clients, against which gateway, and a line for each."""
import argparse, json, os, secrets, shutil, subprocess, sys, tempfile, time

from . import found, install
from .catalogue import CLIENTS
from .gateway import Gateway, built

SECONDS_MAX = 1_800
SCRIPTS = os.path.abspath(os.path.join(os.path.dirname(__file__), ".."))


def options(description):
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", metavar="NAME,...", default=",".join(CLIENTS), help="the clients to run")
    parser.add_argument("--require", metavar="NAME,...", default="", help="clients whose absence is a failure; `all` for every one")
    parser.add_argument("--cairn", metavar="PATH", help="the program to start [default: what `cargo build --release` makes]")
    parser.add_argument("--venv", metavar="DIR", default=install.default_directory(), help="where clients are installed [default: clients/ in the target directory]")
    parser.add_argument("--install", action=argparse.BooleanOptionalAction, help="install what is missing [default: when no gateway is given]")
    parser.add_argument("--upgrade", action="store_true", help="bring what is installed to the newest versions")
    parser.add_argument("--peers", type=int, metavar="N", help="over so many storage peers (`cairn up --peers N`)")
    parser.add_argument("--quick", action="store_true", help="fewer and smaller objects")
    parser.add_argument("--json", action="store_true", help="a JSON object for each client")
    chosen = parser.parse_args()
    chosen.only = chosen.only.split(",")
    chosen.require = set(CLIENTS) if chosen.require == "all" else set(filter(None, chosen.require.split(",")))
    if unknown := sorted({*chosen.only, *chosen.require} - set(CLIENTS)):
        parser.error(f"no such client: {', '.join(unknown)}; there are {', '.join(CLIENTS)}")
    chosen.venv = os.path.abspath(chosen.venv)
    return chosen


def main(description):
    chosen = options(description)
    given = "CAIRN_ACCESS_KEY" in os.environ
    why = {}
    if chosen.upgrade or (chosen.install if chosen.install is not None else not given):
        why = install.install(chosen.venv, chosen.only, chosen.upgrade, lambda line: print(line, file=sys.stderr, flush=True))
    with tempfile.TemporaryDirectory(prefix="cairn-clients-") as directory:
        gateway = None
        if given:
            reach = {"endpoint": os.environ.get("CAIRN_ENDPOINT", "http://127.0.0.1:9000"), "access": os.environ["CAIRN_ACCESS_KEY"],
                     "secret": os.environ["CAIRN_SECRET_KEY"], "region": os.environ.get("CAIRN_REGION", "us-east-1")}
        else:
            gateway = Gateway(os.path.abspath(chosen.cairn) if chosen.cairn else built(), directory, chosen.peers)
            reach = {"endpoint": gateway.endpoint, "access": gateway.access, "secret": gateway.secret, "region": "us-east-1"}
        try:
            failed = sum(not one(name, chosen, reach, directory, why.get(name)) for name in chosen.only)
        finally:
            if gateway:
                gateway.close()
    sys.exit(1 if failed else 0)


def one(name, chosen, reach, directory, not_installed):
    """Runs a client and prints its line; whether that is no failure."""
    began, client = time.monotonic(), CLIENTS[name]
    python, tools, missing = found.of(chosen.venv, client)
    report = {"client": name, "result": "absent", "version": "", "steps": [], "bytes": 0, "why": None}
    if missing:
        report["why"] = not_installed or missing
    else:
        report |= ended(client, python, tools, chosen, reach, os.path.join(directory, name))
        if not_installed and report["result"] == "ok":
            report["why"] = f"newest not installed: {not_installed}"
    report["seconds"] = round(time.monotonic() - began, 1)
    fine = report["result"] == "ok" or (report["result"] in ("absent", "skipped") and name not in chosen.require)
    print(json.dumps(report) if chosen.json else line(report), flush=True)
    return fine


def ended(client, python, tools, chosen, reach, directory):
    """How the client's process ended."""
    os.makedirs(directory)
    spec = {**reach, "module": client.module, "directory": directory, "quick": chosen.quick, "tools": tools,
            "bucket": f"clients-{client.name}-{secrets.token_hex(3)}"}
    path = os.pathsep.join([os.path.dirname(python), os.environ.get("PATH", "")])
    try:
        # In a directory of its own, with this package on the path: no file of a client is mistaken for the library of its name.
        done = subprocess.run([python, "-m", "clients.worker"], input=json.dumps(spec), text=True, capture_output=True, timeout=SECONDS_MAX,
                              cwd=directory, env={**os.environ, "PATH": path, "PYTHONPATH": SCRIPTS, "PYTHONDONTWRITEBYTECODE": "1"})
        how = f"its process ended with {done.returncode}: {done.stderr[-600:]}"
    except subprocess.TimeoutExpired:
        how = f"not done after {SECONDS_MAX} s"
    try:
        with open(os.path.join(directory, "report.json")) as file:
            said = json.load(file)
    except FileNotFoundError:
        said = {"version": "", "steps": [], "bytes": 0, "error": how, "at": "start"}
    shutil.rmtree(directory, ignore_errors=True)
    report = {"version": said["version"], "steps": said["steps"], "bytes": said["bytes"]}
    if "skipped" in said:
        return {**report, "result": "skipped", "why": said["skipped"]}
    if "error" not in said and said["at"] != "end":
        said["error"] = how
    if "error" in said:
        if os.environ.get("CLIENTS_TRACE"):
            print(said.get("trace", ""), file=sys.stderr)
        return {**report, "result": "FAILED", "why": f"at {said['at']}: {said['error']}"}
    return {**report, "result": "ok"}


def line(report):
    text = f"{report['client']:12} {report['result']:7}"
    if report["version"]:
        text += f" {report['version']:11} {report['bytes'] / 1e6:7.1f} MB checked {report['seconds']:6.1f} s  {', '.join(report['steps'])}"
    if report["why"]:
        text += f"  ({' '.join(report['why'].split())[:700]})"
    return text
