"""The search on tables small enough to check by hand, and relations that hold for every search."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dialogue.config import METHODS
from dialogue.decoding import beam
from dialogue.decoding import search as search_module
from dialogue.decoding.constraints import Limits
from dialogue.decoding.paths import Paths, Taken
from tests.dialogue.tables import (
    BOS,
    DRAWN,
    EOS,
    IMPOSSIBLE,
    A,
    B,
    C,
    bigrams,
    decoding,
    forced,
    penalised,
    random_step,
    scores_of,
    search,
    tokens_of,
)  # fmt: skip

pytestmark = pytest.mark.usefixtures("on_device")


# --- by hand -------------------------------------------------------------------------------------


def test_one_step_by_hand_on_a_table_of_two_conversations_and_three_tokens():
    none = [1.0, 0.0, 0.0, 0.0]
    step = bigrams(
        [
            #  </s>  <s>  A    B          after </s>, <s>, A, B
            [none, [0.2, 0.0, 0.5, 0.3], [0.1, 0.0, 0.0, 0.9], [0.9, 0.0, 0.1, 0.0]],
            [none, [0.6, 0.0, 0.1, 0.3], [1.0, 0.0, 0.0, 0.0], [0.2, 0.0, 0.8, 0.0]],
        ]
    )
    first, second = search(step, decoding(beam_size=2, max_length=1), conversations=(0, 1))
    assert tokens_of(first) == [(B,), (A,)]
    assert [h.log_prob for h in first] == pytest.approx([math.log(0.3 * 0.9), math.log(0.5 * 0.1)])
    assert first[0].token_log_probs == pytest.approx([math.log(0.3), math.log(0.9)])
    assert tokens_of(second) == [(), (A,)]
    assert [h.log_prob for h in second] == pytest.approx([math.log(0.6), math.log(0.1)])


def test_a_length_penalty_lets_the_longer_reply_win_by_hand():
    """The short reply has probability .4, the long one .36, whose logarithm is divided by (7 / 6)
    ** alpha.
    """
    none = [1.0, 0.0, 0.0, 0.0]
    step = bigrams([[none, [0.4, 0.0, 0.6, 0.0], [0.0, 0.0, 0.0, 1.0], [0.6, 0.0, 0.4, 0.0]]])
    log_probs = {(): math.log(0.4), (A, B): math.log(0.36)}
    for alpha, order in ((0.0, [(), (A, B)]), (1.0, [(A, B), ()])):
        found = search(step, decoding(beam_size=2, max_length=2, length_penalty=alpha))[0]
        assert tokens_of(found) == order
        assert [h.log_prob for h in found] == pytest.approx([log_probs[tokens] for tokens in order])
        expected = [
            penalised(log_probs[tokens], len(tokens), alpha) - penalised(0, 1, alpha)
            for tokens in order
        ]
        assert scores_of(found) == pytest.approx(expected)


def test_a_beam_of_one_ends_where_eos_is_likeliest_by_hand():
    """It once went on with the second likeliest token, and a reply three words longer won by the
    length penalty: not greedy.
    """
    to = torch.eye(5).tolist()
    step = bigrams([[to[EOS], [0.51, 0.0, 0.49, 0.0, 0.0], to[B], to[C], to[EOS]]])
    (found,) = search(step, decoding(beam_size=1, max_length=6, length_penalty=0.65))[0]
    assert found.token_ids == ()


def test_siblings_make_room_for_another_parent_by_hand():
    """The two likeliest hypotheses are both children of A. With a penalty on the second sibling, a
    child of B survives.
    """
    none = [1.0, 0.0, 0.0, 0.0, 0.0]
    step = bigrams(
        [
            [
                none,
                [0.0, 0.0, 0.55, 0.45, 0.0],
                [0.0, 0.0, 0.0, 0.52, 0.48],
                [0.1, 0.0, 0.4, 0.0, 0.5],
                none,
            ]
        ]
    )
    for method, expected in (("beam", {(A, B), (A, C)}), ("diverse-beam", {(A, B), (B, C)})):
        found = search(
            step, decoding(method=method, beam_size=2, max_length=2, sibling_penalty=1.0)
        )[0]
        assert set(tokens_of(found)) == expected
        assert {h.token_ids: h.score for h in found} == pytest.approx(
            {h: sum(forced(step, h)) for h in expected}
        ), "not summed up"


def test_a_later_group_says_something_else_by_hand():
    none = [1.0, 0.0, 0.0, 0.0]
    step = bigrams([[none, [0.0, 0.0, 0.6, 0.4], none, none]])
    for penalty, first in ((0.1, [(A,)]), (1.0, [(A,), (B,)])):
        config = decoding(
            method="group-beam", beam_size=2, groups=2, group_penalty=penalty, max_length=1
        )
        assert tokens_of(search(step, config)[0]) == first


def test_a_group_that_is_done_costs_later_groups_nothing_by_hand():
    """It has no candidates left, only impossible ones, in whatever order the device puts them."""
    table = torch.tensor([[0.5, 0.5], [0.4, 0.6]]).log()  # of </s> and BOS, for two groups of one
    totals = torch.tensor([[IMPOSSIBLE], [0.0]])
    found = beam.grouped(table, totals, 2, penalty=1.0, eos_id=EOS)
    assert found.flat[1].tolist() == [BOS, EOS]
    assert torch.equal(found.priorities[1], found.scores[1])
    assert found.scores[1].exp().tolist() == pytest.approx([0.6, 0.4])


def test_top_p_shrinks_within_a_sentence_and_starts_anew_after_it_by_hand():
    """p .9, decay .5, floor .3: the nuclei hold .9, .45, .3 ... of A .5, B .3, C .2; after the
    sentence ends with C, .9 again.
    """
    row = [0.0, 0.0, 0.5, 0.3, 0.2]
    step = bigrams([[row] * 5])
    config = decoding(
        method="factual-nucleus", beam_size=400, max_length=3, top_p=0.9, top_p_decay=0.5,
        top_p_floor=0.3
    )  # fmt: skip
    with pytest.raises(ValueError, match="no token has a finite"):
        search(step, config)  # </s> has no probability
    step = bigrams([[[1e-6, 0.0, 0.5, 0.3, 0.2 - 1e-6]] * 5])
    found = tokens_of(search(step, config)[0])
    assert {tokens[0] for tokens in found} == {A, B, C}
    assert {tokens[1:] for tokens in found} == {(A, A)}
    found = tokens_of(search(step, config, sentence_ends=[B])[0])
    assert {tokens[1] for tokens in found if tokens[0] == B} == {A, B, C}
    assert {tokens[1] for tokens in found if tokens[0] != B} == {A}


# --- relations -----------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("settings", [{}, {"temperature": 0.5}, {"repetition_penalty": 1.0}])
def test_a_log_probability_is_the_teacher_forced_one_of_its_tokens(method, settings):
    for seed in range(10):
        step = random_step(seed, vocabulary=5, conversations=3)
        config = decoding(method=method, beam_size=6, max_length=6, length_penalty=0.65, **settings)
        for conversation, found in enumerate(
            search(step, config, conversations=(0, 1, 2), seeds=[1, 2, 3])
        ):
            assert found
            for hypothesis in found:
                log_probs = forced(step, hypothesis.token_ids, conversation=conversation)
                assert hypothesis.token_log_probs == pytest.approx(log_probs, abs=1e-4)
                assert hypothesis.log_prob == pytest.approx(sum(log_probs), abs=1e-4)
                assert hypothesis.finished
                if not settings:
                    assert hypothesis.score == pytest.approx(
                        penalised(sum(log_probs), len(hypothesis.token_ids), 0.65), abs=1e-4
                    )


@given(
    seed=st.integers(0, 10_000), size=st.integers(1, 12), vocabulary=st.integers(3, 7),
    ending=st.sampled_from([-4.0, 0.0, 2.0]),
    method=st.sampled_from(sorted(METHODS)),
)  # fmt: skip
def test_hypotheses_are_distinct_sorted_and_end_at_their_first_eos(
    seed, size, vocabulary, ending, method
):
    """Known bugs elsewhere: expanding every row at the first step, which gives K identical
    hypotheses, and going on after </s>.
    """
    size += size % 2 if method == "group-beam" else 0
    step = random_step(seed, vocabulary=vocabulary, ending=ending)
    found = search(
        step, decoding(method=method, beam_size=size, max_length=5, length_penalty=0.65)
    )[0]
    assert 1 <= len(found) <= size
    assert len(set(tokens_of(found))) == len(found)
    assert scores_of(found) == sorted(scores_of(found), reverse=True)
    assert all(EOS not in h.token_ids and len(h.token_ids) <= 5 for h in found)
    assert all(0 <= token < vocabulary for h in found for token in h.token_ids)


def test_a_beam_wider_than_there_are_replies_gives_each_of_them_once():
    step = random_step(0, vocabulary=3)
    found = search(step, decoding(beam_size=10, max_length=1))[0]
    assert sorted(tokens_of(found)) == [(), (BOS,), (A,)]


@pytest.mark.parametrize("method", METHODS)
def test_the_last_word_at_the_maximum_length_is_a_word(method):
    """A known bug elsewhere: the last word is overwritten by </s>, or </s> is missing from the
    score.
    """
    step = random_step(1, vocabulary=5, ending=-50.0)
    for hypothesis in search(step, decoding(method=method, beam_size=4, max_length=6))[0]:
        assert len(hypothesis.token_ids) == 6
        assert EOS not in hypothesis.token_ids
        assert hypothesis.log_prob < -50


@pytest.mark.parametrize("method", METHODS)
def test_no_reply_is_shorter_than_the_minimum(method):
    """A known bug elsewhere: a beam of one and sampling ignore the minimum."""
    for seed in range(20):
        step = random_step(seed, vocabulary=5, ending=5.0)
        assert any(
            len(tokens) < 3
            for tokens in tokens_of(
                search(step, decoding(method=method, beam_size=4, max_length=6))[0]
            )
        )
        limited = search(step, decoding(method=method, beam_size=4, max_length=6, min_length=3))[0]
        assert limited
        assert all(len(tokens) >= 3 for tokens in tokens_of(limited))


@pytest.mark.parametrize("size", [1, 3])
@pytest.mark.parametrize("method", ["beam", "top-k", "nucleus"])
def test_a_conversation_whose_every_token_is_blocked_ends_there(method, size):
    """A known bug elsewhere: if everything is minus infinity, the top is a random token. The other
    conversation continues.
    """

    def block_first(log_probs, said):
        if said.length < 2:
            return log_probs
        blocked = torch.arange(len(log_probs)) < size  # the rows of conversation 0
        return log_probs.masked_fill(blocked[:, None], IMPOSSIBLE)

    step = random_step(2, vocabulary=5, conversations=2, ending=-9.0)
    config = decoding(method=method, beam_size=size, max_length=5, min_length=4)
    asked = {"limits": Limits(more=[block_first]), "seeds": [1, 2]}
    first, second = search(step, config, conversations=(0, 1), **asked)
    assert first
    assert all(len(h.token_ids) == 2 for h in first)
    assert [h.log_prob for h in first] == pytest.approx(
        [sum(forced(step, h.token_ids)) for h in first], abs=1e-5
    )
    assert second == search(step, config, conversations=(1,), seeds=[2])[0]


def test_where_one_hypothesis_is_stuck_the_others_go_on():
    """A known bug elsewhere: blocking ends the search. It must only end the hypothesis that has
    nothing left to say.
    """

    def block_after_a(log_probs, said):
        if not said.length:
            return log_probs
        return log_probs.masked_fill((said.written[:, -1] == A)[:, None], IMPOSSIBLE)

    config = decoding(beam_size=6, max_length=4)
    found = search(
        random_step(3, vocabulary=5, ending=-2.0), config, limits=Limits(more=[block_after_a])
    )[0]
    assert any(h.token_ids and h.token_ids[-1] == A for h in found)
    assert any(len(h.token_ids) == 4 for h in found)
    assert not any(A in h.token_ids[:-1] for h in found)


@pytest.mark.parametrize("method", METHODS)
def test_with_every_token_forbidden_from_the_start_the_reply_is_empty(method):
    config = decoding(method=method, beam_size=4, max_length=4)
    found = search(random_step(0), config, limits=Limits(forbidden=[EOS, BOS, A, B]))[0]
    assert tokens_of(found) == [()]


@pytest.mark.parametrize("alpha", [0.0, 0.65])
@pytest.mark.parametrize("method", METHODS)
def test_leaving_early_never_changes_what_is_found(method, alpha, monkeypatch):
    """Neither if the whole search stops once all is done, nor if one conversation stops before the
    others.
    """
    config = decoding(method=method, beam_size=4, max_length=24, length_penalty=alpha)
    steps, rows = {"early": 0, "full": 0}, {"early": 0, "full": 0}
    for seed in range(8):
        step = random_step(
            seed, vocabulary=6, conversations=5, ending=1.0, spread=2.0 + seed % 3 * 4
        )
        found = {}
        for name, every in (("early", 1), ("full", 1000)):

            def counted(token_ids, path, name=name, step=step):
                steps[name] += 1
                rows[name] += len(token_ids)
                return step(token_ids, path)

            monkeypatch.setattr(search_module, "LOOK_EVERY", every)
            found[name] = search(counted, config, conversations=range(5), seeds=range(5))
        for early, full in zip(found["early"], found["full"], strict=True):
            assert tokens_of(early) == tokens_of(full), f"seed {seed}"
            assert scores_of(early) == pytest.approx(scores_of(full), abs=1e-5)
    assert steps["full"] == 8 * 25
    assert steps["early"] < steps["full"]
    assert rows["early"] / steps["early"] < rows["full"] / steps["full"], (
        "no conversation left before the others"
    )


@pytest.mark.parametrize("method", METHODS)
def test_a_batch_of_conversations_gives_the_replies_of_each_alone(method):
    config = decoding(
        method=method, beam_size=4, max_length=10, length_penalty=0.65, min_length=2,
        block_ngrams=2, block_user_ngrams=1
    )  # fmt: skip
    lengths = set()
    for seed in range(10):
        step = random_step(seed, vocabulary=7, conversations=5, ending=0.5)
        references = torch.randint(
            7, (5, 1, 6), generator=torch.Generator().manual_seed(seed), device="cpu"
        ).tolist()
        prefixes = [[], [A], [], [5, 5, 5], [B, A]]
        limits = Limits(forbidden=[BOS], user=references, prefixes=prefixes)
        together = search(step, config, conversations=range(5), limits=limits, seeds=range(5))
        for conversation, found in enumerate(together):
            limits = Limits(
                forbidden=[BOS], user=[references[conversation]], prefixes=[prefixes[conversation]]
            )
            alone = search(
                step, config, conversations=(conversation,), limits=limits, seeds=[conversation]
            )[0]
            assert tokens_of(found) == tokens_of(alone)
            assert scores_of(found) == pytest.approx(scores_of(alone), abs=1e-5)
            lengths.update(map(len, tokens_of(found)))
    assert len(lengths) > 3, "all replies end at the same length, so uneven ends were not tried"


@pytest.mark.parametrize("method", [*DRAWN, "delayed-beam", "delayed-nucleus-beam"])
def test_a_seed_says_what_is_drawn(method):
    step = random_step(0, vocabulary=40, conversations=2, ending=-2.0, spread=1.0)
    config = decoding(method=method, beam_size=3, max_length=8)
    first, second = search(step, config, conversations=(0, 0), seeds=[5, 6])
    assert tokens_of(first) != tokens_of(second)
    assert search(step, config, conversations=(1, 0), seeds=[0, 6])[1] == second
    assert search(step, decoding(method=method, beam_size=3, max_length=8, seed=6))[0] == second


def test_the_steps_drawn_in_paths_are_read_back_as_it_says():
    paths, nothing = Paths(keep=2, eos_id=0, alpha=0.0), torch.zeros(1, 2)
    for kept in ([3, 7], [13, 5], [14, 3]):
        taken = torch.tensor([kept])
        paths.steps.append(Taken(taken, nothing, nothing, taken, nothing))
    (found,) = paths.read_unfinished(torch.tensor([[-1.0, -2.0]]), vocabulary=10)
    assert [hypothesis.token_ids for hypothesis in found] == [(3, 5, 4), (7, 3, 3)]
