"""The search on tables small enough for a hand or for exhaustive search, and on a tiny HRED."""

import itertools
from dataclasses import dataclass

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dialogue.config import DecodeConfig
from dialogue.decoding import beam
from dialogue.decoding.beam import beam_search
from dialogue.decoding.constraints import IMPOSSIBLE, at_least, block_ngrams_of, block_repeats, forbid
from tests.dialogue import conftest as tiny

EOS, BOS, A, B, C = range(5)
CODES = 499


@dataclass(frozen=True)
class Path:
    """A decoder state for tables: whose row it is (R,), and a number (R,) made of all tokens read so far."""

    conversation: torch.Tensor
    code: torch.Tensor

    def repeat(self, times):
        return Path(self.conversation.repeat_interleave(times), self.code.repeat_interleave(times))

    def select(self, rows):
        return Path(self.conversation[rows], self.code[rows])


def begin(conversations):
    return Path(torch.tensor(conversations), torch.zeros(len(conversations), dtype=torch.long))


def bigrams(table):
    """A step function out of probabilities: table[conversation][last token] -> probabilities of the next."""
    log_probs = torch.tensor(table).log()
    return lambda token_ids, path: (log_probs[path.conversation, token_ids], path)


def random_step(seed, *, vocabulary=4, conversations=1, ending=0.0, spread=2.0):
    """A step function whose log-probabilities depend on the conversation and on every token read. ending: for or against </s>."""
    logits = torch.randn(conversations, CODES, vocabulary, generator=torch.Generator().manual_seed(seed)) * spread
    logits[:, :, EOS] += ending
    table = logits.log_softmax(-1)

    def step(token_ids, path):
        code = (path.code * 31 + token_ids + 1) % CODES
        return table[path.conversation, code], Path(path.conversation, code)

    return step


def search(step, config, *, conversations=(0,), constraints=()):
    return beam_search(
        step, begin(list(conversations)), len(conversations), config=config, bos_id=BOS, eos_id=EOS, constraints=constraints
    )  # fmt: skip


def decoding(**settings):
    return DecodeConfig(**{"min_length": 0, "length_penalty": 0.0, **settings})


def forced(step, token_ids, *, conversation=0):
    """The log-probability of a reply, read token by token, </s> included."""
    state, total = begin([conversation]), 0.0
    for read, target in itertools.pairwise([BOS, *token_ids, EOS]):
        log_probs, state = step(torch.tensor([read]), state)
        total += float(log_probs[0, target])
    return total


def penalised(log_prob, length, alpha):
    return log_prob / ((5 + length) / 6) ** alpha


def allowed(log_probs, written, config, constraints):
    """What one row may say next; a row without any choice may end."""
    ending = float(log_probs[0, EOS])
    if len(written) == config.max_length:
        log_probs = torch.full_like(log_probs, IMPOSSIBLE)
        log_probs[0, EOS] = ending
    for constrain in constraints:
        log_probs = constrain(log_probs, torch.tensor([written], dtype=torch.long).view(1, -1))
    row = log_probs[0].tolist()
    if max(row) == IMPOSSIBLE:
        row[EOS] = ending
    return row


def greedy(step, state, config, *, bos=BOS, eos=EOS, constraints=()):
    """Say the likeliest token until it is </s>."""
    assert eos == EOS or not constraints
    written, total = [], 0.0
    while True:
        log_probs, state = step(torch.tensor([written[-1] if written else bos]), state)
        row = allowed(log_probs, written, config, constraints) if eos == EOS else log_probs[0].tolist()
        token = max(range(len(row)), key=row.__getitem__)
        if len(written) == config.max_length:
            token = eos
        total += row[token]
        if token == eos:
            return tuple(written), total
        written.append(token)


