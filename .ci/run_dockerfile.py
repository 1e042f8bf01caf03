"""Do what deploy/Dockerfile says without an engine: in a clean folder, by an unprivileged user.

Its COPY and RUN steps are carried out in order; then its CMD serves from that folder, which it
cannot write to, until it is ready. FROM and USER are read, not obeyed: the Python is Debian's.

    python .ci/run_dockerfile.py
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from dockerfile_parse import DockerfileParser

ROOT = Path(__file__).resolve().parent.parent
NOBODY = 65534
READY_SECONDS = 300
PORT = 5999
# Only these of the caller's variables reach the steps: how to reach a package index, and no more.
PASSED = (
    "PIP_INDEX_URL",
    "PIP_EXTRA_INDEX_URL",
    "PIP_FIND_LINKS",
    "PIP_CERT",
    "https_proxy",
    "no_proxy",
)


def main():
    """Build in a temporary folder, and serve from there."""
    steps = DockerfileParser(str(ROOT / "deploy" / "Dockerfile")).structure
    user = {"user": NOBODY, "group": NOBODY, "extra_groups": []} if os.geteuid() == 0 else {}
    with tempfile.TemporaryDirectory(prefix="image-", dir="/tmp") as place:
        folder, scratch = Path(place, "app"), Path(place, "tmp")
        Path(place).chmod(0o755)
        for made in (folder, scratch):
            made.mkdir()
            if user:
                os.chown(made, NOBODY, NOBODY)
        tools = Path(place, "bin")  # `python` is Debian's
        tools.mkdir()
        (tools / "python").symlink_to("/usr/bin/python3")
        environment = {name: os.environ[name] for name in PASSED if name in os.environ}
        environment |= {
            "HOME": str(scratch),
            "TMPDIR": str(scratch),
            "PATH": f"{tools}:/usr/bin:/bin",
        }
        command = build(steps, folder, environment, user)
        serve(command, folder, environment, user)


def build(steps, folder, environment, user):
    """Carry out the steps in a folder. Returns the command of CMD."""
    command = None
    for step in steps:
        name, value = step["instruction"], step["value"]
        print(f"== {name} {value}", flush=True)
        if name == "RUN":  # build arguments are empty: the machine's own index has the wheels
            subprocess.run(
                ["/bin/sh", "-ec", value], cwd=folder, env=environment, check=True, **user
            )
        elif name == "COPY" and "--from" not in value:
            source, target = value.split()
            copy(ROOT / source, folder / target, as_file=target.endswith("/"), user=user)
        elif name == "ENV":
            environment |= dict(pair.split("=", 1) for pair in value.split())
        elif name == "CMD":
            command = json.loads(value)
        elif name not in ("FROM", "ARG", "WORKDIR", "EXPOSE", "USER", "COMMENT", "COPY"):
            raise SystemExit(f"this script does not know the instruction {name}")
    return command


def copy(source, target, *, as_file, user):
    """Copy what git tracks of a file or folder."""
    tracked = subprocess.run(
        ["git", "ls-files", "-z", str(source)], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    for name in filter(None, tracked.split("\0")):
        path = ROOT / name
        place = target / path.name if as_file else target / path.relative_to(source)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, place)
        if user:
            for made in (place, *place.parents):
                if made.is_relative_to(target):
                    os.chown(made, NOBODY, NOBODY)


def serve(command, folder, environment, user):
    """Run the command in the folder, which it cannot write to, until it says that it is ready."""
    for path in (folder, *folder.rglob("*")):
        if not path.is_symlink():
            path.chmod(path.stat().st_mode & ~0o222)
    given = {**environment, "SKILL_ID": "amzn1.ask.skill.ci", "BIND": f"127.0.0.1:{PORT}"}
    with subprocess.Popen(command, cwd=folder, env=given, **user) as server:
        try:
            wait(server)
        finally:
            server.terminate()
            try:
                status = server.wait(30)
            except subprocess.TimeoutExpired:  # or leaving the block would wait forever
                server.kill()
                raise
    if status:
        raise SystemExit(f"the server ended with status {status}")
    training = {"matplotlib", "sacrebleu", "chitchat_dataset", "pytest"}
    if found := training & {path.name for path in folder.glob(".venv/lib/*/site-packages/*")}:
        raise SystemExit(f"the image has {', '.join(sorted(found))}, which only training needs")
    print("the steps of deploy/Dockerfile lead to a server that is ready")


def wait(server):
    """Wait until the server is ready."""
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        if server.poll() is not None:
            raise SystemExit(f"the server ended with status {server.returncode}")
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{PORT}/readyz", timeout=5) as answer:
                if answer.status == 200:
                    return
        except OSError:
            time.sleep(0.5)
    raise SystemExit(f"the server was not ready after {READY_SECONDS} s")


if __name__ == "__main__":
    sys.exit(main())
