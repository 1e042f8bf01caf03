"""python -m skill.load: have many people talk at once, with requests like an Echo's.

The last line is JSON:

    turns_per_s     utterances answered per second
    p50_ms, p99_ms  duration of a turn, as the client sees it
    errors          turns without an answer
    fixed_share     fraction of turns answered with the sentence for a late or busy server
    lost, doubled   turns that the server did not keep, or kept twice (skill/kept.py): every
                    conversation is replayed without load, and its history compared
    memory_mb       largest resident memory of the server, and memory_drift: its largest relative
                    deviation from the mean in the second half of the time
    idle_bytes      memory of each idle conversation (--idle N), and idle_state_bytes: of its state

If turns were lost or doubled, the server's warnings come first, on standard error.
It starts `python app.py` on this machine, without verification and with the given --state, or uses
the server at --url, of which it knows only how many turns the sessions and metrics count. The
talkers are locust users in their own process.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from dialogue.agent import DialogueAgent
from dialogue.bounded import LIMIT
from dialogue.command_line import add_checkpoint, at_least, command
from dialogue.recognised import as_recognised
from dialogue.safety import fixed_answer
from dialogue.state.choice import MEMORY
from dialogue.text_files import read_lines, read_text
from dialogue.words import words
from skill import kept
from skill.commands import command as command_of
from skill.device import BUILT_IN
from skill.interaction_settings import load
from skill.metrics import resident_bytes

ROOT = Path(__file__).parent.parent
HELD_OUT = ROOT / "dialogue" / "bench" / "heldout.tsv"  # utterances that no model was trained on
THINK, TURNS = 4.0, 8  # seconds before each utterance; utterances in a conversation
MOST_WORDS = 20  # in an utterance: nobody makes speeches to a device
START_SECONDS, STOP_SECONDS, SAMPLE_SECONDS = 300.0, 30, 1.0
LOG = "server.log"  # in the folder shared with the server
WARNED = re.compile(r" (?:WARNING|ERROR) (.*)")
INTENTS = re.compile(r'^skill_request_seconds_count\{type="IntentRequest"\} (\S+)', re.MULTILINE)


@dataclass(frozen=True)
class Server:
    """A running server, and its process if it was started here."""

    url: str
    process: int | None = None


def utterances(path: Path = HELD_OUT) -> list[str]:
    """Return distinct utterances, in order, that become part of a conversation.

    Commands are left out, since they may end or reset a session, and so is whatever gets a fixed
    safety answer, since it is not kept.
    """
    invocation = load().invocation_name
    said = (text for line in read_lines(path) for text in line.split("\t"))
    plain = (text.replace("<continued_utterance>", " ").strip().lower() for text in said)
    fit = (t for t in plain if 2 <= len(words(t)) <= MOST_WORDS and t not in BUILT_IN)
    heard = {text: as_recognised(text) for text in fit}
    return [
        text
        for text, said in heard.items()
        if command_of(said, invocation) is None and not fixed_answer(said, seed="")
    ]


@contextmanager
def server(state: str, checkpoint: Path, folder: Path, *, idle: int = 0) -> Iterator[Server]:
    """Run the skill's server, which writes what it has kept to a folder when it ends.

    idle: how many conversations lie in its memory that nobody continues. Raises ValueError if the
    server does not start.
    """
    with socket.create_server(("127.0.0.1", 0)) as found:
        port = found.getsockname()[1]
    line = [sys.executable, "-c", kept.SERVER, "--no-verify", "--tunnel=none", f"--port={port}"]
    environment = {**os.environ, "STATE": state, "LOG_FORMAT": "text", kept.FOLDER: str(folder)}
    if idle:
        (folder / kept.SAID).write_text(json.dumps(utterances()), encoding="ascii")
        limits = {"MAX_CONVERSATIONS": idle + LIMIT, "MAX_STATE_MB": 1 << 20}
        environment |= {kept.IDLE_COUNT: str(idle), **{k: str(v) for k, v in limits.items()}}
    with (folder / LOG).open("w+", encoding="utf-8") as log:
        run = subprocess.Popen(
            [*line, f"--checkpoint={checkpoint.absolute()}"],
            cwd=ROOT,
            env=environment,
            stdout=log,
            stderr=log,
        )
        try:
            deadline = time.monotonic() + START_SECONDS
            while not _answers(f"http://127.0.0.1:{port}"):
                if run.poll() is not None or time.monotonic() > deadline:
                    log.seek(0)
                    raise ValueError(f"the server did not start: {log.read()[-500:].strip()}")
                time.sleep(0.2)
            yield Server(f"http://127.0.0.1:{port}", run.pid)
        finally:
            run.terminate()
            run.wait(STOP_SECONDS)


def _answers(url: str) -> bool:
    try:
        return requests.get(f"{url}/healthz", timeout=5).status_code == 200
    except requests.RequestException:
        return False


def talk(options: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Run the talkers, and return their turns. options: see skill.talkers.

    Raises ValueError if locust fails.
    """
    with tempfile.TemporaryDirectory() as folder:
        turns = Path(folder, "turns.jsonl")
        environment = {
            **os.environ,
            "LOAD_OPTIONS": json.dumps(options),
            "LOAD_TURNS": str(turns),
        }
        line = [sys.executable, "-m", "skill.talkers"]
        done = subprocess.run(
            line, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
        )
        if done.returncode or not turns.exists():
            raise ValueError(f"the talkers failed: {done.stderr.strip()[-500:]}")
        return [json.loads(line) for line in read_lines(turns)]