def slow_beam(step, config, *, conversation=0, constraints=()):
    """The slow, obvious twin of beam_search for one conversation: lists, a loop over rows, and no early leave."""
    alive, finished = [((), 0.0, begin([conversation]))], []
    for length in range(config.max_length + 1):
        candidates = []
        for written, total, state in alive:
            log_probs, after = step(torch.tensor([written[-1] if written else BOS]), state)
            row = allowed(log_probs, written, config, constraints)
            candidates += [(total + p, written, token, after) for token, p in enumerate(row) if p != IMPOSSIBLE]
        candidates.sort(key=lambda candidate: -candidate[0])
        best = candidates[: config.beam_size]
        finished += [
            (penalised(total, length, config.length_penalty), written) for total, written, token, _ in best if token == EOS
        ]
        going_on = [candidate for candidate in candidates if candidate[2] != EOS][: config.beam_size]
        alive = [((*written, token), total, after) for total, written, token, after in going_on]
    return sorted(finished, key=lambda found: -found[0])[: config.beam_size]


# --- by hand -------------------------------------------------------------------------------------------------------------


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
    assert [h.token_ids for h in first] == [(B,), (A,)]
    assert [h.log_prob for h in first] == pytest.approx(
        [torch.tensor(0.3 * 0.9).log().item(), torch.tensor(0.5 * 0.1).log().item()]
    )
    assert [h.token_ids for h in second] == [(), (A,)]
    assert [h.log_prob for h in second] == pytest.approx([torch.tensor(0.6).log().item(), torch.tensor(0.1).log().item()])


def test_a_length_penalty_lets_the_longer_reply_win_by_hand():
    """The short one has .4, the long one .36: of their logarithms the long one's is divided by (7 / 6) ** alpha."""
    none = [1.0, 0.0, 0.0, 0.0]
    step = bigrams([[none, [0.4, 0.0, 0.6, 0.0], [0.0, 0.0, 0.0, 1.0], [0.6, 0.0, 0.4, 0.0]]])
    log_probs = {(): torch.tensor(0.4).log().item(), (A, B): torch.tensor(0.36).log().item()}
    for alpha, order in ((0.0, [(), (A, B)]), (1.0, [(A, B), ()])):
        found = search(step, decoding(beam_size=2, max_length=2, length_penalty=alpha))[0]
        assert [h.token_ids for h in found] == order
        assert [h.log_prob for h in found] == pytest.approx([log_probs[tokens] for tokens in order])
        expected = [penalised(log_probs[tokens], len(tokens), alpha) - penalised(0, 1, alpha) for tokens in order]
        assert [h.score for h in found] == pytest.approx(expected)


def test_a_beam_of_one_ends_where_eos_is_likeliest_by_hand():
    """It went on with the second likeliest token, and a reply three words longer won by the length penalty: no greedy search."""
    to = torch.eye(5).tolist()
    step = bigrams([[to[EOS], [0.51, 0.0, 0.49, 0.0, 0.0], to[B], to[C], to[EOS]]])
    (found,) = search(step, decoding(beam_size=1, max_length=6, length_penalty=0.65))[0]
    assert found.token_ids == ()


# --- second implementations ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("alpha", [0.0, 0.65])
@pytest.mark.parametrize("ending", [-3.0, 0.0, 1.0])
def test_a_beam_of_one_is_greedy(alpha, ending):
    """After the likeliest token was </s>, a beam of one went on with the second likeliest; a length penalty let that win."""
    config = decoding(beam_size=1, max_length=8, length_penalty=alpha)
    for seed in range(60):
        step = random_step(seed, vocabulary=6, ending=ending, spread=2.0 + seed % 3 * 4)
        (found,) = search(step, config)[0]
        written, total = greedy(step, begin([0]), config)
        assert found.token_ids == written, f"seed {seed}"
        assert found.log_prob == pytest.approx(total, abs=1e-5)


@pytest.mark.parametrize("alpha", [0.0, 0.65])
def test_a_beam_of_one_is_greedy_under_constraints(alpha):
    config = decoding(beam_size=1, max_length=8, length_penalty=alpha)
    constraints = [forbid([BOS]), at_least(3, eos_id=EOS), block_repeats(2, keep=EOS)]
    for seed in range(60):
        step = random_step(seed, vocabulary=5, spread=2.0 + seed % 3 * 4)
        (found,) = search(step, config, constraints=constraints)[0]
        written, total = greedy(step, begin([0]), config, constraints=constraints)
        assert found.token_ids == written, f"seed {seed}"
        assert found.log_prob == pytest.approx(total, abs=1e-5)


