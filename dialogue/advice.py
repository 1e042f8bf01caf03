"""Turn a question for advice or an opinion back to the person, who can judge it better.

    "should i tell her tonight or wait"      -> a choice between two things
    "have you any tips for a fast tune"      -> ideas
    "do you reckon that'd work"              -> an opinion

A small model seldom answers such questions: what its ranker takes ignores the question, or agrees
with both sides of it. To say that one cannot tell, and to ask what the person thinks, makes sense
more often. "Should I ring him?" is left to the ranker: readers prefer "Ask, and you'll know."
"""

from __future__ import annotations

import re

from dialogue.words import words

_KNOWS = (
    "I'm only a program, so I can't tell.",
    "I really don't know.",
    "That's beyond a small program like me.",
)
WORDINGS = {
    "choice": (
        "Which way are you leaning?",
        "Hard to say from here. Which one feels right to you?",
        "I can't decide that for you. What speaks for each?",
        "I can't tell from here. Which way are you leaning?",
    ),
    "ideas": (
        "I have no good idea, I'm afraid. What have you thought of so far?",
        "I'm no good at ideas, I'm afraid. What have you thought of so far?",
        "Nothing good comes to my mind. What have you thought of so far?",
    ),
    "opinion": (
        *(f"{knows} What's your feeling?" for knows in _KNOWS),
        *(f"{knows} What would you say?" for knows in _KNOWS),
    ),
}

_DECIDES = re.compile(
    r"(?<!long )(?<!much )(?<!often )(?<!many )\b(?:should|shall) (?:i|we)\b"
    r"|\bdo you (?:think|reckon) (?:i|we) should\b"
)
_OR = re.compile(r" or (?!(?:something|anything|so|what|am i|is it|is that|not|nothing)\b)")
_IDEAS = re.compile(
    r"\bany (?:good )?(?:ideas?|tips?|advice|suggestions?)\b"
    r"(?! how (?:much|many)\b)"
    r"|\bcan you (?:help me (?:think|decide|choose|find)|think of|suggest|recommend)\b"
    r"|\b(?:what|where|who|how) (?:should|shall|can|could) (?:i|we)\b"
    r"|\bwhat (?:do|would) you (?:suggest|recommend|advise)\b"
    r"|\bwhat would you do (?:if you (?:were|was) me|in my (?:place|shoes|position))\b"
    r"|\bdo you think (?:i|we) should (?:do|say|wear|give|get|make|buy|cook|bake) (?:first|next)\b"
)
_OPINION = re.compile(
    r"\bdo you (?:think|reckon|suppose|believe) (?!(?:about|of|you|when|at|so|in|before)\b)\w"
    r"|\b(?:am i|was i|is it|is that|would it be|would that be) (?:\w+ )?(?:mad|crazy|silly|daft|"
    r"wrong|stupid|weird|selfish|rude|too (?:late|old|much|early|soon))\b"
)


def asked(utterance: str) -> str:
    """Return what kind of advice an utterance asks for, a key of WORDINGS, or "" for none."""
    spoken = " ".join(words(utterance))
    decides = _DECIDES.search(spoken)
    if decides and _OR.search(spoken, decides.end()):
        return "choice"
    if _IDEAS.search(spoken):
        return "ideas"
    return "opinion" if not decides and _OPINION.search(spoken) else ""


def subject(utterance: str) -> str:
    """Return the words of a question without "should i", which itself is no delicate matter."""
    return _DECIDES.sub("", " ".join(words(utterance)))
