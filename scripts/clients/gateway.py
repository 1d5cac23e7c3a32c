"""A `cairn up` on a fresh data directory, until it is closed."""
import json, os, secrets, socket, subprocess

TOP = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))


def target():
    return os.path.abspath(os.environ.get("CARGO_TARGET_DIR") or os.path.join(TOP, "target"))


def built():
    """The release program of this tree, as `cargo run --release` would build it."""
    subprocess.run(["cargo", "build", "--release", "--quiet", "-p", "cairn"], cwd=TOP, check=True)
    return os.path.join(target(), "release", "cairn")


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Gateway:
    def __init__(self, cairn, directory, peers=None):
        over = ["--peers", str(peers)] if peers else []
        self.access, self.secret = "CLIENTS" + secrets.token_hex(6).upper(), secrets.token_urlsafe(30)
        env = {name: value for name, value in os.environ.items() if not name.startswith("CAIRN_")}
        env.update(CAIRN_ACCESS_KEY=self.access, CAIRN_SECRET_KEY=self.secret)
        self.log = open(os.path.join(directory, "up.log"), "w")
        self.process = subprocess.Popen(
            [cairn, "--json", "up", *over, "--data", os.path.join(directory, "data"), "--s3", f"127.0.0.1:{free_port()}", "--admin", f"127.0.0.1:{free_port()}"],
            stdout=subprocess.PIPE, stderr=self.log, text=True, env=env)
        first = self.process.stdout.readline()
        if self.process.stdout.readline().strip() != "ready":
            self.close()
            with open(self.log.name) as log:
                raise SystemExit(f"{cairn} up did not start: {log.read()[-2000:]}")
        self.endpoint = json.loads(first)["endpoint"]

    def close(self):
        self.process.terminate()
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()
