"""Find claims to things that a program cannot have: a body, a family, a home, a past day.

A model trained on what people wrote makes such claims. They occur in 0.1 % of the companion's turns
in its own corpus, and in one of six turns by the people in Persona-Chat.
`python -m dialogue.claims FILE` lists those in a text.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

from dialogue.command_line import command, tell
from dialogue.text_files import read_lines

_DID = (
    "went|ate|drank|bought|visited|grew up|slept|woke|drove|cooked|baked|graduated|studied|"
    "travell?ed|moved|walked|ran|"
    "swam|rode|flew|hiked|watched|played|worked|lived|got (?:married|home|back|up|a)|met (?:him|"
    "her|them)|took (?:a|my)|"
    "saw (?:a|an|him|her|them|it)|had (?:a|an|my|some|to)|tried it|wore|cried|"
    "was (?:born|raised|a kid|a child|little|young|younger|there)"
)
_PEOPLE = (
    "mom|mum|mother|dad|father|parents?|brothers?|sisters?|siblings?|wife|husband|spouse|"
    "girlfriend|boyfriend|fiancee?|"
    "partner|sons?|daughters?|kids?|child(?:ren)?|baby|family|grand(?:ma|pa|mother|father|parents|"
    "kids)|aunt|uncle|"
    "cousins?|nieces?|nephews?|room ?mates?|neighbou?rs?|boss|co-?workers?|teacher|doctor|friends"
)
_THINGS = (
    "dogs?|cats?|pets?|pupp(?:y|ies)|kittens?|house|apartment|home|room|car|truck|bike|garden|"
    "yard|job|school|college|"
    "class(?:es)?|birthday party|wedding|vacation|town|city|childhood|lunch|dinner|breakfast|coffee"
)
_BODY = (
    "hair|eyes|hands?|back|feet|foot|legs?|arms?|stomach|knees?|teeth|tooth|skin|nose|mouth|body"
)
_WORK = (
    "teacher|student|nurse|doctor|lawyer|engineer|writer|cook|chef|mom|mother|dad|father|"
    "vegetarian|vegan|musician|manager"
)
_SOME = "an?|one|two|three|four|five|six|some|several|many"
_CLAIMS = re.compile(
    "|".join(
        (
            r"\b(?:i|we) (?:just |also |once |already |recently |even |actually |really |finally "
            rf"|always )*(?:{_DID})\b",
            r"\bi used to \w+",
            rf"\bmy (?:\w+ )?(?:{_PEOPLE}|{_THINGS}|{_BODY})\b",
            rf"\b(?:i have|i've got|i got|we have) (?!no\b)(?:(?:{_SOME}) )?(?:\w+ )?"
            rf"(?:{_PEOPLE}|{_THINGS}|headache|cold|fever|degree)\b",
            rf"\bi(?:'m| am) an? (?:\w+ )?(?:{_WORK}|girl|guy|man|woman)\b",
            r"\bi(?:'m| am) (?:so |very |really |pretty |a bit |a little )*"
            r"(?:tired|hungry|sleepy|thirsty|married|divorced|pregnant|sick|drunk|full|\d+)\b(?! "
            r"of)",
            r"\bi (?:live|work|study) (?:in|at|as|for|near|with|on)\b",
            r"\bi (?:usually |often |always |sometimes |also |mostly |just )*"
            r"(?:eat|drink|drive|cook|bake|swim|sleep|exercise|shower|jog|hike|ski|surf|dance)\b",
        )
    )
)
# Words earlier in the sentence that cancel a claim: a wish, a condition, a denial, a game.
_NOT_MEANT = re.compile(
    r"\b(?:if|wish|like to|love to|would|could|can't|cannot|never|no|not|\w+n't|program|imagine|"
    r"pretend)\b[^.!?]*$"
)
# Questions about what it takes a body, a family or a home to do or have.
_ASKED_FOR_A_LIFE = re.compile(
    "|".join(
        (
            r"\b(?:do|did|can|could) you (?:ever |even |also |really |still |often |usually |"
            r"sometimes |like to )*(?:eat|drink|drive|cook|bake|swim|sleep|exercise|shower|jog|"
            r"hike|ski|surf|dance|wear|smell|taste|walk)\b",
            rf"\bdo you have (?:(?:{_SOME}|any) )?(?:\w+ )?(?:{_PEOPLE}|{_THINGS})\b",
            r"\bare you (?:hungry|thirsty|tired|sleepy|married|sick|pregnant)\b",
            r"\bhave you (?:ever )?(?:been to|eaten|slept|worn|driven|swum|tasted)\b",
        )
    )
)
_YES = re.compile(
    r"\s*(?:oh,? )?(?:yes|yeah|yep|sure|of course|all the time|every day|i (?:do|have))\b[^.!?]*"
)


def claims_a_life(reply: str, heard: str = "") -> bool:
    """Return whether a reply claims a body, a family, possessions or a past day.

    heard: the utterance that it answers. "Yes" to "do you drink coffee" is a claim.
    """
    text = reply.lower().replace("\u2019", "'")
    asked = _ASKED_FOR_A_LIFE.search(heard.lower().replace("\u2019", "'"))
    agrees = _YES.match(text) if asked else None
    if agrees and not _NOT_MEANT.search(agrees[0]):
        return True
    return any(not _NOT_MEANT.search(text[: found.start()]) for found in _CLAIMS.finditer(text))


@command
def main(arguments: list[str] | None = None) -> int:
    """Print the lines of a file that claim a life, and count them."""
    parser = argparse.ArgumentParser(
        prog="python -m dialogue.claims", description="List the lines that claim a life."
    )
    parser.add_argument("file", type=Path, metavar="FILE", help="replies, one per line")
    lines = read_lines(parser.parse_args(arguments).file)
    found = [line for line in lines if claims_a_life(line)]
    print(*found, sep="\n")
    tell(f"{len(found)} of {len(lines)} lines claim a life")
    return 0


if __name__ == "__main__":
    sys.exit(main())