@pytest.mark.parametrize("alpha", [0.0, 0.65, 1.5])
def test_a_wide_beam_on_a_tiny_vocabulary_is_exhaustive_search(alpha):
    words, longest = (BOS, A, B), 4
    config = decoding(beam_size=128, max_length=longest, length_penalty=alpha)
    for seed in range(6):
        step = random_step(seed, ending=-0.5)
        replies = [reply for length in range(longest + 1) for reply in itertools.product(words, repeat=length)]
        ranked = sorted(((penalised(forced(step, r), len(r), alpha), r) for r in replies), reverse=True)
        found = search(step, config)[0]
        assert len(found) == len(replies) == 121
        assert [h.score for h in found] == pytest.approx([score for score, _ in ranked], abs=1e-4)
        assert [h.token_ids for h in found[:20]] == [reply for _, reply in ranked[:20]]
        assert {h.token_ids for h in found} == set(replies)


@pytest.mark.parametrize("size", [2, 3, 5])
@pytest.mark.parametrize("alpha", [0.0, 0.65])
def test_beams_between_are_those_of_the_slow_twin(size, alpha):
    config = decoding(beam_size=size, max_length=6, length_penalty=alpha)
    constraints = [forbid([BOS]), at_least(2, eos_id=EOS), block_repeats(2, keep=EOS)]
    for seed in range(15):
        step = random_step(seed, vocabulary=6, conversations=2, ending=0.5, spread=2.0 + seed % 3 * 4)
        for limits in ((), constraints):
            for conversation, found in enumerate(search(step, config, conversations=(0, 1), constraints=limits)):
                expected = slow_beam(step, config, conversation=conversation, constraints=limits)
                assert [h.token_ids for h in found] == [written for _, written in expected], f"seed {seed}"
                assert [h.score for h in found] == pytest.approx([score for score, _ in expected], abs=1e-5)


# --- relations -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 2, 5, 30])
def test_a_score_is_the_teacher_forced_score_of_its_tokens(size):
    for seed in range(20):
        step = random_step(seed, vocabulary=5, conversations=3)
        config = decoding(beam_size=size, max_length=6, length_penalty=0.65)
        for conversation, found in enumerate(search(step, config, conversations=(0, 1, 2))):
            assert found
            for hypothesis in found:
                log_prob = forced(step, hypothesis.token_ids, conversation=conversation)
                assert hypothesis.log_prob == pytest.approx(log_prob, abs=1e-5)
                assert hypothesis.score == pytest.approx(penalised(log_prob, len(hypothesis.token_ids), 0.65), abs=1e-5)


@given(seed=st.integers(0, 10_000), size=st.integers(1, 12), vocabulary=st.integers(3, 7), ending=st.sampled_from([-4.0, 0.0, 2.0]))
def test_hypotheses_are_distinct_sorted_and_end_at_their_first_eos(seed, size, vocabulary, ending):
    """Peers expand every row at the first step and get K identical hypotheses, or go on after </s>."""
    step = random_step(seed, vocabulary=vocabulary, ending=ending)
    found = search(step, decoding(beam_size=size, max_length=5, length_penalty=0.65))[0]
    assert 1 <= len(found) <= size
    assert len({h.token_ids for h in found}) == len(found)
    assert [h.score for h in found] == sorted((h.score for h in found), reverse=True)
    assert all(EOS not in h.token_ids and len(h.token_ids) <= 5 for h in found)
    assert all(0 <= token < vocabulary for h in found for token in h.token_ids)


def test_a_beam_wider_than_there_are_replies_gives_each_of_them_once():
    step = random_step(0, vocabulary=3)
    found = search(step, decoding(beam_size=10, max_length=1))[0]
    assert sorted(h.token_ids for h in found) == [(), (BOS,), (A,)]


