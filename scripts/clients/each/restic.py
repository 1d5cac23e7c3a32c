"""restic: a repository in the bucket."""
import os, shutil


def version(work):
    return work.run("restic", "version").split()[1]


def run(work):
    env = {**work.aws_env(), "RESTIC_PASSWORD": "a passphrase", "RESTIC_REPOSITORY": f"s3:{work.endpoint}/{work.bucket}",
           "RESTIC_CACHE_DIR": work.directory + "/cache"}

    def restic(*command, **kw):
        return work.run("restic", *command, env=env, **kw)

    def restored(snapshot, into, want):
        restic("restore", snapshot, "--target", into)
        work.same_tree(into, want)

    with work.step("init"):
        restic("init")
    with work.step("backup"):
        shutil.copy(work.large, work.src + "/large.bin")
        restic("backup", ".", cwd=work.src)
    with work.step("check --read-data"):
        restic("check", "--read-data")
    with work.step("restore"):
        restored("latest", work.out + "/first", work.src)
    with work.step("second backup"):
        shutil.copytree(work.src, work.out + "/before")
        first = restic("snapshots", "--json").split('"short_id":"')[1].split('"')[0]
        os.remove(work.src + "/large.bin")
        work.write_file(work.src + "/new.bin", work.read_file(work.large)[::-1])
        restic("backup", ".", cwd=work.src)
        restored(first, work.out + "/again", work.out + "/before")
    with work.step("forget --prune"):
        restic("forget", "--prune", "--keep-last", "1")
    with work.step("check after prune"):
        restic("check", "--read-data")
        # Without the cache: everything comes from the bucket.
        shutil.rmtree(work.directory + "/cache")
        restored("latest", work.out + "/second", work.src)
