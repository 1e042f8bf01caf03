"""What goes wrong while people talk: each fault is real, and everybody is answered all the same."""

import contextlib
import functools
import json
import os
import signal
import socket
import struct
import subprocess
import threading
import time
from pathlib import Path

import pytest
import torch

from dialogue import checkpoint
from dialogue.agent import DialogueAgent
from dialogue.conversation import Conversation
from dialogue.state import Owner
from dialogue.state.choice import open_state
from dialogue.state.codec import unpack
from dialogue.state.sealing import keys_of
from skill import phrases

from ..dialogue.redis_server import BINARY, needs_redis, running
from ..skill.conftest import read_request
from .faulty import GOES_ON, SEARCHING, STALL
from .serving import KEY, Server, free_port, spoken

pytestmark = pytest.mark.slow
USER = read_request("chat")["session"]["user"]["userId"]
PATIENCE = 60.0  # seconds for what happens at once unless the machine is busy
SHARED = ["attributes", pytest.param("redis", marks=needs_redis)]


def until(is_so):
    """Wait until something is so, and return it."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if found := is_so():
            return found
        time.sleep(0.02)
    raise AssertionError(f"{is_so} did not become true")


class Talk:
    """One person's session at a server, and what is kept of it."""

    def __init__(self, server, model, state, session):
        self.server, self.session, self.attributes = server, session, {}
        self._agent = DialogueAgent(checkpoint.load(model))
        self._store = open_state(state, keys=keys_of(KEY), history_bytes=100)

    def request(self, said, *, seconds=0):
        return self.server.request(said, self.session, self.attributes, seconds=seconds)

    def post(self, request):
        """Send a request, and return the status and what is said."""
        status, text = self.server.ask("POST", "/", *request)
        assert status == 200, text
        answer = json.loads(text)
        self.attributes = answer["sessionAttributes"]
        return spoken(answer)

    def say(self, said, *, seconds=0):
        return self.post(self.request(said, seconds=seconds))

    def conversation(self):
        state = self._store.get(Owner(self.session, USER), self.attributes.get("state", ""))
        return unpack(state, self._agent).conversation

    def assert_holds(self, *said):
        """The person said this and nothing else, and the history is as if nothing had failed."""
        found, replayed = self.conversation(), Conversation()
        assert found.said("user") == list(said)
        for turn in found.turns:
            (replayed,) = self._agent.hear([replayed], [turn])
        torch.testing.assert_close(found.history, replayed.history, rtol=0, atol=5e-3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, talker):
    """A checkpoint that is loaded at once."""
    made = tmp_path_factory.mktemp("model")
    checkpoint.save(made, talker, dtype=torch.float32)
    return made


@pytest.fixture(scope="module")
def redis():
    if BINARY is None:
        pytest.skip("redis-server is not there; apt-get install redis-server")
    with running() as server:
        yield server


class Site:
    """Workers whose decoder can be stalled, and those who talk with them."""

    def __init__(self, folder, alexa, model, state):
        self.folder, self._model, self._state = folder, model, state
        self.server = Server(
            folder, free_port(), alexa, application="tests.deploy.faulty:create_app()",
            WEB_CONCURRENCY="2", STATE=state, STATE_KEY=KEY, CHECKPOINT=str(model),
            FAULTS=str(folder),
        )  # fmt: skip

    def wait(self):
        self.server.wait()
        until(lambda: len(self.server.workers()) == 2)
        return self

    def talk(self, session):
        return Talk(self.server, self._model, self._state, session)

    @contextlib.contextmanager
    def stalled(self, seconds):
        """Let searches that begin now take so many seconds longer."""
        (self.folder / SEARCHING).unlink(missing_ok=True)
        (self.folder / GOES_ON).unlink(missing_ok=True)
        (self.folder / STALL).write_text(str(seconds))
        try:
            yield
        finally:
            (self.folder / STALL).unlink()

    def searching(self):
        """Wait for a search that stalls, and return its process."""
        return int(until(lambda: self._read(SEARCHING)))

    def _read(self, name):
        with contextlib.suppress(FileNotFoundError):
            return (self.folder / name).read_text()
        return ""

    def errors(self):
        return [line for line in self.server.lines() if line["level"] == "ERROR"]


