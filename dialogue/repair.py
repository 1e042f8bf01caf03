"""Repair: notice that the last reply missed, and admit it (Schegloff, Jefferson and Sacks 1977).

    "I'm sure she will."          "she will what"                        -> an echo
    "That's too bad."             "no it was great she laughs about it"  -> a denial
    "How long were you there?"    "nine years like i said"               -> it was told
    "I like the sound of it."     "you didn't answer me"                 -> a complaint
    "Tell me more."               "but i asked if you get tired"         -> a question
    "Then I'd sleep."             "ha you just told me you don't sleep"  -> a contradiction

A model that has missed once tends to miss again, as its own reply misleads it. An apology with an
invitation to go on gets the conversation back on track. A needless apology is worse than none, so
only clear cases count.
"""

from __future__ import annotations

import re

from dialogue.recall import stems
from dialogue.recognised import as_written
from dialogue.vocabulary import without_marks
from dialogue.words import words

WORDINGS = {
    "echo": (
        "Sorry, that made no sense. Please tell me more.",
        "Never mind what I said, I lost the thread. Tell me more.",
        "Forget that, I got mixed up. Please tell me more.",
    ),
    "denial": (
        "Sorry, I got that wrong. Tell me more.",
        "My mistake, I misunderstood you. Please tell me more.",
        "Then I took that the wrong way, sorry. Tell me more.",
    ),
    "told": (
        "You did say that, sorry. Please tell me more.",
        "Sorry, you told me, and I missed it. Tell me more.",
        "You're right, you said so. Tell me more.",
    ),
    "complaint": (
        "You're right, I didn't follow. Could you say it another way?",
        "Sorry, I lost the thread, and I'm only a small program. What should I know?",
        "Fair enough, that was no answer. Can you say it in other words?",
    ),
    "question": (
        "You did ask, sorry. I have no good answer to that. What do you think yourself?",
        "Sorry, I missed your question, and I honestly don't know. What would you say?",
        "I owe you an answer, and I'm only a small program: I don't know. What's your own feeling?",
    ),
    "contradiction": (
        "You caught me, that doesn't add up. Please tell me more.",
        "True, I contradict myself, and I'm only a small program. Tell me more.",
        "You're right, I said something else before. Tell me more.",
    ),
}
FURTHER_WORDS = 6  # after a complaint: the talk goes on, so nothing need be said another way
APOLOGIES = tuple(text for wordings in WORDINGS.values() for text in wordings)

