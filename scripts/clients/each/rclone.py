"""rclone, of provider Other, and its encryption on top."""
import os


def version(work):
    return work.run("rclone", "version").split()[1].lstrip("v")


def run(work):
    at = f"c:{work.bucket}"
    env = {"RCLONE_CONFIG_C_TYPE": "s3", "RCLONE_CONFIG_C_PROVIDER": "Other", "RCLONE_CONFIG_C_ACCESS_KEY_ID": work.access,
           "RCLONE_CONFIG_C_SECRET_ACCESS_KEY": work.secret, "RCLONE_CONFIG_C_ENDPOINT": work.endpoint, "RCLONE_CONFIG_C_REGION": work.region}
    env |= {"RCLONE_CONFIG_K_TYPE": "crypt", "RCLONE_CONFIG_K_REMOTE": at + "/sealed",
            "RCLONE_CONFIG_K_PASSWORD": work.run("rclone", "obscure", "a passphrase").strip()}

    def rclone(*command, **kw):
        return work.run("rclone", *command, env=env, **kw)

    with work.step("make bucket"):
        rclone("mkdir", at)
    with work.step("copy"):
        rclone("copy", work.src, at + "/tree")
        rclone("check", work.src, at + "/tree")
        rclone("check", "--download", work.src, at + "/tree")
        rclone("copy", at + "/tree", work.out + "/tree")
        work.same_tree(work.out + "/tree", work.src)
    with work.step("list"):
        work.equal(sorted(rclone("lsf", "-R", "--files-only", at + "/tree").splitlines()), sorted(work.names), "the listing")
    with work.step("multipart"):
        rclone("rcat", at + "/large.bin", data=work.read_file(work.large))
        work.same(rclone("cat", at + "/large.bin", text=False), work.read_file(work.large), "a stream")
    with work.step("range"):
        got = rclone("cat", "--offset", "5242800", "--count", "500", at + "/large.bin", text=False)
        work.same(got, work.read_file(work.large)[5242800:5243300], "a range")
    with work.step("server-side copy"):
        rclone("copyto", at + "/large.bin", at + "/copies/a+b %41.bin")
        rclone("moveto", at + "/copies/a+b %41.bin", at + "/copies/moved.bin")
        rclone("copy", at + "/copies", work.out + "/copies")
        work.same_file(work.out + "/copies/moved.bin", work.large)
    with work.step("sync with deletions"):
        os.remove(os.path.join(work.src, "empty.bin"))
        os.remove(os.path.join(work.src, "odd", "plus+sign.bin"))
        work.write_file(os.path.join(work.src, "middle.bin"), b"changed")
        rclone("sync", work.src, at + "/tree")
        rclone("check", "--download", work.src, at + "/tree")
        rclone("sync", at + "/tree", work.out + "/tree")
        work.same_tree(work.out + "/tree", work.src)
    with work.step("link"):
        signed = rclone("link", "--expire", "60s", at + "/large.bin").strip()
        work.same(work.fetch(signed), work.read_file(work.large), "a presigned get")
    with work.step("crypt"):
        rclone("copy", work.src, "k:")
        rclone("copyto", work.large, "k:large.bin")
        rclone("cryptcheck", work.src, "k:", "--one-way")
        rclone("copy", "k:", work.out + "/crypt")
        work.same_file(work.out + "/crypt/large.bin", work.large)
        os.remove(work.out + "/crypt/large.bin")
        work.same_tree(work.out + "/crypt", work.src)
    with work.step("purge"):
        rclone("purge", at)
