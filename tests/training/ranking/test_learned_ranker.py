"""The matcher learns which replies go with which contexts, the judges what readers say."""

import math
import random
from collections import Counter
from dataclasses import replace

import pytest
import torch
from torch import nn

from dialogue.candidate_numbers import NUMBERS
from dialogue.conversation import Conversation, Turn
from dialogue.learned_ranker import (
    LATE_COST,
    LATE_TEXTS,
    LearnedRanker,
    key,
    late_cost,
)
from dialogue.ranker_network import (
    MATCH,
    CrossEncoder,
    RankerConfig,
    RankerNetwork,
    ReplyLayer,
    table,
)
from dialogue.ranking import Candidate
from training.corpora.transcript import Transcript
from training.ranking import judging, matching
from training.ranking.judging import Example, agreement, auc

from .conftest import SMALL, THINGS


@pytest.fixture(scope="module")
def talk():
    """A person who likes something, and a companion who asks about it."""
    return [
        Transcript(
            f"{thing}-{number}", "companion", (f"i like my {thing}.", f"what is your {thing} like?")
        )
        for thing in THINGS
        for number in range(4)
    ]


def encoder_of(vocabulary, *, seed=0):
    torch.manual_seed(seed)
    return CrossEncoder(RankerConfig(vocab_size=len(vocabulary), **SMALL), pad_id=vocabulary.pad_id)


def clock_of(*, step):
    """A clock that advances by so many seconds each time it is read."""
    now = [0.0]

    def clock():
        now[0] += step
        return now[0]

    return clock


def test_only_what_the_companion_says_is_matched(vocabulary, talk):
    found = matching.pairs(talk, vocabulary)
    assert len(found) == len(talk), "the person's turns are contexts alone"
    assert matching.pairs([replace(talk[0], times=3)], vocabulary) == found[:1] * 3
    assert found[0].context == (tuple(vocabulary.encode("i like my cat.")),)
    assert found[0].reply == tuple(vocabulary.encode("what is your cat like?"))


def test_the_matcher_learns_which_reply_goes_with_which_context(vocabulary, talk, tmp_path):
    found = list(dict.fromkeys(matching.pairs(talk, vocabulary)))
    encoder = encoder_of(vocabulary)
    steps = matching.fit(
        encoder, found, minutes=10, seed=0, state=tmp_path / "state", clock=clock_of(step=1)
    )
    assert steps >= 500
    table_of = matching.context_table([pair.context for pair in found], vocabulary.pad_id)
    replies = table([pair.reply for pair in found], vocabulary.pad_id)
    size = len(found)
    owners = torch.arange(size).repeat_interleave(size)
    match = encoder(table_of, replies.repeat(size, 1), owners)[:, MATCH].view(size, size)
    assert match.argmax(1).tolist() == list(range(len(THINGS)))
    assert matching.hits(encoder, found) == 1.0


def test_a_matcher_goes_on_where_it_was_and_rests_when_its_minutes_are_over(
    vocabulary, talk, tmp_path
):
    found, state = matching.pairs(talk, vocabulary), tmp_path / "state"
    first = matching.fit(
        encoder_of(vocabulary), found, minutes=0.5, seed=0, state=state, clock=clock_of(step=1)
    )
    again = encoder_of(vocabulary, seed=1)
    total = matching.fit(
        again, found, minutes=1, seed=0, state=state, resume=True, clock=clock_of(step=1)
    )
    assert total > first
    rested = encoder_of(vocabulary, seed=2)
    assert (
        matching.fit(
            rested, found, minutes=1, seed=0, state=state, resume=True, clock=clock_of(step=1)
        )
        == total
    )
    for name, tensor in rested.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name]), name
    state.write_bytes(b"nothing")
    with pytest.raises(ValueError, match="not a state of this cross-encoder"):
        matching.fit(rested, found, minutes=1, seed=0, state=state, resume=True)


