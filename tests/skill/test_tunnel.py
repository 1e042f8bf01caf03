import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
from pyngrok import conf, installer, process

from app import Settings, announce_tunnel, settings_of
from skill import tunnel
from skill.redaction import redact

ROOT = Path(__file__).parent.parent.parent
CANARY = "2cAnArY0tOkEn0tHaT0nObOdY0mAy0sEe_5Kx0cAnArY0pArT0tWo"
PUBLIC = "https://fake.ngrok-free.app"
AGENT = """#!{python}
import http.server, json, sys, time
does = json.loads({does!r})
for line in does.get("stderr", []): print(line, file=sys.stderr, flush=True)
for line in does.get("lines", []): print(line, flush=True)
sys.stdout.buffer.write(bytes(does.get("bytes", []))); sys.stdout.flush()
if does.get("silent"): time.sleep(60)
if does.get("ends"): sys.exit(1)
class Api(http.server.BaseHTTPRequestHandler):
    def log_message(self, *args): pass
    def answer(self, body, status):
        data = body.encode()
        self.send_response(status); self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers(); self.wfile.write(data)
    def do_GET(self): self.answer(json.dumps({{"tunnels": [], "endpoints": []}}), 200)
    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if "refuses" in does: return self.answer(does["refuses"], does.get("status", 502))
        url = asked.get("url", "https://fake.ngrok-free.app")
        self.answer(json.dumps({{"name": asked["name"], "uri": "/api/x", "public_url": url, "url": url,
                      "proto": "https", "config": {{"addr": "x"}}, "metrics": {{}}}}), 201)
        for line in does.get("later", []): print(line, flush=True)
server = http.server.HTTPServer(("127.0.0.1", 0), Api)
port = server.server_address[1]
start = "t=2026-01-01T00:00:00+0000 lvl=info msg="
print(start + '"starting web service" obj=web addr=127.0.0.1:%d' % port, flush=True)
print(start + '"client session established" obj=csess', flush=True)
print(start + '"tunnel session started" obj=tunnels.session', flush=True)
server.serve_forever()
"""


def eror(text):
    """Write a line as ngrok's agent does."""
    escaped = text.replace('"', '\\"').replace("\n", "\\n").replace("\r", "\\r")
    return f't=2026-01-01T00:00:00+0000 lvl=eror msg="session closing" obj=tunnels.session err="{escaped}"'


def refusal(text):
    """Write a body as the agent's API does."""
    details = {"err": f"failed to start tunnel: {text}"}
    return json.dumps(
        {"error_code": 103, "status_code": 502, "msg": "failed to start tunnel", "details": details}
    )


def write_agent(path, **does):
    path.write_text(AGENT.format(python=sys.executable + " -S", does=json.dumps(does)))
    path.chmod(0o755)


@pytest.fixture
def agent(tmp_path, monkeypatch):
    """Put a fake ngrok agent in the place of the real one, by configuration alone."""

    def put(*, config=b"version: 3\nagent:\n  authtoken: x\n", **does):
        write_agent(tmp_path / "ngrok", **does)
        file = tmp_path / "ngrok.yml"
        if config is not None:
            file.write_bytes(config)
        for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
            monkeypatch.delenv(name)
        monkeypatch.delenv("NGROK_AUTHTOKEN", raising=False)
        settings = conf.PyngrokConfig(ngrok_path=str(tmp_path / "ngrok"), config_path=str(file))
        monkeypatch.setattr(conf, "_default_pyngrok_config", settings)
        installer._config_cache.clear()
        return file

    yield put
    tunnel.close()


def refused(seconds=20, **options):
    """Try to open a tunnel, and return the sentence that says why there is none."""
    with pytest.raises(tunnel.NoTunnel) as caught:
        tunnel.open_tunnel(5000, seconds=seconds, **options)
    said = str(caught.value)
    assert "\n" not in said
    assert ". " not in said
    assert said.endswith("; the skill goes on without a tunnel")
    assert not process._current_processes
    return said


def test_a_tunnel_opens_and_its_address_is_returned(agent):
    agent()
    assert tunnel.open_tunnel(5000, seconds=20) == PUBLIC


# --- an agent that fails -------------------------------------------------------------------------------------------

