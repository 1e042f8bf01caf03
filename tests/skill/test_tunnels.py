"""Tunnels by other programs, and the watchdog: fake agents in the place of real ones."""

import ast
import contextlib
import json
import logging
import os
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from app import Settings, create_app, main
from skill import deployment, smapi, state, tunnel, tunnel_command, watchdog
from skill.chosen_tunnel import announce_address
from skill.interaction_settings import load
from skill.options import settings_of
from skill.settings import NOT_DEPLOYED
from skill.tunnel import NoTunnel

from . import amazon as fake
from . import rig
from .conftest import FakeAgent, read_request
from .internet import Internet
from .ngrok import CANARY

BANNER = """\
2026-01-01T00:00:00Z INF Thank you for trying Cloudflare Tunnel. Doing so is subject to (https://www.cloudflare.com/website-terms/).
2026-01-01T00:00:00Z INF Requesting new quick Tunnel on trycloudflare.com... https://api.trycloudflare.com
2026-01-01T00:00:01Z INF |  https://Four-Odd-Words-here.trycloudflare.com                     |
"""


@pytest.fixture(autouse=True)
def alone(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    for name in ("SKILL_ID", "NGROK_DOMAIN", "NGROK_AUTHTOKEN"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def program(tmp_path, monkeypatch):
    """Put a program on PATH that prints something, and goes on for ever or not; it writes down what
    it was called with.
    """
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")

    def put(name, prints, *, ends=False, stream="stderr"):
        path = tmp_path / name
        path.write_text(
            f"#!{sys.executable} -S\nimport os, sys, time\n"
            f"open({str(tmp_path / 'called')!r}, 'w').write(repr([os.getpid(), *sys.argv[1:]]))\n"
            f"print({prints!r}, file=sys.{stream}, flush=True)\n"
            + ("sys.exit(1)\n" if ends else "time.sleep(60)\n")
        )
        path.chmod(0o755)

        def called():
            pid, *arguments = ast.literal_eval((tmp_path / "called").read_text())
            return pid, arguments

        return called

    return put


def is_running(pid):
    with contextlib.suppress(OSError):
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    return False


# --- programs -------------------------------------------------------------------------------------


def test_cloudflared_s_address_is_found_among_the_others_that_it_prints(program):
    called = program("cloudflared", BANNER)
    opened = tunnel_command.open_by_command(tunnel_command.CLOUDFLARED, 5123, seconds=20)
    pid, arguments = called()
    assert opened.address == "https://four-odd-words-here.trycloudflare.com"
    assert arguments == ["tunnel", "--no-autoupdate", "--url", "http://127.0.0.1:5123"]
    assert opened.is_alive()
    opened.close()
    assert not opened.is_alive()
    assert not is_running(pid)


@pytest.mark.parametrize(
    ("prints", "address"),
    [
        ("your url is: https://Some-Words.loca.lt", "https://some-words.loca.lt"),
        (
            "see https://example.com/docs first\nForwarding from https://abc.serveo.net",
            "https://abc.serveo.net",
        ),
        (
            "abc.lhr.life tunneled with tls termination, https://abc.lhr.life",
            "https://abc.lhr.life",
        ),
        (
            "Hosting at https://demo-5000.usw2.devtunnels.ms/",
            "https://demo-5000.usw2.devtunnels.ms",
        ),
        ("http://127.0.0.1:5000 https://127.0.0.1 https://x.example.org", "https://x.example.org"),
    ],
)
def test_a_command_of_one_s_own_prints_an_address(program, prints, address):
    called = program("mine", prints, stream="stdout")
    opened = tunnel_command.open_by_command("mine --to 'port {port}'", 5000, seconds=20)
    assert opened.address == address
    assert called()[1] == ["--to", "port 5000"]
    opened.close()


def test_with_a_fixed_domain_nothing_need_be_printed(program):
    program("mine", "")
    opened = tunnel_command.open_by_command("mine {port}", 5000, domain="alexa.example.com")
    assert opened.address == "https://alexa.example.com"
    opened.close()


def test_a_program_that_ends_is_told_with_its_last_words_but_no_secret(program):
    program("mine", f"first\ncannot log in with token {CANARY} at 203.0.113.7", ends=True)
    with pytest.raises(NoTunnel) as caught:
        tunnel_command.open_by_command("mine {port}", 5000, seconds=20)
    assert str(caught.value).startswith(
        "mine ended; its last output was: cannot log in with token <token> at <address>;"
    )
    for command in ("mine {port}", "mine"):
        with pytest.raises(NoTunnel):
            tunnel_command.open_by_command(command, 5000, domain="alexa.example.com")


def test_a_silent_program_is_given_up_and_ended(program):
    called = program("mine", "hello")
    with pytest.raises(NoTunnel, match="printed no https address within 1 s"):
        tunnel_command.open_by_command("mine {port}", 5000, seconds=1)
    assert not is_running(called()[0])


def test_a_program_that_is_not_there_is_told_with_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(
        NoTunnel,
        match="cloudflared cannot be started .*: "
        r"install it from https://developers\.cloudflare\.com",
    ):
        tunnel_command.open_by_command(tunnel_command.CLOUDFLARED, 5000)
    with pytest.raises(NoTunnel, match="on PATH"):
        tunnel_command.open_by_command("nothing {port}", 5000)


def test_the_ngrok_token_is_in_no_list_of_processes(ngrok_agent, monkeypatch):
    """pyngrok hands it over as an argument, which everybody on the machine can read."""
    from pyngrok import conf

    ngrok_agent()
    monkeypatch.setattr(conf.get_default(), "auth_token", CANARY)
    opened = tunnel.Ngrok(tunnel.open_tunnel(5000, seconds=20))
    assert opened.is_alive()
    running = tunnel._running().proc
    arguments = Path(f"/proc/{running.pid}/cmdline").read_bytes().decode()
    assert "start" in arguments
    assert not [path for path in Path("/proc").glob("[0-9]*/cmdline") if CANARY in _text(path)]
    assert f"NGROK_AUTHTOKEN={CANARY}" in Path(f"/proc/{running.pid}/environ").read_text()
    opened.close()
    assert not opened.is_alive()


def _text(path):
    with contextlib.suppress(OSError):
        return path.read_bytes().decode(errors="replace")
    return ""


# --- the command line -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--tunnel", "frp"], "is unknown; it must be ngrok, cloudflared, none"),
        (["--tunnel", "cloudflared", "--domain", "a.example.com"], "--domain alexa.example.com"),
        (["--tunnel", "none", "--deploy"], "--deploy deploys the tunnel's address"),
        (["--no-verify", "--tunnel", "mine {port}"], "would let anybody in"),
    ],
)
def test_options_that_do_not_go_together_are_one_line(arguments, told, capsys):
    assert main(arguments) == 2
    said = capsys.readouterr().err
    assert told in said
    assert said.count("\n") == 1


