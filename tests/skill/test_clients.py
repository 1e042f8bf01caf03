"""Other people's clients talk to the running skill, whose small model has learnt twenty
conversations.
"""

import json
import os
import shutil
import subprocess
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from app import Settings, create_app, listen
from dialogue.agent import DialogueAgent
from skill.interaction_model import interaction_model
from skill.interaction_settings import load

CLIENTS = Path(__file__).parent / "clients"
CATCHES = {"free_speech": "catchall", "intent": "AskDeepPavlov"}


@pytest.mark.slow
@pytest.mark.skipif(
    not (CLIENTS / "node_modules").is_dir() or not shutil.which("npm"),
    reason="the npm clients are not there: "
    "npm install --no-package-lock --prefix tests/skill/clients",
)
@pytest.mark.parametrize(
    ("client", "changes"), [("virtual_alexa", {}), ("ask_sdk_test", {}), ("virtual_alexa", CATCHES)]
)
def test_a_client_from_npm_holds_a_conversation(talker, client, changes, tmp_path):
    settings = Settings(verify=False, port=0, interaction=replace(load(), **changes))
    model = tmp_path / "model.json"
    model.write_text(json.dumps(interaction_model(settings.interaction)), encoding="utf-8")
    server = listen(create_app(settings, DialogueAgent(talker)), settings)
    threading.Thread(target=server.run, daemon=True).start()
    environment = {
        **os.environ,
        "SKILL_URL": f"http://127.0.0.1:{server.effective_port}/",
        "SKILL_MODEL": str(model),
    }
    try:
        command = ["npm", "test", "--silent", "--", "--spec", f"{client}.test.js"]
        run = subprocess.run(
            command,
            cwd=CLIENTS,
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    finally:
        server.close()
    assert run.returncode == 0, run.stdout + run.stderr
    assert "2 passing" in run.stdout
