"""Feelings that are fitted to conversations whose corpus names them."""

import torch

from dialogue.feelings import HEARD, SAID, Feelings
from dialogue.ranker_network import READ_TOKENS, table
from training.corpora.transcript import Transcript
from training.ranking import feelings

GLAD = ("i am fine, thanks", "glad to hear it", "very well, and you?", "yes, i like jazz")
TROUBLED = ("that is sad", "it was too cold", "i am tired then", "not really")


def stories(count=20):
    return [
        Transcript(f"{topic} {n}", "empathetic", said, topic=topic)
        for n in range(count)
        for topic, said in (("joyful", GLAD), ("devastated", TROUBLED), ("surprised", GLAD))
    ]


def test_what_is_told_is_known_by_its_topic_and_both_speakers_are_read(talker):
    told = feelings.told(stories(1), talker.vocabulary)
    assert [(asked, glad) for asked, _, glad in told] == [
        (HEARD, True), (SAID, True), (HEARD, True), (SAID, True),
        (HEARD, False), (SAID, False), (HEARD, False), (SAID, False),
    ]  # fmt: skip
    long = Transcript("1", "empathetic", ("i am fine, thanks " * 30, "yes"), topic="sad")
    (_, ids, _), _ = feelings.told([long], talker.vocabulary)
    assert list(ids) == talker.vocabulary.encode("i am fine, thanks " * 30)[-READ_TOKENS:]


def test_glad_is_told_from_troubled_in_what_is_heard_and_in_what_is_said(talker):
    made = Feelings(len(talker.vocabulary), pad_id=talker.vocabulary.pad_id)
    told = feelings.told(stories(), talker.vocabulary)
    feelings.fit(made, told, seed=0)
    assert feelings.accuracy(made, told) == (1, 1)
    ids = [talker.vocabulary.encode(text) for text in (GLAD[0], TROUBLED[0])]
    glad, troubled = made(table(ids, made.pad_id))[:, HEARD].tolist()
    assert glad > 0 > troubled


def test_the_same_seed_fits_the_same_weights(talker):
    told = feelings.told(stories(), talker.vocabulary)
    one, other = (Feelings(len(talker.vocabulary), pad_id=0) for _ in range(2))
    for made in (one, other):
        feelings.fit(made, told, seed=1)
    for ours, theirs in zip(one.parameters(), other.parameters(), strict=True):
        assert torch.equal(ours, theirs)