@pytest.fixture(scope="module")
def sites(tmp_path_factory, folder, outside):
    """A site for each place where conversations may live, begun when it is first asked for."""
    with pytest.MonkeyPatch.context() as patch, contextlib.ExitStack() as stack:
        for name, value in outside.s3.environment.items():
            patch.setenv(name, value)

        @functools.cache
        def site(state):
            made = Site(tmp_path_factory.mktemp("site"), outside, folder, state)
            stack.callback(made.server.kill)
            return made.wait()

        yield site


@pytest.fixture(params=SHARED)
def site(request, sites):
    state = request.getfixturevalue("redis").url if request.param == "redis" else request.param
    return sites(state)


def test_a_worker_killed_in_the_middle_of_a_search_takes_no_conversation_with_it(site):
    talk, outcome = site.talk("killed"), []
    talk.say("hi")
    talk.say("do you like music?")
    third = talk.request("do you have a dog?")

    def ask():
        try:
            outcome.append(site.server.ask("POST", "/", *third))
        except OSError as error:
            outcome.append(error)

    with site.stalled(PATIENCE):
        asking = threading.Thread(target=ask)
        asking.start()
        victim = site.searching()
        os.kill(victim, signal.SIGKILL)
        asking.join()
    assert isinstance(outcome[0], OSError), "it was not answered"
    assert talk.post(third), "and is asked again, as nginx does"
    assert talk.say("where do you live?")
    talk.assert_holds("hi", "do you like music?", "do you have a dog?", "where do you live?")
    until(lambda: len(site.server.workers()) == 2)
    assert victim not in site.server.workers()


def test_a_decoder_that_takes_ten_seconds_is_not_waited_for_and_its_reply_is_not_kept(site):
    talk = site.talk("slow")
    talk.say("hi")
    before = talk.conversation()
    with site.stalled(10):
        assert talk.say("do you like music?") in phrases.LATE
        assert not (site.folder / GOES_ON).exists(), "the answer waited for the search"
        until((site.folder / GOES_ON).exists)
    assert talk.conversation().turns[: len(before.turns)] == before.turns
    assert talk.say("what do you do?")  # after the late reply, in the decoder's queue
    talk.assert_holds("hi", "what do you do?")


