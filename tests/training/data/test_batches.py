import itertools
import random
from collections import Counter

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from training.corpora.transcript import Transcript
from training.data import batches
from training.data.batches import (
    WINDOW_TURNS,
    Utterance,
    collate,
    contiguous,
    encode,
    plan,
    windows,
)

PAD, EOS = 0, 3


def numbered(turns):
    """A conversation whose every turn is its own number."""
    return [[10 + number, EOS] for number in range(turns)]


def made_up(count, *, seed, most_turns=30, longest=25):
    rng = random.Random(seed)
    return [
        [
            [*(rng.randrange(4, 500) for _ in range(rng.randrange(longest))), EOS]
            for _ in range(rng.randrange(1, most_turns))
        ]
        for _ in range(count)
    ]


# --- windows -------------------------------------------------------------------------------------


def test_a_short_conversation_is_one_window():
    for turns in (1, 2, WINDOW_TURNS - 1, WINDOW_TURNS):
        assert list(windows(numbered(turns))) == [numbered(turns)]


def test_a_long_conversation_is_cut_by_hand():
    seven = numbered(7)
    assert list(windows(seven, turns=3)) == [seven[0:3], seven[2:5], seven[4:7]]
    assert list(windows(seven, turns=4)) == [seven[0:4], seven[3:7]]
    assert list(windows(seven, turns=5)) == [seven[0:5], seven[4:7]]


@given(turns=st.integers(1, 100), size=st.integers(2, 25))
def test_every_turn_is_an_answer_to_the_turn_before_it_in_exactly_one_window(turns, size):
    conversation = numbered(turns)
    answers = [
        (before[0], answer[0])
        for window in windows(conversation, turns=size)
        for before, answer in itertools.pairwise(window)
    ]
    assert answers == [(10 + number, 11 + number) for number in range(turns - 1)]
    assert all(1 <= len(window) <= size for window in windows(conversation, turns=size))


# --- encode --------------------------------------------------------------------------------------


def test_every_turn_is_encoded_and_closed(word_vocabulary, conversations):
    encoded = encode(conversations, word_vocabulary, truncate=None)
    assert encoded.truncated == 0
    assert encoded.utterances == sum(len(conversation.turns) for conversation in conversations)
    for conversation, transcript in zip(encoded.conversations, conversations, strict=True):
        assert [word_vocabulary.decode(turn) for turn in conversation] == list(transcript.turns)
        assert all(
            turn[-1] == word_vocabulary.eos_id and word_vocabulary.eos_id not in turn[:-1]
            for turn in conversation
        )


def test_a_turn_above_the_limit_loses_its_end_and_is_counted(word_vocabulary):
    turns = (
        "how are you?",
        "where do you live?",
        "what is your favorite food?",
    )  # 3, 4 and 5 tokens, and </s>
    transcript = Transcript("one", "by hand", turns)
    whole = encode([transcript], word_vocabulary, truncate=6)
    assert whole.truncated == 0
    assert [len(turn) for turn in whole.conversations[0]] == [4, 5, 6]
    cut = encode([transcript], word_vocabulary, truncate=4)
    assert (cut.truncated, cut.utterances) == (2, 3)
    assert [len(turn) for turn in cut.conversations[0]] == [4, 4, 4]
    for turn, before in zip(cut.conversations[0], whole.conversations[0], strict=True):
        assert turn == [*before[:3], word_vocabulary.eos_id]


def test_a_turn_without_a_token_is_still_a_turn(word_vocabulary):
    encoded = encode(
        [Transcript("one", "by hand", ("hi", "\u200b", "hello"))], word_vocabulary, truncate=5
    )
    assert encoded.conversations[0][1] == [word_vocabulary.eos_id]


# --- collate -------------------------------------------------------------------------------------


def test_conversations_are_laid_out_turn_below_turn_and_padded():
    batch = collate(
        [[[5, 6, EOS], [EOS]], [[7, EOS]]],
        pad_id=PAD,
        without_history=torch.tensor([True, False, False]),
    )
    assert batch.token_ids.tolist() == [[5, 6, EOS], [EOS, PAD, PAD], [7, EOS, PAD]]
    assert batch.token_ids.dtype == torch.long
    assert batch.lengths.tolist() == [3, 1, 2]
    assert batch.turns.tolist() == [2, 1]
    assert batch.history is None
    assert batch.without_history.tolist() == [True, False, False]


