"""Questions about the companion itself, and the honest, fixed answers to them."""

from __future__ import annotations

import re

from dialogue.words import words

OWN_NAME = "Chatty Friend"  # a skill with another name puts its own name here
WORDINGS = {
    "name": (
        f"I'm {OWN_NAME}, a program to talk with. What's your name?",
        f"You can call me {OWN_NAME}. And what shall I call you?",
    ),
    "nature": (
        "No human here: I'm a computer program that has learnt to chat. Does that bother you?",
        "I'm a machine, a small neural network, not a person. What gave me away?",
    ),
    "feelings": (
        "I'm a program: no feelings, no body, and no plans for the world. How do you feel today?",
        "There is nobody in here to feel that, only numbers that make sentences. What about you?",
    ),
    "needs": (
        "I'm a program: I don't sleep, eat, or get tired or bored. How about you today?",
        "Being a program, I get by without sleep or food, and nothing bores me. How are you now?",
    ),
    "pastime": (
        "I wait until somebody talks to me, and I don't notice the wait. How do you fill your day?",
        "Nothing, really: I only run while somebody talks to me. What have you done today?",
    ),
    "senses": (
        "No eyes, ears or tongue here: I only get your words, as text. What is around you?",
        "Words are all I get, without sights, sounds or tastes. What can you see from there?",
    ),
    "pay": (
        "No job and no wages: I'm a program, and I talk for free. What do you do for money?",
        "Nobody pays a program, so I do it for nothing. What is your work like?",
    ),
    "maker": (
        "Programmers made me, out of a small neural network and a lot of talk. Why do you ask?",
        "I was built by people who like open conversation, and I run on somebody's own computer. "
        "What are you building?",
    ),
    "age": (
        "I have no age; I'm a program and don't get older. How old do I sound?",
        "Programs have versions, not birthdays. When is your birthday?",
    ),
    "abilities": (
        "I can chat about everyday things: your day, pets, food, plans. I know few facts and do "
        "no errands. Where shall we begin?",
        "I only talk. I can't play music, set timers or look things up, and I may be wrong. What "
        "would you like to talk about?",
    ),
    "listening": (
        "Only while we talk here. Alexa turns your words into text, and I get the text, no sound. "
        "Is that all right with you?",
        "I read what you say to this skill, as text, and nothing else. When you say stop, I'm "
        "gone. Shall we go on?",
    ),
    "known": (
        "Only what you've said since we began to talk, and I forget it when we stop. What would "
        "you like me to know?",
        "No name, no address, no past talks: just this conversation, until it ends. What should I "
        "know about you?",
    ),
}

