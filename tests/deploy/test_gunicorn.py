"""gunicorn -c deploy/gunicorn.conf.py 'app:create_app()', with the shipped model."""

import os
import re
import signal
import threading
import time
from pathlib import Path

import pytest
import torch

from dialogue import checkpoint

from ..skill.test_reload import other_model
from .serving import KEY, Server, free_port, private_bytes, resident_bytes, spoken

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="it reads /proc"),
]
WORKERS = 2


@pytest.fixture
def server(tmp_path, alexa):
    running = Server(
        tmp_path,
        free_port(),
        alexa,
        WEB_CONCURRENCY=str(WORKERS),
        STATE="attributes",
        STATE_KEY=KEY,
    )
    try:
        running.wait()
        while len(running.workers()) < WORKERS:  # the first answers while the next is forked
            time.sleep(0.05)
        yield running
    finally:
        running.kill()


def answers_counted(server):
    """Sum up the answers of all workers, those included that a busy machine made late."""
    _, figures = server.get("/metrics")
    return sum(map(float, re.findall(r"^skill_answers_total{.*} (.*)$", figures, re.MULTILINE)))


def test_every_worker_answers_shares_the_model_and_is_counted_in_the_metrics(server, tmp_path):
    """If a model computes before the fork, workers wait for ever for OpenMP's threads."""
    workers = server.workers()
    assert len(workers) == WORKERS
    asked, answered = 0, set()
    while answered < set(workers) and asked < 60:
        assert spoken(server.say("do you like music", session=f"s{asked}"))
        asked += 1
        answered = {line["process"] for line in server.lines() if line["message"] == "answered"}
    assert answered == set(workers)
    assert not [line for line in server.lines() if line["level"] == "ERROR"]
    assert answers_counted(server) == asked
    for pid in workers:
        assert private_bytes(pid) < 0.6 * resident_bytes(pid), "each loaded a model of its own"
    # a worker that dies is replaced, and what it has counted stays
    os.kill(workers[0], signal.SIGKILL)
    while len(set(server.workers()) - {workers[0]}) < WORKERS:
        time.sleep(0.1)
    assert spoken(server.say("hello again", session="after"))
    assert answers_counted(server) == asked + 1
    assert server.stop() == 0
    assert not list(tmp_path.glob("voice-skill-metrics-*"))


def test_requests_under_way_are_answered_though_the_server_is_told_to_stop(server):
    answers, begun = [], threading.Barrier(9)

    def talk(number):
        begun.wait()
        answers.append(spoken(server.say("i went to the beach", session=f"s{number}")))

    server.say("hello")
    talkers = [threading.Thread(target=talk, args=(n,)) for n in range(8)]
    for talker in talkers:
        talker.start()
    begun.wait()
    while not answers:  # the others have been taken in by then, and are not answered yet
        time.sleep(0.001)
    server.process.terminate()
    assert len(answers) < 8, "all were answered before it was told to stop"
    assert server.process.wait(30) == 0
    for talker in talkers:
        talker.join(20)
    assert len(answers) == 8
    assert all(answers)


def test_the_workers_are_replaced_one_by_one_and_nobody_is_refused(server):
    before, answers, ended = set(server.workers()), [], threading.Event()

    def talk():
        while not ended.is_set():
            answers.append(spoken(server.say("do you like films", session="long")))

    talker = threading.Thread(target=talk)
    talker.start()
    server.process.send_signal(signal.SIGHUP)
    deadline = time.monotonic() + 60
    while (before & set(server.workers())) and time.monotonic() < deadline:
        time.sleep(0.1)
    ended.set()
    talker.join(30)
    assert not before & set(server.workers())
    assert answers
    assert all(answers)


def test_at_sighup_every_worker_has_the_new_model_and_goes_on_with_the_one_before(
    talker, tmp_path, alexa
):
    """A session's next turns reach new workers, which have what its history belongs to."""
    folder = tmp_path / "model"
    checkpoint.save(folder, talker, dtype=torch.float32)
    running = Server(
        tmp_path, free_port(), alexa, WEB_CONCURRENCY=str(WORKERS), STATE="attributes",
        STATE_KEY=KEY, CHECKPOINT=str(folder),
    )  # fmt: skip

    def reload(spoil, expected):
        before = set(running.workers())
        spoil()
        running.process.send_signal(signal.SIGHUP)
        deadline = time.monotonic() + 120
        while (before & set(running.workers())) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert not before & set(running.workers())
        assert [line["message"] for line in running.lines() if expected in line["message"]]

    def says(attributes, line):
        answer = running.say(line, "long", **attributes)
        assert spoken(answer)
        return answer["sessionAttributes"]

    try:
        running.wait()
        attributes = says({}, "do you have a dog?")
        reload(
            lambda: checkpoint.save(folder, other_model(talker), dtype=torch.float32),
            "another model is served",
        )
        attributes = says(attributes, "where do you live?")
        reload(lambda: os.truncate(folder / checkpoint.WEIGHTS, 1000), "a new model is refused")
        says(attributes, "do you like school?")
        assert not [line for line in running.lines() if "begins anew" in line["message"]]
        assert 'skill_reloads_total{outcome="refused"} 1.0' in running.get("/metrics")[1]
    finally:
        running.kill()