def reset(connection):
    """Hang up without a word of farewell."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def test_clients_that_hang_up_disturb_nobody_and_are_one_turn(site):
    talk, left, errors = site.talk("staying"), site.talk("leaving"), len(site.errors())
    left.say("hi")
    body, headers = request = left.request("do you like music?")
    lines = [f"{name}: {value}" for name, value in headers.items()]
    head = ["POST / HTTP/1.1", "Host: localhost", f"Content-Length: {len(body)}", *lines]
    whole = "\r\n".join(head).encode() + b"\r\n\r\n" + body
    talk.say("hi")
    for number in range(20):
        for much in (40, len(whole) - len(body) // 2, len(whole)):
            connection = socket.create_connection(("127.0.0.1", site.server.port))
            connection.sendall(whole[:much])
            if much == len(whole) and number % 2:
                assert connection.recv(12) == b"HTTP/1.1 200", "it leaves while it is answered"
            reset(connection)
    assert talk.say("do you have a dog?")
    talk.assert_holds("hi", "do you have a dog?")
    assert left.post(request), "the same request again"
    assert left.say("what do you do?")
    left.assert_holds("hi", "do you like music?", "what do you do?")
    assert len(site.errors()) == errors


# --- a full disk ---------------------------------------------------------------------------------

# Runs a command whose log, and all that it writes, lie on a disk of 1 MB: "$0" is where.
SMALL_DISK = 'mount -t tmpfs -o size=1m small "$0" && exec "$@" >>"$0/log" 2>&1'


def can_mount():
    line = ["unshare", "-rm", "mount", "-t", "tmpfs", "small", "/mnt"]
    with contextlib.suppress(OSError):
        return subprocess.run(line, capture_output=True, check=False).returncode == 0
    return False


@pytest.mark.skipif(not can_mount(), reason="no disk of one's own can be mounted here")
def test_on_a_full_disk_everybody_is_answered_by_new_workers_too(tmp_path, folder, alexa):
    """A worker that began on a full disk died of its first figure, and so did the next ones."""
    (disk := tmp_path / "disk").mkdir()
    server = Server(
        tmp_path, free_port(), alexa, prefix=["unshare", "-rm", "sh", "-c", SMALL_DISK, str(disk)],
        WEB_CONCURRENCY="2", STATE="attributes", STATE_KEY=KEY, CHECKPOINT=str(folder),
        TMPDIR=str(disk),
    )  # fmt: skip
    try:
        server.wait()
        until(lambda: len(server.workers()) == 2)
        seen = Path(f"/proc/{server.process.pid}/root/{disk}")
        server.say("hi", session="before")
        assert list(seen.glob("voice-skill-metrics-*/*.db")), "the figures lie elsewhere"
        with contextlib.suppress(OSError), (seen / "filler").open("wb", buffering=0) as filler:
            while filler.write(b"x" * 512):
                pass
        logged = (seen / "log").stat().st_size
        before = set(server.workers())
        for worker in before:
            os.kill(worker, signal.SIGKILL)
        until(lambda: len(set(server.workers()) - before) == 2)
        after, attributes = set(server.workers()), {}
        for text in ("hi", "do you like music?", "what do you do?", "where do you live?"):
            answer = server.say(text, session="full", **attributes)
            attributes = answer["sessionAttributes"]
            assert spoken(answer)
            assert server.get("/metrics")[0] == 200
        assert set(server.workers()) == after, "one has died meanwhile"
        assert (seen / "log").stat().st_size - logged < 4096, "the disk was not full"
    finally:
        server.kill()


# --- the clock -----------------------------------------------------------------------------------

FAKETIME = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)


@pytest.mark.skipif(FAKETIME is None, reason="libfaketime is not there")
@pytest.mark.parametrize("state", SHARED)
def test_a_clock_that_is_set_back_costs_nobody_an_answer(tmp_path, folder, alexa, state, request):
    """By four minutes nothing changes; by an hour what Alexa carries begins anew, once."""
    where = request.getfixturevalue("redis").url if state == "redis" else state

    def set_back(offset):
        (tmp_path / "new").write_text(f"-{offset}")
        (tmp_path / "new").replace(tmp_path / "clock")

    set_back("0")
    server = Server(
        tmp_path, free_port(), alexa, application=None, STATE=where, STATE_KEY=KEY,
        CHECKPOINT=str(folder), LD_PRELOAD=str(FAKETIME), FAKETIME_NO_CACHE="1",
        FAKETIME_TIMESTAMP_FILE=str(tmp_path / "clock"), FAKETIME_DONT_FAKE_MONOTONIC="1",
    )  # fmt: skip
    try:
        talk = Talk(server.wait(), folder, where, "clock")
        talk.say("hi")
        set_back("4m")
        assert server.ask("POST", "/", *talk.request("do you like music?"))[0] == 400
        assert talk.say("do you like music?", seconds=-240)
        talk.assert_holds("hi", "do you like music?")
        set_back("50m")
        assert talk.say("what do you do?", seconds=-3000)
        assert talk.say("where do you live?", seconds=-3000)
        kept = () if state == "attributes" else ("hi", "do you like music?")
        talk.assert_holds(*kept, "what do you do?", "where do you live?")
        anew = [line for line in server.lines() if "begins anew" in line["message"]]
        assert [line for line in anew if "was a clock set back?" in line["message"]] == anew
        assert len(anew) == (state == "attributes")
    finally:
        server.kill()
