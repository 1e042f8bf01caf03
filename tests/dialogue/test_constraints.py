import torch
from hypothesis import given
from hypothesis import strategies as st

from dialogue.config import DecodeConfig
from dialogue.decoding.beam import beam_search
from dialogue.decoding.constraints import IMPOSSIBLE, NO_TOKEN, at_least, block_ngrams_of, block_repeats, forbid
from tests.dialogue.test_beam import BOS, EOS, begin, random_step, search

SIZES = {"n": st.integers(1, 4), "seed": st.integers(0, 10_000), "vocabulary": st.integers(3, 6)}


def blocked(constraint, written, *, vocabulary=6):
    """The tokens that a constraint makes impossible, row by row."""
    written = torch.tensor(written, dtype=torch.long).view(len(written), -1)
    log_probs = torch.rand(len(written), vocabulary) - 3
    before = log_probs.clone()
    found = constraint(log_probs, written)
    assert torch.equal(log_probs, before), "a constraint must not write into what it was given"
    impossible = found == IMPOSSIBLE
    assert torch.equal(found[~impossible], before[~impossible]), "what is not blocked stays as it was, bit by bit"
    return [row.nonzero().flatten().tolist() for row in impossible]


def ngrams(tokens, n):
    return [tuple(tokens[start : start + n]) for start in range(len(tokens) - n + 1)]


# --- by hand -------------------------------------------------------------------------------------------------------------


def test_forbidden_tokens_are_impossible_in_every_row():
    assert blocked(forbid([0, 4]), [[], []]) == [[0, 4], [0, 4]]
    assert blocked(forbid([]), [[5]]) == [[]]


def test_eos_is_impossible_until_the_minimum_length_is_reached():
    constraint = at_least(2, eos_id=EOS)
    assert blocked(constraint, [[], []]) == [[EOS], [EOS]]
    assert blocked(constraint, [[3], [4]]) == [[EOS], [EOS]]
    assert blocked(constraint, [[3, 3], [4, 5]]) == [[], []]


def test_a_token_that_would_repeat_a_trigram_is_impossible():
    constraint = block_repeats(3, keep=EOS)
    assert blocked(constraint, [[2, 3, 4, 2, 3], [2, 3, 4, 3, 2], [2, 2, 2, 2, 2]]) == [[4], [], [2]]
    assert blocked(constraint, [[2, 3]]) == [[]]


def test_every_continuation_of_a_repeated_start_is_impossible():
    assert blocked(block_repeats(2, keep=EOS), [[2, 3, 2, 4, 2, 5, 2]]) == [[3, 4, 5]]


def test_with_unigrams_no_token_comes_twice():
    assert blocked(block_repeats(1, keep=EOS), [[2, 5, 2], [3, 3, 3]]) == [[2, 5], [3]]
    assert blocked(block_repeats(1, keep=EOS), [[]]) == [[]]


def test_ngrams_of_a_reference_are_blocked_in_its_own_row_alone():
    """A known mistake of peers: a mask that leaks between the rows of a batch."""
    references = torch.tensor([[2, 3, 4], [4, 3, 5], [NO_TOKEN, NO_TOKEN, NO_TOKEN]])
    assert blocked(block_ngrams_of(references, 2, keep=EOS), [[3], [3], [3]]) == [[4], [5], []]
    assert blocked(block_ngrams_of(references, 3, keep=EOS), [[2, 3], [2, 3], [2, 3]]) == [[4], [], []]
    assert blocked(block_ngrams_of(references, 1, keep=EOS), [[0], [0], [0]]) == [[2, 3, 4], [3, 4, 5], []]


def test_the_padding_of_references_blocks_nothing_and_joins_nothing():
    """NO_TOKEN stands between two references too: no n-gram reaches over it."""
    references = torch.tensor([[2, 3, NO_TOKEN, 4, NO_TOKEN, NO_TOKEN]])
    assert blocked(block_ngrams_of(references, 2, keep=EOS), [[3]]) == [[]]
    assert blocked(block_ngrams_of(references, 1, keep=EOS), [[0]]) == [[2, 3, 4]]


def test_references_that_are_empty_or_shorter_than_n_block_nothing():
    assert blocked(block_ngrams_of(torch.empty(2, 0, dtype=torch.long), 1, keep=EOS), [[2], [3]]) == [[], []]
    assert blocked(block_ngrams_of(torch.tensor([[2, 3]]), 3, keep=EOS), [[2, 3]]) == [[]]


