"""Which question fits what was said, and whether a text asks or invites by itself.

Patterns recognise the kind of a turn: a greeting, thanks, a story, a plan, a feeling, a loss. Each
kind has its questions in skill/phrases.py. skill/questions.py decides when to ask one.
"""

from __future__ import annotations

import re

from dialogue.wordings import meanings
from dialogue.words import words
from skill import phrases

QUIET_TURNS = 2  # after this many answers without a question, even a loosely fitting one is asked
# Greetings and replies such as "okay" have at most this many words. Longer texts are not matched
# against those patterns, because that would be slow.
BRIEF_WORDS = 9

# Patterns. Texts come here as `words` leaves them: lower case, no punctuation but apostrophes.
# Alexa's recogniser, and sometimes the model, leaves out question marks, so questions are known by
# their first words: an auxiliary before a subject, or a question word, perhaps with words between
# it and its verb ("what kind of dog do you have"). A question may also be tagged on at the end.
_AUXILIARY = (
    r"(?:do|does|did|is|are|am|was|were|can|could|will|would|shall|should|have|has|had|may|might)"
)
_SUBJECT = (
    r"(?:you|i|we|he|she|it|they|that|this|there|these|those|the|your|my|his|her|their|our|any|"
    r"anyone|anything|someone|something|people)"
)
_ASKS = re.compile(
    rf"(?:(?:and|so|but|well|oh|ok|okay|hey|hi|hello|yeah|yes|no|alexa|then|wow|nice|cool) )*"
    rf"(?:{_AUXILIARY}(?:n't)? {_SUBJECT}\b|"
    rf"(?:what|who|whom|whose|when|where|why|how|which)(?:'s|'re|'d)?(?: \w+){{0,3}}? {_AUXILIARY} "
    rf"{_SUBJECT}\b|(?:what|who|where|how|when|why)(?:'s|'re| is| are| was) |"
    rf"who (?!(?:knows|cares)$)\w|what (?:happen(?:s|ed)|makes|made|came|comes)\b|"
    r"(?:how|what) about |why not\b|what (?:kind|sort|else|for)\b|(?:why|who|what|where|how "
    r"come)$)"
    rf"|.* (?:isn't it|aren't you|don't you|right|or not|and you|how about you|what about you)$"
)
# Invitations: an imperative at the start or after "so", "and" and the like, or a wish to hear more.
_INVITES = re.compile(
    r"(?:(?:please|so|well|and|but|ok|okay|oh|yes|sure|then|now|just|go on|go ahead|come on) )*"
    r"(?:tell me|let me (?:know|hear)|go (?:on|ahead)|keep (?:going|talking)|say (?:more|it|"
    r"something)|"
    r"ask me|describe|guess|give me|try me|name|pick|choose|start|continue|teach me|show me|sing|"
    r"explain|surprise me|remind me|talk to me|let's hear|say)\b"
    r"|.*\b(?:(?:so|and|but|please|now|then|or|just) tell me|i'd (?:love|like) to (?:hear|know)|"
    r"i would (?:love|like) to (?:hear|know)|"
    r"i want to (?:hear|know)|i'm listening|i'm all ears|i wonder|i'm (?:here|with you)(?: if.*)?$|"
    r"you (?:can|could|may|must) (?:\w+ )?(?:tell|give|ask|name|call|say))\b"
)
# These invite only people with something to say: after a mere hello or "okay", still ask.
_VAGUE = re.compile(
    r".*\b(?:go (?:on|ahead)|i'm (?:here|with you|listening|all ears)|i wonder|keep (?:going|"
    r"talking)|continue)\b"
)
_SENTENCE_END = re.compile(r"[.!;:]+(?:\s|$)")

