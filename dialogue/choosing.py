"""Choose which of the ranked candidates is said, and explain why the others are not."""

from __future__ import annotations

from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass

from dialogue.conversation import Conversation
from dialogue.ranking import Candidate
from dialogue.told import asks_again, supposes_a_loss
from dialogue.vocabulary import CONTINUED, without_marks
from dialogue.words import holds_phrase, repeats_ngram, words

# From the least to the most reluctant.
RELUCTANCE = (
    "", "asks again", "supposes a loss", "a life", "said before", "said before, a life",
)  # fmt: skip


@dataclass(frozen=True)
class Chooser:
    """Chooses among the candidates for a conversation's last turn.

    block_ngrams: no reply repeats an n-gram of so many words; 0 for no limit. block_list: phrases
    that no reply contains. may_say: (utterance, reply) -> whether the reply is permitted. avoid:
    (utterance, reply) -> whether to say the reply only if no other is left.
    """

    block_ngrams: int
    block_list: Sequence[str] = ()
    may_say: Callable[[str, str], bool] | None = None
    avoid: Callable[[str, str], bool] | None = None

    def choose(
        self, conversation: Conversation, candidates: Sequence[Candidate]
    ) -> Candidate | None:
        """Return the best candidate that is permitted, or None.

        candidates: best first. One that is to be avoided, was said before, asks again or supposes a
        loss is chosen only if no other is left.
        """
        said, utterance = _replies_of(conversation), conversation.turns[-1].text
        # The sort is stable: the best stays first among equals.
        by_reluctance = sorted(
            candidates, key=lambda c: RELUCTANCE.index(self._reluctance(c.text, said, conversation))
        )
        allowed = (c for c in by_reluctance if not self._objection(c.text, utterance))
        return next(allowed, None)

    def why(self, conversation: Conversation, candidates: Sequence[Candidate]) -> list[str]:
        """Return why each candidate was passed over; "" for the one that was chosen.

        "ranker": others rank higher. Otherwise, why it must not be said: "empty", "repetition",
        "block list", "safety"; or why it is said only if no other is left, one of RELUCTANCE.
        """
        said, utterance = _replies_of(conversation), conversation.turns[-1].text
        chosen = self.choose(conversation, candidates)
        return [
            ""
            if candidate is chosen
            else self._objection(candidate.text, utterance)
            or self._reluctance(candidate.text, said, conversation)
            or "ranker"
            for candidate in candidates
        ]

    def _reluctance(self, text: str, said: Set[tuple[str, ...]], conversation: Conversation) -> str:
        """Return why a candidate is said only if no other is left, one of RELUCTANCE."""
        spoken = without_marks(text)
        utterance = conversation.turns[-1].text
        is_avoided = self.avoid is not None and self.avoid(utterance, spoken)
        if tuple(words(spoken)) in said:
            return "said before, a life" if is_avoided else "said before"
        if is_avoided:
            return "a life"
        if asks_again(spoken, conversation):
            return "asks again"
        return "supposes a loss" if supposes_a_loss(spoken, conversation) else ""

    def _objection(self, text: str, utterance: str) -> str:
        """Return why a candidate must not be said, or ""."""
        n, spoken = self.block_ngrams, text.replace(CONTINUED, " ")
        if not words(spoken):
            return "empty"
        if n and repeats_ngram(spoken, n):
            return "repetition"
        if any(holds_phrase(spoken, phrase) for phrase in self.block_list):
            return "block list"
        # Both as written and as spoken: a mark may split what is one phrase to the ear, or separate
        # two sentences that the ear keeps apart.
        forms = {text, without_marks(text)}
        if self.may_say is not None and not all(self.may_say(utterance, form) for form in forms):
            return "safety"
        return ""


def _replies_of(conversation: Conversation) -> set[tuple[str, ...]]:
    """Return the words of every reply in a conversation."""
    return {tuple(words(without_marks(text))) for text in conversation.said("bot")}
