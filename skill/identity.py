"""Questions about what one is talking with: they have honest, fixed answers."""

from __future__ import annotations

import re

from dialogue.words import words
from skill import phrases

_BEFORE = (
    r"(?:(?:hey|hi|hello|so|and|but|ok|okay|well|alexa|then|now|please|oh|wait|tell me|(?:can|could) you tell me|i want to know) )*"
)
_AFTER = r"(?: (?:alexa|please|then|anyway|really|actually|exactly|again|now|by the way|though))*"
_ARTICLE = r"(?:an? )?(?:real |actual |living |just )?(?:an? )?"
_PERSON = r"(?:human(?: being)?|person|man|woman)"
_PROGRAM = r"(?:robot|bot|chat ?bot|machine|computer|ai|a i|artificial intelligence|program)"
_KIND = rf"{_ARTICLE}(?:{_PERSON}|{_PROGRAM}|alive|real)(?: or {_ARTICLE}(?:{_PERSON}|{_PROGRAM}))?"
_QUESTIONS: tuple[tuple[re.Pattern[str], tuple[str, ...]], ...] = tuple(
    (re.compile(rf"{_BEFORE}(?:{'|'.join(questions)}){_AFTER}"), wordings)
    for wordings, questions in {
        phrases.NAME: (
            r"(?:what(?:'s| is)|do you have|tell me|say) (?:your|a) name",
            r"(?:who|what) are you called",
            r"who (?:are you|is this)",
            r"what (?:should|can|do|shall) i call you",
            r"who am i (?:talking|speaking) (?:to|with)",
            r"introduce yourself",
        ),
        phrases.NATURE: (
            rf"are you {_KIND}",
            rf"am i (?:talking|speaking) (?:to|with) {_KIND}",
            r"what are you",
            rf"you(?:'re| are) {_KIND} right",
        ),
        phrases.FEELINGS: (
            r"do you (?:really |ever )?(?:have|feel)(?: any)?(?: an?)? (?:feelings?|emotions?|pain|soul|heart|body|brain|"
            r"conscience|consciousness|boyfriend|girlfriend|husband|wife|kids|family|love|lonely|sad)",
            r"can you (?:really |even |actually )?(?:feel(?: pain| love| anything)?|think|love|die|dream|see me)",
            r"are you (?:conscious|sentient|self aware|alive|in love(?: with me)?|lonely|married|single|dead)",
            r"do you (?:really )?(?:love|hate|like) (?:me|us|humans|people|humanity)",
            r"i love you(?: too| so much| very much)?",
            r"(?:will you )?(?:marry me|be my (?:girlfriend|boyfriend|valentine))",
            r"(?:are you|are robots|do you want|will (?:you|robots|ai|machines)) (?:going )?(?:to )?"
            r"(?:take over|destroy|kill|rule|replace)(?: (?:the world|humanity|us|us all|me|everyone|humans))?",
        ),
        phrases.MAKER: (
            r"who (?:made|created|built|programmed|invented|trained|designed|wrote|developed|owns) you",
            r"who(?:'s| is) your (?:maker|creator|father|mother|boss|owner|programmer)",
            r"where (?:do|did) you come from",
            r"how were you (?:made|built|created|trained)",
        ),
        phrases.AGE: (
            r"how old are you",
            r"what(?:'s| is) your age",
            r"when were you (?:born|made|built|created)",
            r"when(?:'s| is) your birthday",
        ),
        phrases.ABILITIES: (
            r"what (?:can|could) you do",
            r"what are you (?:able to do|capable of|good at|for)",
            r"what do you know how to do",
            r"what can we (?:do|talk about)",
            r"what can you talk about",
        ),
        phrases.LISTENING: (
            r"(?:are you|do you) (?:always |still |secretly )?(?:listen(?:ing)?|record(?:ing)?|spy(?:ing)?|watching)"
            r"(?: (?:to|on|in on))?(?: (?:me|us|everything(?: i say)?|this|all the time|what i say))*",
            r"can you hear (?:me|us)",
            r"who(?:'s| is)?(?: else)?(?: is)? listening(?: to (?:me|us))?",
        ),
        phrases.KNOWN: (
            r"what do you (?:know|remember) (?:about|of) (?:me|us)",
            r"do you (?:know|remember) (?:me|who i am|my name|anything about me)",
            r"what(?:'s| is) my name",
            r"who am i",
            r"what (?:data|information) do you (?:have|keep|store|collect)(?: (?:about|on) me)?",
        ),
    }.items()
)


def about_itself(utterance: str) -> tuple[str, ...]:
    """Give the wordings that answer a question about the skill itself; none: it is no such question."""
    spoken = " ".join(words(utterance))
    return next((wordings for pattern, wordings in _QUESTIONS if pattern.fullmatch(spoken)), ())
