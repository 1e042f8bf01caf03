"""python -m skill.load: what it says, how it counts, and that it really asks."""

import contextlib
import json
import threading

import pytest
import torch

from app import Settings, create_app, listen
from dialogue import checkpoint
from dialogue.safety import fixed_answer
from skill import load
from skill.commands import command as command_of

from ..dialogue.redis_server import needs_redis, running
from .conftest import FakeAgent


def turn(ms=100.0, *, launch=False, error=False, fixed=False, steps=1, pending=False):
    found = {"launch": launch, "pending": pending}
    return found if pending else found | {"ms": ms, "error": error, "fixed": fixed, "steps": steps}


def test_what_is_said_is_held_out_talk_and_never_a_command():
    found = load.utterances()
    assert len(found) > 100
    assert len(found) == len(set(found))
    assert not [text for text in found if command_of(text, "chatty friend") or "<" in text]
    assert not [text for text in found if fixed_answer(text, seed="")]


def test_figures_leave_launches_out_and_count_errors_and_fixed_sentences():
    turns = [turn(1, launch=True), turn(100), turn(200), turn(300, fixed=True), turn(error=True)]
    assert load.figures(turns, 2.0, 3) == {
        "turns_per_s": 1.5, "p50_ms": 200, "p99_ms": 300, "errors": 1, "fixed_share": 0.3333,
        "lost": 0, "doubled": 0,
        "turns": 3,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("turns", "served", "lost", "doubled"),
    [
        ([turn(), turn(steps=0)], 2, 1, 0),
        ([turn(), turn(steps=2)], 2, 0, 1),
        ([turn(), turn()], 1, 1, 0),
        ([turn(), turn()], 3, 0, 1),
        ([turn(), turn(error=True)], 2, 0, 0),
        ([turn(), turn(steps=3)], None, 0, 2),
        ([turn(), turn(pending=True)], 2, 0, 0),
    ],
    ids=[
        "session lost",
        "session doubled",
        "server lost",
        "server doubled",
        "answer unheard",
        "server silent",
        "not answered yet",
    ],
)
def test_a_turn_that_session_or_server_count_otherwise_is_lost_or_doubled(
    turns, served, lost, doubled
):
    found = load.figures(turns, 1.0, served)
    assert (found["lost"], found["doubled"]) == (lost, doubled)


def test_figures_of_nothing_are_none():
    found = load.figures([turn(error=True)], 1.0, None)
    assert (found["p50_ms"], found["p99_ms"], found["fixed_share"], found["errors"]) == (
        None,
        None,
        None,
        1,
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--talkers=0"], "--talkers is 0"),
        (["--minutes=0"], "--minutes is 0"),
        (["--think=-1"], "--think -1"),
        (["--key=a.pem"], "--chain-url"),
        (["--idle=9", "--state=attributes"], "--state memory"),
    ],
)
def test_odd_options_are_one_line(arguments, said, capsys):
    assert load.main(arguments) == 2
    assert said in capsys.readouterr().err


def test_memory_is_the_most_there_was_and_how_far_it_moved_in_the_second_half():
    megabytes = [100, 300, 200, 202, 198, 200]
    assert load.memory([n << 20 for n in megabytes]) == {"memory_mb": 300, "memory_drift": 0.01}
    assert load.memory([]) == {"memory_mb": None, "memory_drift": None}


def test_what_the_server_warned_of_is_counted_by_kind(tmp_path):
    line = "2026-01-01 10:00:00,{} {} skill.transaction: a turn is not kept: Redis is full\n"
    lines = [line.format("001", "ERROR"), line.format("002", "ERROR"), line.format("003", "INFO")]
    late = "2026-01-01 10:00:00,004 WARNING skill.responder: request '{}': no reply (ERROR )\n"
    lines += [late.format("a"), late.format("b"), late.format("c")]
    (tmp_path / "log").write_text("".join([*lines, "no log line\n"]))
    assert load.troubles(tmp_path / "log") == [
        "3x skill.responder: a request: no reply (ERROR )",
        "2x skill.transaction: a turn is not kept: Redis is full",
    ]


@pytest.mark.slow
def test_talkers_talk_to_a_server_and_the_last_line_is_json(capsys):
    settings = Settings(verify=False, port=0)
    server = listen(create_app(settings, FakeAgent()), settings)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        url = f"http://127.0.0.1:{server.effective_port}"
        assert load.main([f"--url={url}", "--talkers=3", "--minutes=0.1", "--think=0.2"]) == 0
    finally:
        server.task_dispatcher.shutdown()
        server.asyncore.close_all(server._map)
        thread.join()
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert found["turns"] > 3
    assert (found["errors"], found["lost"], found["doubled"], found["fixed_share"]) == (0, 0, 0, 0)
    assert 0 < found["p50_ms"] <= found["p99_ms"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "state", ["memory", "attributes", pytest.param("redis", marks=needs_redis)]
)
def test_all_conversations_of_an_own_server_are_replayed_and_nothing_is_lost(
    state, talker, tmp_path, capsys
):
    checkpoint.save(tmp_path / "model", talker, dtype=torch.float32)
    with running() if state == "redis" else contextlib.nullcontext() as redis:
        where = redis.url if redis else state
        line = [f"--state={where}", "--talkers=4", "--minutes=0.1", "--think=0.1"]
        line += ["--idle=20000"] if state == "memory" else []
        assert load.main([*line, f"--checkpoint={tmp_path / 'model'}"]) == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert found["state"] == state
    assert found["replayed"] >= 4
    assert (found["errors"], found["lost"], found["doubled"]) == (0, 0, 0)
    assert found["memory_mb"] > 100
    if state == "memory":
        assert found["idle"] == 20_000
        assert found["idle_state_bytes"] <= found["idle_bytes"] <= 4096
