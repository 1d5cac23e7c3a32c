"""One request without a body, signed with version 4: what makes a bucket for clients that cannot."""
import datetime, hashlib, hmac, urllib.request

EMPTY = hashlib.sha256(b"").hexdigest()


def request(work, method, path):
    now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y%m%dT%H%M%SZ")
    scope = f"{now[:8]}/{work.region}/s3/aws4_request"
    headers = {"host": work.host, "x-amz-content-sha256": EMPTY, "x-amz-date": now}
    names = ";".join(headers)
    canonical = "\n".join([method, path, "", *(f"{name}:{value}" for name, value in headers.items()), "", names, EMPTY])
    to_sign = "\n".join(["AWS4-HMAC-SHA256", now, scope, hashlib.sha256(canonical.encode()).hexdigest()])
    key = f"AWS4{work.secret}".encode()
    for part in [*scope.split("/"), to_sign]:
        key = hmac.digest(key, part.encode(), "sha256")
    headers["authorization"] = f"AWS4-HMAC-SHA256 Credential={work.access}/{scope}, SignedHeaders={names}, Signature={key.hex()}"
    with urllib.request.urlopen(urllib.request.Request(work.endpoint + path, method=method, headers=headers), timeout=60) as answer:
        return answer.read()