def test_the_last_word_at_the_maximum_length_is_a_word():
    """A known mistake of peers: the last word overwritten by </s>, or </s> not in the score."""
    step = random_step(1, vocabulary=5, ending=-50.0)
    for size in (1, 4):
        for hypothesis in search(step, decoding(beam_size=size, max_length=6))[0]:
            assert len(hypothesis.token_ids) == 6
            assert EOS not in hypothesis.token_ids
            assert hypothesis.log_prob < -50


@pytest.mark.parametrize("size", [1, 4])
def test_no_reply_is_shorter_than_the_minimum(size):
    """A known mistake of peers: the minimum is ignored by a beam of one."""
    for seed in range(20):
        step = random_step(seed, vocabulary=5, ending=5.0)
        config = decoding(beam_size=size, max_length=6)
        assert any(len(h.token_ids) < 3 for h in search(step, config)[0])
        limited = search(step, config, constraints=[at_least(3, eos_id=EOS)])[0]
        assert limited
        assert all(len(h.token_ids) >= 3 for h in limited)


@pytest.mark.parametrize("size", [1, 3])
def test_a_conversation_whose_every_token_is_blocked_ends_there(size):
    """A known mistake of peers: where all is minus infinity, the top of it is a random token. The other conversation goes on."""

    def block_first(log_probs, written):
        if written.shape[1] < 2:
            return log_probs
        blocked = torch.arange(len(log_probs)) < size  # the rows of conversation 0
        return log_probs.masked_fill(blocked[:, None], IMPOSSIBLE)

    step = random_step(2, vocabulary=5, conversations=2, ending=-9.0)
    config = decoding(beam_size=size, max_length=5)
    first, second = search(step, config, conversations=(0, 1), constraints=[block_first, at_least(4, eos_id=EOS)])
    assert first
    assert all(len(h.token_ids) == 2 for h in first)
    assert [h.log_prob for h in first] == pytest.approx([forced(step, h.token_ids) for h in first], abs=1e-5)
    assert second == search(step, config, conversations=(1,), constraints=[at_least(4, eos_id=EOS)])[0]


def test_where_one_hypothesis_is_stuck_the_others_go_on():
    def block_after_a(log_probs, written):
        if not written.shape[1]:
            return log_probs
        return log_probs.masked_fill((written[:, -1] == A)[:, None], IMPOSSIBLE)

    found = search(random_step(3, vocabulary=5, ending=-2.0), decoding(beam_size=6, max_length=4), constraints=[block_after_a])[0]
    assert any(h.token_ids and h.token_ids[-1] == A for h in found)
    assert any(len(h.token_ids) == 4 for h in found)
    assert not any(A in h.token_ids[:-1] for h in found)


def test_with_every_token_forbidden_from_the_start_the_reply_is_empty():
    found = search(random_step(0), decoding(beam_size=3, max_length=4), constraints=[forbid([EOS, BOS, A, B])])[0]
    assert [h.token_ids for h in found] == [()]


@pytest.mark.parametrize("alpha", [0.0, 0.65])
def test_leaving_early_never_changes_what_is_found(alpha, monkeypatch):
    config = decoding(beam_size=3, max_length=24, length_penalty=alpha)
    steps = {"early": 0, "full": 0}
    for seed in range(25):
        step = random_step(seed, vocabulary=6, conversations=3, ending=1.0, spread=2.0 + seed % 3 * 4)
        found = {}
        for name, every in (("early", 1), ("full", 1000)):

            def counted(token_ids, path, name=name, step=step):
                steps[name] += 1
                return step(token_ids, path)

            monkeypatch.setattr(beam, "LOOK_EVERY", every)
            found[name] = search(counted, config, conversations=(0, 1, 2))
        assert found["early"] == found["full"], f"seed {seed}"
    assert steps["full"] == 25 * 25
    assert steps["early"] < steps["full"]


