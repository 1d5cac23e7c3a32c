#!/usr/bin/env python3
"""Slow, stalled and idle clients against a fresh `cairn up`; python3 alone is needed, and openssl for the TLS part.

    scripts/slow_clients.py [--cairn BIN] [--dir DIR] [--json] [--only uploads,stalled,idle] [--uploads N] [--mib N] [--rate KIB] [--idle N]
                            [--peers N]

uploads   N clients (256) send an object or a part of --mib MiB (16) each: 4 MiB as fast as they are taken, the rest at --rate KiB/s (64).
          One in four states 64 MiB and breaks off where the others end. An ordinary client works beside them.
stalled   clients that say nothing, send a head or a TLS handshake a byte a second, stop in a body, send one a byte a second, or
          do not take their answer.
idle      N connections (5,000) that made one request each, then as many again as the listener has places, and an ordinary client.

Prints what was seen and a verdict for each claim; exit status 1 if one does not hold.
"""
import argparse, asyncio, datetime, hashlib, hmac, http.client, json, multiprocessing, os, random, resource, ssl, subprocess, sys, tempfile, time

from s3_tests import HERE, free_port

KEY, SECRET, MIB = "CAIRNSLOWCLIENTS", "the-secret-of-slow-clients", 1 << 20
BURST, STATED = 4 * MIB, 64 * MIB
NOISE = random.Random(1).randbytes(MIB)
MEMORY_MAX_MB, PATIENCE_S, ANSWER_PATIENCE_S, SLACK_S = 512, 60, 120, 15


def signed(method, path, port, length=0, query=""):
    """The head of a request whose body is not signed."""
    now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y%m%dT%H%M%SZ")
    headers = {"host": f"127.0.0.1:{port}", "x-amz-content-sha256": "UNSIGNED-PAYLOAD", "x-amz-date": now}
    names, scope = ";".join(sorted(headers)), f"{now[:8]}/us-east-1/s3/aws4_request"
    lines = "".join(f"{name}:{headers[name]}\n" for name in sorted(headers))
    canonical = f"{method}\n{path}\n{query}\n{lines}\n{names}\nUNSIGNED-PAYLOAD"
    text = f"AWS4-HMAC-SHA256\n{now}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    key = ("AWS4" + SECRET).encode()
    for part in scope.split("/") + [text]:
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    headers["authorization"] = f"AWS4-HMAC-SHA256 Credential={KEY}/{scope}, SignedHeaders={names}, Signature={key.hex()}"
    headers["content-length"] = str(length)
    target = path + (f"?{query}" if query else "")
    return f"{method} {target} HTTP/1.1\r\n{''.join(f'{n}: {v}{chr(13)}{chr(10)}' for n, v in headers.items())}\r\n".encode()


