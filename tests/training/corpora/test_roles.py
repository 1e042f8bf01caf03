"""Who speaks: speakers that a corpus names, and learning only the companion's turns."""

import json

import pytest

from training import corpora
from training.corpora.roles import only_companion
from training.corpora.transcript import Complaints, Transcript, split_of

KEY = next(str(number) for number in range(100) if split_of(str(number)) == "train")


def read(tmp_path, *, skip=False, **entry):
    path = tmp_path / "mine.jsonl"
    good = {"id": KEY, "turns": ["hi", "hello"]}
    path.write_text("".join(json.dumps(line) + "\n" for line in ({"id": KEY, **entry}, good)))
    return corpora.load([str(path)], "train", Complaints(skip=skip))[0]


def learnt(transcript):
    return [
        turn for number, turn in enumerate(transcript.turns) if number not in transcript.untaught
    ]


def test_of_a_corpus_with_a_companion_the_second_speakers_turns_are_learnt():
    talk = Transcript(
        "1", "companion", ("hi", "hello", "how are you?", "fine"), untaught=frozenset({3})
    )
    assert learnt(only_companion(talk)) == ["hello"]


@pytest.mark.parametrize("corpus", ["chitchat", "self_dialogue", "photochat"])
def test_people_among_themselves_are_learnt_both(corpus):
    talk = Transcript("1", corpus, ("hi", "hello"))
    assert only_companion(talk) == talk


def test_speakers_that_are_named_say_whose_turns_are_learnt(tmp_path):
    found = read(
        tmp_path,
        turns=["welcome back", "thanks", "how was it?"],
        speakers=["companion", "person", "companion"],
    )
    assert learnt(only_companion(found)) == ["welcome back", "how was it?"]


def test_what_one_speaker_says_in_a_row_is_one_turn(tmp_path):
    found = read(
        tmp_path,
        turns=["hi", "it's me", "hello", "bye"],
        speakers=["person", "person", "companion", "person"],
    )
    assert found.turns == ("hi <continued_utterance> it's me", "hello", "bye")
    assert learnt(only_companion(found)) == ["hello"]


@pytest.mark.parametrize(
    ("speakers", "complaint"),
    [
        (["person"], "1 speakers for 2 turns; name one per turn"),
        (["person", "companion", "person"], "3 speakers for 2 turns"),
        (["person", "bot"], "the speaker 'bot' is neither 'person' nor 'companion'"),
        (["person", None], "the speaker None is neither"),
        ("person", "'person' speakers for 2 turns"),
    ],
)
def test_speakers_that_do_not_fit_are_refused_with_file_and_line(tmp_path, speakers, complaint):
    with pytest.raises(ValueError, match=rf"mine\.jsonl, line 1: {complaint}"):
        read(tmp_path, turns=["hi", "hello"], speakers=speakers)
    assert read(tmp_path, turns=["hi", "hello"], speakers=speakers, skip=True).persons is None
