"""Repair: notice that the last reply missed, and say so (Schegloff, Jefferson and Sacks 1977).

    "I'm sure she will."            "she will what"                       -> an echo
    "That's too bad."               "no it was fine she laughs about it"  -> a denial
    "How long were you there?"      "nine years like i said"              -> it was told
    "I like the sound of it."       "you didn't answer me"                -> a complaint

A model that has missed once tends to miss again, as its own reply misleads it. An apology, and an
invitation to go on, gets the talk back on its way.
"""

from __future__ import annotations

import re

from dialogue.recall import stems
from dialogue.vocabulary import without_marks
from dialogue.words import words

WORDINGS = {
    "echo": (
        "Sorry, that made no sense. Please go on.",
        "Never mind what I said, I lost the thread. Go on.",
        "Forget that, I got mixed up. Tell me more.",
    ),
    "denial": (
        "Sorry, I got that wrong. Go on.",
        "My mistake, I misunderstood you. Tell me more.",
        "Then I took that the wrong way, sorry. Please go on.",
    ),
    "told": (
        "You did say that, sorry. Please go on.",
        "Sorry, you told me, and I missed it. Go on.",
        "You're right, you said so. Tell me more.",
    ),
    "complaint": (
        "You're right, I didn't follow. Could you say it another way?",
        "Sorry, I lost the thread, and I'm only a small program. What should I know?",
        "Fair enough, that was no answer. Can you say it in other words?",
    ),
}

_TOLD = re.compile(
    r"\b(?:like|as) i (?:just |already )?(?:said|told you)\b"
    r"|\bi(?:'ve)? (?:just |already )+(?:told you|said (?:that|so|it))\b"
    r"|^(?:(?:no|well|um|yeah|yes|okay|ok|me|what) )*i (?:just |already )?told you\b"
    r"|^(?:well |me |what )*(?:but |no )+i (?:just |already )?said\b(?! to\b)"
    r"|^(?:me|what) i (?:just |already )?said\b"
)
_COMPLAINT = re.compile(
    r"\byou (?:didn't|did not|haven't|never) (?:even |really )?"
    r"(?:answer(?:ed)?|listen(?:ed)? to me|guess(?:ed)?)\b"
    r"|\byou(?:'re| are) not (?:even |really )?(?:listening|making (?:any )?sense|answering)\b"
    r"|\bare you (?:even |really )?listening\b(?! to)"
    r"|\bnot what i (?:said|meant|asked)\b"
    r"|^(?:no |but |well )*(?:that|you) (?:makes?|made|don't make|doesn't make|didn't make) "
    r"(?:no|any) sense\b"
    r"|\byou(?:'ve)? (?:misunderstood|misheard|got (?:it|that|me) wrong)\b"
    r"|\bi asked (?:if|whether|what|how|why|about)? ?(?:you|your)\b"
    r"|^(?:\w+ ){0,3}(?:i was|i'm|i am) talking about\b"
    r"|^(?:\w+ )?you were (?:supposed|meant) to\b"
)
# "Sorry" does not answer these.
_ASKS = re.compile(
    r"\b(?:do|did|can|could|would|will|have|are|were|should) you\b(?! (?:know|see|believe)\b)"
    r"|\bwhat(?:'s| is| are) your?\b|\bwhat (?:color|colour|kind|time|about you)\b"
    r"|\bwhat (?:can|should|would) i\b"
    r"|\bhow (?:do|can|should|would) (?:i|you)\b|\bshould i\b"
)
_FILLER = r"(?:(?:oh|ha|haha|um|uh|well|hey|but|what|huh|hm|wait|god|gosh|thanks) )*"
_NO = re.compile(
    rf"^{_FILLER}(?:no|nope|nah)(?: no)* (?:i|it|that|this|he|she|we|they|you|there|the|my|our|his|"
    r"her|nobody|not)(?:'(?:s|re|m|ve|d))? (?!(?:know|agree|sorry|love|right|okay)\b)"
)
_WHAT = re.compile(r"^(?:\w+ )?what (?:are you talking about|do you mean)\b")
_ECHO = re.compile(r"^((?:[\w']+ ){1,4})what(?!')\b(?P<rest>.*)$")
_IDIOM = re.compile(r"^(?:you know|guess|(?:i )?tell you|so|now|for|and|but|or|no|say) $")
_LINKS = frozenset(("of", "for", "about", "with", "to", "from", "in", "on", "at", "the", "a", "an"))
_NEGATION = re.compile(r"^(?:no|not|never|nobody|nothing|cannot|\w+n't|neither)$")
_DENIED = re.compile(
    rf"^{_FILLER}(?:no |i suppose |yes |yeah )?(?:"
    r"(?:i|it|that|this|he|she|they|there|we)"
    r"(?:(?:'s|'m|'re| is| am| are| was| were| did)(?: really| even)? not"
    r"| (?:isn't|aren't|wasn't|weren't|didn't))"
    r"|(?:i|he|she|they|we) (?:don't|doesn't) (?:really )?(?:feel|mean|know about)"
    r")((?: [\w']+){1,4})"
)
_NOTHING = re.compile(rf"^{_FILLER}(?:nothing|hardly|not) ([\w']+(?: [\w']+)?)")
_DOUBTED = re.compile(r"^(\w+) (?:no|not|hardly)\b")  # "fun, not really"
_WHICH = re.compile(r"^what (?!(?:does|else|kind|about|happened)\b)(\w{4,})\b")  # "what plan"
_PRONOUNS = frozenset(
    ("i", "i'm", "i'd", "i'll", "you", "you'd", "you're", "you'll", "we", "he", "she", "they", "it")
)
# Stems that many statements share.
_VAGUE = frozenset(
    (
        "have", "get", "know", "want", "like", "think", "look", "good", "thing", "not", "the",
        "and", "you", "she", "they", "her", "his", "your", "that", "thi", "was", "were", "for",
        "with", "one", "once", "really", "what", "there", "it", "are",
    )
)  # fmt: skip
_SENTENCE = re.compile(r"[^.!?]*[.!?]?")
_YES_OR_NO = re.compile(
    r"^\W*(?:\w+, )?(?:is|are|was|were|do|does|did|have|has|had|can|could|will|would|should|shall|"
    r"am|any|anything|anybody|anyone|isn't|aren't|don't|doesn't|didn't|really)\b"
    r"|\b(?:is|are|was|were|do|does|did|have|has|can|will|would|am|right|\w+n't)(?: \w+)?\?$",
    re.IGNORECASE,
)
_LOSS = re.compile(r"\b(?:loss|grief|miss|missing|died|dead|passed|sorry|live on)\b", re.IGNORECASE)
_ALIVE = re.compile(
    r"\b(?:nobody (?:has )?died|(?:not|isn't|aren't) dead|didn't die|(?:still|'s) alive)\b"
)
_NEVER_SAID = re.compile(r"\bi (?:never|didn't) (?:say|said|mention(?:ed)?)\b(?! to\b)")
_BAD = re.compile(r"\b(?:sorry|bad|sad|hard|hurts|shame|pity|awful|terrible)\b", re.IGNORECASE)
_FINE = re.compile(
    rf"^{_FILLER}no (?:(?:my|the|our) \w+ )?"
    r"(?:(?:it|that|he|she|they|i|we|is|was|were|are|am|all|really|it's|that's|he's|she's|i'm) )*"
    r"(?:fine|good|great|lovely|nice|okay|ok|happy|funny|fun)\b"
)
_ORDER = re.compile(r"don't |do not ", re.IGNORECASE)  # denied by "I'm not", as if it stated it


