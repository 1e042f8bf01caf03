"""Moments, and which topical stock reply belongs to which (see training.ranking.stock).

    {"replies": ["A cat that knocks things off the table does it for the audience."],
     "suits": [["my mug is on the floor again"], ...], "near": [["which cat should i get"], ...],
     "judged": [12, 31]}

A line holds replies, moments where each of them is right, and near misses: moments that look alike
but where they are wrong. A moment is a context that ends with the person's turn. A line without
replies holds everyday talk where none of the replies in the lines above is right; about those below
nothing is known. A moment may occur in several lines, whose replies then share it. "judged" may say
in how many contexts readers found the reply right, and in how many it was proposed.
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from dialogue.known_replies import RECENT
from dialogue.text_files import numbered_lines
from dialogue.vocabulary import CONTINUED
from training import corpora
from training.corpora.transcript import Complaints
from training.ranking.judging import is_held_out_id

FILE = corpora.topical.FILE
MOMENTS_OF_PEOPLE = 1700  # of each corpus

Verdicts = Mapping[str, tuple[int, int]]  # by reply: right, of so many judged


@dataclass(frozen=True)
class Moment:
    """A context and the replies that suit it, with shares that add up to 1; empty if none does."""

    turns: tuple[str, ...]
    suits: Mapping[str, float]

    @property
    def is_held_out(self) -> bool:
        """Return whether it is held out, by the hash of its turns."""
        return is_held_out_id(" | ".join(self.turns))


def load(path: Path = FILE) -> tuple[list[Moment], Verdicts]:
    """Load moments, and readers' verdicts on replies.

    Raises ValueError, naming the line, if one is malformed.
    """
    found: dict[tuple[str, ...], dict[str, float]] = {}
    verdicts: dict[str, tuple[int, int]] = {}
    for number, line in numbered_lines(path, Complaints()):
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
            replies, suits, near = entry["replies"], entry["suits"], entry["near"]
            if suits and not replies:
                raise ValueError("no reply is named that suits")
            for turns in [replies, *suits, *near]:
                if not isinstance(turns, list) or not all(isinstance(one, str) for one in turns):
                    raise TypeError(f"{turns!r} is no list of texts")
            if not all([*suits, *near]):
                raise ValueError("a moment has no turn")
            right, judged = entry.get("judged", (0, 0))
            if not 0 <= right <= judged:
                raise ValueError(f"right in {right!r} of {judged!r} contexts")
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(
                f"{path}, line {number}: no replies with their moments ({error!r}); see {__name__}"
            ) from None
        for turns in suits:
            shares = found.setdefault(tuple(turns), {})
            for reply in replies:
                shares[reply] = shares.get(reply, 0.0) + 1 / len(replies)
        for turns in near:
            found.setdefault(tuple(turns), {})
        if judged:
            verdicts |= dict.fromkeys(replies, (right, judged))
    moments = [
        Moment(turns, {reply: share / sum(shares.values()) for reply, share in shares.items()})
        for turns, shares in found.items()
    ]
    return moments, verdicts


def of_people(corpus: str, *, seed: int) -> list[Moment]:
    """Draw at most MOMENTS_OF_PEOPLE moments between people, which no topical reply suits.

    What one stranger says to another sounds like everyday talk, but a companion's remark would
    nearly always miss the point. Raises ValueError if the corpus is missing.
    """
    rng, found = random.Random(seed), []
    transcripts = corpora.load([corpus], "train", Complaints(skip=True))
    rng.shuffle(transcripts)
    for transcript in transcripts[:MOMENTS_OF_PEOPLE]:
        last = rng.randrange(0, len(transcript.turns), 2)
        heard = transcript.turns[max(0, last + 1 - RECENT) : last + 1]
        found.append(Moment(tuple(turn.replace(CONTINUED, " ") for turn in heard), {}))
    return found