def test_a_batch_of_conversations_gives_the_replies_of_each_alone():
    config = decoding(beam_size=4, max_length=10, length_penalty=0.65)
    lengths = set()
    for seed in range(10):
        step = random_step(seed, vocabulary=7, conversations=5, ending=0.5)
        references = torch.randint(7, (5, 6), generator=torch.Generator().manual_seed(seed))

        def limits(rows, references=references):
            repeated = references[rows].repeat_interleave(4, dim=0)
            return [forbid([BOS]), at_least(2, eos_id=EOS), block_repeats(2, keep=EOS), block_ngrams_of(repeated, 1, keep=EOS)]

        together = search(step, config, conversations=range(5), constraints=limits([0, 1, 2, 3, 4]))
        for conversation, found in enumerate(together):
            alone = search(step, config, conversations=(conversation,), constraints=limits([conversation]))[0]
            assert [h.token_ids for h in found] == [h.token_ids for h in alone]
            assert [h.score for h in found] == pytest.approx([h.score for h in alone], abs=1e-5)
            lengths.update(len(h.token_ids) for h in found)
    assert len(lengths) > 3, "all replies end at the same length, so uneven ends were not tried"


# --- with a model --------------------------------------------------------------------------------------------------------


def model_search(model, histories, config, *, constraints=()):
    return beam_search(
        model.step, model.start(histories), len(histories), config=config, bos_id=tiny.BOS, eos_id=tiny.EOS, constraints=constraints
    )  # fmt: skip


@pytest.fixture(scope="module")
def peaked():
    """A model that has favourites, and the histories of five conversations."""
    model = tiny.make_model(peaked=6.0)
    with torch.no_grad():
        model.output_bias[tiny.EOS] += 2
        model.context_gates.weight *= 6  # its history matters
    histories = [tiny.history_after(model, tiny.make_conversation(turns, seed=turns)) for turns in (1, 2, 3, 5, 8)]
    return model, torch.cat(histories)


def test_a_batch_of_five_histories_gives_the_replies_of_five_batches_of_one(peaked):
    model, histories = peaked
    config = DecodeConfig(beam_size=4, max_length=12)
    constraints = [forbid([tiny.PAD, tiny.UNK, tiny.BOS]), at_least(2, eos_id=tiny.EOS), block_repeats(2, keep=tiny.EOS)]
    together = model_search(model, histories, config, constraints=constraints)
    for row, found in enumerate(together):
        alone = model_search(model, histories[row : row + 1], config, constraints=constraints)[0]
        assert [h.token_ids for h in found] == [h.token_ids for h in alone]
        assert [h.score for h in found] == pytest.approx([h.score for h in alone], abs=1e-5)
    assert len({len(h.token_ids) for found in together for h in found}) > 2
    assert len({found[0].token_ids for found in together}) > 1


def test_the_score_of_a_reply_is_what_the_model_gives_it_when_told(peaked):
    model, histories = peaked
    for row, found in enumerate(model_search(model, histories, DecodeConfig(beam_size=4, max_length=9))):
        replies = [[[*h.token_ids, tiny.EOS]] for h in found]
        batch = tiny.as_batch(replies, history=histories[row].expand(len(replies), -1))
        with torch.no_grad():
            told = model.log_likelihood(batch).log_probs
        assert [h.log_prob for h in found] == pytest.approx(told.tolist(), abs=1e-4)


def test_a_beam_of_one_over_a_model_is_greedy(peaked):
    model, histories = peaked
    config = decoding(beam_size=1, max_length=9, length_penalty=0.65)
    for row, (found,) in enumerate(model_search(model, histories, config)):
        state = model.start(histories[row : row + 1])
        written, total = greedy(model.step, state, config, bos=tiny.BOS, eos=tiny.EOS)
        assert found.token_ids == written
        assert found.log_prob == pytest.approx(total, abs=1e-5)


def test_the_same_search_twice_gives_the_same_replies(peaked):
    model, histories = peaked
    config = DecodeConfig(beam_size=4, max_length=9)
    assert model_search(model, histories, config) == model_search(model, histories, config)
