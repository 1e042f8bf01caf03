"""A fake ngrok agent, what it can be made to say, and how its refusal is read."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pyngrok import process

from skill import tunnel

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
        self.answer(json.dumps({{
            "name": asked["name"], "uri": "/api/x", "public_url": url, "url": url,
            "proto": "https", "config": {{"addr": "x"}}, "metrics": {{}},
        }}), 201)
        for line in does.get("later", []): print(line, flush=True)
server = http.server.HTTPServer(("127.0.0.1", 0), Api)
port = server.server_address[1]
start = "t=2026-01-01T00:00:00+0000 lvl=info msg="
print(start + '"starting web service" obj=web addr=127.0.0.1:%d' % port, flush=True)
print(start + '"client session established" obj=csess', flush=True)
print(start + '"tunnel session started" obj=tunnels.session', flush=True)
server.serve_forever()
"""


def eror(text: str) -> str:
    """Write a line as ngrok's agent does."""
    escaped = text.replace('"', '\\"').replace("\n", "\\n").replace("\r", "\\r")
    begun = 't=2026-01-01T00:00:00+0000 lvl=eror msg="session closing" obj=tunnels.session'
    return f'{begun} err="{escaped}"'


def refusal(text: str) -> str:
    """Write a body as the agent's API does."""
    details = {"err": f"failed to start tunnel: {text}"}
    return json.dumps(
        {"error_code": 103, "status_code": 502, "msg": "failed to start tunnel", "details": details}
    )


def write_agent(path: Path, **does: Any) -> None:
    path.write_text(AGENT.format(python=sys.executable + " -S", does=json.dumps(does)))
    path.chmod(0o755)


def refused(seconds: float = 20, **options: Any) -> str:
    """Try to open a tunnel, and return the sentence that says why there is none."""
    with pytest.raises(tunnel.NoTunnel) as caught:
        tunnel.open_tunnel(5000, seconds=seconds, **options)
    said = str(caught.value)
    assert "\n" not in said
    assert ". " not in said
    assert said.endswith("; the skill goes on without a tunnel")
    assert not process._current_processes
    return said


DASHBOARD = "https://dashboard.ngrok.com"
FAILURES = {  # code: what ngrok writes, what of it is told, and of the advice
    105: (
        "The authtoken you specified does not look like a proper ngrok authtoken.\nYour "
        f"authtoken: {CANARY}\n"
        "Instructions to install your authtoken are on your ngrok "
        f"dashboard:\n{DASHBOARD}/get-started/your-authtoken",
        "The authtoken you specified does not look like a proper ngrok authtoken;",
        "NGROK_AUTHTOKEN",
    ),
    106: (
        "The authtoken you specified is an ngrok v1 authtoken, but you're using ngrok v2.\nYour "
        f"authtoken: {CANARY}",
        "is an ngrok v1 authtoken, but you're using ngrok v2;",
        "NGROK_AUTHTOKEN",
    ),
    107: (
        "authentication failed: The authtoken you specified is properly formed, but it is "
        f"invalid.\nYour authtoken: {CANARY}\n"
        "This usually happens when:\n  - You reset your authtoken",
        "The authtoken you specified is properly formed, but it is invalid;",
        "NGROK_AUTHTOKEN",
    ),
    108: (
        "Your account 'Ann Canary' is limited to 1 simultaneous ngrok agent session.\nActive ngrok "
        "agent sessions in region 'us':\n"
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
        'Your ngrok-agent version "2.3.41" is too old. '
        'The minimum supported agent version for your account is "3.7.0". '
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
        "Custom subdomains are a feature on ngrok's paid plans.\nFailed to bind the custom "
        "subdomain 'canary' for the account 'Ann Canary'.",
        "Custom subdomains are a feature on ngrok's paid plans;",
        "--domain",
    ),
    320: (
        "This domain is reserved for another account.\nFailed to create",
        "reserved for another account;",
        f"{DASHBOARD}/domains",
    ),
    334: (
        "The endpoint 'https://canary.ngrok-free.app' is already online. Either\n1. stop your "
        "existing endpoint first, or\n"
        "2. start both endpoints with `--pooling-enabled` to load balance between them.",
        "The endpoint '<address>' is already online;",
        f"{DASHBOARD}/endpoints",
    ),
    4018: (
        "Usage of ngrok requires a verified account and authtoken.\n\nSign up for an account: "
        f"{DASHBOARD}/signup",
        "Usage of ngrok requires a verified account and authtoken;",
        "NGROK_AUTHTOKEN",
    ),
    8012: (
        "Traffic was tunneled to the agent, but it failed to connect to the upstream at "
        "http://localhost:5000: "
        "dial tcp [::1]:5000: connect: connection refused",
        "failed to connect to the upstream at <address> dial tcp <address>: connect: connection "
        "refused;",
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


def whole(code: int) -> str:
    return f"{FAILURES[code][0]}\r\n\r\nERR_NGROK_{code}\r\n"


WAYS: dict[str, Callable[[str], dict[str, Any]]] = {
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