DASHBOARD = "https://dashboard.ngrok.com"
FAILURES = {  # code: what ngrok writes, what of it is told, and of the advice
    105: (
        f"The authtoken you specified does not look like a proper ngrok authtoken.\nYour authtoken: {CANARY}\n"
        f"Instructions to install your authtoken are on your ngrok dashboard:\n{DASHBOARD}/get-started/your-authtoken",
        "The authtoken you specified does not look like a proper ngrok authtoken;",
        "NGROK_AUTHTOKEN",
    ),
    106: (
        f"The authtoken you specified is an ngrok v1 authtoken, but you're using ngrok v2.\nYour authtoken: {CANARY}",
        "is an ngrok v1 authtoken, but you're using ngrok v2;",
        "NGROK_AUTHTOKEN",
    ),
    107: (
        f"authentication failed: The authtoken you specified is properly formed, but it is invalid.\nYour authtoken: {CANARY}\n"
        "This usually happens when:\n  - You reset your authtoken",
        "The authtoken you specified is properly formed, but it is invalid;",
        "NGROK_AUTHTOKEN",
    ),
    108: (
        "Your account 'Ann Canary' is limited to 1 simultaneous ngrok agent session.\nActive ngrok agent sessions in region 'us':\n"
        "  - ts_1xOhhYBOmgclE7KSt6 (203.0.113.7)",
        "Your account <name> is limited to 1 simultaneous ngrok agent session;",
        f"{DASHBOARD}/agents",
    ),
    120: (
        'Your ngrok agent version "2" is no longer supported. Only the most recent is.',
        '"2" is no longer supported;',
        "ngrok update",
    ),
    121: (
        'Your ngrok-agent version "2.3.41" is too old. The minimum supported agent version for your account is "3.7.0". '
        "Please update to a newer version with `ngrok update`.",
        'Your ngrok-agent version "2.3.41" is too old;',
        "ngrok update",
    ),
    300: (
        "The authtoken credential cr_2canarycanary7 has been revoked and is no longer valid.",
        "has been revoked",
        "NGROK_AUTHTOKEN",
    ),
    313: (
        "Custom subdomains are a feature on ngrok's paid plans.\nFailed to bind the custom subdomain 'canary' for the account 'Ann Canary'.",
        "Custom subdomains are a feature on ngrok's paid plans;",
        "--domain",
    ),
    320: (
        "This domain is reserved for another account.\nFailed to create",
        "reserved for another account;",
        f"{DASHBOARD}/domains",
    ),
    334: (
        "The endpoint 'https://canary.ngrok-free.app' is already online. Either\n1. stop your existing endpoint first, or\n"
        "2. start both endpoints with `--pooling-enabled` to load balance between them.",
        "The endpoint '<address>' is already online;",
        f"{DASHBOARD}/endpoints",
    ),
    4018: (
        f"Usage of ngrok requires a verified account and authtoken.\n\nSign up for an account: {DASHBOARD}/signup",
        "Usage of ngrok requires a verified account and authtoken;",
        "NGROK_AUTHTOKEN",
    ),
    8012: (
        "Traffic was tunneled to the agent, but it failed to connect to the upstream at http://localhost:5000: "
        "dial tcp [::1]:5000: connect: connection refused",
        "failed to connect to the upstream at <address> dial tcp <address>: connect: connection refused;",
        "this server is still running",
    ),
    9009: (
        "Your account may not run agents over http_proxy 10.1.2.3:3128.",
        "over http_proxy <address>;",
        "http_proxy",
    ),
    9040: (
        "We do not allow agents to connect to ngrok from your IP address (203.0.113.7).",
        "your IP address (<address>;",
        "network",
    ),
    77777: (
        "Something nobody has seen.",
        "Something nobody has seen;",
        "https://ngrok.com/docs/errors/err_ngrok_77777",
    ),
}


def whole(code):
    return f"{FAILURES[code][0]}\r\n\r\nERR_NGROK_{code}\r\n"


WAYS = {
    "in its log": lambda text: {"lines": [eror("dial failed"), eror(text)], "ends": True},
    "in its log, then others": lambda text: {
        "lines": [eror(text), eror("session closed")],
        "ends": True,
    },
    "on stderr": lambda text: {
        "stderr": [f"ERROR:  {line.strip()}" for line in text.splitlines()],
        "ends": True,
    },
    "in a line cut short": lambda text: {"lines": [eror(text).removesuffix('"')], "ends": True},
    "by its API": lambda text: {"refuses": refusal(text)},
}