# Words that often come before a statement and say nothing about its kind.
_LEAD = (
    r"(?:(?:oh|well|and|but|so|yes|yeah|no|ok|okay|ah|um|hm|hmm|hey|hi|hello|alexa|actually|then|"
    r"just|really|"
    r"i think|i guess|maybe|because|today|yesterday) )*"
)
# Words that may come before anything and do not change its meaning.
_ASIDE = (
    r"(?:(?:oh|well|why|so|ah|um|uh|hm|hmm|wow|ha|haha|lol|yes|yeah|yep|no|and|but|just|really|"
    r"actually|alexa|chatty friend|"
    r"(?:my )?(?:friend|buddy|pal|dear)) )*"
)
_PART_OF_DAY = r"(?:morning|afternoon|evening)"
_HELLO = (
    rf"(?:hi|hello|hey|hiya|howdy|yo|greetings|g'day|good day|good {_PART_OF_DAY}|top of the "
    r"morning|welcome|"
    r"(?:nice|good|great|lovely|pleased|glad|happy) to (?:meet|see|hear) you|long time no see|i'm "
    r"back|it's me)"
)
_GREETING = re.compile(
    rf"{_ASIDE}{_HELLO}(?: (?:{_HELLO}|there|to you|you|again|back|too|alexa|everybody|everyone|"
    r"all|partner|chatty friend|"
    r"(?:my |dear |old )*(?:friend|buddy|pal)))*"
)
# A greeting only if the reply is one, too.
_OF_DAY = re.compile(rf"{_ASIDE}{_PART_OF_DAY}(?: (?:alexa|to you|all|friend))*")
_GREETS = re.compile(rf"{_ASIDE}(?:{_HELLO}|{_PART_OF_DAY})\b")
_HOW_MUCH = (
    r"(?:(?:so|too|very|really|pretty|quite|just|all|doing|going|feeling|only|rather|fairly) )*"
)
_THEN = (
    r"(?: (?:thanks|thank you|for asking|today|tonight|now|too|and you|here|there|actually|so far|"
    r"really|overall|mostly|then|"
    r"i (?:guess|think|suppose|must say)|as always|as usual|enough|alexa|with me))*"
)
_UNWELL = re.compile(
    rf"{_ASIDE}(?:(?:(?:i'm|i am|i feel|it's|i slept|slept) )?"
    rf"(?:not {_HOW_MUCH}(?:good|great|well|okay|ok|fine)|{_HOW_MUCH}(?:bad|badly|poorly|unwell))|"
    rf"(?:i've been|i have been|could be|feeling) (?:better|worse)){_THEN}"
)
_WELL = re.compile(
    rf"{_ASIDE}(?:"
    r"(?:i'm|i am|i'm doing|i feel|i've been|it's|it is|everything's|everything is|things are|all "
    r"is|all's|i slept|slept|"
    r"doing|life is) (?:not (?:too |so |that )?bad|"
    rf"{_HOW_MUCH}(?:fine|good|great|well|okay|ok|all right|alright|so so|wonderful|fantastic|"
    r"awesome))|"
    rf"{_HOW_MUCH}(?:fine|good|great|all right|alright|so so)|(?:very|pretty|quite|all|really) "
    r"(?:well|okay|ok)|"
    r"not (?:too |so |that )?bad|(?:can't|cannot) complain|(?:couldn't be|never) better|meh|"
    r"(?:(?:nothing|not) (?:much|really|special|new|a lot)|nothing)(?: going on| happening)?|"
    r"same(?: old same old| old| as (?:always|ever|usual))|(?:just )?the usual"
    rf"){_THEN}"
)
_FAREWELL = re.compile(
    r"(?:.* )?(?:bye|goodbye|good night|goodnight|see you(?: \w+)?|talk to you (?:later|soon|then)|"
    r"take care|have a (?:good|great|nice) \w+|(?:nice|good|great) (?:talking|chatting) (?:to|"
    r"with) you)"
    r"(?: too| then)?"
)
_THANKS = re.compile(
    rf"{_LEAD}(?:many )?(?:thanks|thank you)(?: \w+){{0,6}}|(?:.* )?(?:thanks|thank you)"
)
_WELCOME = re.compile(
    r"(?:you're|you are) (?:very |so |most )?welcome|no problem|any time|my pleasure"
)
_SORRY = re.compile(
    r"(?:(?:oh|no|dear|that's|that is|how|what|then|well) )*(?:(?:i'm|i am) (?:so |really |very "
    r")?sorry|sorry|a pity|"
    r"a shame|too bad|(?:so |very |really )?(?:sad|hard|tough|terrible|awful)|poor (?!at)\w+|oh "
    r"no|oh dear)\b"
)
# Short reactions that end a topic, so that the next one is open.
_ADJECTIVE = (
    r"(?:ok|okay|sure|fine|right|cool|nice|great|good|true|funny|awesome|amazing|interesting|"
    r"perfect|wonderful|lovely|sweet|"
    r"neat|impressive|fair|fun|crazy|hilarious|weird|strange|beautiful|excellent|brilliant|"
    r"fantastic|alright|all right|nice of you)"
)
_BARE_WORD = (
    r"(?:(?:(?:that's|that is|it's|it is|you're|how|what|sounds|that sounds|looks|all) "
    rf")?{_HOW_MUCH}(?:a )?{_ADJECTIVE}"
    r"(?: (?:enough|one|idea|point|plan|thing|job|to (?:know|hear)))?|"
    r"(?:that )?makes (?:perfect |total )?sense|(?:sounds )?like a plan|"
    r"i (?:see|know|get it|got it|guess(?: so)?|suppose(?: so)?|think so|hope so|don't know|do "
    r"not know|"
    r"didn't know(?: that)?|had no idea)|wow|oh(?: well)?|ah|hm|hmm|mm|mhm|uh huh|huh|ha|haha|lol|"
    r"really|of course|you too|"
    r"whatever|got it|gotcha|if you say so|who knows|no way|no idea|right on|sure thing|you bet|"
    r"will do|good for you|"
    r"exactly|absolutely|definitely|indeed|totally|"
    r"you're (?:right|funny|welcome))"
)
_BARE = re.compile(rf"{_ASIDE}{_BARE_WORD}(?: (?:{_BARE_WORD}|then|too|to me|alexa))*")
# A feeling, and at most its time or reason: "i am tired of it" is a dislike.
_FEELING = re.compile(
    rf"{_LEAD}(?:i'm|i am|i feel|i've been|i felt|i'm feeling|i get|i got) (?:(?:so|very|really|a "
    r"bit|a little|kind of|quite|"
    r"pretty|too|feeling|just|still|always|often|all|totally) )*(?:sad|lonely|down|nervous|"
    r"anxious|worried|scared|afraid|"
    r"angry|mad|upset|bored|tired|exhausted|stressed|happy|excited|proud|glad|jealous|homesick|"
    r"depressed|ashamed|"
    r"embarrassed|confused|disappointed|frustrated|overwhelmed|hurt|guilty|restless|relieved|"
    r"grumpy|blue|awful|terrible|"
    r"miserable)(?: (?:today|now|right now|lately|again|about (?:it|that|everything)|because .*|"
    r"sometimes|too))*"
)
_LIKES = re.compile(
    rf"{_LEAD}(?:i|we|my \w+ and i) (?:(?:really|also|still|just|always|do|absolutely) )*"
    r"(?:like|love|enjoy|adore|prefer)\b(?! you).*"
)
_DISLIKES = re.compile(
    rf"{_LEAD}(?:i|we) (?:(?:really|also|still|just|always|absolutely) )*(?:hate|dislike|can't "
    r"stand|don't (?:really )?like|"
    r"am (?:sick|tired) of)\b(?! you).*"
)
_PLANS = re.compile(
    rf"{_LEAD}(?:(?:i'm|we're|i am|we are) (?:going|getting|planning|about|hoping|starting|moving|"
    r"having)|"
    r"(?:i|we) (?:(?:really|also|just|still) )*(?:want to|plan|hope to|will|have to|need to|must|"
    r"should|start)|i'll|we'll|"
    r"i'd like to|i would like to|going to)\b.*"
)
# Verbs in the past tense: irregular ones by name, and words in -ed, except those that report no
# event ("a girl named june").
_PAST = (
    r"went|got|made(?! (?:of|from))|took|came|saw|said|told|found|lost|gave|ate|fell|broke|ran|"
    r"sat|slept|left|put|hit|"
    r"bought|brought|thought|caught|kept|met|won|wrote|read|sang|spoke|stole|threw|flew|grew(?! "
    r"up)|knew|drew|drove|rode|swam|"
    r"began|forgot|heard|held|paid|sent|spent|stood|wore|woke|bit|cut|shut|let|became|taught|sold|"
    r"built|hid|"
    r"(?!used to|named|shaped|covered|filled|need|feed|red\b|bed\b|tired|scared|bored|liked|loved|"
    r"wanted|worked)\w{2,}ed"
)
_STORY = re.compile(
    rf"{_LEAD}(?:(?:i|we|he|she|they|it|somebody|someone|(?:my|the|our|his|her|their|a|an|this|"
    r"that) (?:\w+ )?\w+)"
    rf"(?: (?:also|just|always|once|finally|almost|even|then|only|both|really))* (?:{_PAST}))\b.*"
)
# Nobody is asked about a person or an animal that may be gone, ill or no longer close.
_ENDED = re.compile(
    r"\b(?:died?|dead|passed away|lost|gone|funeral|miss(?:es|ed)?|sick|ill|ex|hospital|broke up|"
    r"divorced?|left|late|"
    r"killed|hurts?|ran away|moved out)\b"
)
_LOST = re.compile(r"\b(?:died|dead|passed away|funeral|i miss (?:my|him|her|them))\b")
BEREAVED = re.compile(
    r"\b(?:died|passed away|funeral|had to put (?:him|her|\w+ \w+) (?:down|to sleep))\b"
)
# Somebody close to the speaker. The lookbehinds exclude comparisons ("heavier than my dad"); the
# lookahead excludes what the person owns ("my brother's car") and in-laws, whose "in law" would be
# lost.
WHOM = re.compile(
    r"(?<!than )(?<!as )(?<!like )\b(?:my|our) (?:(?:little|big|older|younger|oldest|youngest|"
    r"best|new|old|twin|baby|great) )*"
    r"(?P<who>(?:(?:step|grand)?(?:mother|father|mom|mum|dad|son|daughter)|grandma|grandpa|granny|"
    r"nana|sister|brother|aunt|uncle|cousin|niece|nephew|wife|husband|"
    r"girlfriend|boyfriend|partner|friend|neighbor|neighbour|roommate|boss|teacher|coach|dog|cat|"
    r"puppy|kitten|rabbit|"
    r"hamster|parrot|horse|bird|turtle|fish))\b(?!'s \w| in law)"
)
# Kinds of a reply's last sentence: advice, a guess about the person, or a wish or praise.
_VERBS = (
    "draw|hug|paint|plant|cut|visit|cook|bake|invite|thank|try|take|make|let|give|put|go|wear|"
    "turn|start|begin|keep|look|ask|tell|write|call|rest|drink|eat|have|save|enjoy|wait|"
    "listen|hold|hide|fry|add|use|show|bring|buy|come|get|hang|leave|read|sing|sleep|stay|stop|"
    "talk|wash|practi[cs]e|"
    "be|do|don't|just|never|always|only|warm|open|close|set|check|drive|walk|run|play|help|send|"
    "find|see|sit|stand|watch"
)
_ADVICE = re.compile(
    r"(?:(?:then|so|well|and|but|or|next time|first|maybe|please|perhaps|just|good|now|oh|yes|"
    rf"no) )*(?:please )?(?:{_VERBS})\b.*"
    r"|.*\b(?:(?:maybe|perhaps|then|and) (?:you|he|she|they|the|a|your|another|some(?:one|"
    r"body)?)\b.*\b"
    r"(?:could|should|can|might|may|will do|helps?)\b(?!')|"
    r"(?:may|might|can|could|should|would) help|please|you should|you could|why not|would be "
    r"(?:nice|good|great))\b.*"
)
_GUESS = re.compile(
    r"(?:(?:so|and|but|well|oh) )*(?:then|i bet|i'm sure|maybe|perhaps|no wonder|probably)\b.*"
    r"|.*\b(?:must (?:be|have)|you must|you(?:'re| are|'ve| have)|you (?:were|look|sound|know|did|"
    r"had|got|earned|made|played))\b.*"
)
_WISH = re.compile(
    r"(?:then |so |and )?(?:feel|enjoy|have (?:fun|a)|get well|good luck|sleep well|sweet dreams|"
    r"congratulations|happy|all the best)\b"
)
_PRAISE = re.compile(r"(?:(?:and|but|so|oh|right) )*you (?:can|could|do|know how to)\b.*")
# The reply is about the bot: asking people to agree would be odd.
_OWN = re.compile(r"\b(?:i|i'm|i've|i'd|i'll|my|me|mine)\b")

