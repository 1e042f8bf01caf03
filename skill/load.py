"""python -m skill.load: many people talk at once, through requests like an Echo's.

The last line is JSON:

    turns_per_s     utterances answered per second
    p50_ms, p99_ms  duration of a turn, seen from outside
    errors          turns without an answer
    fixed_share     fraction of turns answered with the sentence for a late or busy server
    lost, doubled   turns that the session or the server did not count, or counted twice

It starts `python app.py` on this machine, without verification and with the given --state, or uses
the server at --url. Its talkers are locust's, in a process of their own.
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
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests

from dialogue.command_line import add_checkpoint, at_least, command
from dialogue.text_files import read_lines
from dialogue.words import words
from skill.commands import command as command_of
from skill.device import BUILT_IN
from skill.interaction_settings import load

ROOT = Path(__file__).parent.parent
HELD_OUT = ROOT / "dialogue" / "bench" / "heldout.tsv"  # utterances that no model learnt
THINK, TURNS = 4.0, 8  # seconds before each utterance; utterances in a conversation
MOST_WORDS = 20  # in an utterance: nobody makes speeches to a device
START_SECONDS, STOP_SECONDS = 300.0, 15
INTENTS = re.compile(r'^skill_request_seconds_count\{type="IntentRequest"\} (\S+)', re.MULTILINE)


def utterances(path: Path = HELD_OUT) -> list[str]:
    """Return distinct things to say, in order, without commands: those end or reset a session."""
    invocation = load().invocation_name
    said = (text for line in read_lines(path) for text in line.split("\t"))
    plain = (text.replace("<continued_utterance>", " ").strip().lower() for text in said)
    fit = (t for t in plain if 2 <= len(words(t)) <= MOST_WORDS and t not in BUILT_IN)
    return list(dict.fromkeys(t for t in fit if command_of(t, invocation) is None))


@contextmanager
def server(state: str, checkpoint: Path) -> Iterator[str]:
    """Run the skill's server and yield its address. Raises ValueError if it does not start."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        port = found.getsockname()[1]
    line = [sys.executable, "app.py", "--no-verify", "--tunnel=none", f"--port={port}"]
    environment = {**os.environ, "STATE": state}
    with tempfile.TemporaryFile("w+", encoding="utf-8") as log:
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
            yield f"http://127.0.0.1:{port}"
        finally:
            run.terminate()
            run.wait(STOP_SECONDS)


def _answers(url: str) -> bool:
    try:
        return requests.get(f"{url}/healthz", timeout=5).status_code == 200
    except requests.RequestException:
        return False


def talk(options: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Have talkers talk and return their turns. options: see skill.talkers.

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
    """Return how many utterances a server has answered, by its metrics; None if it has none."""
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
    """Summarise the turns. served: how many utterances the server counted meanwhile, if known."""
    spoken = [turn for turn in turns if not turn["launch"]]
    good = [turn for turn in spoken if not turn["error"]]
    taken = sorted(turn["ms"] for turn in good)
    lost = sum(max(0, 1 - turn["steps"]) for turn in good)
    doubled = sum(max(0, turn["steps"] - 1) for turn in good)
    if served is not None:  # it may have counted a turn whose answer was lost: not a double
        lost, doubled = max(lost, len(good) - served), max(doubled, served - len(spoken))
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


def measure(url: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Have talkers talk to a server, and return the figures. options: see skill.talkers."""
    token = os.environ.get("METRICS_TOKEN", "")
    before = counted(url, token)
    turns = talk({**options, "url": url})
    after = counted(url, token)
    served = None if before is None or after is None else after - before
    return figures(turns, options["seconds"], served)


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
    parser.add_argument("--url", help="use this server instead of starting one")
    parser.add_argument(
        "--key", type=Path, metavar="PEM", help="sign requests with this RSA key, as Alexa does"
    )
    parser.add_argument("--chain-url", default="", help="URL of that key's certificate chain")
    parser.add_argument(
        "--think",
        type=float,
        default=THINK,
        help="seconds before each utterance (default: %(default)s)",
    )
    add_checkpoint(parser)
    asked = parser.parse_args(arguments)
    at_least(1, talkers=asked.talkers)
    if asked.minutes <= 0 or asked.think < 0:
        raise ValueError(
            f"--minutes is {asked.minutes} and --think {asked.think}; "
            "minutes must be above 0, and think 0 or more"
        )
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
        found = measure(asked.url.rstrip("/"), options)
    else:
        with server(asked.state, Path(asked.checkpoint)) as url:
            found = measure(url, options)
    print(json.dumps({"talkers": asked.talkers, "state": asked.state, **found}), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
