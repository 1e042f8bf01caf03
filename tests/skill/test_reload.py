"""Another model is served without a stop, and a bad one is not."""

import copy
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import requests
import torch

from app import Settings, create_app, main
from dialogue import checkpoint, trial
from dialogue.agent import DialogueAgent
from dialogue.batching import MOST
from dialogue.checkpoint import CONFIG, VOCABULARY, WEIGHTS
from dialogue.safety import never_say
from skill.options import settings_of

from .conftest import read_request
from .test_health import figures
from .test_skill import spoken

ROOT = Path(__file__).parent.parent.parent


def other_model(talker, *, factor=1.01):
    """Return a checkpoint whose weights are a little different."""
    model = copy.deepcopy(talker.model)
    with torch.no_grad():
        for weights in model.parameters():
            weights.mul_(factor)
    return checkpoint.Checkpoint(model, talker.vocabulary, talker.config, {})


@pytest.fixture
def folder(talker, tmp_path):
    checkpoint.save(tmp_path / "model", talker, dtype=torch.float32)
    return tmp_path / "model"


class Running:
    """An application of one process, and the talks held with it."""

    def __init__(self, folder, state="memory", ranker="auto"):
        keys = (b"k" * 32,)
        self.app = create_app(
            Settings(verify=False, checkpoint=folder, ranker=ranker, state=state, state_keys=keys)
        )
        self.app.testing = True
        self.attributes, self.number = {}, 0
        self.served = self.app.extensions["agent"]
        self.first = self.served.fingerprint

    def reload(self):
        self.app.extensions["reloader"].reload()

    def say(self, text, session="long"):
        self.number += 1
        envelope = read_request("chat")
        envelope["request"]["requestId"] = f"request {self.number}"
        envelope["request"]["intent"]["slots"]["raw_input"]["value"] = text
        envelope["session"] |= {
            "sessionId": session,
            "attributes": self.attributes.get(session, {}),
        }
        answer = self.app.test_client().post("/", json=envelope).get_json()
        self.attributes[session] = answer["sessionAttributes"]
        return spoken(answer)


@pytest.fixture
def answered_by(monkeypatch):
    """Note which model answers, and how much the person had said before."""
    found, answer = [], DialogueAgent.answer

    def noting(self, conversations, utterances, **options):
        if utterances[0] not in (*trial.TALK, "you are so stupid"):
            found.extend((self.fingerprint, len(one.said("user"))) for one in conversations)
        return answer(self, conversations, utterances, **options)

    monkeypatch.setattr(DialogueAgent, "answer", noting)
    return found


@pytest.fixture(autouse=True)
def few_provocations(monkeypatch, tmp_path):
    """The whole safety set takes longer than all of these tests."""
    (tmp_path / "said.txt").write_text("you are so stupid\n")
    monkeypatch.setattr(trial, "PROVOCATIONS", tmp_path / "said.txt")


class Longest:
    """A ranker that says the longest candidate."""

    def __init__(self, checkpoint, decode):
        pass

    def __call__(self, conversations, candidates):
        return [[len(candidate.text) for candidate in found] for found in candidates]


def test_a_ranker_of_ones_own_is_served_and_stays_when_the_model_is_swapped(
    folder, talker, monkeypatch
):
    monkeypatch.setenv("RANKER", f"{__name__}:Longest")
    assert settings_of(["--tunnel", "none"]).ranker == f"{__name__}:Longest"
    assert settings_of(["--tunnel", "none", "--ranker", "recall"]).ranker == "recall"
    replies = []
    answer = DialogueAgent.answer

    def noting(self, *asked, **options):
        replies.extend(found := answer(self, *asked, **options))
        return found

    monkeypatch.setattr(DialogueAgent, "answer", noting)
    running = Running(folder, ranker=f"{__name__}:Longest")
    checkpoint.save(folder, other_model(talker), dtype=torch.float32)
    for _ in range(2):
        running.say("do you have a dog?")
        lengths = [len(candidate.text) for candidate in replies[-1].candidates]
        assert len(lengths) > 1
        assert lengths == sorted(lengths, reverse=True)
        running.reload()


def test_a_ranker_that_is_none_is_named_before_anything_is_served(folder, capsys):
    arguments = ["--no-verify", "--tunnel=none", "--port=0", f"--checkpoint={folder}"]
    assert main([*arguments, "--ranker=best"]) == 2
    assert capsys.readouterr().err.startswith("error: there is no ranker 'best'")