# Questions about the bot, which are politely returned. The lookahead excludes requests and phrases
# that only look like them ("do you mean", "can you repeat").
_ABOUT_YOU = re.compile(
    rf"{_LEAD}(?:(?:do|did|can|could|would|have|are|were) you\b(?! (?:mean|want|know (?:what|how|"
    r"why|where|who|when|if|that)|"
    r"say|tell|call|hear|help|give|explain|repeat|remember|sure|ok|okay|there|still|serious|"
    r"kidding|joking|listening))|"
    r"(?:what|who|which|where)(?: \w+){0,2}? (?:do|did|would|are) you (?:like|love|prefer|do|"
    r"doing|eat|drink|want|listen|"
    r"watch|read|live|enjoy|think about|hate|miss|wish|dream)|(?:what's|who's|what is|who is|"
    r"which is) your (?:favou?rite|own))"
)


def asks(text: str) -> bool:
    """Return whether a text's last sentence is a question, with a question mark or without."""
    if text.rstrip().endswith("?"):
        return True
    return bool(_ASKS.match(_last_sentence(text)))


def invites(reply: str, *, vaguely: bool = True) -> bool:
    """Return whether a reply's last sentence invites an answer without being a question.

    It does so in whatever words it is said. vaguely: "go ahead" and the like count as invitations.
    """
    ends = [_last_sentence(text) for text in (reply, *meanings(reply))]
    return any(_INVITES.match(end) and (vaguely or not _VAGUE.match(end)) for end in ends)


