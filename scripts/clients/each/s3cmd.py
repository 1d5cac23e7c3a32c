"""s3cmd."""
import os


def version(work):
    return work.run("s3cmd", "--version").split()[-1]


def run(work):
    base = ["s3cmd", "--config=/dev/null", f"--access_key={work.access}", f"--secret_key={work.secret}", f"--host={work.host}", f"--host-bucket={work.host}",
            f"--region={work.region}", "--no-progress", *([] if work.scheme == "https" else ["--no-ssl"])]
    url = f"s3://{work.bucket}"

    def s3cmd(*command, **kw):
        # What it makes of names follows the locale.
        return work.run(*base, *command, **kw)

    with work.step("make bucket"):
        s3cmd("mb", url)
    with work.step("put"):
        s3cmd("put", "--recursive", work.src + "/", url + "/tree/")
    with work.step("multipart"):
        s3cmd("put", work.large, url + "/large.bin")
    with work.step("list"):
        listed = sorted(row.split(url, 1)[1] for row in s3cmd("ls", "--recursive", url + "/tree/").splitlines())
        work.equal(listed, sorted("/tree/" + name for name in work.names), "the listing")
    with work.step("get"):
        s3cmd("get", "--recursive", url + "/tree/", work.out + "/")
        work.same_tree(work.out, work.src)
        s3cmd("get", url + "/large.bin", work.directory + "/got.bin")
        work.same_file(work.directory + "/got.bin", work.large)
    with work.step("range"):
        os.truncate(work.directory + "/got.bin", 10_000_000)
        s3cmd("get", "--continue", url + "/large.bin", work.directory + "/got.bin")
        work.same_file(work.directory + "/got.bin", work.large)
    with work.step("copy"):
        s3cmd("cp", url + "/tree/odd/hash#tag.bin", url + "/copies/a+b %41.bin")
        s3cmd("mv", url + "/copies/a+b %41.bin", url + "/copies/moved.bin")
        s3cmd("cp", url + "/large.bin", url + "/copies/large.bin")
        os.makedirs(work.directory + "/copies")
        s3cmd("get", "--recursive", url + "/copies/", work.directory + "/copies/")
        work.same(work.read_file(work.directory + "/copies/moved.bin"), work.sample("odd/hash#tag.bin"), "what was moved")
        work.same_file(work.directory + "/copies/large.bin", work.large)
    with work.step("sync with deletions"):
        os.remove(os.path.join(work.src, "empty.bin"))
        work.write_file(os.path.join(work.src, "middle.bin"), b"changed")
        s3cmd("sync", "--delete-removed", work.src + "/", url + "/tree/")
        s3cmd("sync", "--delete-removed", url + "/tree/", work.out + "/")
        work.same_tree(work.out, work.src)
    with work.step("settings"):
        s3cmd("mb", url + "-v")
        s3cmd("setversioning", url + "-v", "enable")
        assert "Versioning" in s3cmd("info", url + "-v")
        s3cmd("rb", url + "-v")
        s3cmd("settagging", url + "/large.bin", "a=1")
        assert "a" in s3cmd("gettagging", url + "/large.bin")
        s3cmd("modify", "--add-header=x-amz-meta-colour:green", url + "/copies/moved.bin")
        assert "green" in s3cmd("info", url + "/copies/moved.bin")
    with work.step("delete many"):
        s3cmd("del", "--recursive", "--force", url + "/tree/")
    with work.step("remove bucket"):
        s3cmd("rb", "--recursive", "--force", url)