@pytest.mark.parametrize(
    ("code", "way"),
    [
        *((code, "in its log") for code in FAILURES),
        *((code, way) for code in (105, 121, 334) for way in list(WAYS)[1:]),
    ],
)
def test_an_agent_s_failure_is_one_sentence_with_its_code_its_reason_and_what_to_do(
    agent, code, way
):
    """Whatever the agent said, the sentence was "is its agent there"."""
    _, reason, advice = FAILURES[code]
    agent(**WAYS[way](whole(code)))
    said = refused()
    assert said.startswith(f"ngrok's agent says ERR_NGROK_{code}: ")
    if way != "on stderr" or "\n" not in FAILURES[code][0]:
        assert reason.rstrip(";") in said
    assert advice in said
    assert "anary" not in said
    assert "203.0.113.7" not in said


ODD = {
    "no code": (
        {"lines": [eror("x509: certificate signed by unknown authority")], "ends": True},
        "signed by unknown authority",
    ),
    "an error without err": (
        {"lines": ['lvl=crit msg="cannot bind"'], "ends": True},
        "cannot bind",
    ),
    "plain words": ({"lines": ["Segmentation fault"], "ends": True}, "Segmentation fault"),
    "nothing": ({"ends": True}, "ngrok"),
    "no UTF-8": ({"bytes": [0xFF, 0xFE, 0x0A], "ends": True}, "ngrok"),
    "an odd level": ({"lines": ["lvl=basic_format msg=x"], "ends": True}, "ngrok"),
    "an API that answers a page": ({"refuses": "<html>503</html>", "status": 503}, "503"),
    "an API that answers nothing": ({"refuses": "", "status": 500}, "500"),
    "an API that answers a list": ({"refuses": "[]", "status": 400}, "400"),
    "an API that answers no JSON": ({"refuses": "fine", "status": 201}, "ngrok"),
    "an API without an address": ({"refuses": "{}", "status": 201}, "ngrok"),
    "an old agent": ({"refuses": "404 page not found", "status": 404}, "404"),
}


@pytest.mark.parametrize("name", ODD)
def test_an_agent_that_fails_oddly_is_one_sentence_too(agent, name):
    does, told = ODD[name]
    agent(**does)
    assert told in refused()


def test_a_silent_agent_is_given_up_in_time_and_ended_and_another_can_be_started(agent):
    """pyngrok waited for the agent with its lock held, and the agent lived on."""
    agent(silent=True)
    assert "did not answer within 1 s" in refused(seconds=1)
    agent()
    assert tunnel.open_tunnel(5000, seconds=20) == PUBLIC


def test_what_a_silent_agent_has_said_before_is_told(agent):
    agent(lines=[eror(whole(108))], silent=True)
    assert "ERR_NGROK_108" in refused(seconds=2)


def test_an_agent_is_asked_directly_where_a_proxy_is_set(agent, monkeypatch):
    """pyngrok asked the agent on this machine through http_proxy, for ever."""
    agent()
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    assert tunnel.open_tunnel(5000, seconds=20) == PUBLIC


@pytest.mark.parametrize("mode", [0o644, 0o000])
def test_a_program_that_cannot_be_run_is_named(agent, tmp_path, mode):
    agent()
    (tmp_path / "ngrok").chmod(mode)
    assert "ngrok cannot be started (Permission denied): install it" in refused()


# --- what must not be told -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("token", [CANARY, "canary", "canary canary-7"])
def test_a_token_is_in_no_output(agent, monkeypatch, capfd, caplog, way, token):
    """With ERR_NGROK_105 the agent's line with the token reached the log, and its stderr the terminal."""
    caplog.set_level(logging.DEBUG)
    monkeypatch.setattr(logging.getLogger("pyngrok"), "level", logging.DEBUG)
    said = f"The authtoken you specified does not look like a proper ngrok authtoken.\nYour authtoken: {token}\n\nERR_NGROK_105\n"
    monkeypatch.setenv("NGROK_AUTHTOKEN", token)
    agent(**WAYS[way](said))
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


def test_what_the_agent_says_later_is_logged_once_and_redacted(agent, caplog):
    gone = eror("failed to dial 203.0.113.7:443 for ann@example.com: ERR_NGROK_8012")
    agent(later=[gone, gone, 'lvl=info msg="join connections" l=127.0.0.1:5000 r=203.0.113.7:5555'])
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


# --- ngrok's own file ----------------------------------------------------------------------------------------------