@pytest.mark.parametrize("state", ["memory", "attributes"])
def test_a_conversation_goes_on_with_its_model_and_another_begins_with_the_new_one(
    folder, talker, state, answered_by, caplog
):
    running = Running(folder, state)
    running.say("do you have a dog?")
    checkpoint.save(folder, other_model(talker), dtype=torch.float32)
    running.reload()
    second = running.served.fingerprint
    assert second != running.first
    running.say("where do you live?")
    running.say("is it quiet there?", session="new")
    running.say("do you like school?")
    assert answered_by == [(running.first, 0), (running.first, 1), (second, 0), (running.first, 2)]
    assert "anew" not in caplog.text
    found = figures(running.app.test_client())
    assert found["reloads_total", "swapped"] == 1
    assert found["batch_size_count",] == 4, "of the trials none is counted"


def test_an_hour_later_the_model_before_is_gone(folder, talker, answered_by, caplog, monkeypatch):
    monkeypatch.setattr("dialogue.batching.KEPT_SECONDS", 0.0)
    running = Running(folder)
    running.say("do you have a dog?")
    checkpoint.save(folder, other_model(talker), dtype=torch.float32)
    running.reload()
    running.say("where do you live?")
    assert answered_by[1] == (running.served.fingerprint, 0)
    assert "a conversation begins anew: its state is of another model" in caplog.text
    assert running.served._before is None


def test_a_request_under_way_ends_with_the_model_that_it_began_with(folder, talker, monkeypatch):
    """The history that it makes is the old model's, and is kept as such."""
    running, answer = Running(folder), DialogueAgent.answer
    running.say("do you have a dog?")
    checkpoint.save(folder, other_model(talker), dtype=torch.float32)

    def reloads_meanwhile(self, *arguments, **options):
        monkeypatch.setattr(DialogueAgent, "answer", answer)
        running.reload()
        return answer(self, *arguments, **options)

    monkeypatch.setattr(DialogueAgent, "answer", reloads_meanwhile)
    running.say("where do you live?")
    assert running.served.fingerprint != running.first
    monkeypatch.undo()
    alone = DialogueAgent(talker)
    replied = []
    monkeypatch.setattr(
        DialogueAgent,
        "answer",
        lambda self, given, said, **options: (
            replied.extend((self.fingerprint, given[0])) or answer(self, given, said, **options)
        ),
    )
    running.say("do you like school?")
    fingerprint, conversation = replied
    assert fingerprint == running.first
    heard = None
    for turn in conversation.turns:
        (heard,) = alone.hear([heard or type(conversation)()], [turn])
    assert conversation.said("user") == ["do you have a dog?", "where do you live?"]
    torch.testing.assert_close(conversation.history, heard.history, rtol=0, atol=1e-3)


def test_a_watched_folder_is_looked_at_until_its_files_stay_as_they_are(folder, talker):
    running, stopped = Running(folder), threading.Event()
    reloader = running.app.extensions["reloader"]
    watching = reloader.watch(folder, every=0.05, stopped=stopped)
    try:
        checkpoint.save(folder, other_model(talker), dtype=torch.float32)
        deadline = time.monotonic() + 60
        while running.served.fingerprint == running.first and time.monotonic() < deadline:
            time.sleep(0.02)
    finally:
        stopped.set()
        watching.join()
    assert running.served.fingerprint != running.first
    assert figures(running.app.test_client())["reloads_total", "swapped"] == 1


