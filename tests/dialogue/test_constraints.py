"""What may be said next: by hand, against plain loops, and in whole replies."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dialogue.config import METHODS
from dialogue.decoding.constraints import Limits, compose
from dialogue.decoding.ngram_state import NEVER, Source, lay_out
from tests.dialogue.tables import (
    BOS,
    EOS,
    IMPOSSIBLE,
    A,
    B,
    C,
    allowed,
    decoding,
    ends_with,
    ngrams,
    random_step,
    search,
    slow_beam,
)

pytestmark = pytest.mark.usefixtures("on_device")
D = 5
MANY = 200  # tokens: more than can be blocked, so that nothing looks for rows without one
SIZES = {
    "n": st.integers(1, 4),
    "seed": st.integers(0, 10_000),
    "vocabulary": st.sampled_from([3, 4, 6, MANY]),
}


def next_log_probs(written, config, limits=None, *, vocabulary=MANY, repeat=1):
    """The table (R, V) of what may follow the rows (R, t) in a search, and the one before
    constraints.
    """
    rows = len(written)
    constrain, said = compose(
        config, limits or Limits(), conversations=rows // repeat, repeat=repeat, eos_id=EOS,
        device=torch.get_default_device()
    )  # fmt: skip
    for token_ids in torch.tensor(written, dtype=torch.long).view(rows, -1).unbind(1):
        said = said.after(token_ids, None)
    before = torch.rand(rows, vocabulary) - 3
    return constrain(before.clone(), said), before


def blocked(written, config, limits=None, **asked):
    """The impossible tokens, row by row. Everything else must stay the same, bit for bit."""
    found, before = next_log_probs(written, config, limits, **asked)
    impossible = found == IMPOSSIBLE
    assert torch.equal(found[~impossible], before[~impossible])
    return [row.nonzero().flatten().tolist() for row in impossible]


def said_by(texts):
    """References of several conversations, one utterance each."""
    return [[text] for text in texts]


# --- by hand -------------------------------------------------------------------------------------


def test_forbidden_tokens_are_impossible_in_every_row():
    assert blocked([[], []], decoding(), Limits(forbidden=[EOS, C])) == [[EOS, C], [EOS, C]]
    assert blocked([[D]], decoding()) == [[]]


def test_eos_is_impossible_until_the_minimum_length_is_reached():
    config = decoding(min_length=2)
    assert blocked([[], []], config) == [[EOS], [EOS]]
    assert blocked([[B], [C]], config) == [[EOS], [EOS]]
    assert blocked([[B, B], [C, D]], config) == [[], []]


def test_a_token_that_would_repeat_a_trigram_is_impossible():
    assert blocked(
        [[A, B, C, A, B], [A, B, C, B, A], [A, A, A, A, A]], decoding(block_ngrams=3)
    ) == [[C], [], [A]]
    assert blocked([[A, B]], decoding(block_ngrams=3)) == [[]]


def test_every_continuation_of_a_repeated_start_is_impossible():
    assert blocked([[A, B, A, C, A, D, A]], decoding(block_ngrams=2)) == [[B, C, D]]


def test_with_unigrams_no_token_comes_twice():
    assert blocked([[A, D, A], [B, B, B]], decoding(block_ngrams=1)) == [[A, D], [B]]
    assert blocked([[]], decoding(block_ngrams=1)) == [[]]


@pytest.mark.parametrize("who", ["user", "replies"])
def test_ngrams_that_were_said_are_blocked_in_their_own_conversation_alone(who):
    """A known bug elsewhere: a mask that leaks between the rows of a batch."""
    setting = {"user": "block_user_ngrams", "replies": "block_reply_ngrams"}[who]
    limits = Limits(**{who: said_by([[A, B, C], [C, B, D], []])})
    assert blocked([[B], [B], [B]], decoding(**{setting: 2}), limits) == [[C], [D], []]
    assert blocked([[A, B], [A, B], [A, B]], decoding(**{setting: 3}), limits) == [[C], [], []]
    assert blocked([[BOS], [BOS], [BOS]], decoding(**{setting: 1}), limits) == [
        [A, B, C],
        [B, C, D],
        [],
    ]
    assert blocked([[B], [B], [B]], decoding(), limits) == [[], [], []], (
        "without a number nothing is blocked"
    )


def test_each_kind_of_ngram_has_its_own_length():
    config = decoding(block_ngrams=3, block_user_ngrams=2, block_reply_ngrams=1)
    limits = Limits(user=[[[B, C]]], replies=[[[D]]])
    assert blocked([[A, B, 6, A, B]], config, limits) == [[C, D, 6]]


def test_no_ngram_reaches_from_one_utterance_into_the_next():
    limits = Limits(replies=[[[A, B], [C]]])
    assert blocked([[B]], decoding(block_reply_ngrams=2), limits) == [[]]
    assert blocked([[BOS]], decoding(block_reply_ngrams=1), limits) == [[A, B, C]]


def test_utterances_that_are_empty_or_shorter_than_n_block_nothing():
    assert blocked([[A], [B]], decoding(block_user_ngrams=1), Limits(user=[[[]], []])) == [[], []]
    assert blocked([[A, B]], decoding(block_user_ngrams=3), Limits(user=[[[A, B]]])) == [[]]


def test_the_last_token_of_a_blocked_phrase_is_impossible_after_the_others():
    limits = Limits(block_list=[[A, B, C], [B, D], [6]])
    assert blocked([[BOS, B, A], [BOS, A, B], [A, B, A]], decoding(), limits) == [
        [6],
        [C, D, 6],
        [B - B + 6],
    ]
    assert blocked([[]], decoding(), limits) == [[6]]


def test_after_a_stop_word_there_is_only_the_end():
    limits = Limits(stop_words=[[A, B], [C]])
    everything = [token for token in range(MANY) if token != EOS]
    found = blocked([[D, A, B], [D, B, A], [D, A, C], [A, B, D]], decoding(min_length=9), limits)
    assert found == [everything, [EOS], everything, [EOS]]


def test_a_prefix_is_said_whatever_is_blocked_and_by_its_own_row_alone():
    limits = Limits(prefixes=[[A, B], [], [C]], forbidden=[A], user=said_by([[A, B], [B], []]))
    config = decoding(block_user_ngrams=1, min_length=5)
    others = [[token for token in range(MANY) if token != only] for only in (A, B, C)]
    assert blocked([[], [], []], config, limits) == [others[0], [EOS, A, B], others[2]]
    assert blocked([[A], [D], [C]], config, limits) == [others[1], [EOS, A, B], [EOS, A]]
    assert blocked([[A, B], [D, D], [C, D]], config, limits) == [[EOS, A, B], [EOS, A, B], [EOS, A]]


def test_a_token_said_before_costs_the_penalty_once():
    found, before = next_log_probs([[A, B, A], [C, C, C]], decoding(repetition_penalty=0.5))
    before[0, [A, B]] -= 0.5
    before[1, C] -= 0.5
    torch.testing.assert_close(found, before)


def test_what_anybody_else_asks_of_the_table_is_asked():
    def no_even(log_probs, said):
        return log_probs.index_fill(1, torch.arange(0, log_probs.shape[1], 2), IMPOSSIBLE)

    assert blocked([[A], [B]], decoding(), Limits(more=[no_even]), vocabulary=6) == [
        [0, 2, 4],
        [0, 2, 4],
    ]


def test_the_columns_count_as_they_are_drawn_in_the_module():
    reply = Source([[[EOS] * 5]], ngrams=3)
    user = Source([[[B, C, D]]], ngrams=2)
    state, columns = lay_out(
        [reply, user], reply, [], conversations=1, repeat=1, padding=EOS, device=None
    )
    for token in (A, B):
        state = state.after(torch.tensor([token]), None)
    assert columns == {reply: slice(0, 6), user: slice(6, 10)}
    assert state.tokens.tolist() == [[EOS, A, B, EOS, EOS, EOS, EOS, B, C, D]]
    assert state.matching.tolist() == [[1, 1, 1, 1, 1, 1, 1, 1, 2, 1]]
    assert state.needed.tolist() == [[NEVER, 3, 3, 3, 3, 3, NEVER, 2, 2, 2]]


# --- blocks give way -----------------------------------------------------------------------------


def test_blocks_give_way_in_the_stated_order_by_hand():
    """Of </s>, <s>, A, B and C, the first must wait; every other token is blocked by one
    constraint, and one constraint after another gives way.
    """
    config = decoding(block_ngrams=1, block_user_ngrams=1, block_reply_ngrams=1, min_length=5)
    tokens = {"block_list": [[BOS]], "replies": [[[B]]], "user": [[[C]]]}
    assert blocked([[A]], config, Limits(**tokens), vocabulary=5) == [[EOS, BOS, A, B]], (
        "the user's n-grams first"
    )
    tokens["block_list"] = [[BOS], [C]]
    assert blocked([[A]], config, Limits(**tokens), vocabulary=5) == [[EOS, BOS, A, C]], (
        "then those of earlier replies"
    )
    tokens["block_list"] = [[BOS], [B], [C]]
    assert blocked([[A]], config, Limits(**tokens), vocabulary=5) == [[EOS, BOS, B, C]], (
        "then those of this one"
    )
    tokens["forbidden"] = [A]
    assert blocked([[A]], config, Limits(**tokens), vocabulary=5) == [[BOS, A, B, C]], (
        "then the minimum length"
    )
    tokens["forbidden"] = [A, EOS]
    assert blocked([[A]], config, Limits(**tokens), vocabulary=5) == [[BOS, A, B, C]], (
        "the rest never: the row ends"
    )


def test_a_row_whose_blocks_give_way_leaves_the_others_theirs():
    config = decoding(block_user_ngrams=1)
    limits = Limits(forbidden=[EOS, BOS], user=said_by([[A, B, C], [A, B]]))
    assert blocked([[], []], config, limits, vocabulary=5) == [[EOS, BOS], [EOS, BOS, A, B]]


# --- against plain loops -------------------------------------------------------------------------

phrases = st.lists(st.lists(st.integers(1, 5), min_size=1, max_size=3), max_size=3)


@given(
    written=st.lists(st.integers(1, 5), max_size=8), user=phrases, replies=phrases,
    block_list=phrases, stop_words=phrases,
    prefix=st.lists(st.integers(1, 5), max_size=4),
    forbidden=st.lists(st.integers(0, 5), max_size=3), settings=st.fixed_dictionaries(
        {
            name: st.integers(0, 4)
            for name in ("block_ngrams", "block_user_ngrams", "block_reply_ngrams", "min_length")
        }
    ), vocabulary=st.sampled_from([6, MANY]),
)  # fmt: skip
def test_all_constraints_together_do_what_a_plain_loop_does(
    written, user, replies, block_list, stop_words, prefix, forbidden, settings, vocabulary
):
    """In a small vocabulary, where blocks give way, and in a large one, where no row can run out of
    tokens.
    """
    config = decoding(**settings, repetition_penalty=0.5)
    limits = Limits(
        forbidden=forbidden, block_list=block_list, stop_words=stop_words, user=[user],
        replies=[replies], prefixes=[prefix]
    )  # fmt: skip
    found, before = next_log_probs([written], config, limits, vocabulary=vocabulary)
    assert found[0].tolist() == pytest.approx(allowed(before[0].tolist(), written, config, limits))


@given(**SIZES, length=st.integers(0, 9), rows=st.integers(1, 4))
def test_a_repeat_is_blocked_where_a_plain_loop_finds_one(n, seed, vocabulary, length, rows):
    written = torch.randint(
        1, min(vocabulary, 6), (rows, length), generator=generator(seed), device="cpu"
    ).tolist()
    expected = []
    for row in written:
        said = set(ngrams(row, n))
        found = [
            t
            for t in range(vocabulary)
            if length >= n - 1 and (*row[length - n + 1 :][: n - 1], t) in said
        ]
        expected.append(found if len(found) < vocabulary else [])
    assert blocked(written, decoding(block_ngrams=n), vocabulary=vocabulary) == expected


def generator(seed):
    return torch.Generator().manual_seed(seed)


# --- in whole replies ----------------------------------------------------------------------------


@given(**SIZES, beam=st.integers(1, 5), method=st.sampled_from(sorted(METHODS)))
def test_no_reply_holds_what_is_blocked(n, seed, vocabulary, beam, method):
    """No n-gram occurs twice or comes from the user or an earlier reply; no listed phrase or
    forbidden token occurs.
    """
    vocabulary += 3  # so many that the blocks never give way within seven tokens
    beam *= 2 if method == "group-beam" else 1
    step = random_step(seed, vocabulary=vocabulary, conversations=3, ending=-2.0)
    high = min(vocabulary, 8)
    user, replies = (
        torch.randint(2, high, (3, 1, 4), generator=generator(seed + i), device="cpu").tolist()
        for i in range(2)
    )
    limits = Limits(forbidden=[BOS], block_list=[[A, B], [B, B, C]], user=user, replies=replies)
    config = decoding(
        method=method,
        beam_size=beam,
        max_length=7,
        block_ngrams=n,
        block_user_ngrams=n,
        block_reply_ngrams=n + 1,
    )
    for found, mine, earlier in zip(
        search(step, config, conversations=(0, 1, 2), limits=limits), user, replies, strict=True
    ):
        assert found
        for hypothesis in found:
            said = ngrams(hypothesis.token_ids, n)
            assert BOS not in said
            assert not any(
                ends_with(hypothesis.token_ids[:end], p)
                for p in limits.block_list
                for end in range(8)
            )
            if vocabulary > 20:
                assert len(said) == len(set(said))
                assert not set(said) & set(ngrams(mine[0], n))
                assert not set(ngrams(hypothesis.token_ids, n + 1)) & set(ngrams(earlier[0], n + 1))


def test_blocking_stops_the_token_and_not_the_hypothesis():
    """A known bug elsewhere: a hypothesis whose likeliest next token is blocked is dropped. It must
    continue with the second likeliest.
    """
    step = random_step(1, vocabulary=8, ending=-9.0)
    config = decoding(beam_size=1, max_length=6, block_ngrams=1)
    (free,) = search(step, decoding(beam_size=1, max_length=6))[0]
    (found,) = search(step, config)[0]
    repeated = next(
        place for place, token in enumerate(free.token_ids) if token in free.token_ids[:place]
    )
    assert found.token_ids[:repeated] == free.token_ids[:repeated]
    assert len(found.token_ids) == 6


@pytest.mark.parametrize("method", METHODS)
def test_every_reply_begins_with_its_prefix_and_ends_at_its_stop_word(method):
    config = decoding(method=method, beam_size=4, max_length=9, min_length=2)
    limits = Limits(prefixes=[[A, B, A], [], [C]], stop_words=[[D], [B, B]], forbidden=[BOS])
    stopped = 0
    for seed in range(5):
        step = random_step(seed, vocabulary=8, conversations=3, ending=-6.0)
        for found, prefix in zip(
            search(step, config, conversations=(0, 1, 2), limits=limits),
            limits.prefixes,
            strict=True,
        ):
            assert found
            for tokens in (hypothesis.token_ids for hypothesis in found):
                assert list(tokens[: len(prefix)]) == prefix
                begun = [tokens[:end] for end in range(len(tokens) + 1)]
                stops = [
                    part
                    for part in begun
                    if any(ends_with(part, phrase) for phrase in limits.stop_words)
                ]
                assert stops in ([], [tokens])
                stopped += len(stops)
    assert stopped


def test_a_penalty_on_repetition_makes_it_rarer_and_not_impossible():
    repeated = {}
    for cost in (0.0, 1.0, 100.0):
        found = [
            search(
                random_step(seed, vocabulary=9, ending=-9.0),
                decoding(beam_size=3, max_length=8, repetition_penalty=cost),
            )[0][0]
            for seed in range(20)
        ]
        repeated[cost] = sum(len(h.token_ids) - len(set(h.token_ids)) for h in found)
    assert repeated[0.0] > repeated[1.0] > repeated[100.0]
    assert slow_beam(
        random_step(0, vocabulary=9), decoding(beam_size=3, max_length=8, repetition_penalty=1.0)
    )
