"""The question that follows a reply which gives nothing to answer; the only place that adds one.

An open microphone without a question leaves people at a loss, so nearly every statement gets one
that fits it. None follows a question, nor what asks for words by itself ("tell me about it"); and
who has led with questions twice running is not asked back each time.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dialogue.seeded_choice import pick
from dialogue.words import words
from skill import phrases

ASKED, LED, GENTLE = "asked", "led", "gentle"  # session attributes
REMEMBERED = 3  # the last questions, none of which comes again at once
GENTLE_TURNS = 3  # after a crisis or sorrow nobody is asked for small talk
LEADS = 2  # so many questions of their own in a row, and somebody leads the talk

_AUXILIARY = r"(?:do|does|did|is|are|am|was|were|can|could|will|would|shall|should|have|has|had|may|might)"
_SUBJECT = (
    r"(?:you|i|we|he|she|it|they|that|this|there|these|those|the|your|my|his|her|their|our|any|"
    r"anyone|anything|someone|something|people)"
)
_ASKS = re.compile(
    rf"(?:(?:and|so|but|well|oh|ok|okay|hey|hi|hello|yeah|yes|no|alexa|then|wow|nice|cool) )*"
    rf"(?:{_AUXILIARY}(?:n't)? {_SUBJECT}\b|"
    rf"(?:what|who|whom|whose|when|where|why|how|which)(?:'s|'re|'d)?(?: \w+){{0,3}}? {_AUXILIARY} "
    rf"{_SUBJECT}\b|(?:what|who|where|how|when|why)(?:'s|'re| is| are| was) |"
    rf"who (?!(?:knows|cares)$)\w|what (?:happen(?:s|ed)|makes|made|came|comes)\b|"
    rf"(?:how|what) about |why not\b|what (?:kind|sort|else|for)\b|(?:why|who|what|where|how come)$)"
    rf"|.* (?:isn't it|aren't you|don't you|right|or not|and you|how about you|what about you)$"
)
_INVITES = re.compile(
    r"(?:(?:please|so|well|and|but|ok|okay|oh|yes|sure|then|now|just|go on|go ahead|come on) )*"
    r"(?:tell me|let me (?:know|hear)|go (?:on|ahead)|keep (?:going|talking)|say (?:more|it|something)|"
    r"ask me|describe|guess|give me|try me|name|pick|choose|start|continue|teach me|show me|sing|"
    r"explain|surprise me|remind me|talk to me)\b"
    r"|.*\b(?:i'd (?:love|like) to (?:hear|know)|i would (?:love|like) to (?:hear|know)|"
    r"i want to (?:hear|know)|i'm listening|i'm all ears|i wonder)\b"
)
_SENTENCE_END = re.compile(r"[.!;:]+(?:\s|$)")

_GREETING = re.compile(
    r"(?:(?:oh|well|why) )?(?:hi|hello|hey|howdy|good (?:morning|afternoon|evening)|welcome|"
    r"nice to meet you)(?: there| to you| you| again| back| friend| too)*"
)
_FAREWELL = re.compile(
    r"(?:.* )?(?:bye|goodbye|good night|goodnight|see you(?: \w+)?|talk to you (?:later|soon|then)|"
    r"take care|have a (?:good|great|nice) \w+|(?:nice|good|great) (?:talking|chatting) (?:to|with) you)"
    r"(?: too| then)?"
)
_THANKS = re.compile(r"(?:.* )?(?:you're welcome|no problem|thanks?|thank you)(?: \w+){0,3}")
_SORRY = re.compile(r"(?:.* )?(?:sorry|(?<!not )too bad|a shame|a pity|sucks|terrible|awful|hard|sad|tough|poor)\b.*")
_UNSURE = re.compile(
    r"(?:.* )?(?:don't know|do not know|not sure|no idea|never (?:heard|seen|been|tried|read|played)|"
    r"haven't (?:heard|seen|been|tried|read|played))\b.*"
)
# What takes in what was said, and tells of nobody: "me too", "i know", "i'll have to look".
_TAKES_IN = re.compile(
    r"(?:.* )?(?:too|neither|same here|i (?:agree|know|see|think so|guess so|believe it|bet|get it|hope so|"
    r"understand)|didn't know(?: that)?|i'll(?: \w+)+|i will(?: \w+)+)"
)
_OWN = re.compile(r"\b(?:i|i'm|i've|i'd|my|me|mine|we)\b")
_ABOUT_YOU = re.compile(r"\b(?:you|your|you're|you've|yours)\b")


@dataclass(frozen=True)
class Asking:
    """What a session remembers of its questions; small, for it travels with every request.

    asked: the last ones that were added. led: how many questions the person has asked in a row.
    gentle: for how many more turns only what is gentle is asked.
    """

    asked: tuple[str, ...] = ()
    led: int = 0
    gentle: int = 0

    @classmethod
    def read(cls, attributes: Mapping[str, object]) -> Asking:
        """Read what `written` wrote; whatever does not fit counts as nothing."""
        asked = attributes.get(ASKED)
        known = [text for text in asked if isinstance(text, str) and text in _ALL] if isinstance(asked, list) else []
        return cls(
            tuple(known[-REMEMBERED:]),
            _count(attributes.get(LED), LEADS),
            _count(attributes.get(GENTLE), GENTLE_TURNS),
        )

    def written(self) -> dict[str, object]:
        """Return the session attributes, without those that say nothing."""
        found: dict[str, object] = {ASKED: list(self.asked), LED: self.led, GENTLE: self.gentle}
        return {name: value for name, value in found.items() if value}


def follow_up(reply: str, utterance: str, *, about: str, before: Asking, seed: str) -> tuple[str, Asking]:
    """Choose the question to follow a reply, "" for none, and return what is to be remembered.

    about: why the reply is a fixed one, as dialogue.safety names it; else "". seed: chooses.
    """
    led = min(before.led + 1, LEADS) if asks(utterance) else 0
    is_heavy = about in ("crisis", "sorrow")
    gentle = GENTLE_TURNS if is_heavy else max(before.gentle - 1, 0)
    leads = led >= LEADS > before.led and not is_heavy
    if "?" in reply or invites(reply) or leads:
        return "", Asking(before.asked, 0 if leads else led, gentle)
    fitting = phrases.ASK_GENTLY if gentle or is_heavy else _fitting(reply, utterance, about)
    fresh = [question for question in fitting if question not in before.asked]
    question = pick(fresh or [text for text in fitting if text != before.asked[-1]], seed)
    return question, Asking((*before.asked, question)[-REMEMBERED:], led, gentle)


def asks(text: str) -> bool:
    """Tell whether the last sentence of a text is a question, with a mark or without."""
    if text.rstrip().endswith("?"):
        return True
    return bool(_ASKS.match(_last_sentence(text)))


def invites(reply: str) -> bool:
    """Tell whether a reply's last sentence asks for words without being a question."""
    return bool(_INVITES.match(_last_sentence(reply)))