def trouble(utterance: str, said: str) -> str:
    """Return how an utterance says that the last reply missed: a key of WORDINGS, or "".

    said: what the companion said last, "" if nothing.
    """
    spoken = words(utterance)
    heard, last = " ".join(spoken), without_marks(said)
    if not last or not spoken:
        return ""
    if _COMPLAINT.search(heard):
        return "complaint"
    if any(last in wordings for wordings in WORDINGS.values()):
        return ""  # one apology is enough
    if _WHAT.search(heard):
        return "echo"
    if _ASKS.search(heard):
        return ""
    if _TOLD.search(heard):
        return "told"
    if _echoes(heard, last, asks="what?" in utterance):
        return "echo"
    return "denial" if _denies(spoken, last) else ""


def _echoes(heard: str, last: str, *, asks: bool) -> bool:
    """Return whether an utterance asks about words of the last reply: "the sound of what"."""
    which = _WHICH.match(heard)
    if which and stems(which[1])[0] in set(stems(last)) - _VAGUE:
        return True
    found = _ECHO.match(heard)
    if not found or _IDIOM.match(found[1]):
        return False
    echo = found[1].split()
    meant = [word for word in echo if word not in _LINKS and word not in _PRONOUNS]
    if not meant or not set(stems(" ".join(meant))) <= set(stems(last)):
        return False
    if echo[-1].endswith(("'s", "is", "was")) or found["rest"].startswith((" if ", " about ")):
        return False  # "that's what I did"
    if asks or not found["rest"] or echo[-1] in _LINKS or len(meant) > 1:
        return True
    return not _PRONOUNS.intersection(echo)  # "I like what they did" asks nothing


def _denies(spoken: list[str], last: str) -> bool:
    """Return whether an utterance denies what the last reply states, rather than answer it."""
    heard = " ".join(spoken)
    sentences = [found.strip() for found in _SENTENCE.findall(last) if found.strip()]
    stated = [one for one in sentences if not one.endswith("?")]
    if _NEVER_SAID.search(heard):
        return True
    if (_ALIVE.search(heard) and _LOSS.search(last)) or (
        _FINE.match(heard) and any(map(_BAD.search, stated))
    ):
        return True
    # "No" may agree with "it isn't", and answers "is it".
    is_clear = not any(map(_is_negated, stated)) and not any(
        _YES_OR_NO.search(one) for one in sentences if one.endswith("?")
    )
    if stated and is_clear and _NO.match(f"{heard} "):
        return True
    denied = _DENIED.match(heard)
    about = {
        stem
        for one in stated
        if _ORDER.match(one) or not _is_negated(one)
        for stem in stems(one)
        if len(stem) > 2 and stem not in _VAGUE
    }
    found = (denied, _NOTHING.match(heard), _DOUBTED.match(heard))
    return any(one and not about.isdisjoint(stems(one[1])) for one in found)


def _is_negated(sentence: str) -> bool:
    return any(map(_NEGATION.match, words(sentence)))
