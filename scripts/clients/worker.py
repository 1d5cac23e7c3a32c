"""Runs one client in the interpreter that has it: the specification comes on standard input, the report goes to a file.

    python -m clients.worker < specification
"""
import importlib, json, os, site, sys, traceback

from .work import Skipped, Work


def main():
    spec = json.load(sys.stdin)
    # What a person's own settings would change.
    for name in [name for name in os.environ if name.startswith(("AWS_", "RCLONE_", "RESTIC_", "MC_"))]:
        if name != "AWS_CA_BUNDLE" or not spec["endpoint"].startswith("https"):
            del os.environ[name]
    os.environ.setdefault("PYTHONUSERBASE", site.getuserbase())
    os.environ.update(AWS_CONFIG_FILE=os.devnull, AWS_SHARED_CREDENTIALS_FILE=os.devnull, RCLONE_CONFIG=os.devnull, HOME=spec["directory"])
    work = Work(spec)
    try:
        client = importlib.import_module(f"clients.each.{spec['module']}")
        work.report["version"] = client.version(work)
        work.save()
        client.run(work)
        work.report["at"] = "end"
    except Skipped as why:
        work.report["skipped"] = str(why)
    except BaseException as error:
        work.report["error"] = f"{type(error).__name__}: {error}"
        work.report["trace"] = traceback.format_exc()
    work.save()


if __name__ == "__main__":
    main()