def counted(url: str, token: str = "") -> int | None:
    """Return how many utterances a server's metrics count as answered; None if it has none."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        answer = requests.get(f"{url}/metrics", headers=headers, timeout=10)
    except requests.RequestException:
        return None
    if answer.status_code != 200:
        return None
    return round(sum(float(value) for value in INTENTS.findall(answer.text)))


def figures(
    turns: Sequence[Mapping[str, Any]], seconds: float, served: int | None
) -> dict[str, Any]:
    """Summarise the turns. served: how many utterances the server counted, if known."""
    pending = sum(turn["pending"] and not turn["launch"] for turn in turns)
    turns = [turn for turn in turns if not turn["pending"]]
    spoken = [turn for turn in turns if not turn["launch"]]
    good = [turn for turn in spoken if not turn["error"]]
    taken = sorted(turn["ms"] for turn in good)
    lost = sum(max(0, 1 - turn["steps"]) for turn in good)
    doubled = sum(max(0, turn["steps"] - 1) for turn in good)
    if served is not None:  # it may have counted a turn whose answer was lost: not a double
        lost, doubled = max(lost, len(good) - served), max(doubled, served - len(spoken) - pending)
    return {
        "turns_per_s": round(len(good) / seconds, 2),
        "p50_ms": round(statistics.median(taken), 1) if taken else None,
        "p99_ms": round(taken[min(len(taken) - 1, len(taken) * 99 // 100)], 1) if taken else None,
        "errors": sum(turn["error"] for turn in turns),
        "fixed_share": round(sum(turn["fixed"] for turn in good) / len(good), 4) if good else None,
        "lost": lost,
        "doubled": doubled,
        "turns": len(good),
    }


def measure(
    server: Server, options: Mapping[str, Any]
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Let the talkers talk to a server, and return the figures and the turns.

    options: see skill.talkers.
    """
    token = os.environ.get("METRICS_TOKEN", "")
    before = counted(server.url, token)
    with _sampled(server.process) as resident:
        turns = talk({**options, "url": server.url})
    after = counted(server.url, token)
    served = None if before is None or after is None else after - before
    return {**figures(turns, options["seconds"], served), **memory(resident)}, turns


@contextmanager
def _sampled(process: int | None) -> Iterator[list[int]]:
    """Sample the resident memory of a process every second, in bytes."""
    found: list[int] = []
    ended = threading.Event()

    def sample() -> None:
        while not ended.wait(SAMPLE_SECONDS):
            found.append(resident_bytes(process))

    thread = threading.Thread(target=sample, name="memory", daemon=True)
    if process and resident_bytes(process):
        thread.start()
    yield found
    ended.set()