_START = r"^(?:(?:oh|ha|haha|um|uh|well|hey|but|what|huh|hm|wait|god|gosh) )*"
_DOUBLED = re.compile(r"\b(no )(?:no )+")
_COMPLAINT = re.compile(
    r"^(?:[\w']+ ){0,4}you (?:didn't|did not|haven't) (?:even |really )?answer(?:ed)?\b"
    r"|\byou(?:'re| are) not (?:even |really )?(?:listening|making (?:any )?sense)\b"
    r"|^are you (?:even|really) listening\b|\b(?:were|are) you not (?:even )?listening\b"
    r"|\b(?:weren't|aren't) you (?:even )?listening\b"
    rf"|{_START}(?:no )?(?:that's|that is|it's) not (?:quite |really |exactly )?what i "
    r"(?:said|meant|asked)\b"
    rf"|{_START}(?:no )?(?:(?:that|this) makes no|you make no|you're making no|"
    r"(?:that|this) doesn't make(?: any)?|you don't make(?: any)?) sense\b"
    rf"|{_START}(?:no )?you(?:'ve)? (?:misunderstood|misheard|got (?:it|that) (?:the )?wrong)\b"
    rf"|{_START}(?:\w+ )?you were (?:supposed|meant) to (?:guess|answer|ask)\b"
    r"|^(?:(?:a|the) )?(?:\w+ )?no i(?:'m| was) talking about\b"
)
_ASKED_BEFORE = re.compile(
    rf"{_START}(?:no )?(?:\w+ )?i asked (?:you )?(?:if|whether|what|how) (?:you|i)\b"
    r"|\bbut i asked (?:you )?(?:if|whether|what|how) you\b|\bbut i (?:wanted|asked) to know\b"
    r"|\bi(?:'m| was| am) asking (?:about )?you\b"
)
_CONTRADICTION = re.compile(
    rf"{_START}(?:but you|(?:a (?:minute|moment|second) ago you|you just)(?: just)?) "
    r"(?:just )?(?:said|told me) (?:that )?(?:you|i|he|she|they|we|there|yes|no)\b"
)
_TOLD = re.compile(
    r"\blike i (?:just |already )?said\b(?! to\b)"
    rf"|{_START}(?:no )?(?:yes )?i (?:just |already )+(?:told you|said so)\b"
    rf"|{_START}(?:no )?i told you (?!(?:to|not|about|that story)\b)"
    r"|^(?:well |no )?but i (?:just |already )?said\b"
    r"|\bi(?:'ve| have)? (?:just |already )?told you (?:that|this|already)$"
)
_I_SAID = re.compile(rf"{_START}(?:no i|i just) said\b")
_I_MEAN = re.compile(rf"{_START}no i mean(?:t)?\b(?! (?:yes|yeah|yep|no|nope|maybe)\b)")
_NEVER_SAID = re.compile(rf"{_START}(?:no )?i never said\b")
_WHAT = re.compile(r"^(?:\w+ )?what (?:are you talking about|do you mean)\b")
_ECHO = re.compile(  # "the sound of what", "she will what i was talking about my boss"
    r"^((?:[\w']+ ){1,4})(?:what(?: (?:anyway|never mind|i said|i was|i never|i asked|you didn't|"
    r"that (?:she|he|it|makes))\b.*)?|who i (?:only |just |never )?said\b.*)$"
)
_WHY = re.compile(  # "why's that too bad"
    rf"{_START}why(?:'s| is) (?:it|that) ((?:too bad|a (?:pity|shame)|sad|great|cool|awesome) )"
    r"(?!(?:in|to|for|when|at|on|with)\b)"
)
_SAD_WHAT = re.compile(r"^([\w']+ )what's (?:so )?\1about\b")  # "sad what's sad about it"
_IDIOM = re.compile(r"^(?:you know|guess|(?:i )?tell you|so|now|for|and|but|or|no|say) $")
_LINKS = frozenset(("of", "for", "about", "with", "to", "from", "in", "on", "at", "the", "a", "an"))
_PRONOUNS = frozenset(
    (
        "that",
        "that's",
        "this",
        "i",
        "i'm",
        "i'd",
        "i'll",
        "you",
        "you'd",
        "you're",
        "you'll",
        "we",
        "he",
        "she",
        "they",
        "it",
    )
)
# The first group of each is what the utterance denies.
_DENIALS = (
    re.compile(  # "it's not bad", "i'm not hard on myself"
        rf"{_START}(?:no )?(?:i suppose )?(?:i|it|that|this|he|she|they|we)"
        r"(?:(?:'s|'m|'re| is| am| are| was| were)(?: really| even)? not"
        r"| (?:isn't|aren't|wasn't|weren't))(?! (?:just|only|sure)\b)((?: [\w']+){1,4})"
    ),
    re.compile(  # "i don't know about lucky", "i don't feel proud"
        rf"{_START}(?:no )?(?:i suppose )?i don't (?:really )?(?:know about|feel (?!like\b))"
        r" ?([\w']+)"
    ),
    re.compile(r"^nothing (\w+) about (?:it|that)\b"),
    re.compile(  # "great it's not great"
        r"^(\w+) (?:no )?(?:it|that|this|he|she)(?:'s| is| was) not (?:really |so |a )*\1\b"
    ),
    re.compile(  # "not really cool"
        r"^(?:well )?not (?!every|always|all\b)(?:really |exactly |so |that |very )*(\w+)"
    ),
    re.compile(r"^(\w+) (?:no )?not (?:really|exactly|at all)\b"),  # "fun, not really"
)
# Stems that many statements share.
_VAGUE = frozenset(
    (
        "have", "get", "know", "want", "like", "think", "look", "thing", "not", "the",
        "and", "you", "she", "they", "her", "his", "your", "that", "thi", "was", "were", "for",
        "with", "one", "really", "what", "there", "are",
    )
)  # fmt: skip
_OPPOSITE = re.compile(
    rf"{_START}no (he|she|it|they|you) (?:isn't|aren't|wasn't|weren't|doesn't|don't|didn't|won't)\b"
)
_BAD = re.compile(r"\b(?:too bad|sad|hard|hurts|shame|pity|awful|terrible)\b", re.IGNORECASE)
_GOOD = re.compile(
    rf"{_START}no (it|that|he|she|they)(?:'s| is| was|'re| are| were) (?:all |really |very |so )*"
    r"(?:fine|good|great|lovely|nice|happy|funny|fun)\b"
)
_LOSS = re.compile(r"\b(?:loss|grief|miss|missing|died|dead|passed|live on)\b|sorry", re.IGNORECASE)
_ALIVE = re.compile(
    r"\b(?:nobody(?:'s| is| has)? (?:died|dead|missing)|(?:not|isn't|aren't) dead|didn't die|"
    r"(?:still|'s) alive)\b"
)
_ASKS = re.compile(
    r"\b(?:do|did|can|could|would|will|have|are|should) (?:you|i)\b(?! know\b)"
    r"|\b(?:how|what) about you\b"
)
# A final question that "no" could answer.
_YES_OR_NO = re.compile(
    r"(?:^|[.!?] ?)(?!(?:and |so )?(?:what|how|who|where|when|which|why)\b)[^.!?]*\?$",
    re.IGNORECASE,
)
_ABOUT_SAYING = re.compile(r"\b(?:say|said|tell|told|mention|ask|answer)\b[^.!]*\?", re.IGNORECASE)
_SENTENCE = re.compile(r"[^.!?]*[.!?]?")
_NEGATED = re.compile(r"\b(?:no|not|never|nobody|nothing|\w+n't|few|hardly|doubt)\b", re.IGNORECASE)
_ORDER = re.compile(r"don't |do not ", re.IGNORECASE)  # "I'm not" denies it like a statement


