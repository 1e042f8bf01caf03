"""A fake of Amazon's API, to which a login and nothing else leads."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from skill import deploy, deployment, interaction_settings, smapi, state
from skill.target import Target

from .. import amazon as fake
from .. import rig
from ..internet import Internet

ROOT = Path(__file__).parent.parent.parent.parent
OURS = interaction_settings.load()
ENDPOINT = "https://ann.ngrok-free.app/"
TARGET = Target(OURS, ENDPOINT, "Wildcard")


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No login, no ask, no pauses."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    (tmp_path / "bin").mkdir()
    monkeypatch.setattr(smapi, "PAUSES", (0.0, 0.0, 0.0))
    monkeypatch.setattr(deployment, "ASK_AGAIN_SECONDS", 0.0)


@pytest.fixture
def amazon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[fake.Amazon]:
    """Amazon, to whom a login and nothing else leads. What it saw must fit the published schema."""
    server = fake.Amazon()
    internet = Internet(rig.Authority(), tmp_path)
    for host in ("api.amazonalexa.com", "api.amazon.com"):
        internet.put(host, server.port)
    for name, value in internet.environment.items():
        monkeypatch.setenv(name, value)
    yield server
    for each in (server, internet):
        each.shutdown()
        each.server_close()
    assert server.faults == []


@pytest.fixture
def logged_in(amazon: fake.Amazon) -> fake.Amazon:
    state.write(state.LOGIN, fake.LOGIN)
    return amazon


def run(*more: str, status: int = 0) -> int:
    found = deploy.main(["--endpoint", ENDPOINT, *more])
    assert found == status
    return found