def is_opening(heard: str) -> bool:
    """Return whether somebody said only hello, how they are, or "okay"."""
    return not heard or any(
        pattern.fullmatch(_if_brief(heard)) for pattern in (_GREETING, _UNWELL, _WELL, _BARE)
    )


def fitting(reply: str, said: str, heard: str, about: str) -> tuple[tuple[str, ...], int]:
    """Return the fitting questions, and how many quiet answers must come before one is asked.

    The order matters: what the person said comes first, from the most to the least specific, and
    the reply last.
    """
    if about:
        return phrases.ASK_NEXT, 0
    last = _last_sentence(reply)
    brief = _if_brief(heard)
    greets = _GREETING.fullmatch(brief) or _GREETING.fullmatch(_if_brief(said))
    # "morning" may be an answer to "when?"; only a reply that greets shows what was meant.
    greets = greets or (_OF_DAY.fullmatch(brief) and _GREETS.match(said))
    for found, wordings in (
        (greets, phrases.ASK_HOW_ARE_YOU),
        (_FAREWELL.fullmatch(said) or _FAREWELL.fullmatch(heard), phrases.ASK_OR_GO_ON),
        (_UNWELL.fullmatch(brief), phrases.ASK_KINDLY),
        (_WELL.fullmatch(brief), phrases.ASK_FIRST),
        (_THANKS.fullmatch(heard) or _WELCOME.match(said), phrases.ASK_OFFER),
        (_BARE.fullmatch(brief), phrases.ASK_NEXT),
        (_FEELING.fullmatch(heard), phrases.ASK_FEELING),
        (
            _ABOUT_YOU.match(heard),
            phrases.ASK_RIGHT if _GUESS.fullmatch(last) else phrases.ASK_BACK,
        ),
    ):
        if found is not None:
            return wordings, 0
    if asks(heard):
        return phrases.ASK_WHETHER, QUIET_TURNS
    told = (
        (_DISLIKES, phrases.ASK_DISLIKE),
        (_LIKES, phrases.ASK_LIKING),
        (_PLANS, phrases.ASK_PLAN),
        (_STORY, phrases.ASK_STORY),
    )
    # From here on, the person has told something. Grief comes before anything cheerful.
    if _LOST.search(heard):
        return phrases.ASK_GENTLY, 1
    if _SORRY.match(said) and " but " not in said:
        return (phrases.ASK_ADVICE if _ADVICE.fullmatch(last) else phrases.ASK_KINDLY), 0
    if _STORY.fullmatch(heard) and _ADVICE.fullmatch(last):
        return phrases.ASK_ADVICE, 0
    for pattern, wordings in told:
        if pattern.fullmatch(heard):
            return wordings, 0
    if WHOM.search(heard) and not _ENDED.search(heard):
        return phrases.ASK_ABOUT, 0
    # Nothing fits what the person said, so go by the reply.
    if _WISH.match(last) or _PRAISE.fullmatch(last):
        return phrases.ASK_ON, QUIET_TURNS
    if _ADVICE.fullmatch(last):
        return phrases.ASK_ADVICE, 1
    # "Then I'd sit there, too" begins like a guess but is about the bot.
    if _GUESS.fullmatch(last) and not last.startswith(("then i ", "then i'")):
        return phrases.ASK_RIGHT, 1
    if not _OWN.search(last):
        return phrases.ASK_AGREE, 1
    return phrases.ASK_ON, QUIET_TURNS


def _if_brief(text: str) -> str:
    return text if text.count(" ") < BRIEF_WORDS else ""


def plain(text: str) -> str:
    """Return a text as the patterns expect it."""
    return " ".join(words(text.replace("’", "'")))


def _last_sentence(text: str) -> str:
    sentences = [part for part in _SENTENCE_END.split(text.replace("’", "'")) if words(part)]
    return " ".join(words(sentences[-1])) if sentences else ""


POLITE = (  # they follow a greeting, thanks or a goodbye
    phrases.ASK_HOW_ARE_YOU, phrases.ASK_FIRST, phrases.ASK_OFFER, phrases.ASK_OR_GO_ON,
)  # fmt: skip
LOOSE = (  # they fit whatever was said
    phrases.ASK_ON, phrases.ASK_AGREE, phrases.ASK_RIGHT, phrases.ASK_WHETHER, phrases.ASK_ADVICE,
    phrases.ASK_GENTLY,
)  # fmt: skip