def test_the_kept_token_is_never_blocked():
    assert blocked(block_repeats(2, keep=EOS), [[2, EOS, 2]]) == [[]]
    assert blocked(block_ngrams_of(torch.tensor([[2, EOS, 3]]), 1, keep=EOS), [[4]]) == [[2, 3]]


# --- properties ----------------------------------------------------------------------------------------------------------


@given(**SIZES, length=st.integers(0, 9), rows=st.integers(1, 4))
def test_a_repeat_is_blocked_where_a_plain_loop_finds_one(n, seed, vocabulary, length, rows):
    written = torch.randint(vocabulary, (rows, length), generator=torch.Generator().manual_seed(seed)).tolist()
    expected = []
    for row in written:
        said = set(ngrams(row, n))
        last = row[length - n + 1 :] if n > 1 else []
        reached = length >= n - 1
        expected.append([t for t in range(vocabulary) if reached and (*last, t) in said and t != EOS])
    assert blocked(block_repeats(n, keep=EOS), written, vocabulary=vocabulary) == expected


@given(**SIZES, length=st.integers(0, 5), rows=st.integers(1, 4), reference_length=st.integers(0, 9))
def test_an_ngram_of_a_reference_is_blocked_where_a_plain_loop_finds_one(n, seed, vocabulary, length, rows, reference_length):
    generator = torch.Generator().manual_seed(seed)
    written = torch.randint(vocabulary, (rows, length), generator=generator).tolist()
    references = torch.randint(NO_TOKEN, vocabulary, (rows, reference_length), generator=generator)
    expected = []
    for row, reference in zip(written, references.tolist(), strict=True):
        last = row[length - n + 1 :] if n > 1 else []
        reached = length >= n - 1
        expected.append([t for t in range(vocabulary) if reached and (*last, t) in ngrams(reference, n) and t != EOS])
    assert blocked(block_ngrams_of(references, n, keep=EOS), written, vocabulary=vocabulary) == expected


@given(**SIZES, beam=st.integers(1, 5))
def test_no_reply_repeats_an_ngram(n, seed, vocabulary, beam):
    step = random_step(seed, vocabulary=vocabulary, conversations=2, ending=-2.0)
    config = DecodeConfig(beam_size=beam, min_length=0, max_length=9)
    for found in search(step, config, conversations=(0, 1), constraints=[block_repeats(n, keep=EOS)]):
        assert found
        for hypothesis in found:
            said = ngrams(hypothesis.token_ids, n)
            assert len(said) == len(set(said))


@given(**SIZES, beam=st.integers(1, 5))
def test_no_reply_holds_a_forbidden_token_or_an_ngram_of_its_reference(n, seed, vocabulary, beam):
    step = random_step(seed, vocabulary=vocabulary, conversations=3, ending=-2.0)
    references = torch.randint(NO_TOKEN, vocabulary, (3, 8), generator=torch.Generator().manual_seed(seed))
    constraints = [forbid([BOS]), block_ngrams_of(references.repeat_interleave(beam, dim=0), n, keep=EOS)]
    config = DecodeConfig(beam_size=beam, min_length=0, max_length=7)
    replies = beam_search(step, begin([0, 1, 2]), 3, config=config, bos_id=BOS, eos_id=EOS, constraints=constraints)
    for found, reference in zip(replies, references.tolist(), strict=True):
        assert found
        for hypothesis in found:
            assert BOS not in hypothesis.token_ids
            assert not set(ngrams(hypothesis.token_ids, n)) & set(ngrams(reference, n))


@given(**SIZES, order=st.permutations(range(4)))
def test_constraints_compose_in_any_order(n, seed, vocabulary, order):
    generator = torch.Generator().manual_seed(seed)
    written = torch.randint(vocabulary, (3, 6), generator=generator)
    references = torch.randint(NO_TOKEN, vocabulary, (3, 6), generator=generator)
    constraints = [forbid([0]), at_least(7, eos_id=EOS), block_repeats(n, keep=EOS), block_ngrams_of(references, n, keep=EOS)]
    log_probs = torch.rand(3, vocabulary) - 2
    straight = permuted = log_probs
    for place, constraint in enumerate(constraints):
        straight = constraint(straight, written)
        permuted = constraints[order[place]](permuted, written)
    assert torch.equal(straight, permuted)
