"""What a client gets: endpoint and keys, a bucket, sample files; and what it leaves: the steps it did and the bytes it checked."""
import contextlib, hashlib, json, os, subprocess, urllib.request

from . import signed

# Above the sizes at which the clients split an upload by default: 5 MiB (most), 8 (AWS), 15 (s3cmd), 50 (s5cmd, s3fs).
LARGE, LARGE_QUICK = (72 << 20) + 4_321, 24_000_000
# More than a page of 1,000 keys.
MANY, MANY_QUICK = 1_100, 40
ODD = ["space in name.bin", "plus+sign.bin", "percent%41%2F.bin", "hash#tag.bin", "and&equals=1;comma,.bin", "quote'\"`$!.bin", "tilde~(at)@:.bin",
       "ünïcödé/日本 語/🪨.bin", "dots..two/...three.bin", " leading and trailing "]


class Skipped(Exception):
    """The client cannot be had here; the message says why."""


class Work:
    def __init__(self, spec):
        self.endpoint, self.access, self.secret, self.region = spec["endpoint"], spec["access"], spec["secret"], spec["region"]
        self.bucket, self.directory, self.quick, self.tools = spec["bucket"], spec["directory"], spec["quick"], spec["tools"]
        self.scheme, self.host = self.endpoint.split("://", 1)
        self.src, self.out, self.large = (os.path.join(self.directory, name) for name in ("src", "out", "large.bin"))
        self.report = {"version": "", "steps": [], "bytes": 0, "at": "start"}
        os.makedirs(self.out)
        self._make_samples()

    # Samples. What is in them follows from their names, so that a failure can be looked into again.

    def _make_samples(self):
        many, large = (MANY_QUICK, LARGE_QUICK) if self.quick else (MANY, LARGE)
        self.names = [f"many/{i % 7}/{i:05}.txt" for i in range(many)] + [f"odd/{name}" for name in ODD] + ["empty.bin", "middle.bin"]
        for name in self.names:
            size = {"empty.bin": 0, "middle.bin": 1_000_003}.get(name, 100 + len(name) * 37 % 4_000)
            self.write_file(os.path.join(self.src, name), content(name, size))
        self.write_file(self.large, content("large", large))

    @staticmethod
    def write_file(path, data):
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(data)

    @staticmethod
    def read_file(path):
        with open(path, "rb") as file:
            return file.read()

    def sample(self, name):
        return self.read_file(os.path.join(self.src, name))

    # Steps and checks.

    @contextlib.contextmanager
    def step(self, name):
        self.report["at"] = name
        yield
        self.note(name)

    def note(self, name):
        if name not in self.report["steps"]:
            self.report["steps"].append(name)
        self.save()

    def save(self):
        with open(os.path.join(self.directory, "report.json"), "w") as file:
            json.dump(self.report, file)

    def same(self, got, want, what):
        """Compares bytes by length and SHA-256 and counts them."""
        if len(got) != len(want) or digest(got) != digest(want):
            raise AssertionError(f"{what} came back different: {len(got)} bytes, {len(want)} were written")
        self.report["bytes"] += len(want)

    def same_file(self, got, want):
        self.same(self.read_file(got), self.read_file(want), os.path.basename(want))

    def same_tree(self, got, want):
        """Both trees have the same files, empty directories aside, with the same bytes."""
        a, b = tree(got), tree(want)
        self.equal(sorted(a), sorted(b), "the names in the tree")
        for name in b:
            self.same_file(os.path.join(got, name), os.path.join(want, name))

    @staticmethod
    def equal(got, want, what):
        if got != want:
            if isinstance(got, (list, set)):
                more, less = sorted(set(got) - set(want))[:5], sorted(set(want) - set(got))[:5]
                raise AssertionError(f"{what}: {len(got)} instead of {len(want)}; too many {more}, missing {less}")
            raise AssertionError(f"{what}: {got!r} instead of {want!r}")

    @staticmethod
    def refused(done, sign, what):
        """`done()` has to fail with `sign` in what it says."""
        try:
            done()
        except Exception as error:
            said = f"{type(error).__name__} {error}"
            if not any(s.lower() in said.lower() for s in (sign if isinstance(sign, tuple) else (sign,))):
                raise AssertionError(f"{what} was refused, but with: {said[:400]}") from error
        else:
            raise AssertionError(f"{what} went through")

    # The outside.

    def tool(self, name):
        return self.tools.get(name, name)

    def aws_env(self):
        return {"AWS_ACCESS_KEY_ID": self.access, "AWS_SECRET_ACCESS_KEY": self.secret, "AWS_REGION": self.region,
                "AWS_DEFAULT_REGION": self.region, "AWS_ENDPOINT_URL": self.endpoint, "AWS_EC2_METADATA_DISABLED": "true"}

    def run(self, *command, env=None, data=None, text=True, cwd=None):
        """The standard output of a command that has to succeed."""
        done = subprocess.run([self.tool(command[0]), *command[1:]], env={**os.environ, **(env or {})}, input=data, capture_output=True, timeout=900, cwd=cwd)
        if done.returncode != 0:
            said = (done.stderr.strip() or done.stdout.strip()).decode(errors="replace")[-900:]
            shown = " ".join(part for part in command if self.secret not in part)
            raise RuntimeError(f"{shown[-200:]} ended with {done.returncode}: {said}")
        return done.stdout.decode() if text else done.stdout

    def make_bucket(self):
        """For clients that cannot make one."""
        signed.request(self, "PUT", f"/{self.bucket}")

    def remove_bucket(self):
        """For clients that cannot remove one. It has to be empty: whoever made the objects deletes them."""
        signed.request(self, "DELETE", f"/{self.bucket}")

    def fetch(self, url, data=None, headers=None):
        """What a plain HTTP client gets from a presigned URL; with `data`, it puts that."""
        request = urllib.request.Request(url, data=data, method="GET" if data is None else "PUT", headers=headers or {})
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.read()


def digest(data):
    return hashlib.sha256(data).hexdigest()


def content(name, size):
    """`size` bytes that no compression shortens, the same for a name each time."""
    return hashlib.shake_256(name.encode()).digest(size)


def tree(top):
    found = []
    for directory, _, names in os.walk(top):
        found += [os.path.relpath(os.path.join(directory, name), top) for name in names]
    return found
