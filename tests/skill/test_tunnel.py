import os
import sys

import pytest
from pyngrok import conf

from skill import tunnel

AGENT = """#!{python}
import http.server, json, sys, threading, time
silent = {silent!r}
if silent:
    time.sleep(4)
error = {error!r}
if error:
    print('t=2026-01-01T00:00:00+0000 lvl=eror msg="session closing" err="' + error + '"', flush=True)
    sys.exit(1)
class Api(http.server.BaseHTTPRequestHandler):
    def log_message(self, *args): pass
    def answer(self, body, status):
        data = json.dumps(body).encode()
        self.send_response(status); self.send_header("Content-Type", "application/json"); self.send_header("Content-Length", str(len(data)))
        self.end_headers(); self.wfile.write(data)
    def do_GET(self): self.answer({{"tunnels": [], "endpoints": []}}, 200)
    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.answer({{"name": asked["name"], "uri": "/api/x", "public_url": "https://fake.ngrok-free.app", "url": "https://fake.ngrok-free.app",
                      "proto": "https", "config": {{"addr": "x"}}, "metrics": {{}}}}, 201)
server = http.server.HTTPServer(("127.0.0.1", 0), Api)
port = server.server_address[1]
print('t=2026-01-01T00:00:00+0000 lvl=info msg="starting web service" obj=web addr=127.0.0.1:%d' % port, flush=True)
print('t=2026-01-01T00:00:00+0000 lvl=info msg="client session established" obj=csess', flush=True)
print('t=2026-01-01T00:00:00+0000 lvl=info msg="tunnel session started" obj=tunnels.session', flush=True)
server.serve_forever()
"""


@pytest.fixture
def agent(tmp_path, monkeypatch):
    """Put a fake ngrok agent in the place of the real one, by configuration alone."""

    def put(**behaviour):
        path = tmp_path / "ngrok"
        path.write_text(AGENT.format(python=sys.executable, **{"silent": False, "error": "", **behaviour}))
        path.chmod(0o755)
        config = tmp_path / "ngrok.yml"
        config.write_text("version: 3\nagent:\n  authtoken: x\n")
        for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
            monkeypatch.delenv(name)
        monkeypatch.setattr(conf, "_default_pyngrok_config", conf.PyngrokConfig(ngrok_path=str(path), config_path=str(config)))

    yield put
    tunnel.close()


def test_a_tunnel_opens_and_gives_its_address(agent):
    agent()
    assert tunnel.open_tunnel(5000, seconds=20) == "https://fake.ngrok-free.app"


def test_a_silent_agent_is_given_up_in_time(agent):
    agent(silent=True)
    with pytest.raises(tunnel.NoTunnel, match="did not answer"):
        tunnel.open_tunnel(5000, seconds=1)


def test_a_missing_token_is_one_plain_sentence(agent):
    agent(error="authentication failed: Usage of ngrok requires a verified account and authtoken. ERR_NGROK_4018")
    with pytest.raises(tunnel.NoTunnel, match="NGROK_AUTHTOKEN"):
        tunnel.open_tunnel(5000, seconds=20)


def test_a_token_is_found_in_the_environment_and_in_ngroks_file(monkeypatch, tmp_path):
    monkeypatch.delenv("NGROK_AUTHTOKEN", raising=False)
    config = tmp_path / "ngrok.yml"
    monkeypatch.setattr(conf, "_default_pyngrok_config", conf.PyngrokConfig(config_path=str(config)))
    assert not tunnel.is_configured()
    config.write_text("version: 3\nagent:\n  authtoken: x\n")
    assert tunnel.is_configured()
    monkeypatch.setattr(conf, "_default_pyngrok_config", None)
    monkeypatch.setenv("NGROK_AUTHTOKEN", "x")
    assert tunnel.is_configured()
