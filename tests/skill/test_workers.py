import os
import subprocess
import sys
from pathlib import Path

import gunicorn  # noqa: F401  (as it is in a worker of its own)
import pytest

from skill import workers

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    for name in ("WEB_CONCURRENCY", "GUNICORN_CMD_ARGS"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("program", ["/usr/bin/gunicorn", "/lib/gunicorn/__main__.py"])
def test_gunicorns_workers_are_counted_wherever_they_are_set(monkeypatch, tmp_path, program):
    def count(*arguments):
        monkeypatch.setattr(sys, "argv", [program, *arguments, "app:create_app()"])
        return workers.count()

    assert count() == 1
    configuration = tmp_path / "conf.py"
    configuration.write_text("workers = 3\n")
    assert count("-c", str(configuration)) == 3
    monkeypatch.setenv("GUNICORN_CMD_ARGS", "--workers 4")
    assert count("-c", str(configuration)) == 4
    assert count("--workers=5") == 5


def test_another_server_has_as_many_as_the_environment_says(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["app.py", "--workers", "9"])
    assert workers.count() == 1
    monkeypatch.setenv("WEB_CONCURRENCY", "many")
    assert workers.count() == 1
    monkeypatch.setenv("WEB_CONCURRENCY", "2")
    assert workers.count() == 2


def test_gunicorn_with_two_workers_and_memory_does_not_start():
    command = [sys.executable, "-m", "gunicorn", "--workers=2", "--bind=127.0.0.1:0"]
    environment = {**os.environ, "SKILL_ID": "x", "STATE": "memory"}
    done = subprocess.run(
        [*command, "app:create_app()"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode != 0
    assert "there are 2 workers: the next turn may reach another one" in done.stderr
