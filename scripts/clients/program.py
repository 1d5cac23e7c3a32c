"""Runs a client that is a program of its own: it says in lines of JSON what it begins, what it has done and how much it checked."""
import json, os, subprocess, threading

SECONDS_MAX = 900


def run_program(work, command):
    env = {**os.environ, **work.aws_env(), "NODE_NO_WARNINGS": "1", "BUCKET": work.bucket, "NAMES": json.dumps(work.names), "SAMPLES": work.src, "LARGE": work.large}
    with open(work.directory + "/stderr", "w+") as stderr:
        process = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=stderr, text=True)
        limit = threading.Timer(SECONDS_MAX, process.kill)
        limit.start()
        for line in process.stdout:
            said = json.loads(line)
            work.report["version"] = said.get("version", work.report["version"])
            work.report["at"] = said.get("at", work.report["at"])
            work.report["bytes"] += said.get("bytes", 0)
            if "step" in said:
                work.note(said["step"])
        code = process.wait()
        limit.cancel()
        stderr.seek(0)
        if code != 0:
            raise RuntimeError(f"ended with {code}: {stderr.read()[-1200:]}")
