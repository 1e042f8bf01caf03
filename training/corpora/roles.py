"""Who speaks in a corpus: people among themselves, or a person and a companion."""

from __future__ import annotations

from dataclasses import replace
from itertools import groupby

from dialogue.vocabulary import CONTINUED
from training.corpora.transcript import Transcript

PERSON, COMPANION = "person", "companion"
# Corpora of people among themselves. In all others, one's own among them, the second speaker is the
# companion: who listens, answers a feeling, or plays the bot.
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
    """Say what is wrong with the speakers that a line names, or nothing: a list as long as its turns, or None."""
    if speakers is None:
        return ""
    if not isinstance(speakers, list) or len(speakers) != len(turns):
        count = len(speakers) if isinstance(speakers, list) else repr(speakers)
        return f"{count} speakers for {len(turns)} turns; name one for each turn, or leave speakers out"
    unknown = [speaker for speaker in speakers if speaker not in (PERSON, COMPANION)]
    return f"the speaker {unknown[0]!r} is neither {PERSON!r} nor {COMPANION!r}" if unknown else ""


def with_speakers(transcript: Transcript, speakers: list[str] | None) -> Transcript:
    """Note who speaks. What one speaker says in several turns in a row is one turn, as MovieTriples writes it."""
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
    """Mark the person's turns as heard but not learnt, where the other speaker is a companion."""
    persons = transcript.persons
    if persons is None:
        if transcript.corpus in PEOPLE or transcript.spaced:
            return transcript
        persons = frozenset(range(0, len(transcript.turns), 2))
    return replace(transcript, untaught=transcript.untaught | persons)
