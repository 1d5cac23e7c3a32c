"""Where a client is: in the directory of installed ones first, then in PATH and in the interpreter that runs this."""
import os, shutil, subprocess, sys


def of(directory, client):
    """The interpreter for the client's module and the programs it calls; a sentence instead if the client is not there."""
    python, tools = sys.executable, {}
    environment = os.path.join(directory, client.group)
    # Written when everything in the environment was installed.
    listed = os.path.join(environment, "packages.txt")
    if client.pip and os.path.exists(listed) and set(client.pip) <= set(open(listed).read().split()):
        python = os.path.join(environment, "bin", "python")
    if client.tool:
        places = [os.path.join(directory, "restic", "usr", "bin"), os.path.join(directory, "aws-sdk-rust", "target", "debug"),
                  os.path.join(environment, "bin")]
        path = next(filter(None, (shutil.which(client.tool, path=place) for place in places)), None) or shutil.which(client.tool)
        if not path:
            return None, None, f"{client.tool} is not installed"
        tools[client.tool] = path
    if client.recipe == "npm":
        tools["packages"] = os.path.join(directory, "aws-sdk-js")
        if not os.path.exists(os.path.join(directory, "aws-sdk-js", "node_modules")):
            return None, None, "its packages are not installed"
    if client.recipe == "cargo":
        tools["Cargo.lock"] = os.path.join(directory, "aws-sdk-rust", "Cargo.lock")
    for module in client.imports:
        if subprocess.run([python, "-c", f"import {module}"], capture_output=True, cwd="/").returncode != 0:
            return None, None, f"the Python package {module} is not installed"
    return python, tools, None
