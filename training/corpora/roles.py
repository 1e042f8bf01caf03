"""Who speaks in a corpus: people among themselves, or a person and a companion."""

from __future__ import annotations

from dataclasses import replace
from itertools import groupby

from dialogue.vocabulary import CONTINUED
from training.corpora.transcript import Transcript

PERSON, COMPANION = "person", "companion"
# Corpora of people among themselves. In all others, including a user's own, the second speaker is
# the companion: the one who listens, responds to a feeling or plays the bot.
PEOPLE = frozenset(
    {
        "chitchat",
        "self_dialogue",
        "synthetic_persona",
        "personachat",
        "photochat",
        "meena",
        "movie_triples",
        "subsequence",
    }
)


def problem_of(speakers: object, turns: list[str]) -> str:
    """Return what is wrong with the speakers that a line names, or "" if nothing is.

    Speakers must be None or a list as long as the turns.
    """
    if speakers is None:
        return ""
    if not isinstance(speakers, list) or len(speakers) != len(turns):
        count = len(speakers) if isinstance(speakers, list) else repr(speakers)
        return f"{count} speakers for {len(turns)} turns; name one per turn, or leave speakers out"
    unknown = [speaker for speaker in speakers if speaker not in (PERSON, COMPANION)]
    return f"the speaker {unknown[0]!r} is neither {PERSON!r} nor {COMPANION!r}" if unknown else ""


def with_speakers(transcript: Transcript, speakers: list[str] | None) -> Transcript:
    """Record who speaks, and join one speaker's consecutive turns as MovieTriples does."""
    if speakers is None:
        return transcript
    runs = [
        (speaker, [turn for _, turn in spoken])
        for speaker, spoken in groupby(
            zip(speakers, transcript.turns, strict=True), key=lambda pair: pair[0]
        )
    ]
    return replace(
        transcript,
        turns=tuple(f" {CONTINUED} ".join(spoken) for _, spoken in runs),
        persons=frozenset(number for number, (speaker, _) in enumerate(runs) if speaker == PERSON),
    )


def only_companion(transcript: Transcript) -> Transcript:
    """Exclude the turns that a person addresses to a companion from the loss; they stay input."""
    persons = transcript.persons
    if persons is None:
        if transcript.corpus in PEOPLE or transcript.spaced:
            return transcript
        persons = frozenset(range(0, len(transcript.turns), 2))
    return replace(transcript, untaught=transcript.untaught | persons)