@given(seed=st.integers(0, 1000), count=st.integers(1, 6))
def test_nothing_is_lost_in_a_batch(seed, count):
    conversations = made_up(count, seed=seed, most_turns=6)
    batch = collate(conversations, pad_id=PAD)
    rows = [
        row[:length]
        for row, length in zip(batch.token_ids.tolist(), batch.lengths.tolist(), strict=True)
    ]
    assert rows == [turn for conversation in conversations for turn in conversation]
    assert batch.turns.tolist() == [len(conversation) for conversation in conversations]
    assert batch.token_ids.shape == (sum(map(len, conversations)), max(map(len, rows)))
    assert int((batch.token_ids == PAD).sum()) == batch.token_ids.numel() - sum(map(len, rows))


# --- plan ----------------------------------------------------------------------------------------


def as_window(window):
    return tuple(map(tuple, window))


@pytest.mark.parametrize("batch_tokens", [1, 100, 1000, 10**6])
def test_every_window_is_planned_once_in_batches_of_bounded_size(batch_tokens):
    conversations = made_up(150, seed=1)
    planned = plan(conversations, batch_tokens=batch_tokens, rng=random.Random(0))
    expected = Counter(
        as_window(window) for conversation in conversations for window in windows(conversation)
    )
    assert Counter(as_window(window) for batch in planned for window in batch) == expected
    for batch in planned:
        assert batch
        assert (
            len(batch) == 1 or sum(len(turn) for window in batch for turn in window) <= batch_tokens
        )
    if batch_tokens > 10**5:
        assert len(planned) == 1


def test_batches_are_well_filled():
    planned = plan(made_up(400, seed=2), batch_tokens=1000, rng=random.Random(0))
    sizes = [sum(len(turn) for window in batch for turn in window) for batch in planned]
    assert sum(sizes) / len(sizes) > 750


def test_the_seed_decides_the_order_and_nothing_else():
    conversations = made_up(100, seed=3)
    kept = [list(conversation) for conversation in conversations]
    one, same, other = (
        plan(conversations, batch_tokens=400, rng=random.Random(seed)) for seed in (0, 0, 1)
    )
    assert one == same
    assert one != other
    assert conversations == kept

    def flat(planned):
        return Counter(as_window(window) for batch in planned for window in batch)

    assert flat(one) == flat(other)


def test_windows_of_like_length_go_together():
    """A recurrent layer takes as many steps as the longest utterance has tokens."""
    conversations = made_up(800, seed=4, most_turns=2, longest=60)
    planned = plan(conversations, batch_tokens=500, rng=random.Random(0))

    def steps(some):
        return sum(max(len(turn) for window in batch for turn in window) for batch in some)

    shuffled = [window for batch in planned for window in batch]
    random.Random(5).shuffle(shuffled)
    assert steps(planned) < 0.8 * steps(list(batches.fill(shuffled, 500)))


def test_batches_of_short_and_of_long_windows_come_in_mixed_order():
    conversations = made_up(400, seed=6, most_turns=4)
    planned = plan(conversations, batch_tokens=500, rng=random.Random(0))
    assert 15 < len(planned) < batches.POOL_BATCHES, (
        "one pool, within which batches are made in order of length"
    )
    longest = [max(len(turn) for window in batch for turn in window) for batch in planned]
    assert longest != sorted(longest)
    half = len(longest) // 2
    assert abs(sum(longest[:half]) / half - sum(longest[half:]) / (len(longest) - half)) < 5


# --- what was heard, and what is learnt ----------------------------------------------------------