def trouble(utterance: str, said: str) -> str:
    """Return how an utterance signals that the last reply missed: a key of WORDINGS, or "".

    said: that reply, "" if it was not the model's. A question can only be a complaint, a
    contradiction or an echo.
    """
    heard, last = _DOUBLED.sub(r"\1", " ".join(words(utterance))), without_marks(said)
    if not last or not heard:
        return ""
    if _ASKED_BEFORE.search(heard):
        return "question"
    may_be_answer = _YES_OR_NO.search(last) or _ABOUT_SAYING.search(last)
    told = _TOLD.search(heard) or (_I_SAID.match(heard) and not may_be_answer)
    complaint = _COMPLAINT.search(heard)
    if complaint and told:
        return "told"
    if complaint:
        goes_on = len(heard[complaint.end() :].split()) >= FURTHER_WORDS
        return "echo" if goes_on else "complaint"
    if _CONTRADICTION.match(heard):
        return "contradiction"
    if last.startswith(APOLOGIES):
        return ""  # one apology is enough
    if _WHAT.match(heard) or _echoes(heard, last):
        return "echo"
    exclaims = heard.startswith("what no ")  # punctuated as a question
    if (as_written(utterance).endswith("?") and not exclaims) or _ASKS.search(heard):
        return ""
    if told:
        return "told"
    if (
        _I_MEAN.match(heard)
        or _denies(heard, last)
        or (_NEVER_SAID.match(heard) and not may_be_answer)
    ):
        return "denial"
    return ""


def _echoes(heard: str, last: str) -> bool:
    """Return whether an utterance queries words of the last reply: "the sound of what"."""
    found = _ECHO.match(heard) or _WHY.match(f"{heard} ") or _SAD_WHAT.match(heard)
    if not found or _IDIOM.match(found[1]):
        return False
    meant = [word for word in found[1].split() if word not in _LINKS and word not in _PRONOUNS]
    return bool(meant) and set(stems(" ".join(meant))) <= set(stems(last))


def _denies(heard: str, last: str) -> bool:
    """Return whether an utterance denies what the last reply states."""
    sentences = [found.strip() for found in _SENTENCE.findall(last) if found.strip()]
    stated = [one for one in sentences if not one.endswith("?")]
    if not stated:
        return False
    if _LOSS.search(last) and _ALIVE.search(heard):
        return True
    good = _GOOD.match(heard)
    if good and any(_BAD.search(one) and not _NEGATED.search(one) for one in stated):
        return good[1] == "it" or not _YES_OR_NO.search(last)
    opposite, end = _OPPOSITE.match(heard), sentences[-1].lower()
    states = end in [one.lower() for one in stated] and not _NEGATED.search(end)
    if opposite and states and opposite[1] in re.split(r"[^a-z]+", end):
        return True
    known = {
        stem
        for one in stated
        if _ORDER.match(one) or not _NEGATED.search(one)
        for stem in stems(one)
        if len(stem) > 2 and stem not in _VAGUE
    }
    return any(
        not known.isdisjoint(stems(found[1]))
        for found in (pattern.match(heard) for pattern in _DENIALS)
        if found
    )