def test_a_command_is_taken_with_a_domain_and_ngrok_s_is_left_to_ngrok(monkeypatch):
    found = settings_of(["--tunnel", "mine {port}", "--domain", "a.example.com"])
    assert (found.tunnel, found.domain) == ("mine {port}", "a.example.com")
    monkeypatch.setenv("NGROK_DOMAIN", "ann.ngrok-free.app")
    assert settings_of(["--tunnel", "cloudflared"]).domain == ""
    assert settings_of(["--tunnel", "ngrok"]).domain == "ann.ngrok-free.app"


def test_whoever_deploys_for_the_first_time_answers_nobody_until_then():
    assert settings_of(["--tunnel", "cloudflared", "--deploy"]).skill_ids == NOT_DEPLOYED
    state.write(state.DEPLOYED, {"skill_id": rig.SKILL})
    assert settings_of(["--tunnel", "cloudflared", "--deploy"]).skill_ids == (rig.SKILL,)
    assert settings_of(["--tunnel", "cloudflared"]).skill_ids == ()


# --- the watchdog ---------------------------------------------------------------------------------


class Fake:
    """A tunnel that dies when told."""

    def __init__(self, address):
        self.address, self.alive, self.closed = address, True, False

    def is_alive(self):
        return self.alive

    def close(self):
        self.closed = True


class Clock(threading.Event):
    """An event whose waits do not last: each runs the next of what is to happen meanwhile, and
    after the last it is set.
    """

    def __init__(self, *happens):
        super().__init__()
        self.happens = list(happens)

    def wait(self, seconds=None):
        if self.happens:
            self.happens.pop(0)()
        else:
            self.set()
        return self.is_set()


def nothing():
    """Let a moment pass."""


def test_a_tunnel_whose_program_ends_is_opened_again_and_its_address_told(capsys):
    tunnels = [Fake("https://a.example.com"), Fake("https://b.example.com")]
    left, told = list(tunnels), []
    clock = Clock(nothing, lambda: setattr(tunnels[0], "alive", False), nothing)
    watchdog.keep_open(lambda: left.pop(0), told.append, stopped=clock, does_answer=lambda _: True)
    assert told == ["https://a.example.com", "https://b.example.com"]
    assert all(each.closed for each in tunnels)
    assert (
        capsys.readouterr().err == "The tunnel is gone (its program has ended); opening another.\n"
    )