def memory(resident: Sequence[int]) -> dict[str, Any]:
    """Summarise samples of the resident memory: the largest, and the drift in the second half."""
    late = resident[len(resident) // 2 :]
    if not late:
        return {"memory_mb": None, "memory_drift": None}
    mean = statistics.fmean(late)
    drift = max(abs(found - mean) for found in late) / mean
    return {"memory_mb": max(resident) >> 20, "memory_drift": round(drift, 4)}


def measure_own(
    options: Mapping[str, Any], state: str, checkpoint: Path, *, idle: int = 0
) -> dict[str, Any]:
    """Start a server, measure it, and compare what it has kept with what was said.

    idle: see `server`.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with server(state, checkpoint, folder, idle=idle) as own:
            found, turns = measure(own, options)
            if idle:
                found |= json.loads(read_text(folder / kept.IDLE))
            sessions = kept.sessions_of(turns)
            kept.ask_for(sessions, folder)
        agent = DialogueAgent.load(checkpoint)
        compared = kept.compare(sessions, folder, agent)
        for name in ("lost", "doubled"):
            compared[name] = max(compared[name], found[name])
        if compared["lost"] or compared["doubled"]:
            for line in troubles(folder / LOG):
                print(line, file=sys.stderr)
    return {**found, **compared}


def troubles(log: Path) -> list[str]:
    """Return a server's warnings and errors, each kind of line once, with its count."""
    found = Counter(
        re.sub(r"request '[^']*'", "a request", warned[1])
        for warned in map(WARNED.search, read_lines(log))
        if warned
    )
    return [f"{count}x {line}" for line, count in found.most_common()]


@command
def main(arguments: list[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(
        prog="python -m skill.load", description="Have many people talk to the skill at once."
    )
    parser.add_argument("--talkers", type=int, default=8, help="(default: %(default)s)")
    parser.add_argument("--minutes", type=float, default=1.0, help="(default: %(default)s)")
    parser.add_argument(
        "--state",
        default=os.environ.get("STATE") or "memory",
        help="where the started server keeps conversations (env STATE; default: memory)",
    )
    parser.add_argument(
        "--idle",
        type=int,
        default=0,
        metavar="N",
        help="conversations that lie idle in the started server's memory (default: none)",
    )
    parser.add_argument("--url", help="use this server instead of starting one")
    parser.add_argument(
        "--key", type=Path, metavar="PEM", help="sign requests with this RSA key, as Alexa does"
    )
    parser.add_argument("--chain-url", default="", help="URL of that key's certificate chain")
    parser.add_argument(
        "--think",
        type=float,
        default=THINK,
        help="mean seconds before each utterance; they vary by half (default: %(default)s)",
    )
    add_checkpoint(parser)
    asked = parser.parse_args(arguments)
    at_least(1, talkers=asked.talkers)
    if asked.minutes <= 0 or asked.think < 0:
        raise ValueError(
            f"--minutes is {asked.minutes} and --think {asked.think}; "
            "minutes must be above 0, and think 0 or more"
        )
    if asked.idle and (asked.url or asked.state != MEMORY):
        raise ValueError("--idle fills the memory of a server started here: with --state memory")
    if bool(asked.key) != bool(asked.chain_url):
        raise ValueError(
            "--key and --chain-url belong together: one signs, the other names the signer"
        )
    options = {
        "talkers": asked.talkers,
        "seconds": asked.minutes * 60,
        "think": asked.think,
        "turns": TURNS,
        "utterances": utterances(),
        "key": str(asked.key.absolute()) if asked.key else "",
        "chain_url": asked.chain_url,
    }
    if asked.url:
        found, _ = measure(Server(asked.url.rstrip("/")), options)
    else:
        found = measure_own(options, asked.state, Path(asked.checkpoint), idle=asked.idle)
    kind = asked.state.partition(":")[0]  # the address may hold a password
    print(json.dumps({"talkers": asked.talkers, "state": kind, **found}), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