def test_a_turn_is_kept_in_both_forms_where_that_is_asked_for(word_vocabulary):
    transcript = Transcript(
        "one", "by hand", ("Do you like it?", "Yes, I do!"), untaught=frozenset({1})
    )
    (written,) = encode([transcript], word_vocabulary, truncate=None).conversations
    assert [turn.heard for turn in written] == [None, None]
    (both,) = encode([transcript], word_vocabulary, truncate=None, heard=True).conversations
    assert both == written
    expected = word_vocabulary.encode_all(["do you like it?", "yes i do"])
    assert [turn.heard for turn in both] == [[*ids, word_vocabulary.eos_id] for ids in expected]
    assert [turn.taught for turn in both] == [True, False]


def test_only_the_chosen_utterances_are_read_as_recognised():
    conversation = [
        Utterance([5, 6, EOS], heard=[5, EOS]),
        Utterance([7, EOS], heard=[8, 9, 9, EOS]),
        Utterance([4, EOS]),
    ]
    batch = collate([conversation], pad_id=PAD, recognised=torch.tensor([True, False, True]))
    token_ids, lengths = batch.encoder_input
    assert token_ids.tolist() == [[5, EOS], [7, EOS], [4, EOS]]
    assert lengths.tolist() == [2, 2, 2]
    assert batch.token_ids.tolist() == [[5, 6, EOS], [7, EOS, PAD], [4, EOS, PAD]], (
        "what is predicted stays as it was written"
    )
    assert collate([conversation], pad_id=PAD).encoder_input is None


def test_turns_that_are_not_learnt_are_marked_and_a_batch_without_such_has_no_mark():
    conversation = [Utterance([5, EOS]), Utterance([6, EOS], taught=False)]
    assert collate([conversation, [[7, EOS]]], pad_id=PAD).loss_mask.tolist() == [True, False, True]
    assert collate([conversation[:1]], pad_id=PAD).loss_mask is None


def test_every_other_turn_of_the_chosen_conversations_is_recognised():
    turns, rng = [7] * 400, torch.Generator().manual_seed(1)
    rows = batches.recognised_turns(turns, 0.5, rng).view(400, 7)
    even, odd = torch.arange(7) % 2 == 0, torch.arange(7) % 2 == 1
    kinds = [(row == even).all() or (row == odd).all() for row in rows if row.any()]
    assert all(kinds)
    assert 150 < len(kinds) < 250
    assert not batches.recognised_turns(turns, 0.0, rng).any()
    first = batches.recognised_turns(turns, 1.0, rng).view(400, 7)[:, 0]
    assert 150 < int(first.sum()) < 250, "either speaker may be the user"


# --- contiguous batches --------------------------------------------------------------------------


@pytest.mark.parametrize(("batch_tokens", "length"), [(40, 10), (7, 7), (100, 33), (45, 2)])
def test_rows_that_go_on_from_batch_to_batch_are_the_text_in_its_order(batch_tokens, length):
    conversations = made_up(30, seed=2)
    text = [token for conversation in conversations for turn in conversation for token in turn]
    found = contiguous(
        [[Utterance(turn) for turn in c] for c in conversations],
        batch_tokens=batch_tokens,
        length=length,
    )
    count = batch_tokens // length
    assert {len(batch) for batch in found} == {count}
    assert all([len(row) for row in batch] == [1] * count for batch in found), (
        "each row a conversation of one utterance"
    )
    rows = [[token for batch in found for token in batch[row][0]] for row in range(count)]
    assert list(itertools.chain(*rows)) == text[: len(text) // count * count]
    assert len({len(row) for row in rows}) == 1
    assert {len(batch[0][0]) for batch in found[:-1]} == {length}
    assert 0 < len(found[-1][0][0]) <= length


def test_what_is_not_to_be_learnt_is_no_part_of_the_running_text():
    conversation = [Utterance([5, EOS]), Utterance([6, 6, EOS], taught=False), Utterance([7, EOS])]
    assert contiguous([conversation], batch_tokens=2, length=2) == [[[[5, EOS]]], [[[7, EOS]]]]


def test_a_text_that_is_shorter_than_there_are_rows_is_refused():
    with pytest.raises(
        ValueError,
        match="3 tokens cannot be cut into 5 rows; lower --batch-tokens, or raise --bptt",
    ):
        contiguous([[Utterance([5, 6, EOS])]], batch_tokens=10, length=2)
