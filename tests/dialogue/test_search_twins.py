"""The search against slow, obvious second implementations, and against exhaustive search."""

import itertools

import pytest

from dialogue.decoding.constraints import Limits
from tests.dialogue.tables import (
    BOS,
    DRAWN,
    SEARCHED,
    A,
    B,
    C,
    begin,
    decoding,
    forced,
    greedy,
    penalised,
    random_step,
    scores_of,
    search,
    slow_beam,
    slow_sample,
    tokens_of,
)  # fmt: skip

pytestmark = pytest.mark.usefixtures("on_device")


@pytest.mark.parametrize("alpha", [0.0, 0.65])
@pytest.mark.parametrize("ending", [-3.0, 0.0, 1.0])
@pytest.mark.parametrize(
    "how", [{"beam_size": 1}, {"method": "greedy"}, {"method": "nucleus", "temperature": 0.0}]
)
def test_a_beam_of_one_and_a_temperature_of_nought_are_greedy(how, alpha, ending):
    """When </s> was the likeliest token, a beam of one once went on with the second likeliest, and
    a length penalty let that win.
    """
    config = decoding(max_length=8, length_penalty=alpha, **how)
    for seed in range(30):
        step = random_step(seed, vocabulary=6, ending=ending, spread=2.0 + seed % 3 * 4)
        (found,) = search(step, config)[0]
        written, total = greedy(step, begin([0]), config)
        assert found.token_ids == written, f"seed {seed}"
        assert found.log_prob == pytest.approx(total, abs=1e-5)


@pytest.mark.parametrize("alpha", [0.0, 0.65])
def test_a_beam_of_one_is_greedy_under_constraints(alpha):
    config = decoding(beam_size=1, max_length=8, length_penalty=alpha, min_length=3, block_ngrams=2)
    limits = Limits(forbidden=[BOS])
    for seed in range(60):
        step = random_step(seed, vocabulary=5, spread=2.0 + seed % 3 * 4)
        (found,) = search(step, config, limits=limits)[0]
        written, total = greedy(step, begin([0]), config, limits=limits)
        assert found.token_ids == written, f"seed {seed}"
        assert found.log_prob == pytest.approx(total, abs=1e-5)


@pytest.mark.parametrize("alpha", [0.0, 0.65, 1.5])
def test_a_wide_beam_on_a_tiny_vocabulary_is_exhaustive_search(alpha):
    words, longest = (BOS, A, B), 4
    config = decoding(beam_size=128, max_length=longest, length_penalty=alpha)
    for seed in range(6):
        step = random_step(seed, ending=-0.5)
        replies = [
            reply
            for length in range(longest + 1)
            for reply in itertools.product(words, repeat=length)
        ]
        ranked = sorted(
            ((penalised(sum(forced(step, r)), len(r), alpha), r) for r in replies), reverse=True
        )
        found = search(step, config)[0]
        assert len(found) == len(replies) == 121
        assert scores_of(found) == pytest.approx([score for score, _ in ranked], abs=1e-4)
        assert tokens_of(found)[:20] == [reply for _, reply in ranked[:20]]
        assert set(tokens_of(found)) == set(replies)


