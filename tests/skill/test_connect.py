"""From a clone to one's own Echo, as docs/connect.md has it: real programs, with Amazon and the
tunnel as fakes on loopback.
"""

import json
import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import requests

from skill import device
from skill.interaction_settings import LOCALES, load

from . import amazon as fake
from . import rig
from .internet import Internet

ROOT = Path(__file__).parent.parent.parent
HOST = "four-odd-words.trycloudflare.com"
TUNNEL = (
    f"#!{sys.executable} -S\nimport time\nprint('https://{HOST}', flush=True)\ntime.sleep(600)\n"
)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def world(tmp_path):
    """Amazon, S3 with its certificates, and the tunnel's public address; a clone; and the
    environment of its owner.
    """
    authority, port = rig.Authority(), free_port()
    amazon, internet = fake.Amazon(), Internet(authority, tmp_path)
    for host in ("api.amazonalexa.com", "api.amazon.com"):
        internet.put(host, amazon.port)
    internet.put(HOST, port, names=("*.trycloudflare.com",))
    amazon.chain = rig.pem(authority.leaf(), authority.middle)
    internet.put(rig.CHAIN_HOST, amazon.port)
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "--quiet", "--shared", str(ROOT), str(clone)], check=True)
    home = tmp_path / "home"
    (home / "bin").mkdir(parents=True)
    (home / "bin" / "cloudflared").write_text(TUNNEL)
    (home / "bin" / "cloudflared").chmod(0o755)
    (home / "voice-skill").mkdir(mode=0o700)
    login = home / "voice-skill" / "login.json"
    login.write_text(json.dumps(fake.LOGIN))
    login.chmod(0o600)
    kept = {
        name: value
        for name, value in os.environ.items()
        if name not in ("SKILL_ID", "NGROK_AUTHTOKEN", "CHECKPOINT")
    }
    environment = kept | internet.environment | {
        "XDG_CONFIG_HOME": str(home), "PATH": f"{home / 'bin'}:{kept['PATH']}",
        "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1",
    }  # fmt: skip
    yield amazon, internet, clone, environment, port
    for server in (amazon, internet):
        server.shutdown()
        server.server_close()


def talk(internet, environment):
    """Launch the skill, say something and stop, signed as Alexa signs; return each turn's time."""
    times = {}
    settings, session = load(), device.Session("connect")
    url = f"https://{rig.CHAIN_HOST}/echo.api/chain.pem"
    proxies = {"https": environment["https_proxy"]}
    alexa = rig.Alexa(internet.authority, None)
    for what, utterance in (("launch", None), ("chat", "i have a dog"), ("stop", "stop")):
        envelope = rig.with_time(device.say(session, utterance, interaction=settings))
        for owner in (envelope["session"], envelope["context"]["System"]):
            owner["application"]["applicationId"] = fake.NEW_SKILL
        body = json.dumps(envelope).encode()
        began = time.monotonic()
        answer = requests.post(
            f"https://{HOST}/",
            data=body,
            headers=alexa.sign(body, url),
            proxies=proxies,
            verify=environment["SSL_CERT_FILE"],
            timeout=30,
        )
        times[what] = time.monotonic() - began
        assert answer.status_code == 200, answer.text
        response = answer.json()
        session = device.after(session, response)
        assert re.search(r"\w", re.sub("<.*?>", "", response["response"]["outputSpeech"]["ssml"]))
    assert response["response"]["shouldEndSession"] is True
    return times


@pytest.mark.slow
def test_a_clone_is_deployed_served_and_talked_with(world, tmp_path):
    amazon, internet, clone, environment, port = world
    began = time.monotonic()
    times = {}
    log = tmp_path / "app.log"
    with log.open("wb") as output:
        app = subprocess.Popen(
            [sys.executable, "app.py", "--tunnel", "cloudflared", "--deploy", "--port", str(port)],
            cwd=clone, env=environment, stdout=output, stderr=subprocess.STDOUT,
        )  # fmt: skip
    try:
        for _ in range(600):
            said = log.read_text(encoding="utf-8")
            if "Say: " in said or app.poll() is not None:
                break
            time.sleep(0.5)
        times["app.py --tunnel cloudflared --deploy, until Alexa knows the skill"] = (
            time.monotonic() - began
        )
        assert f"Alexa reaches it at https://{HOST}/" in said, said
        assert 'Say: "Alexa, open chatty friend"' in said, said
        assert len(amazon.models) == len(LOCALES)

        began = time.monotonic()
        doctor = f"-m skill.doctor --port {port} --locale en-US --skill-id {fake.NEW_SKILL}"
        done = subprocess.run(
            [sys.executable, *doctor.split()],
            cwd=clone,
            env=environment,
            capture_output=True,
            encoding="utf-8",
            check=False,
        )
        times["skill.doctor"] = time.monotonic() - began
        assert [line[0] for line in done.stdout.splitlines()] == ["✓"] * 10, done.stdout
        assert done.returncode == 0

        times |= talk(internet, environment)
    finally:
        app.terminate()
        app.wait(30)
    for what, seconds in times.items():
        print(f"{what}: {seconds:.1f} s")
    said = log.read_text(encoding="utf-8")
    assert "cAnArY" not in said
    assert not (Path(environment["XDG_CONFIG_HOME"]) / "voice-skill" / "tunnel.json").exists()
    assert amazon.faults == []