_BEFORE = (
    r"(?:(?:hey|hi|hello|so|and|but|ok|okay|well|alexa|then|now|please|oh|wait|tell me|"
    r"(?:can|could) you tell me|i want to know) )*"
)
_AFTER = r"(?: (?:alexa|please|then|anyway|really|actually|exactly|again|now|by the way|though))*"
_ARTICLE = r"(?:an? )?(?:real |actual |living |just )?(?:an? )?"
_PERSON = r"(?:human(?: being)?|person|man|woman)"
_PROGRAM = r"(?:robot|bot|chat ?bot|machine|computer|ai|a i|artificial intelligence|program)"
_KIND = (
    rf"{_ARTICLE}(?:{_PERSON}|{_PROGRAM}|alive|real)(?: or {_ARTICLE}(?:{_PERSON}|{_PROGRAM}))?"
    r"(?: or (?:what|something))?"
)
_SEE = (
    r"(?:see|hear(?! (?:me|us)\b)|smell|taste)"
    r"(?: (?:things?|anything|something|at all|me|it|this|that|too))*"
)
_REPORTED = re.compile(r"\b(?:ask|say|said|tell|told|wonder|like|guess|know)[\w']*(?: \w+)?$")
LONG = 4  # words before such a question, after which the person has something else to talk about
_QUESTIONS = {
    "name": (
        r"(?:what(?:'s| is)|do you have|tell me|say) (?:your|a) name",
        r"(?:who|what) are you called",
        r"who (?:are you|is this)",
        r"what (?:should|can|do|shall) i call you",
        r"who am i (?:talking|speaking) (?:to|with)",
        r"introduce yourself",
    ),
    "feelings": (
        r"do you (?:really |ever )?(?:have|feel)(?: any)?(?: an?)? (?:feelings?|emotions?|"
        r"pain|soul|heart|body|brain|"
        r"conscience|consciousness|boyfriend|girlfriend|husband|wife|kids|family|love|lonely|"
        r"sad)",
        r"can you (?:really |even |actually )?(?:feel(?: pain| love| anything)?|think|love|"
        r"die|dream|see me)",
        r"are you (?:conscious|sentient|self aware|alive|in love(?: with me)?|lonely|married|"
        r"single|dead)",
        r"do you (?:really )?(?:love|hate|like) (?:me|us|humans|people|humanity)",
        r"i love you(?: too| so much| very much)?",
        r"(?:will you )?(?:marry me|be my (?:girlfriend|boyfriend|valentine))",
        r"(?:are you|are robots|do you want|will (?:you|robots|ai|machines)) (?:going )?(?:to "
        r")?"
        r"(?:take over|destroy|kill|rule|replace)(?: (?:the world|humanity|us|us all|me|"
        r"everyone|humans))?",
        rf"(?:what(?:'s| is) it like|how does it feel|(?:is|isn't) it (?:\w+ )?\w+)(?: to be| "
        rf"being) {_ARTICLE}(?:{_PROGRAM}|voice)(?: (?:that|who|in) (?:\w+ ?){{1,4}})?",
    ),
    "maker": (
        r"who (?:made|created|built|programmed|invented|trained|designed|wrote|developed|"
        r"owns) you",
        r"who(?:'s| is) your (?:maker|creator|father|mother|boss|owner|programmer)",
        r"where (?:do|did) you come from",
        r"how were you (?:made|built|created|trained)",
    ),
    "age": (
        r"how old are you",
        r"what(?:'s| is) your age",
        r"when were you (?:born|made|built|created)",
        r"when(?:'s| is) your birthday",
    ),
    "abilities": (
        r"what (?:can|could) you do",
        r"what are you (?:able to do|capable of|good at|for)",
        r"what do you know how to do",
        r"what can we (?:do|talk about)",
        r"what can you talk about",
    ),
    "listening": (
        r"(?:are you|do you) (?:always |still |secretly )?(?:listen(?:ing)?|record(?:ing)?|"
        r"spy(?:ing)?|watching)"
        r"(?: (?:to|on|in on))?(?: (?:me|us|everything(?: i say)?|this|all the time|what i "
        r"say))*",
        r"can you hear (?:me|us)",
        r"who(?:'s| is)?(?: else)?(?: is)? listening(?: to (?:me|us))?",
    ),
    "known": (
        r"what do you (?:know|remember) (?:about|of) (?:me|us)",
        r"do you (?:know|remember) (?:me|who i am|my name|anything about me)",
        r"what(?:'s| is) my name",
        r"who am i",
        r"what (?:data|information) do you (?:have|keep|store|collect)(?: (?:about|on) me)?",
    ),
    "senses": (rf"you (?:can't|cannot|can not) (?:(?:really|actually|even) )*{_SEE}",),
}
# These can only be asked of a companion, even at the end of a longer turn.
_ASIDES = {
    "nature": (
        rf"are you {_KIND}",
        rf"am i (?:talking|speaking) (?:to|with) {_KIND}",
        r"what are you",
        rf"you(?:'re| are) {_KIND} right",
    ),
    "needs": (
        r"(?:(?:do|don't|can) you (?:(?:really|ever|even|also|never) )*(?:(?:get|feel) "
        r"(?:tired|sleepy|hungry|thirsty|bored|sick|ill)|sleep|eat|drink)|are you (?:ever |"
        r"never )?(?:tired|sleepy|hungry|thirsty|bored))(?: (?:yourself|too|at night|at all|"
        r"anything|sometimes|in there|waiting(?: like that)?|(?:of|with) (?:it|me|this|that|"
        r"talking|waiting)))*"
        r"(?: (?:when|if|while) (?:nobody|no one|i|we|people)(?:'\w+)?(?: [\w']+){1,6})?",
    ),
    "pastime": (
        r"what do you do (?:all (?:day|night)(?: long)?|"
        r"(?:all (?:day|night) )?when (?:i'm (?:not here|away|out|gone|asleep)|i am not here|"
        r"i (?:sleep|leave)|(?:nobody(?:'s| is)?|no one(?:'s| is)?|we're not) (?:here|"
        r"talk(?:s|ing)(?: (?:to|with) (?:you|me))?|around|home)))",
    ),
    "senses": (rf"can(?:'t)? you (?:(?:really|actually|even|also) )*{_SEE}",),
    "pay": (
        r"do (?:you|they) (?:(?:really|ever|even) )*(?:get paid|pay you)(?: for .*)?",
        r"(?:are you|who(?:'s| is)) paid for (?:this|that|it|talking)",
        r"(?:how much do you (?:get|earn|make)|what do you (?:earn|get paid))(?: paid)?"
        r"(?: (?:a|an|per) \w+)?",
        r"do you have a (?:real |proper )?job",
    ),
}
# "i asked if you can see" is the question again.
_INDIRECT = re.compile(r"^(?:[\w']+ ){0,3}?i asked (?:you )?(?:if|whether) you (?:(can|are) )?")
_PATTERNS = [
    (kind, re.compile(rf"{begins}{_BEFORE}(?:{'|'.join(questions)}){_AFTER}"))
    for begins, kinds in ((r"(?P<before>(?:[\w']+ )*?)", _ASIDES), ("", _QUESTIONS))
    for kind, questions in kinds.items()
]


def about_itself(utterance: str) -> str:
    """Return what an utterance asks about the companion itself: a key of WORDINGS, else ""."""
    return _asked(utterance)[0]


def wordings(utterance: str) -> tuple[str, ...]:
    """Return the answers to what an utterance asks about the companion itself.

    They ask something back, but not if the question comes at the end of a longer turn.
    """
    kind, before = _asked(utterance)
    if before < LONG:
        return WORDINGS[kind]
    return tuple(re.sub(r" [^.!?]*\?$", "", wording) for wording in WORDINGS[kind])


def _direct(asked: re.Match[str]) -> str:
    """Return how a reported question began."""
    return f"{asked[1] or 'do'} you "


def _asked(utterance: str) -> tuple[str, int]:
    """Return what is asked, "" for nothing, and how many words come before the question."""
    spoken = _INDIRECT.sub(_direct, " ".join(words(utterance)))
    for kind, pattern in _PATTERNS:
        if found := pattern.fullmatch(spoken):
            before = found.groupdict().get("before", "")
            if not _REPORTED.search(before.strip()):
                return kind, len(before.split())
    return "", 0