class Server:
    """A `cairn up` until it is closed, and what it takes of the machine."""

    def __init__(self, cairn, directory, *flags):
        self.port, self.log = free_port(), open(os.path.join(directory, "up.log"), "a")
        env = {**os.environ, "CAIRN_ACCESS_KEY": KEY, "CAIRN_SECRET_KEY": SECRET}
        command = [cairn, "--data", os.path.join(directory, "data"), "up", "--s3", f"127.0.0.1:{self.port}", "--admin", f"127.0.0.1:{free_port()}", *flags]
        self.process = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=self.log, text=True)
        for line in self.process.stdout:
            if line.strip() == "ready":
                return
        raise RuntimeError(f"cairn up did not start; see {self.log.name}")

    def memory_mb(self, name="VmRSS"):
        with open(f"/proc/{self.process.pid}/status") as lines:
            return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(name))

    def files(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def sockets(self):
        folder, count = f"/proc/{self.process.pid}/fd", 0
        for name in os.listdir(folder):
            try:
                count += os.readlink(os.path.join(folder, name)).startswith("socket:")
            except OSError:
                pass
        return count

    def forget_peak(self):
        with open(f"/proc/{self.process.pid}/clear_refs", "w") as f:
            f.write("5")

    def ask(self, method, path, body=b"", query=""):
        return ask(http.client.HTTPConnection("127.0.0.1", self.port, timeout=120), self.port, method, path, body, query)

    def close(self):
        self.process.terminate()
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()


def ask(connection, port, method, path, body=b"", query=""):
    head = signed(method, path, port, len(body), query).decode().split("\r\n")[1:-2]
    headers = dict(line.split(": ", 1) for line in head)
    connection.request(method, path + (f"?{query}" if query else ""), body=body, headers=headers)
    answer = connection.getresponse()
    return answer.status, dict(answer.getheaders()), answer.read()


def ordinary(port, stop, results):
    """An ordinary client, in a process of its own: small and large writes and reads, each timed; the statuses that are not 200."""
    small, large, bad, seconds = NOISE[:4096], NOISE * 8, [], {"put 4 KiB": [], "get 4 KiB": [], "put 8 MiB": [], "get 8 MiB": []}
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    number = 0
    while not stop.is_set():
        number += 1
        for kind, body in [("4 KiB", small)] * 10 + [("8 MiB", large)]:
            for method in ["PUT", "GET"]:
                begun = time.monotonic()
                try:
                    status, _, got = ask(connection, port, method, f"/slow/ordinary-{kind[0]}-{number % 3}", body if method == "PUT" else b"")
                    right = status == 200 and (method == "PUT" or got == body)
                    if not right:
                        bad.append(f"{method} {status} {got[:200]}")
                except OSError as error:
                    bad.append(repr(error))
                    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
                seconds[f"{method.lower()} {kind}"].append(time.monotonic() - begun)
        time.sleep(0.02)
    results.put((bad, seconds))


class Beside:
    """An ordinary client while the block runs; afterwards its times in milliseconds."""

    def __init__(self, server):
        self.stop, self.results = multiprocessing.Event(), multiprocessing.Queue()
        self.process = multiprocessing.Process(target=ordinary, args=(server.port, self.stop, self.results))

    def __enter__(self):
        self.process.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        self.bad, seconds = self.results.get(timeout=300)
        self.process.join()
        rank = lambda times, share: round(sorted(times)[min(int(len(times) * share), len(times) - 1)] * 1000, 1)
        self.ms = {kind: {"p50": rank(times, 0.5), "p99": rank(times, 0.99), "n": len(times)} for kind, times in seconds.items()}


async def watched(server, work):
    """Runs work and samples the server meanwhile; gives the most memory (MB) and the most open files."""
    most = [0.0, 0]

    async def look():
        while True:
            most[0], most[1] = max(most[0], server.memory_mb()), max(most[1], server.files())
            await asyncio.sleep(0.2)

    task = asyncio.create_task(look())
    result = await work
    task.cancel()
    return result, max(most[0], server.memory_mb("VmHWM")), most[1]


async def slow_upload(server, number, total, rate, upload, started):
    stated = STATED if number % 4 == 0 else total
    path, query = (f"/slow/part", f"partNumber={number + 1}&uploadId={upload}") if number % 4 == 1 else (f"/slow/up-{number}", "")
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=1 << 16)
    try:
        writer.write(signed("PUT", path, server.port, stated, query))
        sent = 0
        while sent < total:
            piece = min(256 << 10 if sent < BURST else 16 << 10, total - sent)
            writer.write(NOISE[sent % MIB:sent % MIB + piece])
            await asyncio.wait_for(writer.drain(), 120)
            sent += piece
            if sent >= BURST:
                due = started + 20 + (sent - BURST) / rate
                await asyncio.sleep(max(0, due - time.monotonic()))
        if stated > total:
            return "broken off"
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 120)
        return head.split(b"\r\n")[0].decode() + (" " + next((line.split(b'"')[1].decode() for line in head.lower().split(b"\r\n") if line.startswith(b"etag")), ""))
    except (OSError, asyncio.TimeoutError, asyncio.IncompleteReadError) as error:
        return repr(error)
    finally:
        writer.close()