def test_an_address_that_misses_three_answers_in_a_row_is_dead(capsys):
    tunnels, told = [Fake("https://a.example.com"), Fake("https://b.example.com")], []
    answers = iter([True, False, False, True, False, False, False, True])
    clock = Clock(*[nothing] * 8)
    watchdog.keep_open(
        lambda: tunnels.pop(0), told.append, stopped=clock, does_answer=lambda _: next(answers)
    )
    assert told == ["https://a.example.com", "https://b.example.com"]
    assert next(answers, "none is left") == "none is left"
    assert "its address does not answer" in capsys.readouterr().err


def test_a_tunnel_that_was_open_is_tried_again_with_a_line_for_each_reason(capsys):
    first, last = Fake("https://a.example.com"), Fake("https://a.example.com")
    outcomes = [first, NoTunnel("offline"), NoTunnel("offline"), NoTunnel("too many"), last]

    def opens():
        outcome = outcomes.pop(0)
        if isinstance(outcome, NoTunnel):
            raise outcome
        return outcome

    told = []
    clock = Clock(lambda: setattr(first, "alive", False), nothing, nothing, nothing, nothing)
    watchdog.keep_open(opens, told.append, stopped=clock, does_answer=lambda _: True)
    assert told == ["https://a.example.com"] * 2
    said = capsys.readouterr().err.splitlines()
    assert said == [
        "The tunnel is gone (its program has ended); opening another.",
        "No tunnel: offline",
        "No tunnel: too many",
    ]


def test_an_address_answers_as_the_skill_does_or_not_at_all(tmp_path, monkeypatch):
    internet = Internet(rig.Authority(), tmp_path)
    for name, value in internet.environment.items():
        monkeypatch.setenv(name, value)
    amazon = fake.Amazon()
    try:
        assert not watchdog.answers("https://ann.ngrok-free.app")
        internet.put("ann.ngrok-free.app", amazon.port)
        assert not watchdog.answers("https://ann.ngrok-free.app"), (
            "it is not the skill that answers 404"
        )
    finally:
        for server in (internet, amazon):
            server.shutdown()
            server.server_close()


# --- deploying the tunnel's address ---------------------------------------------------------------


def test_a_new_address_is_deployed_and_the_skill_that_was_made_is_answered(
    alexa, tmp_path, monkeypatch, capsys, caplog
):
    """python app.py --deploy, at its first start and when the tunnel has another address."""
    amazon = fake.Amazon()
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(smapi, "PAUSES", (0.0,))
    monkeypatch.setattr(deployment, "ASK_AGAIN_SECONDS", 0.0)
    monkeypatch.setattr(fake, "NEW_SKILL", rig.SKILL)
    fake.write_ask(tmp_path / "ask", amazon, sys.executable)
    american = replace(load(), locales=("en-US",))
    settings = Settings(
        tunnel="cloudflared", deploy=True, skill_ids=NOT_DEPLOYED, interaction=american
    )
    app = create_app(settings, FakeAgent())

    def status():
        body = json.dumps(rig.with_time(read_request("launch"))).encode()
        return app.test_client().post("/", data=body, headers=alexa.sign(body, url)).status_code

    url = alexa.publish()
    try:
        with caplog.at_level(logging.ERROR):
            assert status() == 400
        announce_address("https://a.trycloudflare.com", settings, app)
        assert status() == 200
        endpoint = amazon.skills[rig.SKILL]["manifest"]["apis"]["custom"]["endpoint"]
        assert endpoint == {"uri": "https://a.trycloudflare.com/", "sslCertificateType": "Wildcard"}
        announce_address("https://b.trycloudflare.com", settings, app)
        assert (
            amazon.skills[rig.SKILL]["manifest"]["apis"]["custom"]["endpoint"]["uri"]
            == "https://b.trycloudflare.com/"
        )
        assert list(amazon.skills) == [rig.SKILL]
        assert state.read(state.TUNNEL) == {"address": "https://b.trycloudflare.com"}
        amazon.plan.append(("get_skill_manifest_v1", 403))
        announce_address("https://c.trycloudflare.com", settings, app)
        assert "Not deployed: " in capsys.readouterr().err
        assert status() == 200
        assert amazon.faults == []
    finally:
        amazon.shutdown()
        amazon.server_close()