@pytest.mark.parametrize("vocabulary", [6, 72])
@pytest.mark.parametrize("size", [2, 4, 6])
@pytest.mark.parametrize("method", SEARCHED)
def test_searches_are_those_of_the_slow_twin(method, size, vocabulary):
    """With 72 tokens the top K is found in two stages, and no row can run out of tokens."""
    limits = Limits(
        forbidden=[BOS], block_list=[[A, B], [C]], stop_words=[[5, A]],
        user=[[[A, 5, A]], [[5, 5]]], replies=[[], [[B, A, B]]]
    )  # fmt: skip
    constrained = {
        "min_length": 2,
        "block_ngrams": 2,
        "block_user_ngrams": 2,
        "block_reply_ngrams": 3,
        "repetition_penalty": 0.7,
    }
    for seed in range(8):
        for asked, settings in (
            (None, {}),
            (limits, constrained),
            (None, {"temperature": 0.6}),
            (None, {"temperature": 1.7}),
        ):
            step = random_step(
                seed, vocabulary=vocabulary, conversations=2, ending=0.5, spread=2.0 + seed % 3 * 4
            )
            config = decoding(
                method=method,
                beam_size=size,
                max_length=6,
                length_penalty=0.65 * (seed % 2),
                **settings,
            )
            for conversation, found in enumerate(
                search(step, config, conversations=(0, 1), limits=asked)
            ):
                expected = slow_beam(step, config, conversation=conversation, limits=asked)
                assert tokens_of(found) == [written for _, written, _ in expected], f"seed {seed}"
                assert scores_of(found) == pytest.approx(
                    [score for score, _, _ in expected], abs=1e-4
                )
                assert [h.log_prob for h in found] == pytest.approx(
                    [own for _, _, own in expected], abs=1e-4
                )


@pytest.mark.parametrize("vocabulary", [6, 72])
@pytest.mark.parametrize("method", DRAWN)
def test_draws_are_those_of_the_slow_twin(method, vocabulary):
    limits = Limits(
        forbidden=[BOS], block_list=[[A, B]], stop_words=[[5, A]], user=[[[A, 5, A]], [[5, 5]]]
    )
    constrained = {
        "min_length": 2,
        "block_ngrams": 2,
        "block_user_ngrams": 2,
        "repetition_penalty": 0.7,
    }
    different = set()
    for seed in range(12):
        for asked, settings in (
            (None, {}),
            (limits, constrained),
            (None, {"temperature": 0.6, "top_k": 3, "top_p": 0.5}),
        ):
            step = random_step(seed, vocabulary=vocabulary, conversations=2, ending=0.5)
            config = decoding(method=method, beam_size=5, max_length=6, top_p_decay=0.8, **settings)
            found = search(
                step,
                config,
                conversations=(0, 1),
                limits=asked,
                seeds=[seed, seed + 1],
                sentence_ends=[B, C],
            )
            for conversation, hypotheses in enumerate(found):
                expected = slow_sample(
                    step,
                    config,
                    seed=seed + conversation,
                    conversation=conversation,
                    limits=asked,
                    sentence_ends=[B, C],
                )
                assert tokens_of(hypotheses) == [written for _, written, _ in expected], (
                    f"seed {seed}"
                )
                assert scores_of(hypotheses) == pytest.approx(
                    [score for score, _, _ in expected], abs=1e-4
                )
                assert [h.log_prob for h in hypotheses] == pytest.approx(
                    [own for _, _, own in expected], abs=1e-4
                )
                different.update(tokens_of(hypotheses))
    assert len(different) > 50


@pytest.mark.parametrize(
    ("method", "drawn"), [("delayed-beam", "top-k"), ("delayed-nucleus-beam", "nucleus")]
)
def test_a_delayed_beam_goes_on_from_what_was_drawn(method, drawn):
    """It equals a beam over the same table whose hypotheses are forced to start with the tokens
    drawn first.
    """
    settings = {"beam_size": 4, "max_length": 5, "length_penalty": 0.65}
    for seed in range(10):
        step = random_step(seed, vocabulary=6, ending=-1.0)
        found = search(step, decoding(method=method, delay=2, **settings), seeds=[seed])[0]
        samples = search(
            step, decoding(method=drawn, **{**settings, "max_length": 2}), seeds=[seed]
        )[0]
        begun = {tokens[:2] for tokens in tokens_of(samples)}
        assert {tokens[:2] for tokens in tokens_of(found)} <= begun
        assert len(set(tokens_of(found))) == len(found) > 1
        wide = search(step, decoding(**{**settings, "beam_size": 2000}))[0]
        best = [h for h in wide if h.token_ids[:2] in begun]
        assert found[0].score <= best[0].score + 1e-5
        one = search(step, decoding(method=method, delay=0, **settings), seeds=[seed])[0]
        assert one == search(step, decoding(**settings))[0], "with nothing drawn it is a beam"