async def uploads(server, args, claim):
    total, rate = args.mib * MIB, args.rate << 10
    _, _, answer = server.ask("POST", "/slow/part", query="uploads=")
    upload = answer.decode().split("<UploadId>")[1].split("<")[0]
    alone = Beside(server)
    with alone:
        await asyncio.sleep(10)
    server.forget_peak()
    beside, started = Beside(server), time.monotonic()
    with beside:
        work = asyncio.gather(*(slow_upload(server, n, total, rate, upload, started) for n in range(args.uploads)))
        outcomes, memory, files = await watched(server, work)
    right = f"HTTP/1.1 200 OK {hashlib.md5(NOISE * args.mib).hexdigest()}"
    wrong = [outcome for n, outcome in enumerate(outcomes) if outcome != (right if n % 4 else "broken off")]
    claim(f"{args.uploads} slow uploads of {args.mib} MiB end well", not wrong, {"seconds": round(time.monotonic() - started), "wrong": len(wrong), "first": wrong[:3]})
    claim(f"memory under {MEMORY_MAX_MB} MB meanwhile", memory < MEMORY_MAX_MB, {"MB": round(memory), "open files": files})
    claim("an ordinary client is served meanwhile", not beside.bad and not alone.bad, {"alone": alone.ms, "beside": beside.ms, "bad": beside.bad[:3]})


async def until_closed(port, first, each=None, read=True, tls=False):
    """Seconds until the other end closes a connection that sends `first`, then `each` every second."""
    begun = time.monotonic()
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 16)
    writer.write(first)

    async def drip():
        while each:
            await asyncio.sleep(1)
            writer.write(each)
            await writer.drain()

    dripping = asyncio.create_task(drip())
    try:
        if not read:
            writer.transport.pause_reading()
            # What was written before its end may still be read; the question is when the server let go.
            await asyncio.sleep(ANSWER_PATIENCE_S + SLACK_S)
            return time.monotonic() - begun
        while await asyncio.wait_for(reader.read(1 << 16), ANSWER_PATIENCE_S + 60):
            pass
    except (ConnectionError, asyncio.TimeoutError):
        pass
    finally:
        dripping.cancel()
        writer.close()
    return time.monotonic() - begun


async def stalled(server, args, claim, directory):
    names = [os.path.join(directory, name) for name in ("key.pem", "cert.pem")]
    made = subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", names[0], "-out", names[1],
                           "-days", "2", "-subj", "/CN=localhost"], capture_output=True) if __import__("shutil").which("openssl") else None
    server.ask("PUT", "/slow/large", NOISE * 32)
    before, port = server.sockets(), server.port
    put = signed("PUT", "/slow/stalled", port, 8 * MIB)
    kinds = {"silent": (b"", None), "head a byte a second": (b"GET / HTTP/1.1\r\nhost: a\r\nx: ", b"x"), "stops in a body": (put + NOISE[:300_000], None),
             "body a byte a second": (put + NOISE[:70_000], b"x")}
    tasks = {kind: [until_closed(port, *how) for _ in range(50)] for kind, how in kinds.items()}
    tasks["takes no answer"] = [until_closed(port, signed("GET", "/slow/large", port), None, False) for _ in range(50)]
    if made and made.returncode == 0:
        os.mkdir(os.path.join(directory, "tls"))
        second = Server(args.cairn, os.path.join(directory, "tls"), "--tls-cert", names[1], "--tls-key", names[0])
        tasks["TLS handshake a byte a second"] = [until_closed(second.port, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"x") for _ in range(50)]
    else:
        second = None
        print("no openssl: the TLS handshake is left out", file=sys.stderr)
    server.forget_peak()

    async def all_kinds():
        return dict(zip(tasks, await asyncio.gather(*(asyncio.gather(*group) for group in tasks.values()))))

    took, memory, files = await watched(server, all_kinds())
    for kind, seconds in took.items():
        limit = (ANSWER_PATIENCE_S if "answer" in kind else PATIENCE_S) + SLACK_S + 5
        claim(f"dropped: {kind}", max(seconds) <= limit, {"seconds": [round(min(seconds)), round(max(seconds))]})
    await settled(lambda: server.sockets() <= before + 4)
    claim("their sockets came back", server.sockets() <= before + 4, {"sockets": [before, server.sockets()], "most open files": files, "MB": [round(memory), round(server.memory_mb())]})
    if second:
        second.close()


