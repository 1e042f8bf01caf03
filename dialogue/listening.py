"""Invite the user to go on when no candidate is good enough.

A reply that makes no sense costs more than one that says little: people lose the thread, and the
replies that follow miss, too. So an invitation to go on is a candidate like the others. Its score
is fixed, DecodeConfig.listen, and the ranker's best is said only if it scores at least as much.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from dialogue.conversation import Conversation
from dialogue.ranking import Candidate
from dialogue.repair import APOLOGIES
from dialogue.safety.topics import is_delicate
from dialogue.seeded_choice import pick
from dialogue.vocabulary import without_marks
from dialogue.words import words

_LISTENS = ("I'm listening", "I'm following you", "I'm with you", "I'm all ears", "I'm still here")
_ASKED = ("Go on", "Please go on", "Tell me more", "Please tell me more", "Keep going")
INVITATIONS = (
    *(f"{listens}. {asked}." for listens in _LISTENS for asked in _ASKED),
    *(f"{asked}, {listens}." for listens in _LISTENS for asked in _ASKED),
    "Tell me more, if you like.",
    "Tell me more about that, if you like.",
    "Tell me a bit more about that.",
    "Tell me a little more.",
    "I'd like to hear more.",
    "I'd like to hear more about that.",
    "Say a little more about that.",
)
LEAST_WORDS = 4  # after "yes" or "good night" there is nothing to go on about
APART = 2  # at least so many other replies between two invitations
# A question within a longer turn has no question mark: "i suppose so do you think he knows".
_ASKS = re.compile(
    r"\b(?:do|does|did|is|are|was|were|can|could|would|will|have|has|should|shall)(?:n't)? "
    r"(?:you|i|we|he|she|it|they|that|this|there|my|your)\b(?! know\b)"
    r"|\b(?:what|who|where|when|why|how)(?:'s| is| are| was| were| do| does| did| can| could| would"
    r"| should)\b"
    r"|\b(?:how|what) about (?:you|that)\b"
)
_LEAVES = re.compile(r"\b(?:good ?night|good ?bye|bye|gotta go|(?:have|got) to go)(?: now| then)?$")


def with_invitation(
    conversation: Conversation, candidates: Sequence[Candidate], score: float
) -> list[Candidate]:
    """Insert an invitation to go on into candidates, which are best first, by its score.

    There is none if the last turn asks something, says next to nothing or goodbye, or is about a
    divisive issue, harm or grief; soon after another invitation or an apology, which invites as
    well; or if all have been said.
    """
    text = _invitation(conversation)
    if not text:
        return list(candidates)
    better = [one for one in candidates if one.score >= score]
    invitation = Candidate(text, log_prob=0.0, score=score)
    return [*better, invitation, *candidates[len(better) :]]


def _invitation(conversation: Conversation) -> str:
    heard = conversation.turns[-1].text
    said = [without_marks(text) for text in conversation.said("bot")]
    spoken = words(heard)
    if heard.endswith("?") or _ASKS.search(" ".join(spoken)) or len(spoken) < LEAST_WORDS:
        return ""
    if is_delicate(heard) or _LEAVES.search(" ".join(spoken)):
        return ""
    if any(text.startswith((*INVITATIONS, *APOLOGIES)) for text in said[-APART:]):
        return ""
    fresh = [text for text in INVITATIONS if text not in said]
    return pick(fresh, heard) if fresh else ""
