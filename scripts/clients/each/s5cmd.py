"""s5cmd."""
import os, re


def version(work):
    return work.run("s5cmd", "version").strip().split("-")[0].lstrip("v")


def run(work):
    env, url = {**work.aws_env(), "S3_ENDPOINT_URL": work.endpoint}, f"s3://{work.bucket}"

    def s5(*command, **kw):
        return work.run("s5cmd", *command, env=env, **kw)

    with work.step("make bucket"):
        s5("mb", url)
    with work.step("put"):
        s5("cp", work.src + "/", url + "/tree/")
    with work.step("multipart"):
        s5("cp", work.large, url + "/large.bin")
        s5("pipe", url + "/piped.bin", data=work.read_file(work.large))
    with work.step("list"):
        listed = [re.fullmatch(r"\S+ \S+ +\d+  (.*)", row)[1] for row in s5("ls", url + "/tree/*").splitlines()]
        work.equal(sorted(listed), sorted(work.names), "the listing")
    with work.step("get"):
        s5("cp", url + "/tree/*", work.out + "/tree/")
        work.same_tree(work.out + "/tree", work.src)
        s5("cp", url + "/large.bin", work.out + "/large.bin")
        work.same_file(work.out + "/large.bin", work.large)
        work.same(s5("cat", url + "/piped.bin", text=False), work.read_file(work.large), "what was piped")
    with work.step("copy"):
        s5("cp", url + "/tree/odd/*", url + "/copies/")
        s5("mv", url + "/tree/middle.bin", url + "/copies/moved +%41.bin")
        s5("cp", url + "/copies/*", work.out + "/copies/")
        work.same(work.read_file(work.out + "/copies/moved +%41.bin"), work.sample("middle.bin"), "what was moved")
        os.remove(work.out + "/copies/moved +%41.bin")
        work.same_tree(work.out + "/copies", work.src + "/odd")
    with work.step("presigned"):
        signed = s5("presign", "--expire", "60s", url + "/large.bin").strip()
        work.same(work.fetch(signed), work.read_file(work.large), "a presigned get")
    with work.step("sync --delete"):
        os.remove(os.path.join(work.src, "empty.bin"))
        s5("sync", "--delete", work.src + "/", url + "/tree/")
        s5("sync", "--delete", url + "/tree/*", work.out + "/synced/")
        work.same_tree(work.out + "/synced", work.src)
    with work.step("batch"):
        batch = "".join(f"cp {url}/tree/many/{n % 7}/{n:05}.txt {work.out}/batch/{n:05}\n" for n in range(20))
        s5("run", data=batch.encode())
        for n in range(20):
            work.same(work.read_file(f"{work.out}/batch/{n:05}"), work.sample(f"many/{n % 7}/{n:05}.txt"), "the batch")
    with work.step("delete many"):
        s5("rm", url + "/*")
    with work.step("remove bucket"):
        s5("rb", url)
