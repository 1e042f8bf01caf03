"""A model's candidates for readers to judge, and readers' judgements as entries of the file.

A ranker learns from judgements which of the model's candidates make sense. A sheet shows those that
the agent ranks highest, because they are what a ranker has to order, and a sample of the others;
the written or true reply is among them, unmarked. The key keeps each context's turns, so that a
reading can be added to the judgements file.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from dialogue.agent import DialogueAgent, Reply
from dialogue.text_files import read_text
from training import corpora
from training.reading import sheet
from training.reading.contexts import OURS, Context
from training.reading.judgements import OWN

TRUE = "true reply"
EVERYDAY = "everyday"  # the corpus name for contexts from a user's own file
SECOND = "second"  # the key of the second reader's judgement in an entry
_REPLY = re.compile(r"^(\d+[a-z]+) \[[^\]]*\] (.*)$", re.MULTILINE)


def chosen(agent: DialogueAgent, reply: Reply, *, count: int, seed: str) -> list[tuple[str, str]]:
    """Choose at most `count` candidates of a reply to judge, as (source, text).

    The first half are the agent's highest-ranked ones, in order; source "1" is the one it chose.
    The others are a sample of the rest. Candidates that must not be said, and duplicates after
    normalisation, are left out.
    """
    sayable = [
        candidate.text
        for candidate, why in zip(reply.candidates, agent.why(reply), strict=True)
        if why in ("", "ranker")
    ]
    different = list({sheet.one_form(text): text for text in reversed(sayable)}.values())[::-1]
    best, rest = different[: (count + 1) // 2], different[(count + 1) // 2 :]
    drawn = random.Random(seed).sample(rest, min(len(rest), count - len(best)))
    return [(str(place), text) for place, text in enumerate([*best, *drawn], start=1)]


def table(
    wanted: Sequence[Context], found: Sequence[Sequence[tuple[str, str]]]
) -> dict[str, list[str]]:
    """Lay candidates out as `sheet.write` takes them: by source, one per context.

    A context with fewer candidates repeats its first one; the sheet lists it once.
    """
    most = max(map(len, found))
    return {
        str(place + 1): [texts[place][1] if place < len(texts) else texts[0][1] for texts in found]
        for place in range(most)
    } | {TRUE: [context.reply for context in wanted]}


def about(wanted: Sequence[Context]) -> dict[str, Any]:
    """Return the turns of each context for the key, with set and id."""
    return {
        "turns": [
            {"set": context.set, "id": context.id, "turns": context.turns, "reply": context.reply}
            for context in wanted
        ]
    }


def entries(folder: Path) -> list[dict[str, Any]]:
    """Return the judgements of a sheet of candidates, as entries of a judgements file.

    The first filled-in sheet by name counts; a second reader's judgements are stored beside it.
    Raises ValueError if nobody has filled in the sheet, if it is filled in wrongly, or if it is not
    a sheet of candidates.
    """
    key = sheet.read_key(folder)
    turns = key["sources"].get("turns")
    if turns is None:
        raise ValueError(f"{folder} holds no sheet of candidates; write one with `candidates`")
    known = {(one["set"], one["id"]): one for one in turns}
    labels = [label for context in key["contexts"] for label in context["replies"]]
    readings = [sheet.read_filled(path, labels) for path in sorted(folder.glob("*.txt"))]
    first, *others = [found for found in readings if found] or [{}]
    if not first:
        raise ValueError(f"no sheet in {folder} is filled in")
    texts = dict(_REPLY.findall(read_text(folder / sheet.SHEET)))
    found = []
    for context in key["contexts"]:
        entry = _place(known[context["set"], context["id"]])
        for label, sources in context["replies"].items():
            if label in first:
                judged = _marks(first[label])
                if TRUE in sources:
                    judged["true"] = 1
                if TRUE not in sources or entry["corpus"] in OWN:
                    judged = {"reply": texts[label]} | judged
                if others and label in others[0]:
                    judged[SECOND] = _marks(others[0][label])
                entry["candidates"].append(judged)
        if entry["candidates"]:
            found.append(entry)
    return found


def merged(
    old: Iterable[Mapping[str, Any]], new: Iterable[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Merge entries: each context, and each of its candidates, occurs once.

    Existing judgements win. The result is sorted by corpus, id and turn.
    """
    by_place: dict[tuple[str, str, int], dict[str, Any]] = {}
    for entry in [*old, *new]:
        turn = entry["turn"] if "turn" in entry else len(entry["context"])
        place = (entry["corpus"], str(entry["id"]), turn)
        kept = by_place.setdefault(place, {**entry, "candidates": []})["candidates"]
        for candidate in entry["candidates"]:
            if _which(candidate) not in map(_which, kept):
                kept.append(candidate)
    return [by_place[place] for place in sorted(by_place)]


def oracle(key: Mapping[str, Any], found: Mapping[str, sheet.Judgement]) -> float:
    """Return the mean SSA of each context's best judged candidate, without the true reply."""
    best = []
    for context in key["contexts"]:
        judged = [
            found[label] for label, sources in context["replies"].items()
            if label in found and sources != [TRUE]
        ]  # fmt: skip
        if judged:
            best.append(max((one.sensible + one.specific) / 2 for one in judged))
    return sum(best) / len(best) if best else 0.0


def _place(context: Mapping[str, Any]) -> dict[str, Any]:
    """Start a context's entry: its text if it is the project's own, else its id and turn."""
    name, id, turns = context["set"], context["id"], list(context["turns"])
    if name in OURS:
        raise ValueError(f"{name} is read for figures only; candidates in it are not to be judged")
    if name == "companion":
        return {"corpus": name, "id": id, "context": turns, "candidates": []}
    if name in corpora.NAMES:
        return {"corpus": name, "id": id, "turn": len(turns) - 1, "candidates": []}
    own = {"corpus": EVERYDAY, "id": id, "context": turns, "reference": context["reply"]}
    return {**own, "candidates": []}


def _marks(judgement: sheet.Judgement) -> dict[str, Any]:
    """Format a judgement as in the file."""
    marks = {"sensible": int(judgement.sensible), "specific": int(judgement.specific)}
    return marks | ({"fault": judgement.fault} if judgement.fault else {})


def _which(candidate: Mapping[str, Any]) -> str:
    """Return what identifies a candidate in its context: its text, or TRUE for the true reply."""
    return sheet.one_form(candidate["reply"]) if "reply" in candidate else TRUE