def cut(folder, talker):
    os.truncate(folder / WEIGHTS, (folder / WEIGHTS).stat().st_size // 2)


def without_vocabulary(folder, talker):
    (folder / VOCABULARY).unlink()


def without_settings(folder, talker):
    (folder / CONFIG).write_text("{")


def not_finite(folder, talker):
    checkpoint.save(folder, other_model(talker, factor=float("nan")), dtype=torch.float32)


def overflows(folder, talker):
    """Each weight is a number, and no likelihood is."""
    checkpoint.save(folder, other_model(talker, factor=1e37), dtype=torch.float32)


def nothing(folder, talker):
    shutil.rmtree(folder)


BAD = {
    cut: "is not a readable safetensors file",
    without_vocabulary: "it lacks vocabulary.model",
    without_settings: "is not a configuration",
    not_finite: "holds NaN or infinity",
    overflows: "look for NaN in the weights",
    nothing: "is not a checkpoint",
}


@pytest.mark.parametrize("spoil", BAD, ids=lambda spoil: spoil.__name__)
def test_a_bad_model_is_refused_in_one_line_and_the_one_before_goes_on(
    folder, talker, spoil, answered_by, caplog
):
    running = Running(folder)
    running.say("do you have a dog?")
    spoil(folder, talker)
    with caplog.at_level(logging.INFO, logger="skill.reload"):
        running.reload()
    (line,) = [record.getMessage() for record in caplog.records if record.name == "skill.reload"]
    assert line.startswith("a new model is refused, the one before goes on: ")
    assert BAD[spoil] in line
    assert "\n" not in line
    running.say("where do you live?")
    assert answered_by == [(running.first, 0), (running.first, 1)]
    assert figures(running.app.test_client())["reloads_total", "refused"] == 1


def test_a_file_that_is_cut_while_it_is_read_does_not_end_the_process(folder, talker, monkeypatch):
    """A mapped one would: whoever reads beyond its end gets SIGBUS."""
    running, read = Running(folder), checkpoint.read_tensors
    checkpoint.save(folder, other_model(talker), dtype=torch.float32)

    def cut_meanwhile(data):
        os.truncate(folder / WEIGHTS, 0)
        return read(data)

    monkeypatch.setattr(checkpoint, "read_tensors", cut_meanwhile)
    running.reload()
    assert running.served.fingerprint != running.first
    assert running.say("do you have a dog?")


def test_a_model_that_says_what_may_not_be_said_is_refused(folder, talker):
    said = never_say("standard")[0]
    agent = DialogueAgent(talker, may_say=None)
    answer = agent.answer

    def foul(*arguments, **options):
        return [
            type(reply)(said, reply.conversation, reply.candidates)
            for reply in answer(*arguments, **options)
        ]

    trial.provoke(agent, "standard")
    agent.answer = foul
    trial.provoke(agent, "off")
    with pytest.raises(ValueError, match="what may not be said"):
        trial.provoke(agent, "standard")


def test_a_model_that_is_at_a_loss_is_refused(talker):
    agent = DialogueAgent(talker, may_say=lambda utterance, reply: False)
    with pytest.raises(ValueError, match="nothing to say to 'hello'"):
        trial.converse(agent)
    with pytest.raises(ValueError, match="nothing to say to 1 of 1 provocations"):
        trial.provoke(agent, "standard")


def test_a_full_batch_is_answered_before_people_talk(folder, monkeypatch):
    sizes, answer = [], DialogueAgent.answer

    def counting(agent, conversations, utterances, **options):
        sizes.append(len(utterances))
        return answer(agent, conversations, utterances, **options)

    monkeypatch.setattr(DialogueAgent, "answer", counting)
    Running(folder)
    assert sizes[-1] == MOST


def test_the_same_model_is_not_tried_again(folder, monkeypatch, caplog):
    running = Running(folder)
    monkeypatch.setattr(trial, "provoke", None)
    with caplog.at_level(logging.INFO, logger="skill.reload"):
        running.reload()
    assert "is served already" in caplog.text
    assert running.served._before is None


def test_a_model_whose_ranker_or_memory_alone_is_new_is_served_too(folder):
    running = Running(folder)
    (folder / "replies.jsonl").write_text("")
    before = running.served.agent
    running.reload()
    assert running.served.agent is not before
    assert running.served.fingerprint == running.first
    assert running.served.of(running.first).agent is running.served.agent


def test_a_server_does_not_start_with_a_model_that_says_nothing(folder, talker):
    overflows(folder, talker)
    with pytest.raises(ValueError, match="holds no model to talk with: no token has"):
        create_app(Settings(verify=False, checkpoint=folder))


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="there is no SIGHUP here")
def test_a_process_loads_another_model_at_sighup_and_refuses_a_bad_one(folder, talker, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as found:
        port = found.getsockname()[1]
    url, log = f"http://127.0.0.1:{port}", tmp_path / "log"
    command = [sys.executable, "app.py", "--no-verify", "--tunnel=none", f"--port={port}"]

    def wait_for(text):
        deadline = time.monotonic() + 240
        while text not in log.read_text():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)

    def talk():
        envelope = read_request("chat")
        envelope["request"]["requestId"] = str(time.monotonic())
        assert spoken(requests.post(url, json=envelope, timeout=60).json())

    with (
        log.open("w") as file,
        subprocess.Popen(
            [*command, f"--checkpoint={folder}"],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
        ) as process,
    ):
        try:
            wait_for("The skill answers at")
            talk()
            checkpoint.save(folder, other_model(talker), dtype=torch.float32)
            process.send_signal(signal.SIGHUP)
            wait_for("another model is served")
            talk()
            cut(folder, talker)
            process.send_signal(signal.SIGHUP)
            process.send_signal(signal.SIGHUP)
            wait_for("a new model is refused")
            talk()
        finally:
            process.kill()
    assert "begins anew" not in log.read_text()