async def settled(true, seconds=20):
    for _ in range(seconds * 10):
        if true():
            return
        await asyncio.sleep(0.1)


async def idle(server, args, claim):
    before, alone = server.sockets(), Beside(server)
    with alone:
        await asyncio.sleep(10)
    server.forget_peak()
    held, longest = [], [0.0]

    async def one():
        begun = time.monotonic()
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=1 << 12)
        held.append(writer)
        writer.write(signed("HEAD", "/slow/ordinary-4-1", server.port))
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 60)
        longest[0] = max(longest[0], time.monotonic() - begun)
        return head.startswith(b"HTTP/1.1 200")

    async def crowd(count):
        good = 0
        for at in range(0, count, 200):
            done = await asyncio.gather(*(one() for _ in range(min(200, count - at))), return_exceptions=True)
            good += sum(1 for answer in done if answer is True)
        return good

    for count, what in [(args.idle, "idle connections"), (args.more, "more")]:
        begun = time.monotonic()
        good, memory, files = await watched(server, crowd(count))
        claim(f"{count} {what}, each served at once", good == count and longest[0] < 5, {"served": good, "longest wait, s": round(longest[0], 2), "seconds": round(time.monotonic() - begun, 1), "MB": round(memory), "open files": files})
        beside = Beside(server)
        with beside:
            _, memory, files = await watched(server, asyncio.sleep(10))
        as_quick = all(beside.ms[kind]["p50"] <= 3 * alone.ms[kind]["p50"] + 5 for kind in alone.ms)
        claim("an ordinary client works as without them", as_quick and not beside.bad, {"alone": alone.ms, "beside": beside.ms, "bad": beside.bad[:3], "MB": round(memory), "open files": files})
    for writer in held:
        writer.close()
    await settled(lambda: server.sockets() <= before + 4)
    claim("their sockets came back", server.sockets() <= before + 4, {"sockets": [before, server.sockets()]})


async def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cairn", metavar="BIN", default=os.path.join(HERE, "..", "target", "release", "cairn"))
    parser.add_argument("--dir", metavar="DIR", help="where the data directory is made (25 GiB free for 64 MiB each)")
    parser.add_argument("--json", action="store_true", help="one JSON object for each claim")
    parser.add_argument("--only", default="uploads,stalled,idle")
    for name, default in [("uploads", 256), ("mib", 16), ("rate", 64), ("idle", 5000), ("more", 6000)]:
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--peers", type=int, metavar="N", help="over so many storage peers (`cairn up --peers N`)")
    args = parser.parse_args()
    args.cairn = os.path.abspath(args.cairn)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    failed = []

    def claim(what, holds, seen):
        if not holds:
            failed.append(what)
        print(json.dumps({"claim": what, "holds": holds} | seen) if args.json else f"{'holds' if holds else 'FAILS'}  {what}  {json.dumps(seen)}", flush=True)

    with tempfile.TemporaryDirectory(prefix="cairn-slow-", dir=args.dir) as directory:
        server = Server(args.cairn, directory, *(["--peers", str(args.peers)] if args.peers else []))
        try:
            server.ask("PUT", "/slow")
            for name in args.only.split(","):
                if name == "uploads":
                    await uploads(server, args, claim)
                elif name == "stalled":
                    await stalled(server, args, claim, directory)
                else:
                    await idle(server, args, claim)
        finally:
            server.close()
    print(f"{len(failed)} claims fail" if failed else "every claim holds", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
