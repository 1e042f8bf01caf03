"""The login is its owner's alone, and is written nowhere else."""

import logging
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from skill import deploy, state

from .. import amazon as fake
from .conftest import ENDPOINT, ROOT, run


def test_a_login_is_kept_for_its_owner_alone_and_only_where_it_works(amazon, monkeypatch, capsys):
    typed = dict(
        zip(("client id: ", "client secret: ", "refresh token: "), fake.LOGIN.values(), strict=True)
    )
    monkeypatch.setattr(deploy.getpass, "getpass", lambda prompt, stream: typed[prompt])
    assert deploy.main(["--login"]) == 0
    path = state.folder() / state.LOGIN
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert ROOT not in path.parents
    assert state.read(state.LOGIN) == fake.LOGIN
    path.unlink()
    typed["refresh token: "] = "Atzr|wrong"
    assert deploy.main(["--login"]) == 2
    assert not path.exists()
    printed = capsys.readouterr()
    assert not any(
        secret in printed.out + printed.err for secret in (fake.REFRESH, fake.SECRET, "Atzr|wrong")
    )


def test_a_login_that_others_may_read_is_refused(capsys):
    state.write(state.LOGIN, fake.LOGIN).chmod(0o644)
    run(status=2)
    assert "chmod 600" in capsys.readouterr().err


@pytest.mark.parametrize(
    "text", [f'"{fake.REFRESH}', f'["{fake.REFRESH}"]', f'{{"refresh_token": ["{fake.REFRESH}"]}}']
)
def test_a_broken_login_is_named_without_its_text(text, capsys):
    path = state.write(state.LOGIN, fake.LOGIN)
    path.write_text(text, encoding="utf-8")
    run(status=2)
    said = capsys.readouterr().err
    assert f"{path} is broken" in said
    assert "cAnArY" not in said


@pytest.mark.parametrize(
    "plan", [[], [("get_skill_status_v1", 400)], [("get_vendor_list_v1", 401)] * 2]
)
def test_no_secret_is_in_logs_errors_or_process_lists(logged_in, capfd, caplog, plan):
    """A canary in the login, looked for in all that is written, and in the arguments of every
    process.
    """
    caplog.set_level(logging.DEBUG)
    logged_in.plan += plan
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    code = (
        "import logging, sys; logging.basicConfig(level=logging.DEBUG)\n"
        "from skill import deploy, deployment; deployment.ASK_AGAIN_SECONDS = 0.01\n"
        f"sys.exit(deploy.main(['--endpoint', '{ENDPOINT}']))"
    )
    seen = []
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=ROOT,
    )
    while process.poll() is None:
        for arguments in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                seen.append(arguments.read_bytes())
            except OSError:
                continue
        try:
            process.wait(0.05)
        except subprocess.TimeoutExpired:
            continue
    said = process.stdout.read()
    process.stdout.close()
    assert process.returncode == (2 if plan else 0), said
    assert "urllib3" in said, "the log is on, so that it could tell"
    everything = said + caplog.text + b"".join(seen).decode(errors="replace")
    for secret in ("cAnArY", "Atza|"):
        assert secret not in everything
