"""Choose which of the ranked candidates is said, and explain why the others are not."""

from __future__ import annotations

from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass

from dialogue.conversation import Conversation
from dialogue.ranking import Candidate
from dialogue.seeded_choice import in_turn
from dialogue.told import asks_again, cheers_at_trouble, supposes_a_loss
from dialogue.vocabulary import CONTINUED, without_marks
from dialogue.wordings import meanings, wordings
from dialogue.words import holds_phrase, ngrams, repeats_ngram, words

# From the least to the most reluctant.
RELUCTANCE = (
    "", "cheers at trouble", "asks again", "supposes a loss", "a life", "said before",
    "said before, a life",
)  # fmt: skip


@dataclass(frozen=True)
class Chooser:
    """Chooses among the candidates for a conversation's last turn.

    block_ngrams: no reply repeats an n-gram of so many words; 0 for no limit. block_list: phrases
    that no reply contains. may_say: (utterance, reply) -> whether the reply is permitted. avoid:
    (utterance, reply) -> whether to say the reply only if no other is left. block_reply_ngrams: no
    wording but the reply's own copies an n-gram of so many words from any reply of the bot; 0 for
    no limit.
    """

    block_ngrams: int
    block_list: Sequence[str] = ()
    may_say: Callable[[str, str], bool] | None = None
    avoid: Callable[[str, str], bool] | None = None
    block_reply_ngrams: int = 0

    def choose(
        self, conversation: Conversation, candidates: Sequence[Candidate]
    ) -> Candidate | None:
        """Return the best candidate that is permitted, or None.

        candidates: best first. One that is to be avoided, was said before, asks again, supposes a
        loss or cheers at trouble is chosen only if no other is left.
        """
        said, utterance = _replies_of(conversation), conversation.turns[-1].text
        # The sort is stable: the best stays first among equals.
        by_reluctance = sorted(
            candidates, key=lambda c: RELUCTANCE.index(self._reluctance(c.text, said, conversation))
        )
        allowed = (c for c in by_reluctance if not self._objection(c.text, utterance))
        return next(allowed, None)

    def wording(self, conversation: Conversation, chosen: Candidate) -> str:
        """Return how to say a chosen candidate; what was said so far determines the wording.

        Only stock replies have several.
        """
        if chosen.fit is None:
            return chosen.text
        said, utterance = _replies_of(conversation), conversation.turns[-1].text
        grams = conversation.ngrams_said(self.block_reply_ngrams)
        least = RELUCTANCE.index(self._reluctance(chosen.text, said, conversation))
        seed = repr([turn.text for turn in conversation.turns])
        allowed = (
            text
            for text in in_turn(wordings(chosen.text), seed)
            if not self._objection(text, utterance)
            and grams.isdisjoint(ngrams(text, self.block_reply_ngrams))
            and RELUCTANCE.index(self._reluctance(text, said, conversation)) <= least
        )
        return next(allowed, chosen.text)

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
        if supposes_a_loss(spoken, conversation):
            return "supposes a loss"
        return "cheers at trouble" if cheers_at_trouble(spoken, conversation) else ""

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
    """Return the words of every reply in a conversation, whatever its wording."""
    texts = map(without_marks, conversation.said("bot"))
    return {tuple(words(one)) for text in texts for one in (text, *meanings(text))}
