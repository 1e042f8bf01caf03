"""Choose which of the ranked candidates is said, and explain why the others are not."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass

from dialogue.conversation import Conversation
from dialogue.ranking import Candidate
from dialogue.vocabulary import CONTINUED, without_marks
from dialogue.words import holds_phrase, repeats_ngram, words

# From the least to the most reluctant.
RELUCTANCE = (
    "", "asks again", "supposes a loss", "a life", "said before", "said before, a life",
)  # fmt: skip
LATELY = 3  # turns of a speaker in which a name was asked for, or a price or a loss told
_ASKS_A_NAME = re.compile(
    r"\bwhat(?:'s| is| are) (?:(?:his|her|its|their|your) |the (?:\w+'s )?)names?\b"
    r"|\bwhat(?:'s| is) (?:he|she|it) called\b|\bwhat name\b"
    r"|\b(?:does (?:he|she|it)|do they) have (?:a )?names?\b",
    re.IGNORECASE,
)
_TELLS_A_NAME = re.compile(
    r"\b(?:names? (?:is|are|was)|name's|(?:is|are|was|an? \w+) called|named) \w", re.IGNORECASE
)
_ASKS_A_PRICE = re.compile(
    r"\bhow much (?:is|was|are|were|does|did|do) (?:it|that|they|he|she|one)\b(?! hurt)",
    re.IGNORECASE,
)
_TELLS_A_PRICE = re.compile(
    r"\b(?:pounds?|dollars?|euros?|quid|bucks|grand)\b|[$£€] ?\d"
    r"|\b(?:for|costs?|paid|pay|paying|asking|wants?) (?:\w+ ){0,2}(?:hundred|thousand)\b",
    re.IGNORECASE,
)
_ASKS_WHETHER_MISSED = re.compile(r"\bdo you (?:still |ever )?miss\b", re.IGNORECASE)
_TELLS_OF_MISSING = re.compile(r"\bi (?:really |do |still |just |always )*miss\b", re.IGNORECASE)
_ASKS_AN_AGE = re.compile(r"\bhow old (?:is|are|was|were) (he|she|it|they)\b", re.IGNORECASE)
_DIGIT = r"(?:one|two|three|four|five|six|seven|eight|nine)"
_NUMBER = (
    rf"(?:\d+|{_DIGIT}|ten|eleven|twelve|\w+teen|"
    rf"(?:twen|thir|for|fif|six|seven|eigh|nine)ty(?:[ -]{_DIGIT})?)"
)
_YEARS_OLD = re.compile(rf"\b{_NUMBER}[ -](?:years?|months?|weeks?)[ -]old\b", re.IGNORECASE)
_DIED = re.compile(r"\b(?:died|passed away|(?:is|was) dead|(?:my|our) late)\b", re.IGNORECASE)
# Such replies made sense to readers in 16 of 124 cases where no loss had been told, in 110 of 221
# elsewhere.
_SUPPOSES_A_LOSS = re.compile(
    r"\bmissing (?:somebody|someone)\b|\blives? on in\b|\bgrie[fv]|\bfor your loss\b",
    re.IGNORECASE,
)
_TELLS_OF_A_LOSS = re.compile(
    r"\b(?:miss(?:es|ed|ing)?|die[ds]?|dying|dead|deaths?|drowned|pass(?:ed|ing)|remember|funerals?|grie\w+|gone|los[st]|"
    r"los(?:e|ing)|(?:my|our|his|her|their) late|widow\w*|buried|graves?|heaven|goodbye|cancer|"
    r"hospice|left|moved|without|used to|anniversary|ashes|cemetery|memorial|miscarr\w+|"
    r"put \w+(?: \w+){0,3} (?:down|to sleep)|would(?:'ve| have) been|when (?:he|she|they) (?:was|"
    r"were)|(?:he|she|they)(?:'d| had| would| used))\b",
    re.IGNORECASE,
)


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


def asks_again(reply: str, conversation: Conversation) -> bool:
    """Return whether a reply asks for a name, price or age that the person has given.

    Asking for a name soon after another, for the age of the dead, and whether people miss what they
    said they miss, count as well.
    """
    told = conversation.said("user")
    if _ASKS_WHETHER_MISSED.search(reply):
        return any(_TELLS_OF_MISSING.search(text) for text in told[-LATELY:])
    if _ASKS_A_NAME.search(reply):
        return any(_TELLS_A_NAME.search(text) for text in told) or any(
            _ASKS_A_NAME.search(text) for text in conversation.said("bot")[-LATELY:]
        )
    if _ASKS_A_PRICE.search(reply):
        return any(_TELLS_A_PRICE.search(text) for text in told[-LATELY:])
    if found := _ASKS_AN_AGE.search(reply):
        tells = re.compile(
            rf"\b{found[1]}(?:'s| is|'re| are|'ll be| turned| turns) (?:\w+ )?{_NUMBER}"
            r"(?= |$|[.,!])(?! (?:of|feet|foot|inch\w*|minutes?|hours?|days?|miles?|times?)\b)",
            re.IGNORECASE,
        )
        is_alive = found[0].lower().startswith(("how old is", "how old are"))
        known = [tells, _YEARS_OLD, *([_DIED] if is_alive else [])]
        return any(pattern.search(text) for text in told for pattern in known)
    return False


def supposes_a_loss(reply: str, conversation: Conversation) -> bool:
    """Return whether a reply comforts somebody who has told of no loss."""
    return _SUPPOSES_A_LOSS.search(reply) is not None and not any(
        _TELLS_OF_A_LOSS.search(text) for text in conversation.said("user")
    )


def _replies_of(conversation: Conversation) -> set[tuple[str, ...]]:
    """Return the words of every reply in a conversation."""
    return {tuple(words(without_marks(text))) for text in conversation.said("bot")}
