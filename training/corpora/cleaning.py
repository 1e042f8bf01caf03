"""What a corpus must not teach: contact details, people's identities and offensive language.

Private details are replaced in the text itself, so that the model never sees them. Turns that the
model must never say are kept as input but excluded from the loss.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace

from dialogue.safety import is_offensive
from dialogue.vocabulary import normalise
from training.corpora.transcript import Transcript

LONG_TURN = 12  # characters; shorter turns ("yes", "oh okay") naturally recur

_PRIVATE = (
    ("e-mail addresses", "<person>", r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+"),
    ("handles", "<person>", r"(?<![\w@])@[a-z_][\w.]+\w"),
    (
        "links",
        "a website",
        r"https?://\S+|\bwww\.\w\S*"
        r"|\b[\w-]+(?:\.[\w-]+)*\.(?:com|org|net|edu|gov|io|games)\b(?:/\S*)?",
    ),
    (
        "telephone numbers",
        "<number>",
        r"(?<![\d.])(?:\+?1[-. ]?)?(?:\(\d{3}\) ?|\d{3}[-. ])\d{3}[-. ]\d{4}\b",
    ),
    (
        "street addresses",
        "<number>",
        r"\b\d{3,5} (?:[nsew]\.? )?"
        r"(?:(?!an\b|hours?\b|minutes?\b|miles?\b|days?\b|year\b|the\b|mph\b)[a-z]+ ){1,2}"
        r"(?:street|avenue|ave|boulevard|blvd|lane|apartments?|apt)\b",
    ),
)
_PRIVATE_DETAILS = tuple(
    (kind, mark, re.compile(pattern, re.IGNORECASE)) for kind, mark, pattern in _PRIVATE
)

# A speaker's own name, given as an introduction. Only the name is replaced: group 1 is kept.
# The lookahead spares adjectives ("I'm fine"), nationalities and the like.
_NOT_A_NAME = (
    r"(?!(?:not|so|the|a|an|on|in|is|was|will|weird|kinda|spelled|showing|also|like|just|doing|good"
    r"|great|fine|well|new|here|back|sorry|mormon|god|utah|me|my|what|who|it|this|that|really)\b"
    r"|\w+(?:ian|ican|ese|ish|rean)\b)"
)
_INTRODUCTIONS = tuple(
    re.compile(pattern)
    for pattern in (
        rf"\b([Mm]y (?:(?:real|full|first|last) )?name(?:'?s| is) (?:\w+ )??)(?i:{_NOT_A_NAME})"
        r"[A-Z]\w+(?: (?!I\b)[A-Z]\w+)?",
        rf"\b(my name(?:'?s| is) )(?i:{_NOT_A_NAME})[a-z]\w+(?=[.,!?]|$| <| by\b| and\b)",
        r"(?i)\b((?:hi|hey|hello)[,.!]* (?:there[,.!]* )?(?:i'?m|i am|this is) )"
        rf"{_NOT_A_NAME}\w+(?=[.,!]|$| <)",
        r"((?:^|[.!?>,] +)(?:[Aa]nd |[Bb]ut |[Oo]h )?(?:[Ii]'?m|[Ii] am) )"
        rf"(?i:{_NOT_A_NAME})[A-Z][a-z]{{2,}}(?=[.,!]? *(?:$|<)|[.!] )",
        r"\b((?:[Pp]eople|[Yy]ou can|[Jj]ust) call me )"
        r"(?!(?:maybe|crazy|weird|a|the|if|when|back|what|by)\b)\w+",
    )
)
_ASKED_FOR_A_NAME = re.compile(
    r"\b(?:what(?:'?s| is| was)|wats|may i (?:know|ask)|tell me|can i (?:know|have|get)) "
    r"(?:your|ur|yo) (?:full |first |last |real |user)?name\b"
    r"|\bwhat (?:should|do|can) i call you\b|\byour name\?|\bwho(?:'s| is|s) this(?: *\?|$)"
    r"|\bwho are you(?: again)? *(?:\?|$|<)|\bwho am i (?:talking|speaking|chatting|texting)"
    r"|\bwhat about your name\b",
    re.IGNORECASE,
)

# What another bot says about itself. The skill answers such questions with its own sentences.
_ANOTHER_BOT = re.compile(
    r"\bmy (?:\w+ )?"
    r"(?:developers?|creators?|programmers?|makers?|engineers?|parents why they made)\b"
    r"|\b(?:people|team) (?:\w+ )*made me\b|\bmade me (?:real|out of|a chatbot)\b|\bgithub\b",
    re.IGNORECASE,
)
BOTS = frozenset({"smalltalk"})  # corpora whose second speaker is such a bot
# Turns of nothing but thanks and goodbyes. Two polite speakers would never stop.
_COURTESY = re.compile(
    r"(?:(?:oh|ok|okay|well|yes|and|aw+|no problem|of course|any ?time|sure"
    r"|thanks?(?: you)?(?: so much| a lot| again)?|i appreciate (?:it|that)"
    r"|you'?re (?:very |so |most )?welcome|my pleasure|same to you|likewise"
    r"|(?:you|me|i will|i hope so),? too"
    r"|bye(?:[- ]bye)?|good ?bye|take care|see you(?: later| soon| around)?|talk to you later"
    r"|(?:have|enjoy) (?:a|your) (?:\w+ )?(?:day|night|evening|weekend|one|time)"
    r"|it was (?:\w+ )?(?:nice|good|great|a pleasure) "
    r"(?:talking|chatting|meeting|speaking)(?: to| with)? you"
    r")\b[,.!?:)\s]*)+",
    re.IGNORECASE,
)


def without_loops(transcript: Transcript) -> Transcript:
    """End a conversation where it goes in circles.

    That is at a third turn in a row of nothing but thanks, or at a repeat of the turn two before.
    """
    polite = 0
    for number, turn in enumerate(transcript.turns):
        polite = polite + 1 if _COURTESY.fullmatch(turn.strip()) else 0
        again = number > 1 and normalise(turn) == normalise(transcript.turns[number - 2])
        if polite > 2 or (again and len(turn) > LONG_TURN):
            return replace(transcript, turns=transcript.turns[:number])
    return transcript


def clean(transcripts: Iterable[Transcript]) -> tuple[list[Transcript], Counter[str]]:
    """Clean conversations and count the changed turns by kind."""
    counts: Counter[str] = Counter()
    return [clean_one(transcript, counts) for transcript in transcripts], counts


def summary(counts: Mapping[str, int]) -> str:
    """Return one line that says what was changed."""
    return "cleaned: " + (
        ", ".join(f"{count} {kind}" for kind, count in counts.items() if count)
        or "nothing to clean"
    )


def clean_one(transcript: Transcript, counts: Counter[str]) -> Transcript:
    """Replace private details in every turn and mark turns that must not be learnt.

    Those are offensive turns, answers to a question about the speaker's name, and another bot's
    statements about itself.
    """
    shorter = without_loops(transcript)
    counts["conversations cut where they go round"] += len(shorter.turns) < len(transcript.turns)
    transcript = shorter
    turns, untaught = [], set(transcript.untaught)
    asked = False
    for number, text in enumerate(transcript.turns):
        cleaned = text
        for kind, mark, pattern in _PRIVATE_DETAILS:
            cleaned, found = pattern.subn(mark, cleaned)
            counts[kind] += found > 0
        introduced = 0
        for pattern in _INTRODUCTIONS:
            cleaned, found = pattern.subn(r"\1<person>", cleaned)
            introduced += found
        counts["introductions by name"] += introduced > 0
        if asked:
            counts["answers to who somebody is, not learnt"] += 1
            untaught.add(number)
        if is_offensive(text):
            counts["offensive turns, not learnt"] += 1
            untaught.add(number)
        if transcript.corpus in BOTS and _ANOTHER_BOT.search(text):
            counts["answers of another bot about itself, not learnt"] += 1
            untaught.add(number)
        asked = bool(_ASKED_FOR_A_NAME.search(text))
        turns.append(cleaned)
    return replace(transcript, turns=tuple(turns), untaught=frozenset(untaught))
