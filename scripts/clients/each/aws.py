"""The AWS command line."""
import json, os


def version(work):
    return work.run("aws", "--version").split()[0].split("/")[1]


def run(work):
    env, url = work.aws_env(), f"s3://{work.bucket}"

    def s3(*command):
        return work.run("aws", "s3", *command, env=env)

    def api(command, *arguments):
        said = work.run("aws", "s3api", command, "--bucket", work.bucket, "--output", "json", *arguments, env=env)
        return json.loads(said) if said.strip() else {}

    def delete(keys):
        work.write_file(work.directory + "/delete.json", json.dumps({"Objects": keys}).encode())
        return api("delete-objects", "--delete", f"file://{work.directory}/delete.json")["Deleted"]

    with work.step("make bucket"):
        s3("mb", url)
    with work.step("put"):
        s3("cp", "--recursive", "--no-progress", work.src, url + "/tree/")
    with work.step("multipart"):
        s3("cp", "--no-progress", work.large, url + "/large.bin")
        assert "-" in api("head-object", "--key", "large.bin")["ETag"]
    with work.step("list"):
        listing = s3("ls", "--recursive", url + "/tree/")
        work.equal(sorted(row[31:] for row in listing.splitlines()), sorted("tree/" + name for name in work.names), "s3 ls")
        pages = api("list-objects-v2", "--prefix", "tree/", "--page-size", "300")["Contents"]
        work.equal([o["Key"] for o in pages], sorted(("tree/" + name for name in work.names), key=str.encode), "list-objects-v2")
    with work.step("get"):
        s3("sync", "--no-progress", url + "/tree/", work.out + "/tree")
        work.same_tree(work.out + "/tree", work.src)
        s3("cp", "--no-progress", url + "/large.bin", work.out + "/large.bin")
        work.same_file(work.out + "/large.bin", work.large)
    with work.step("range"):
        api("get-object", "--key", "large.bin", "--range", "bytes=8388600-8388700", work.out + "/range")
        work.same(work.read_file(work.out + "/range"), work.read_file(work.large)[8388600:8388701], "a range")
    with work.step("copy"):
        s3("cp", "--no-progress", url + "/large.bin", url + "/copies/large.bin")
        s3("mv", "--no-progress", url + "/tree/middle.bin", url + "/copies/a b+c%41.bin")
        s3("sync", "--no-progress", url + "/copies", work.out + "/copies")
        work.same_file(work.out + "/copies/large.bin", work.large)
        work.same(work.read_file(work.out + "/copies/a b+c%41.bin"), work.sample("middle.bin"), "what was moved")
    with work.step("conditional put"):
        body = os.path.join(work.src, "odd", "plus+sign.bin")
        api("put-object", "--key", "once", "--body", body, "--if-none-match", "*")
        work.refused(lambda: api("put-object", "--key", "once", "--body", work.large, "--if-none-match", "*"), "PreconditionFailed", "a second put")
    with work.step("presigned"):
        # Version 1 signs URLs of us-east-1 with Signature V2 unless its configuration says otherwise.
        work.write_file(work.directory + "/config", b"[default]\ns3 =\n    signature_version = s3v4\n")
        signed = work.run("aws", "s3", "presign", url + "/tree/odd/hash#tag.bin", env={**env, "AWS_CONFIG_FILE": work.directory + "/config"}).strip()
        work.same(work.fetch(signed), work.sample("odd/hash#tag.bin"), "a presigned get")
    with work.step("sync --delete"):
        os.remove(os.path.join(work.src, "empty.bin"))
        s3("sync", "--delete", "--no-progress", work.src, url + "/tree/")
        work.equal(api("list-objects-v2", "--prefix", "tree/empty.bin").get("Contents", []), [], "what is left of empty.bin")
    with work.step("delete many"):
        keys = [{"Key": o["Key"]} for o in api("list-objects-v2", "--prefix", "tree/")["Contents"][:1000]]
        work.equal(len(delete(keys)), len(keys), "deleted keys")
    versions(work, api)
    with work.step("remove bucket"):
        s3("rm", "--recursive", url)
        every = api("list-object-versions")
        assert delete([{"Key": o["Key"], "VersionId": o["VersionId"]} for o in every["Versions"] + every["DeleteMarkers"]])
        s3("rb", url)


def versions(work, api):
    with work.step("versions"):
        first, second = (os.path.join(work.src, "odd", name) for name in ("plus+sign.bin", "and&equals=1;comma,.bin"))
        api("put-bucket-versioning", "--versioning-configuration", "Status=Enabled")
        ids = [api("put-object", "--key", "dir with slash/", "--body", body)["VersionId"] for body in (first, second)]
        api("delete-object", "--key", "dir with slash/")
        work.equal([v["VersionId"] for v in api("list-object-versions", "--prefix", "dir with")["Versions"]], ids[::-1], "the versions")
        for version, body in zip(ids, (first, second)):
            api("get-object", "--key", "dir with slash/", "--version-id", version, work.out + "/version")
            work.same_file(work.out + "/version", body)