TEXT = f"version: 3\nagent:\n  authtoken: {CANARY}\n"
FILES = {  # its bytes, whether a token is configured there, and what is said where a tunnel is asked for
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
def test_an_odd_file_of_ngrok_s_keeps_nothing_from_starting(agent, capfd, name):
    """It ended in a traceback, of app.py itself or of the tunnel's thread."""
    data, configured, told = FILES[name]
    agent(config=data)
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
def test_a_token_is_found_in_ngrok_s_file_unless_it_is_commented_or_empty(agent, text, configured):
    agent(config=text.encode())
    assert tunnel.is_configured() is configured


def test_a_file_that_is_a_folder_or_a_pipe_or_not_there_keeps_nothing_from_starting(
    agent, tmp_path
):
    file = agent(config=None)
    assert not tunnel.is_configured()
    file.mkdir()
    assert not tunnel.is_configured()
    assert f"{file} cannot be used (Is a directory)" in refused()
    file.rmdir()
    os.mkfifo(file)
    assert not tunnel.is_configured()


def test_a_token_is_found_in_the_environment(agent, monkeypatch):
    agent(config=b"version: 3\n")
    monkeypatch.setenv("NGROK_AUTHTOKEN", " ")
    assert not tunnel.is_configured()
    monkeypatch.setenv("NGROK_AUTHTOKEN", "x")
    assert tunnel.is_configured()


def test_by_the_environment_alone_the_agent_s_reason_comes_through(tmp_path):
    """As a user has it: PYNGROK_NGROK_PATH, XDG_CONFIG_HOME and NGROK_AUTHTOKEN, and nothing else."""
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
    code = "from skill import tunnel\ntry: tunnel.open_tunnel(5000)\nexcept tunnel.NoTunnel as why: print(why)"
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


# --- a fixed domain ------------------------------------------------------------------------------------------------


def test_a_fixed_domain_is_asked_for(agent):
    agent()
    assert (
        tunnel.open_tunnel(5000, domain="ann.ngrok-free.app", seconds=20)
        == "https://ann.ngrok-free.app"
    )


@pytest.mark.parametrize(
    "written",
    [
        "ann.ngrok-free.app",
        "https://ann.ngrok-free.app",
        "https://ann.ngrok-free.app/",
        "HTTPS://Ann.Ngrok-Free.App",
        " ann.ngrok-free.app\n",
        "ann.ngrok-free.app:443",
        "ann.ngrok-free.app.",
    ],
)
def test_a_domain_is_taken_as_it_is_copied(monkeypatch, written):
    monkeypatch.delenv("NGROK_DOMAIN", raising=False)
    assert settings_of(["--domain", written]).domain == "ann.ngrok-free.app"
    assert settings_of(["--domain", written]).tunnel == "ngrok"
    monkeypatch.setenv("NGROK_DOMAIN", written)
    assert settings_of(["--tunnel", "ngrok"]).domain == "ann.ngrok-free.app"
    assert (
        settings_of(["--tunnel", "ngrok", "--domain", "bob.ngrok-free.app"]).domain
        == "bob.ngrok-free.app"
    )


@pytest.mark.parametrize(
    "written",
    [
        "http://ann.ngrok-free.app",
        "https://ann.ngrok-free.app/skill",
        "ann.ngrok-free.app/skill",
        "ann.ngrok-free.app:8080",
        "ann.ngrok-free.app:x",
        "ann.ngrok-free.app?x=1",
        "ann@ngrok-free.app",
        "*.ngrok-free.app",
        "ann",
        "localhost",
        "203.0.113.7",
        "[::1",
        "ann ngrok-free.app",
        "-ann.ngrok-free.app",
        "ann..app",
        "a" * 300 + ".app",
        CANARY,
    ],
)
def test_what_is_no_domain_is_refused_in_one_sentence(monkeypatch, written):
    monkeypatch.setenv("NGROK_DOMAIN", written)
    assert settings_of(["--no-verify"]).domain == ""
    for arguments, name in (
        (["--tunnel", "ngrok"], "NGROK_DOMAIN"),
        ([f"--domain={written}"], "--domain"),
    ):
        with pytest.raises(ValueError, match="just a host name") as caught:
            settings_of(arguments)
        assert str(caught.value).startswith(f"{name}: ")
        assert CANARY not in str(caught.value)


def test_a_domain_without_a_tunnel_is_refused():
    for more in (["--tunnel", "none"], ["--no-verify"]):
        with pytest.raises(ValueError, match="tunnel"):
            settings_of(["--domain", "ann.ngrok-free.app", *more])
