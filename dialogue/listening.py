"""Invite the user to go on when no candidate is good enough.

A reply that makes no sense costs more than one that says little: people lose the thread, and the
replies that follow miss, too. So an invitation to go on is a candidate like the others. Its score
is fixed, DecodeConfig.listen, and the ranker's best is said only if it scores at least as much.
To a question for advice or an opinion the invitation is a question in return, see advice.py, which
readers like better: its score is higher by ADVICE_BONUS, or by ASKING_BONUS where the ranker's best
asks something itself.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from dialogue import advice
from dialogue.conversation import Conversation
from dialogue.ranking import Candidate
from dialogue.repair import APOLOGIES
from dialogue.safety.topics import is_delicate
from dialogue.seeded_choice import in_turn, pick
from dialogue.vocabulary import without_marks
from dialogue.wordings import expand
from dialogue.words import ngrams, words

_LISTENS = "{I'm listening|I'm following you|I'm following|I'm with you|I'm all ears}"
_ASKED = (
    "{Go on|Go ahead|Keep going|Please go on|Tell me more|"
    "Please tell me more|Tell me a bit more|Tell me a little more|Say a bit more|Say a little more|"
    "Tell me more about that|Tell me more about it|Tell me a bit more about that|"
    "Tell me a little more about it|Say a bit more about that|Say a little more about it}"
)
_AS_YOU_LIKE = "{.|, if you like.|, if you want to.}"
INVITATIONS = tuple(
    text
    for template in (
        f"{_LISTENS}. {_ASKED}{_AS_YOU_LIKE}",
        f"{_ASKED}, {_LISTENS}.",
        "{Tell me|Please tell me} {more|a bit more|a little more}{| about that}" + _AS_YOU_LIKE,
        "{Say|Please say} {a bit more|a little more}{| about that}" + _AS_YOU_LIKE,
        "I'd {like to|love to} hear {more|a bit more|a little more}.",
        "I'd {like to|love to} hear {more|a bit more|a little more} about {that|it}.",
    )
    for text in expand(template)
)
RETURNS = tuple(text for wordings in advice.WORDINGS.values() for text in wordings)
# Readers gave such answers an SSA of 46 to 65 %, what the ranker says there 24 to 36 %; but of what
# it says, a question with a score of 0.38 or more 50 to 60 %.
ADVICE_BONUS, ASKING_BONUS = 0.17, 0.05
LEAST_WORDS = 4  # after "yes" or "good night" there is nothing to go on about
REPEATED = 4  # words in a row that an invitation shares with earlier replies only if it has to
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

    There is none if the last turn says next to nothing or goodbye, or is about a divisive issue,
    harm or grief; soon after another invitation or an apology, which invites as well; or if all
    have been said. Of questions, only those for advice or an opinion get one, even soon after an
    invitation to go on.
    """
    asks = bool(candidates) and candidates[0].text.endswith("?")
    text, score = _invitation(conversation, score, ASKING_BONUS if asks else ADVICE_BONUS)
    if not text:
        return list(candidates)
    better = [one for one in candidates if one.score >= score]
    invitation = Candidate(text, log_prob=0.0, score=score)
    return [*better, invitation, *candidates[len(better) :]]


def _invitation(conversation: Conversation, score: float, advice_bonus: float) -> tuple[str, float]:
    heard = conversation.turns[-1].text
    said = [without_marks(text) for text in conversation.said("bot")]
    spoken = words(heard)
    wordings, matter = INVITATIONS, heard
    if kind := advice.asked(heard):
        wordings, score = advice.WORDINGS[kind], score + advice_bonus
        matter = advice.subject(heard)
    elif heard.endswith("?") or _ASKS.search(" ".join(spoken)):
        return "", score
    if len(spoken) < LEAST_WORDS or is_delicate(matter) or _LEAVES.search(" ".join(spoken)):
        return "", score
    of_late = (*RETURNS, *APOLOGIES) if kind else (*INVITATIONS, *RETURNS, *APOLOGIES)
    if any(text.startswith(of_late) for text in said[-APART:]):
        return "", score
    known = set(said)
    fresh = [text for text in wordings if text not in known]
    grams = conversation.ngrams_said(REPEATED)
    unlike = (text for text in in_turn(fresh, heard) if grams.isdisjoint(ngrams(text, REPEATED)))
    return next(unlike, pick(fresh, heard) if fresh else ""), score
