"""Choose the question to add to a reply that leaves people nothing to say.

An open microphone must not leave people at a loss. After "hello", "okay" or "thank you", after a
reply of only a few words, and after two answers in a row without a question, a question that fits
what was said is added. Otherwise a statement stands alone: most people keep talking, and the others
hear the reprompt, which is a question. Nothing is added to a question, or to a reply that invites
an answer in other words ("tell me about it"). Somebody who talks at length is not at a loss: they
get a question only after two answers without one, and never one that would fit anything ("what do
you think?"). skill/fitting_questions.py knows which one fits. No other module adds questions.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from dialogue.seeded_choice import pick
from skill import phrases
from skill.fitting_questions import (
    BEREAVED,
    LOOSE,
    POLITE,
    QUIET_TURNS,
    WHOM,
    asks,
    fitting,
    invites,
    is_opening,
    plain,
)

ASKED, LED, QUIET, GENTLE = "asked", "led", "quiet", "gentle"  # session attributes
REMEMBERED = 6  # none of this many last questions is repeated before the others of its kind
GENTLE_TURNS = 3  # for this many turns after a crisis or sorrow there is no small talk
LEADS = 2  # somebody who asks this many questions in a row is leading the conversation
TALKATIVE_WORDS = 6  # somebody who says this many hardly needs help to keep talking
FLAT_WORDS = 4  # a reply of at most this many words gives people nothing to respond to


@dataclass(frozen=True)
class Asking:
    """What a session remembers about its questions; kept small, as it travels in every request.

    asked: the last added questions, with {who} in place of a person. led: how many questions the
    person has asked in a row. quiet: how many answers in a row had no question; a new session
    starts at the limit, so that its first answer may get one. gentle: for how many more turns only
    gentle questions are asked.
    """

    asked: tuple[str, ...] = ()
    led: int = 0
    quiet: int = QUIET_TURNS
    gentle: int = 0

    @classmethod
    def read(cls, attributes: Mapping[str, object]) -> Asking:
        """Load what `written` returned, ignoring whatever is malformed."""
        asked = attributes.get(ASKED)
        known = (
            [text for text in asked if isinstance(text, str) and text in _ALL]
            if isinstance(asked, list)
            else []
        )
        return cls(
            tuple(known[-REMEMBERED:]),
            _count(attributes.get(LED), LEADS),
            _count(attributes.get(QUIET, QUIET_TURNS), QUIET_TURNS),
            _count(attributes.get(GENTLE), GENTLE_TURNS),
        )

    def written(self) -> dict[str, object]:
        """Return the session attributes, without the empty ones."""
        found: dict[str, object] = {ASKED: list(self.asked), LED: self.led, GENTLE: self.gentle}
        return {name: value for name, value in found.items() if value} | {QUIET: self.quiet}


def follow_up(
    reply: str, utterance: str, *, about: str, before: Asking, seed: str
) -> tuple[str, Asking]:
    """Return the question to follow a reply ("" for none) and what the session must remember.

    about: the reason for a fixed reply, as dialogue.safety names it, else "". seed: picks among
    the wordings.
    """
    said, heard = plain(reply), plain(utterance)
    is_heavy = about in ("crisis", "sorrow") or bool(BEREAVED.search(heard) and WHOM.search(heard))
    gentle = GENTLE_TURNS if is_heavy else max(before.gentle - 1, 0)
    led = before.led + 1 if asks(utterance) else 0
    leads = led >= LEADS and not is_heavy
    led = 0 if leads else led  # every LEADS-th answer is left alone, not all of them
    if "?" in reply or invites(reply, vaguely=not is_opening(heard)):
        return "", Asking(before.asked, led, 0, gentle)
    wordings, wait = fitting(reply, said, heard, about)
    if before.gentle or is_heavy:
        wordings = phrases.ASK_GENTLY
    is_long = not about and len(heard.split()) >= TALKATIVE_WORDS
    tells = is_long and not asks(utterance) and wordings not in POLITE
    wait = QUIET_TURNS if tells else wait
    # A short reply gives people nothing to respond to, so it gets its question at once.
    too_soon = before.quiet < wait and (tells or len(said.split()) > FLAT_WORDS)
    if leads or too_soon or (is_long and wordings in LOOSE):
        return "", Asking(before.asked, led, min(before.quiet + 1, QUIET_TURNS), gentle)
    # If all wordings of a kind were used lately, repeat the one used longest ago.
    fresh = [wording for wording in wordings if wording not in before.asked]
    wording = pick(fresh, seed) if fresh else min(wordings, key=before.asked.index)
    whom = WHOM.search(heard)
    # Stored with {who} unfilled, so that a wording is recognised whoever it was about.
    asked = tuple(one for one in before.asked if one != wording)
    question = wording.format(who=whom["who"] if whom else "")
    return question, Asking((*asked, wording)[-REMEMBERED:], led, 0, gentle)


def is_added(text: str) -> bool:
    """Return whether a text is one of the questions that this module adds."""
    return bool(_ADDED.fullmatch(text))


def _count(value: object, limit: int) -> int:
    return min(value, limit) if isinstance(value, int) and value > 0 else 0


_ALL = frozenset(
    question
    for wordings in (
        phrases.ASK_HOW_ARE_YOU, phrases.ASK_FIRST, phrases.ASK_OR_GO_ON, phrases.ASK_NEXT,
        phrases.ASK_OFFER, phrases.ASK_FEELING, phrases.ASK_KINDLY, phrases.ASK_BACK,
        phrases.ASK_WHETHER, phrases.ASK_LIKING, phrases.ASK_DISLIKE, phrases.ASK_ABOUT,
        phrases.ASK_PLAN, phrases.ASK_STORY, phrases.ASK_ON, phrases.ASK_GENTLY,
        phrases.ASK_ADVICE, phrases.ASK_RIGHT, phrases.ASK_AGREE,
    )
    for question in wordings
)  # fmt: skip
_ADDED = re.compile(
    "|".join(re.escape(question).replace(re.escape("{who}"), r"\w+") for question in sorted(_ALL))
)
