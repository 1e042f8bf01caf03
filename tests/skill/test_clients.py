"""Other people's clients talk to the running skill, whose small model has learnt twenty conversations."""

import os
import shutil
import subprocess
import threading
from pathlib import Path

import pytest

from app import Settings, create_app, listen
from dialogue.agent import DialogueAgent

CLIENTS = Path(__file__).parent / "clients"


@pytest.mark.slow
@pytest.mark.skipif(
    not (CLIENTS / "node_modules").is_dir() or not shutil.which("npm"),
    reason="the npm clients are not there: npm install --no-package-lock --prefix tests/skill/clients",
)
@pytest.mark.parametrize("client", ["virtual_alexa", "ask_sdk_test"])
def test_a_client_from_npm_holds_a_conversation(talker, client):
    settings = Settings(verify=False, port=0)
    server = listen(create_app(settings, DialogueAgent(talker)), settings)
    threading.Thread(target=server.run, daemon=True).start()
    environment = {**os.environ, "SKILL_URL": f"http://127.0.0.1:{server.effective_port}/"}
    try:
        command = ["npm", "test", "--silent", "--", "--spec", f"{client}.test.js"]
        run = subprocess.run(command, cwd=CLIENTS, env=environment, capture_output=True, text=True, timeout=120, check=False)
    finally:
        server.close()
    assert run.returncode == 0, run.stdout + run.stderr
    assert "2 passing" in run.stdout