def test_padding_and_neighbours_change_no_answer(vocabulary):
    encoder = encoder_of(vocabulary).eval()
    contexts = [[vocabulary.encode("i like my cat.")], [vocabulary.encode("my dog. " * 3)] * 2]
    rows = [
        vocabulary.encode("i like my cat."),
        vocabulary.encode("what is your dog like? what is your dog like?"),
    ]
    pad = vocabulary.pad_id
    together = encoder(
        matching.context_table(contexts, pad), table(rows * 2, pad), torch.tensor([0, 0, 1, 1])
    )
    for at, answers in enumerate(together):
        alone = encoder(
            matching.context_table([contexts[at // 2]], pad),
            torch.tensor([rows[at % 2]]),
            torch.tensor([0]),
        )
        assert torch.allclose(alone[0], answers, atol=1e-5)


def examples_where(good, *, count=120, seed=0):
    """Contexts with six candidates; those that `good` accepts are sensible."""
    rng, made = random.Random(seed), []
    for number in range(count):
        thing = rng.choice(THINGS)
        conversation = Conversation(turns=(Turn("user", f"i like my {thing}."),))
        candidates = tuple(
            Candidate(
                f"what is your {rng.choice(THINGS)} like?",
                -rng.uniform(5, 30),
                0.0,
                -rng.uniform(5, 30),
                6,
            )
            for _ in range(6)
        )
        found = torch.tensor([[float(good(c)), float(good(c))] for c in candidates])
        made.append(Example(conversation, candidates, found, "everyday", number % 4 == 0))
    return made


@pytest.mark.parametrize("sense", [1, -1])
def test_judges_learn_what_readers_said(vocabulary, sense):
    """Of the likelier candidates or of the others: no untrained network would know both."""
    torch.manual_seed(9)
    network = RankerNetwork(
        RankerConfig(vocab_size=len(vocabulary), **SMALL), pad_id=vocabulary.pad_id
    ).eval()
    ranker = LearnedRanker(network, vocabulary)
    every = examples_where(lambda candidate: sense * (candidate.log_prob + 17) > 0, count=300)
    held_out = [example for example in every if example.held_out]
    judging.fit(ranker, [example for example in every if not example.held_out], seed=0)
    after = agreement(ranker, held_out)
    assert after.auc > 0.95
    assert after.ssa > 0.95 * after.oracle
    assert ranker.common, "the fit counts what is common as well"
    (scores,) = ranker([held_out[0].conversation], [held_out[0].candidates])
    assert all(0 <= score <= 1 for score in scores)


def test_a_candidate_is_scored_alike_alone_and_beside_other_conversations(vocabulary):
    torch.manual_seed(0)
    network = RankerNetwork(
        RankerConfig(vocab_size=len(vocabulary), **SMALL), pad_id=vocabulary.pad_id
    ).eval()
    ranker = LearnedRanker(network, vocabulary)
    every = examples_where(lambda candidate: True, count=5)
    together = ranker([e.conversation for e in every], [e.candidates for e in every])
    for example, scores in zip(every, together, strict=True):
        assert ranker([example.conversation], [example.candidates])[0] == pytest.approx(
            scores, abs=1e-5
        )
    assert (
        ranker([every[0].conversation, every[1].conversation], [[], every[1].candidates])[0] == []
    )
    assert len(NUMBERS) == ranker.numbers([every[0].conversation], [every[0].candidates]).shape[1]


def test_a_common_reply_costs_more_the_more_variety_is_wanted(vocabulary):
    torch.manual_seed(0)
    network = RankerNetwork(
        RankerConfig(vocab_size=len(vocabulary), **SMALL), pad_id=vocabulary.pad_id
    ).eval()
    every = examples_where(lambda candidate: True, count=20)
    ranker = LearnedRanker(network, vocabulary)
    with torch.inference_mode():
        numbers = [ranker.numbers([e.conversation], [e.candidates]) for e in every]
    ranker.common = judging.common(network, numbers, every)
    first = Counter(
        max(zip(*ranker([e.conversation], [e.candidates]), e.candidates, strict=True))[1].text
        for e in every
    )
    assert ranker.common == {key(text): 50.0 * n for text, n in first.items() if n >= 3}
    assert ranker.common, "or nothing is tested"
    text = first.most_common(1)[0][0]
    candidates = [Candidate(text.upper() + "!", -1.0, 0.0), Candidate("a moon of jam", -1.0, 0.0)]
    conversation = every[0].conversation
    ((plain, rare),) = ranker([conversation], [candidates])
    for variety in (0, 0.1, 1):
        ((cost, same),) = ranker.with_variety(variety)([conversation], [candidates])
        assert plain - cost == pytest.approx(variety * math.log1p(50 * first[text]), abs=1e-6)
        assert same == rare


def test_late_in_a_talk_what_the_search_found_costs_more_than_known_replies(vocabulary):
    config = RankerConfig(vocab_size=len(vocabulary), **SMALL)
    ranker = LearnedRanker(RankerNetwork(config, pad_id=vocabulary.pad_id).eval(), vocabulary)
    found = [
        Candidate("that's great", -5.0, -5.0, -9.0, 3),
        Candidate("that's great", -5.0, -5.0, -9.0, 3, similarity=0.5),
        Candidate("that's great", -5.0, -5.0, -9.0, 3, fit=0.5),
    ]
    early, late = (
        Conversation(turns=tuple(Turn("user", "hello") for _ in range(count)))
        for count in (LATE_TEXTS - 1, LATE_TEXTS)
    )
    assert [late_cost(early, one) for one in found] == [0.0, 0.0, 0.0]
    assert [late_cost(late, one) for one in found] == [LATE_COST, 0.0, 0.0]
    with torch.inference_mode():
        expected = ranker.network.expected(ranker.numbers([late], [found])).tolist()
    (scores,) = ranker([late], [found])
    assert scores == pytest.approx([expected[0] - LATE_COST, *expected[1:]])


@pytest.mark.parametrize(
    ("scores", "labels", "expected"),
    [
        ([0.1, 0.2, 0.3], [0, 0, 1], 1.0),
        ([0.3, 0.2, 0.1], [0, 0, 1], 0.0),
        ([1, 1, 1, 1], [0, 1, 0, 1], 0.5),
        ([1, 2, 2], [0, 1, 0], 0.75),
    ],
)
def test_the_area_under_the_curve_by_hand(scores, labels, expected):
    assert auc(scores, labels) == pytest.approx(expected)


def test_a_reply_layer_reads_as_torchs_decoder_layer_does_with_the_context_once_per_reply():
    torch.manual_seed(3)
    sizes = {"d_model": 12, "nhead": 3, "dim_feedforward": 20, "batch_first": True}
    layer = ReplyLayer(**sizes, activation="gelu", norm_first=True).eval()
    twin = nn.TransformerDecoderLayer(**sizes, activation="gelu", norm_first=True).eval()
    twin.load_state_dict(layer.state_dict())
    context, replies = torch.randn(2, 5, 12), torch.randn(4, 3, 12)
    heard = torch.tensor([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]]).bool()
    real = torch.tensor([[1, 1, 1], [1, 0, 0], [1, 1, 0], [1, 1, 1]]).bool()
    owners = torch.tensor([0, 1, 1, 0])
    with torch.inference_mode():
        found = layer.read(replies, real, context, heard, owners)
        expected = twin(
            replies,
            context[owners],
            tgt_key_padding_mask=~real,
            memory_key_padding_mask=~heard[owners],
        )
    assert torch.allclose(found[real], expected[real], atol=1e-5)


def test_sorrow_that_is_met_with_cheer_is_described_by_a_negative_number(vocabulary):
    network = RankerNetwork(
        RankerConfig(vocab_size=len(vocabulary), **SMALL), pad_id=vocabulary.pad_id
    )
    (moon,), (cake,) = map(vocabulary.encode, ("moon", "cake"))
    with torch.no_grad():
        network.feelings.tokens.weight[moon] = torch.tensor([-3.0, -3.0])
        network.feelings.tokens.weight[cake] = torch.tensor([3.0, 3.0])
    ranker = LearnedRanker(network.eval(), vocabulary)
    talks = [
        Conversation(turns=tuple(Turn(("user", "bot")[n % 2], text) for n, text in enumerate(said)))
        for said in (("moon",), ("moon", "song", "song"), ("song",))
    ]
    candidates = [Candidate("cake", -1.0, 0.0), Candidate("moon", -1.0, 0.0)]
    with torch.inference_mode():
        rows = ranker.numbers(talks, [candidates] * 3)[:, -4:].view(3, 2, 4)
    now, of_late, answers, agrees = (NUMBERS[-4:].index(name) for name in NUMBERS[-4:])
    assert rows[0, :, agrees].tolist() == pytest.approx([-3 * math.tanh(3), 3 * math.tanh(3)])
    assert rows[1, 0, now] == 0 and rows[1, 0, of_late] == pytest.approx(-1.5), "it lasts"
    assert rows[1, 0, agrees] < 0 < rows[1, 1, agrees]
    assert rows[2, :, agrees].tolist() == [0, 0], "nothing was felt"
    asked = Conversation(
        turns=(Turn("user", "moon"), Turn("bot", "cake"), Turn("bot", "cake"), Turn("user", "song"))
    )
    with torch.inference_mode():
        row = ranker.numbers([asked], [candidates])[0, -4:]
    assert row[of_late] == pytest.approx(-1.5), "of what the person said, whoever spoke between"
    assert rows[:, 0, answers].tolist() == [3, 3, 3]