def is_added(text: str) -> bool:
    """Tell whether a text is one of the questions that are added."""
    return text in _ALL


def _fitting(reply: str, utterance: str, about: str) -> Sequence[str]:
    """Return the questions for the kind of reply: what it says, and what it was said to."""
    said = " ".join(words(reply.replace("’", "'")))
    if about:
        return phrases.ASK_NEXT
    for pattern, wordings in (
        (_GREETING, phrases.ASK_HOW_ARE_YOU),
        (_FAREWELL, phrases.ASK_OR_GO_ON),
        (_THANKS, phrases.ASK_NEXT),
        (_SORRY, phrases.ASK_KINDLY),
        (_UNSURE, phrases.ASK_WHAT_YOU_KNOW),
    ):
        if pattern.fullmatch(said):
            return wordings
    if asks(utterance):
        about_it = _ABOUT_YOU.search(utterance.lower())
        return phrases.ASK_BACK if about_it else phrases.ASK_OPINION
    is_own = _OWN.search(said) and not _TAKES_IN.fullmatch(said)
    return phrases.ASK_VIEW if is_own else phrases.ASK_MORE


def _last_sentence(text: str) -> str:
    sentences = [part for part in _SENTENCE_END.split(text.replace("’", "'")) if words(part)]
    return " ".join(words(sentences[-1])) if sentences else ""


def _count(value: object, limit: int) -> int:
    return min(value, limit) if isinstance(value, int) and value > 0 else 0


_ALL = frozenset(
    question
    for wordings in (
        phrases.ASK_HOW_ARE_YOU, phrases.ASK_OR_GO_ON, phrases.ASK_NEXT, phrases.ASK_KINDLY,
        phrases.ASK_WHAT_YOU_KNOW, phrases.ASK_BACK, phrases.ASK_VIEW, phrases.ASK_OPINION, phrases.ASK_MORE,
        phrases.ASK_GENTLY,
    )
    for question in wordings
)  # fmt: skip
