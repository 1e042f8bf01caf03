"""What ngrok's agent and file hold stays secret, however odd the file is."""

import logging
import os
import subprocess
import sys

import pytest
from pyngrok import conf, process

from app import Settings
from skill import tunnel
from skill.chosen_tunnel import announce_tunnel
from skill.options import settings_of
from skill.redaction import redact

from .ngrok import (
    CANARY,
    ROOT,
    WAYS,
    eror,
    refused,
    whole,
    write_agent,
)

# --- what must not be told -----------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("token", [CANARY, "canary", "canary canary-7"])
def test_a_token_is_in_no_output(ngrok_agent, monkeypatch, capfd, caplog, way, token):
    """With ERR_NGROK_105 the agent's line with the token reached the log, and its stderr the
    terminal.
    """
    caplog.set_level(logging.DEBUG)
    monkeypatch.setattr(logging.getLogger("pyngrok"), "level", logging.DEBUG)
    said = (
        "The authtoken you specified does not look like a proper ngrok authtoken.\n"
        f"Your authtoken: {token}\n\nERR_NGROK_105\n"
    )
    monkeypatch.setenv("NGROK_AUTHTOKEN", token)
    ngrok_agent(**WAYS[way](said))
    conf.get_default().auth_token = token
    announce_tunnel(Settings(tunnel="ngrok"))
    printed = capfd.readouterr()
    assert "ERR_NGROK_105" in printed.err
    everything = (
        printed.out
        + printed.err
        + caplog.text
        + "".join(record.getMessage() for record in caplog.records)
    )
    assert "pyngrok" in caplog.text
    assert "canary" not in everything.lower()


def test_what_the_agent_says_later_is_logged_once_and_redacted(ngrok_agent, caplog):
    gone = eror("failed to dial 203.0.113.7:443 for ann@example.com: ERR_NGROK_8012")
    ngrok_agent(
        later=[gone, gone, 'lvl=info msg="join connections" l=127.0.0.1:5000 r=203.0.113.7:5555']
    )
    tunnel.open_tunnel(5000, seconds=20)
    running = process._current_processes[conf.get_default().ngrok_path]
    for _ in range(1000):
        if any("join" in line.line for line in running.logs):
            break
        running._monitor_thread.join(0.01)
    ours = [record.getMessage() for record in caplog.records if record.name == "skill.tunnel"]
    assert "203.0.113.7" not in caplog.text
    assert "ann@example.com" not in caplog.text
    assert len(ours) <= 1  # none where the lines came before the tunnel was known to be open


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (f"token {CANARY}~ here", "token <token> here"),
        ("start --authtoken abc --log stdout", "start --authtoken <token> --log stdout"),
        ('authtoken: "abc"', 'authtoken: "<token>"'),
        ("Your authtoken: 5", "Your authtoken: <token>"),
        ("api_key=abc", "api_key=<token>"),
        ("mail ann.b+c@example.co.uk now", "mail <address> now"),
        ("tcp://0.tcp.ngrok.io:12345", "<address>"),
        ("from 203.0.113.7:4040 to 10.0.0.1", "from <address> to <address>"),
        ("from [2001:db8::7]:443", "from <address>"),
        ("from 2001:db8:0:0:1:2:3:4 on", "from <address> on"),
        ("from 2001:db8::7 on", "from <address> on"),
        ("abc.ngrok-free.dev is", "<address> is"),
        ("my.own-domain.org:443", "<address>"),
        ("account 'Ann' is", "account <name> is"),
        ("cr_2abcdefghijk1 and ts_1xOhhYBOmgcl", "<token> and <token>"),
        ("see https://dashboard.ngrok.com/agents", "see https://dashboard.ngrok.com/agents"),
        ("https://ngrok.com.evil.org/x", "<address>"),
        (
            "ERR_NGROK_105 at 12:30:45, version 2.3.41, /home/x/ngrok.yml",
            "ERR_NGROK_105 at 12:30:45, version 2.3.41, /home/x/ngrok.yml",
        ),
    ],
)
def test_tokens_and_addresses_are_taken_out_of_a_text(text, told):
    assert redact(text, ()) == told


# --- ngrok's own file ----------------------------------------------------------------------------


