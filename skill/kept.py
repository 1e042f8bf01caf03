"""Compare the conversations that a server kept under load with a replay without load.

    talkers -> sessions: what was said in each -> the server, as it ends -> kept states -> compare

A turn is lost if it was answered but not kept, or if the kept history differs from the one that a
replay of the turns, one by one, gives. It is doubled if it is kept more often than it was said.
"""

from __future__ import annotations

import atexit
import base64
import gc
import json
import os
import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flask import Flask

from dialogue.agent import DialogueAgent
from dialogue.conversation import Conversation
from dialogue.recognised import as_written
from dialogue.state import Owner, Refused, Unreachable
from dialogue.state.codec import unpack
from dialogue.text_files import read_lines, read_text
from skill import device
from skill.metrics import resident_bytes

# Files in the folder that both processes share.
SESSIONS, KEPT, SAID, IDLE = "sessions.jsonl", "kept.jsonl", "said.json", "idle.json"
FOLDER, IDLE_COUNT = "LOAD_KEPT", "LOAD_IDLE"  # environment: that folder, how many lie idle
CLOSE = 5e-3  # how far the numbers of histories may differ: they are kept in half precision
BATCH = 64
IDLE_TALKS, IDLE_TURNS = 20, 8  # real conversations; the idle ones are copies of them
# Runs app.py unchanged, except that it writes what it has kept when it ends.
SERVER = """
import sys, app
from skill import kept
build = app.create_app
app.create_app = lambda settings: kept.told_at_the_end(build(settings))
sys.exit(app.main(sys.argv[1:]))
"""


@dataclass(frozen=True)
class Session:
    """A session as its talker knows it.

    said: utterances whose answer was heard, as Alexa recognises them. unsure: those without an
    answer, such as the last one when time runs out; they may or may not be kept. Utterances that
    were answered too late are in neither: they must not be kept. carried: the state that came with
    the last answer.
    """

    id: str
    user: str
    said: tuple[str, ...]
    unsure: tuple[str, ...] = ()
    carried: str = ""


def sessions_of(turns: Sequence[Mapping[str, Any]]) -> list[Session]:
    """Return the sessions of turns that skill.talkers recorded."""
    by_id: dict[str, list[Mapping[str, Any]]] = {}
    for turn in turns:
        by_id.setdefault(turn["session"], []).append(turn)
    return [
        Session(
            name,
            theirs[0]["user"],
            tuple(
                turn["said"]
                for turn in theirs
                if _is_answered(turn) and not (turn["launch"] or turn["fixed"])
            ),
            tuple(turn["said"] for turn in theirs if not (turn["launch"] or _is_answered(turn))),
            next((turn["state"] for turn in reversed(theirs) if _is_answered(turn)), ""),
        )
        for name, theirs in by_id.items()
    ]


def _is_answered(turn: Mapping[str, Any]) -> bool:
    return not (turn["pending"] or turn["error"])


def ask_for(sessions: Sequence[Session], folder: Path) -> None:
    """List the sessions whose kept states the server will write when it ends."""
    lines = (json.dumps([one.id, one.user, one.carried]) + "\n" for one in sessions)
    (folder / SESSIONS).write_text("".join(lines), encoding="ascii")


def told_at_the_end(app: Flask) -> Flask:
    """Make an application write what it has kept when its process ends.

    If idle conversations are asked for, they are put into its memory first.
    """
    if count := int(os.environ.get(IDLE_COUNT, "0")):
        fill(app, count)
    atexit.register(_tell, app, Path(os.environ[FOLDER]))
    return app


def _tell(app: Flask, folder: Path) -> None:
    if not (folder / SESSIONS).exists():
        return
    store, lines = app.extensions["transactions"].store, []
    for line in read_lines(folder / SESSIONS):
        session, user, carried = json.loads(line)
        try:
            state = store.get(Owner(session, user), carried) or b""
        except (Refused, Unreachable):
            state = b""
        lines.append(json.dumps([session, base64.b64encode(state).decode("ascii")]) + "\n")
    (folder / KEPT).write_text("".join(lines), encoding="ascii")


def fill(app: Flask, count: int) -> None:
    """Keep conversations that nobody continues, and write how much memory each takes."""
    store = app.extensions["transactions"].store
    said = json.loads(read_text(Path(os.environ[FOLDER], SAID)))
    starts = range(0, IDLE_TALKS * IDLE_TURNS, IDLE_TURNS)
    owners = [_talk(app, said[start : start + IDLE_TURNS]) for start in starts]
    states = [store.get(owner, "") for owner in owners]
    gc.collect()
    before = resident_bytes()
    for number in range(count):
        own = bytes(bytearray(states[number % len(states)]))  # its own copy
        store.put(Owner(f"amzn1.echo-api.session.idle.{number:036}", f"{number}"), own, turn=1)
    found = {
        "idle": count,
        "idle_bytes": round((resident_bytes() - before) / count),
        "idle_state_bytes": round(sum(map(len, states)) / len(states)),
    }
    Path(os.environ[FOLDER], IDLE).write_text(json.dumps(found), encoding="ascii")


def _talk(app: Flask, said: Sequence[str]) -> Owner:
    """Hold a conversation with the application, and return its owner."""
    session = device.Session(id=f"amzn1.echo-api.session.sample.{uuid.uuid4()}")
    for utterance in (None, *said):
        answer = app.test_client().post("/", json=device.say(session, utterance))
        session = device.after(session, answer.get_json())
    return Owner(session.id, session.user)


def compare(sessions: Sequence[Session], folder: Path, agent: DialogueAgent) -> dict[str, int]:
    """Return how many turns are lost and doubled, and how many conversations were replayed.

    Raises ValueError if the server has written nothing.
    """
    if not (folder / KEPT).exists():
        raise ValueError("the server ended without telling what it has kept")
    kept = dict(json.loads(line) for line in read_lines(folder / KEPT))
    found = [_conversation(base64.b64decode(kept.get(one.id, "")), agent) for one in sessions]
    lost = doubled = 0
    for session, conversation in zip(sessions, found, strict=True):
        heard = Counter(conversation.said("user"))
        said = Counter(map(as_written, session.said))
        lost += (said - heard).total()
        doubled += (heard - said - Counter(map(as_written, session.unsure))).total()
    replayed = replay(found, agent)
    lost += sum(not is_near(*pair, CLOSE) for pair in zip(found, replayed, strict=True))
    return {"lost": lost, "doubled": doubled, "replayed": sum(bool(one.turns) for one in found)}


def _conversation(state: bytes, agent: DialogueAgent) -> Conversation:
    try:
        return unpack(state, agent).conversation if state else Conversation()
    except Refused:
        return Conversation()


def replay(conversations: Sequence[Conversation], agent: DialogueAgent) -> list[Conversation]:
    """Read the turns of conversations again, from the beginning."""
    replayed = [Conversation() for _ in conversations]
    for place in range(max((len(one.turns) for one in conversations), default=0)):
        rows = [row for row, one in enumerate(conversations) if place < len(one.turns)]
        for start in range(0, len(rows), BATCH):
            some = rows[start : start + BATCH]
            turns = [conversations[row].turns[place] for row in some]
            further = agent.hear([replayed[row] for row in some], turns)
            for row, conversation in zip(some, further, strict=True):
                replayed[row] = conversation
    return replayed


def is_near(one: Conversation, other: Conversation, near: float) -> bool:
    """Return whether the numbers of two conversations' histories differ by at most `near`."""
    first, second = one.numbers(), other.numbers()
    return len(first) == len(second) and all(
        abs(a - b) <= near for a, b in zip(first, second, strict=True)
    )
