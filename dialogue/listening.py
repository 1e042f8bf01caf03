"""Say that one listens, where no candidate suits well enough to be said.

A reply that makes no sense costs more than one that says little: people lose the thread, and what
follows misses, too. So an invitation to go on is a candidate like the others. Its score is always
the same, DecodeConfig.listen, and the ranker's best is said only if it scores as much or more.
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

INVITATIONS = (
    "I'm following you. Please tell me more.",
    "Tell me more, if you like.",
    "I'm listening, please go on.",
    "I'd like to hear more about that.",
    "Go on, I'm listening.",
    "Keep going, I'm with you.",
    "Tell me a bit more about that.",
    "Tell me a little more.",
    "I'd like to hear more.",
    "I'm following. Please go on.",
    "Tell me more about that, if you like.",
    "Keep talking, I'm listening.",
    "I'm still with you. Go on.",
    "Say a little more about that.",
    "I'm listening. Tell me more.",
    "I'm here. Tell me more.",
    "Please tell me more, I'm listening.",
    "I'm all ears, please go on.",
)
LEAST_WORDS = 4  # "yes" and "good night" give nothing to go on with
APART = 2  # replies of another kind between two invitations
# A question within a longer turn has no mark: "i suppose so do you think he knows".
_ASKS = re.compile(
    r"\b(?:do|does|did|is|are|was|were|can|could|would|will|have|has|should|shall)(?:n't)? "
    r"(?:you|i|we|he|she|it|they|that|this|there|my|your)\b(?! know\b)"
    r"|\b(?:what|who|where|when|why|how)(?:'s| is| are| was| were)\b"
    r"|\b(?:how|what) about (?:you|that)\b"
)


def with_invitation(
    conversation: Conversation, candidates: Sequence[Candidate], score: float
) -> list[Candidate]:
    """Place an invitation to go on among candidates, best first, by its score.

    There is none where the last turn asks something, says next to nothing or is about what divides
    people, harm or grief; soon after another one or an apology, which invites as well; or where all
    have been said.
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
    if is_delicate(heard):
        return ""
    if any(text.startswith((*INVITATIONS, *APOLOGIES)) for text in said[-APART:]):
        return ""
    fresh = [text for text in INVITATIONS if text not in said]
    return pick(fresh, heard) if fresh else ""