TEXT = f"version: 3\nagent:\n  authtoken: {CANARY}\n"
# The bytes, whether they configure a token, and what is said when a tunnel is asked for.
FILES = {
    "a tab": (f"version: 3\nagent:\n\tauthtoken: {CANARY}\n".encode(), True, "line 3 of"),
    "UTF-16 as PowerShell writes it": (TEXT.encode("utf-16"), True, "UTF-8"),
    "UTF-16, the other way round": (b"\xfe\xff" + TEXT.encode("utf-16-be"), True, "UTF-8"),
    "UTF-16 without a mark": (TEXT.encode("utf-16-le"), True, "ngrok"),
    "Latin-1": (b"# caf\xe9\n" + TEXT.encode(), True, "UTF-8"),
    "an alias": (f"agent: {{authtoken: *{CANARY}}}\n".encode(), True, "line 1 of"),
    "an open quote": (f'agent:\n  authtoken: "{CANARY}\n'.encode(), True, "YAML"),
    "a list": (b"- a\n- b\n", False, "ngrok"),
    "a word": (b"hello", False, "ngrok"),
    "no agent": (b"version: 3\nagent:\n", False, "ngrok"),
    "binary": (bytes(range(256)), False, "ngrok"),
    "depth": (b"[" * 3000, False, "ngrok"),
}


@pytest.mark.parametrize("name", FILES)
def test_an_odd_file_of_ngrok_s_keeps_nothing_from_starting(ngrok_agent, capfd, name):
    """It ended in a traceback, of app.py itself or of the tunnel's thread."""
    data, configured, told = FILES[name]
    ngrok_agent(config=data)
    assert settings_of(["--no-verify"]).tunnel == settings_of(["--tunnel", "none"]).tunnel == "none"
    assert settings_of([]).tunnel == ("ngrok" if configured else "none")
    said = refused()
    assert told in said
    announce_tunnel(settings_of(["--tunnel", "ngrok"]))
    printed = capfd.readouterr()
    assert printed.err.count("\n") == 1
    assert CANARY not in said + printed.err + printed.out


@pytest.mark.parametrize(
    ("text", "configured"),
    [
        ("agent:\n  authtoken: x\n", True),
        ("authtoken: x", True),
        ("\ufeffauthtoken: x", True),
        ("agent: {authtoken: x}", True),
        ('"authtoken": "x"', True),
        ("agent:\r\n  authtoken: x\r\n", True),
        ("agent:\n  # authtoken: x\n", False),
        ("#authtoken: x", False),
        ("agent: # authtoken: x", False),
        ("authtoken:", False),
        ("authtoken: ''", False),
        ('authtoken: ""', False),
        ("authtoken: null", False),
        ("authtoken: # none yet", False),
        ("version: 3", False),
        ("", False),
    ],
)
def test_a_token_is_found_in_ngrok_s_file_unless_it_is_commented_or_empty(
    ngrok_agent, text, configured
):
    ngrok_agent(config=text.encode())
    assert tunnel.is_configured() is configured


def test_a_file_that_is_a_folder_or_a_pipe_or_not_there_keeps_nothing_from_starting(
    ngrok_agent, tmp_path
):
    file = ngrok_agent(config=None)
    assert not tunnel.is_configured()
    file.mkdir()
    assert not tunnel.is_configured()
    assert f"{file} cannot be used (Is a directory)" in refused()
    file.rmdir()
    os.mkfifo(file)
    assert not tunnel.is_configured()


def test_a_token_is_found_in_the_environment(ngrok_agent, monkeypatch):
    ngrok_agent(config=b"version: 3\n")
    monkeypatch.setenv("NGROK_AUTHTOKEN", " ")
    assert not tunnel.is_configured()
    monkeypatch.setenv("NGROK_AUTHTOKEN", "x")
    assert tunnel.is_configured()


def test_by_the_environment_alone_the_agent_s_reason_comes_through(tmp_path):
    """As a user has it: PYNGROK_NGROK_PATH, XDG_CONFIG_HOME and NGROK_AUTHTOKEN, and nothing
    else.
    """
    write_agent(
        tmp_path / "agent",
        lines=[eror(whole(107))],
        stderr=[f"ERROR:  Your authtoken: {CANARY}"],
        ends=True,
    )
    found = {
        name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")
    }
    ours = {
        "PYNGROK_NGROK_PATH": str(tmp_path / "agent"),
        "XDG_CONFIG_HOME": str(tmp_path),
        "NGROK_AUTHTOKEN": CANARY,
    }
    code = (
        "from skill import tunnel\n"
        "try: tunnel.open_tunnel(5000)\n"
        "except tunnel.NoTunnel as why: print(why)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=found | ours,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert (
        "ERR_NGROK_107: The authtoken you specified is properly formed, but it is invalid; copy"
        in done.stdout
    )
    assert CANARY not in done.stdout + done.stderr
