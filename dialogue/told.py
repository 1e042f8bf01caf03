"""What the person has told, and replies that overlook it."""

from __future__ import annotations

import re

from dialogue.conversation import Conversation
from dialogue.wordings import meanings

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
    r"\b(?:miss(?:es|ed|ing)?|die[ds]?|dying|dead|deaths?|drowned|pass(?:ed|ing)|remember|"
    r"funerals?|grie\w+|gone|los[st]|los(?:e|ing)|"
    r"(?:my|our|his|her|their) late|widow\w*|buried|graves?|heaven|goodbye|cancer|"
    r"hospice|left|moved|without|used to|anniversary|ashes|cemetery|memorial|miscarr\w+|"
    r"put \w+(?: \w+){0,3} (?:down|to sleep)|would(?:'ve| have) been|when (?:he|she|they) (?:was|"
    r"were)|(?:he|she|they)(?:'d| had| would| used))\b",
    re.IGNORECASE,
)
# Such replies made sense to readers in 10 of 61 cases after trouble, in 2,508 of 7,788 elsewhere.
_CHEERS = re.compile(
    r"\b(?:congratulations|well done|hooray|good for you|happy for you|to be proud|how exciting|"
    r"have fun|enjoy it|a little dance|(?:that's|that is|how|sounds|sounds like) "
    r"(?:(?:so|such|really|very|an?|a lot of) )*"
    r"(?:awesome|great|fantastic|wonderful|amazing|exciting|fun|nice|lovely|cool))\b",
    re.IGNORECASE,
)
_TELLS_OF_TROUBLE = re.compile(
    r"\b(?:die[ds]?|dying|dead|deaths?|funerals?|passed away|cancer|tumou?r|hospital|stroke|"
    r"overdose\w*|suicide|miscarr\w*|fired|laid off|let go|evicted|bankrupt\w*|robbed|stolen|stole|"
    r"burgl\w+|burn(?:ed|t) down|flooded|failed|rejected|didn't get (?:in|the|it)|cancell?ed|"
    r"fell through|called off|folded|clos(?:ed|ing) down|shut(?:ting)? down|went (?:under|bust)|"
    r"divorc\w*|dumped|broke up|left me|bullied|heartbroken|devastated|depressed|lonely|crying|"
    r"in tears|terrified)\b",
    re.IGNORECASE,
)
_IS_GLAD = re.compile(  # "i was sure i'd get fired and they gave me a raise"
    r"\b(?:(?<!not )(?:happy|glad)|happiest|free|passed(?! (?:away|on)\b)|won(?!')|"
    r"beat(?! (?:me|him|her|us|them)\b)|raise|promot\w+|recover\w*|better|survived|relie\w+|"
    r"good news|great news)\b",
    re.IGNORECASE,
)


def asks_again(reply: str, conversation: Conversation) -> bool:
    """Return whether a reply asks for a name, price or age that the person has given.

    Asking for a name soon after another, for the age of the dead, and whether people miss what they
    said they miss, count as well.
    """
    told = conversation.said("user")
    if _ASKS_WHETHER_MISSED.search(reply):
        return any(_TELLS_OF_MISSING.search(text) for text in told[-LATELY:])
    if _ASKS_A_NAME.search(reply):
        lately = conversation.said("bot")[-LATELY:]
        return any(_TELLS_A_NAME.search(text) for text in told) or any(
            _ASKS_A_NAME.search(text) for said in lately for text in (said, *meanings(said))
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


def cheers_at_trouble(reply: str, conversation: Conversation) -> bool:
    """Return whether a reply is glad about trouble that the person's last turn tells of."""
    heard = conversation.turns[-1].text
    return (
        _CHEERS.search(reply) is not None
        and _TELLS_OF_TROUBLE.search(heard) is not None
        and not _IS_GLAD.search(heard)
    )
