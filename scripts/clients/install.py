"""Installs what is missing into one directory: Python environments, the JavaScript packages, the Rust program, restic.

Nothing outside the directory is touched. What cannot be had is said in a sentence; then a client that is on PATH is used.
"""
import glob, os, shutil, subprocess, venv

from .catalogue import CLIENTS
from .gateway import target

HERE = os.path.dirname(os.path.abspath(__file__))
JS_PACKAGES = ["@aws-sdk/client-s3", "@aws-sdk/lib-storage", "@aws-sdk/s3-request-presigner"]
DEBIAN_KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"


def default_directory():
    return os.path.join(target(), "clients")


def run(*command, **kw):
    done = subprocess.run(command, capture_output=True, text=True, timeout=3600, **kw)
    if done.returncode != 0:
        last = (done.stderr.strip() or done.stdout.strip()).splitlines()[-3:]
        raise RuntimeError(f"{os.path.basename(command[0])} {' '.join(command[1:])[:80]} ended with {done.returncode}: {' '.join(last)[:400]}")
    return done.stdout


def install(directory, names, upgrade, say):
    """Installs what these clients need; gives a sentence for each that could not be."""
    why, groups = {}, {}
    for name in names:
        if CLIENTS[name].pip:
            groups.setdefault(CLIENTS[name].group, []).append(name)
    for group, clients in groups.items():
        try:
            python_packages(os.path.join(directory, group), [package for name in clients for package in CLIENTS[name].pip], upgrade, say)
        except Exception as together:
            say(f"{together}; one at a time")
            for name in clients:
                try:
                    python_packages(os.path.join(directory, group), CLIENTS[name].pip, upgrade, say)
                except Exception as error:
                    why[name] = str(error)
    recipes = {"npm": javascript, "cargo": rust, "debian": restic}
    for name in names:
        if recipe := recipes.get(CLIENTS[name].recipe):
            try:
                recipe(directory, upgrade, say)
            except Exception as error:
                why[name] = str(error)
    return why


def python_packages(environment, packages, upgrade, say):
    """A virtual environment with these packages. Those that it has are listed in a file, written after they were installed."""
    python, listed = os.path.join(environment, "bin", "python"), os.path.join(environment, "packages.txt")
    had = set(open(listed).read().split()) if os.path.exists(listed) else set()
    wanted = sorted(set(packages)) if upgrade else sorted(set(packages) - had)
    if not wanted:
        return
    if not os.path.exists(python):
        venv.create(environment, with_pip=True)
    say(f"pip install {' '.join(wanted)}")
    # All at once, those that are there included: only so is one set of versions found that fits them all.
    run(python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *(["--upgrade"] if upgrade else []), *sorted(had | set(wanted)))
    with open(listed, "w") as file:
        file.write("\n".join(sorted(had | set(wanted))) + "\n")


def javascript(directory, upgrade, say):
    """The newest packages."""
    place = os.path.join(directory, "aws-sdk-js")
    os.makedirs(place, exist_ok=True)
    if os.path.exists(os.path.join(place, "node_modules", JS_PACKAGES[-1])) and not upgrade:
        return
    say(f"npm install {' '.join(JS_PACKAGES)}")
    with open(os.path.join(place, "package.json"), "w") as file:
        file.write('{"private": true}\n')
    run("npm", "install", "--no-audit", "--no-fund", *(f"{package}@latest" for package in JS_PACKAGES), cwd=place)


def rust(directory, upgrade, say):
    """A program of its own, outside the workspace, with the versions of its lock file; `upgrade` takes the newest instead."""
    place = os.path.join(directory, "aws-sdk-rust")
    source = os.path.join(HERE, "aws-sdk-rust")
    if upgrade:
        # In a copy: the lock file of the tree changes only on purpose.
        shutil.copytree(source, os.path.join(place, "source"), dirs_exist_ok=True)
        source = os.path.join(place, "source")
        run("cargo", "update", cwd=source)
    say("cargo build of aws-sdk-rust")
    run("cargo", "build", "--quiet", "--locked", "--target-dir", os.path.join(place, "target"), cwd=source)
    shutil.copy(os.path.join(source, "Cargo.lock"), place)


def restic(directory, upgrade, say):
    """No registry of Python or npm has it. On Debian, the newest package there is, unpacked and not installed."""
    place = os.path.join(directory, "restic")
    program = os.path.join(place, "usr", "bin", "restic")
    if os.path.exists(program) and not upgrade:
        return
    if not (shutil.which("apt-get") and os.path.exists(DEBIAN_KEYRING)):
        raise RuntimeError("the newest restic is taken from Debian's unstable packages, and this is no Debian")
    say("apt-get download restic, of Debian unstable")
    shutil.rmtree(place, ignore_errors=True)
    for part in ("lists/partial", "cache/archives/partial"):
        os.makedirs(os.path.join(place, "apt", part))
    with open(os.path.join(place, "apt", "sources.list"), "w") as file:
        file.write(f"deb [signed-by={DEBIAN_KEYRING}] http://deb.debian.org/debian unstable main\n")
    options = {"Dir::State::Lists": "lists", "Dir::Cache": "cache", "Dir::Etc::SourceList": "sources.list", "Dir::Etc::SourceParts": "none"}
    options = [f"-o{name}={os.path.join(place, 'apt', path)}" for name, path in options.items()] + ["-oAPT::Sandbox::User="]
    run("apt-get", *options, "--quiet", "update")
    run("apt-get", *options, "--quiet", "download", "restic", cwd=place)
    run("dpkg-deb", "-x", glob.glob(os.path.join(place, "restic_*.deb"))[0], place)
    shutil.rmtree(os.path.join(place, "apt"))
    try:
        run(program, "version")
    except Exception:
        shutil.rmtree(place)
        raise
