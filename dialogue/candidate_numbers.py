"""The features by which the judges of the learned ranker see a candidate."""

from __future__ import annotations

from collections.abc import Sequence

from dialogue.conversation import Conversation
from dialogue.ranking import Candidate
from dialogue.recall import nobody, presupposed, stems
from dialogue.vocabulary import without_marks
from dialogue.words import words

NUMBERS = (
    "log p(reply | history)", "log p(reply | history) a token", "words", "is a question",
    "is remembered", "similarity",
    "content shared with the last turn", "content shared with the turns before", "new content",
    "takes for known", "he or she is nobody", "words of the bot's own turns",
    "asks about what was just said", "turns so far", "words heard", "place among the remembered",
    "place among the found", "is an opening", "remembered for an opening",
    "is a plain stock reply", "is a topical one", "fit", "trust",
    "place among those of its kind",
    "reads as the true reply", "reads as sensible", "reads as specific",
    "glad now", "glad of late", "answers something glad", "feels as the person does",
)  # fmt: skip


def described(conversation: Conversation, candidates: Sequence[Candidate]) -> list[list[float]]:
    """Return the features of the candidates for a conversation's last turn, but the networks'."""
    turns = spoken_turns(conversation)
    last = stems(turns[-1])
    before = {stem for turn in turns[:-1] for stem in stems(turn)}
    bots = {stem for text in conversation.said("bot") for stem in stems(without_marks(text))}
    known = before | set(last)
    heard, earlier = _content(last), _content(before)
    opens = float(len(turns) == 1)
    rows = []
    for candidate, place in zip(candidates, _places(candidates), strict=True):
        text = without_marks(candidate.text)
        found = stems(text)
        meant, size = _content(found), candidate.tokens + 1
        asks, remembered = (
            float(text.rstrip().endswith("?")),
            float(candidate.similarity is not None),
        )
        topical = float(candidate.is_topical)
        plain = float(candidate.fit is not None) - topical
        share = 1 / (1 + len(meant))
        similarity = candidate.similarity or 0.0
        rows.append([
            candidate.log_prob / 10, candidate.log_prob / size, len(words(text)) / 10, asks,
            remembered, similarity,
            len(meant & heard) * share, len(meant & earlier) * share, len(meant - known) * share,
            float(len(presupposed(text, known))), float(nobody(text, known)),
            len(set(found) & bots) / (1 + len(found)),
            len(meant & heard) * asks, min(len(turns), 9) / 9, min(len(last), 30) / 30,
            remembered / (1 + place),
            (1 - remembered - plain - topical) / (1 + place), opens, opens * remembered,
            plain, topical, candidate.fit or 0.0, candidate.trust or 0.0,
            (plain + topical) / (1 + place),
        ])  # fmt: skip
    return rows


def spoken_turns(conversation: Conversation) -> list[str]:
    """Return the turns as the ranker reads them, at least one."""
    return [without_marks(turn.text) for turn in conversation.turns] or [""]


def _places(candidates: Sequence[Candidate]) -> list[int]:
    """Return each candidate's rank within its kind, by similarity, fit or likelihood."""
    kinds: dict[str, list[tuple[float, int]]] = {}
    for at, one in enumerate(candidates):
        if one.similarity is not None:
            kinds.setdefault("remembered", []).append((one.similarity, at))
        elif one.fit is not None:
            kinds.setdefault("topical" if one.is_topical else "plain", []).append((one.fit, at))
        else:  # plus a nat per token, or the shortest would lead
            kinds.setdefault("found", []).append((one.log_prob + one.tokens, at))
    places = [0] * len(candidates)
    for found in kinds.values():
        for place, (_, at) in enumerate(sorted(found, key=lambda one: -one[0])):
            places[at] = place
    return places


def _content(found: Sequence[str] | set[str]) -> set[str]:
    """Return the stems that are likely to carry meaning."""
    return {stem for stem in found if len(stem) > 3}
