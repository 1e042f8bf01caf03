"""A large judge, and the candidates that it labels for the cross-encoder."""

import random
from dataclasses import replace

import pytest
import torch

from dialogue.agent import DialogueAgent
from dialogue.config import DecodeConfig
from dialogue.conversation import Conversation, Turn
from dialogue.models.transformer import Transformer
from dialogue.ranker_network import SENSIBLE, CrossEncoder, RankerConfig
from training.ranking import matching, proposing, teacher
from training.ranking.matching import Pair
from training.ranking.teacher import LargeJudge

SIZES = {"embedding": 16, "hidden": 32, "layers": 1, "heads": 2, "window": 64}


@pytest.fixture
def judge(talker):
    torch.manual_seed(0)
    vocabulary = talker.vocabulary
    model = Transformer(vocab_size=len(vocabulary), bos_id=vocabulary.bos_id, dropout=0.0, **SIZES)
    return LargeJudge(model, eos_id=vocabulary.eos_id, pad_id=vocabulary.pad_id).eval()


def asked_of(vocabulary, talks):
    return [
        (
            tuple(tuple(vocabulary.encode(turn)) for turn in turns[::-1]),
            tuple(vocabulary.encode(reply)),
        )
        for turns, reply in talks
    ]


TALKS = [
    (["hi"], "hello, how are you?"),
    (["i have a dog", "what is its name?", "max"], "do you like music?"),
    (["do you like music?"], "yes, i like jazz"),
]


@torch.no_grad()
def test_a_candidate_is_judged_alike_alone_and_among_others(talker, judge):
    asked = asked_of(talker.vocabulary, TALKS)
    together = judge(asked)
    for row, one in zip(together, asked, strict=True):
        torch.testing.assert_close(judge([one])[0], row, atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_a_verdict_depends_on_the_context_and_on_every_word(talker, judge):
    vocabulary = talker.vocabulary
    first, other, shorter = judge(
        asked_of(
            vocabulary,
            [(["hi"], "yes, i like jazz"), (["max"], "yes, i like jazz"), (["hi"], "yes, i like")],
        )
    )
    assert not torch.allclose(first, other) and not torch.allclose(first, shorter)


def test_verdicts_come_in_the_order_that_was_asked(talker, judge):
    asked = asked_of(talker.vocabulary, TALKS)
    found = teacher.verdicts(judge, asked)
    with torch.no_grad():
        expected = torch.cat([judge([one]) for one in asked]).sigmoid()
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


def test_a_judge_learns_what_readers_said_and_labels_candidates(talker, judge):
    """A reply that speaks of jazz is sensible, one that speaks of snow is not."""
    vocabulary, words = talker.vocabulary, ("snow", "jazz")
    rng = random.Random(0)
    talks = [([f"i like {rng.choice(words)}"], f"i like {rng.choice(words)}") for _ in range(300)]
    asked = asked_of(vocabulary, talks)
    right = torch.tensor([[float("jazz" in reply)] * 2 for _, reply in talks])
    teacher.fit(judge, asked, right, seed=0, epochs=100, learning_rate=3e-3)
    said = teacher.verdicts(judge, asked)
    assert ((said[:, 0] > 0.5) == (right[:, 0] > 0.5)).float().mean() > 0.95

    pairs = [Pair(context, reply) for context, reply in asked[:40]]
    own = [[reply for _, reply in asked[:6]] for _ in pairs]
    labelled = teacher.labelled(judge, pairs, own)
    assert [pair.reply for pair in labelled] == [pair.reply for pair in pairs]
    for pair, replies in zip(labelled, own, strict=True):
        (first, _), *_ = teacher.verdicts(judge, [(pair.context, replies[0])]).tolist()
        assert pair.own == tuple(replies)
        assert pair.labels[0][0] == pytest.approx(first, abs=1e-4)
        assert all(specific <= sensible for sensible, specific in pair.labels)


def test_labels_reach_the_candidates_they_belong_to(talker, tmp_path):
    """Of two candidates in every context, one is labelled sensible; the encoder learns which."""
    vocabulary = talker.vocabulary
    good, bad, true = (
        tuple(vocabulary.encode(text)) for text in ("yes, i like jazz", "red cars are fast", "max")
    )
    pairs = [
        Pair((tuple(vocabulary.encode(text)),), true, own=(bad, true, good),
             labels=((0.0, 0.0), (0.5, 0.5), (1.0, 1.0)))
        for text in ("hi", "do you like music?", "it is red")
    ]  # fmt: skip
    torch.manual_seed(0)
    config = RankerConfig(len(vocabulary), width=32, heads=2, layers=1, dropout=0.0)
    encoder = CrossEncoder(config, pad_id=vocabulary.pad_id)
    now = iter(range(10_000))
    matching.fit(
        encoder, pairs, minutes=3, seed=0, state=tmp_path / "state", clock=lambda: float(next(now))
    )
    with torch.inference_mode():
        answers = matching._read_together(encoder, [pairs[0].context], [[good, bad]])
    assert answers[0, SENSIBLE] > 1 > -1 > answers[1, SENSIBLE]


def test_candidates_are_those_of_the_agents_search_and_replies_to_what_is_alike(talker):
    agent = DialogueAgent(talker, decode=DecodeConfig(ranker="likelihood", beam_size=3))
    vocabulary = talker.vocabulary
    texts = [("hi", "hello"), ("hi", "max"), ("do you like music?", "yes"), ("hi", "hello")]
    pairs = [
        Pair((tuple(vocabulary.encode(turn)),), tuple(vocabulary.encode(reply)))
        for turn, reply in texts
    ]
    pairs.append(replace(pairs[0], context=pairs[2].context * 2))  # of two turns
    found = proposing.candidates(agent, pairs)
    assert len(found) == len(pairs)
    for pair, own in zip(pairs, found, strict=True):
        conversation = Conversation()
        for turn in pair.context[::-1]:
            (conversation,) = agent.hear(
                [conversation], [Turn("user", vocabulary.decode(list(turn)))]
            )
        hypotheses = agent._search([conversation], (), [float("inf")])[0]
        expected = [tuple(h.token_ids[: len(own[0]) or None]) for h in hypotheses if h.token_ids]
        assert own[0] == expected[0] and len(own) == len(set(own))
    recalled = proposing.recalled(agent, pairs, count=1)
    assert recalled[0] != [pairs[0].reply], "neither the true reply, nor one to the same context"
