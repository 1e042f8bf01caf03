"""What histories guarantee to those who keep them, for every model and a custom history class."""

from dataclasses import dataclass, replace
from typing import NamedTuple

import pytest
import torch
from torch import nn

from dialogue.agent import DialogueAgent
from dialogue.checkpoint import Checkpoint
from dialogue.config import DecodeConfig, ModelConfig
from dialogue.conversation import Conversation, Turn
from dialogue.models import Likelihood
from dialogue.models.history import (
    RaggedHistory,
    empty_history,
    histories_before,
    history_from_bytes,
    history_to_bytes,
    max_history_bytes,
    rows_apart,
    stack_histories,
)
from tests.dialogue.conftest import BOS, EOS, VOCABULARY, as_batch, history_after, make_conversation
from tests.dialogue.test_siblings import MODELS, build, close, same
from training.metrics.exchanges import exchanges_of
from training.metrics.prediction import score

UNEVEN = [make_conversation(turns, seed=turns) for turns in (3, 1, 6, 2)]


@dataclass(frozen=True)
class LastUtterance:
    """A history as a list: of each conversation the encoder's states over the last utterance, (T,
    H).
    """

    states: tuple[torch.Tensor, ...]
    size: int

    @property
    def nbytes(self):
        return sum(states.nbytes for states in self.states)

    def __len__(self):
        return len(self.states)

    def __getitem__(self, rows):
        return replace(self, states=tuple(self.states[int(row)] for row in rows))

    def to(self, device):
        return replace(self, states=tuple(states.to(device) for states in self.states))

    def flatten(self):
        return torch.cat([torch.zeros(0), *(states.flatten() for states in self.states)])

    def stack(self, others):
        return replace(self, states=sum((other.states for other in others), self.states))

    def tensors(self):
        return {"states": self.states[0]}

    def from_tensors(self, tensors):
        states = tensors.get("states")
        if states is None or states.dim() != 2 or states.shape[1] != self.size:
            raise ValueError(f"found {list(tensors)}, expected states of {self.size} numbers each")
        return replace(self, states=(states.float(),))

    def largest(self):
        return None


class AttentiveState(NamedTuple):
    hidden: torch.Tensor  # (R, H)
    seen: torch.Tensor  # (R, T, H), right-padded
    real: torch.Tensor  # (R, T); the first is a place to look where nothing was said

    def repeat(self, times):
        return AttentiveState(*(part.repeat_interleave(times, 0) for part in self))

    def select(self, rows):
        return AttentiveState(*(part.index_select(0, rows) for part in self))


class Attentive(nn.Module):
    """A decoder with attention over the states of the last utterance (Luong et al.

    2015), and nothing of those before.
    """

    def __init__(self, vocab_size, size):
        super().__init__()
        self.size, self.embedding = size, nn.Embedding(vocab_size, size)
        self.encoder, self.decoder = nn.GRU(size, size, batch_first=True), nn.GRUCell(size, size)
        self.output = nn.Linear(2 * size, vocab_size)

    @classmethod
    def from_config(cls, config, *, bos_id):
        return cls(config.vocab_size, config.hidden)

    def empty_history(self, count):
        return LastUtterance((self.embedding.weight.new_zeros(0, self.size),) * count, self.size)

    def read(self, token_ids, lengths, history):
        states = self.encoder(self.embedding(token_ids))[0]
        rows = zip(states, lengths.tolist(), strict=True)
        return LastUtterance(tuple(row[:length] for row, length in rows), self.size)

    encode_turn = torch.no_grad()(read)

    def start(self, history):
        seen = nn.utils.rnn.pad_sequence(
            [nn.functional.pad(states, (0, 0, 1, 0)) for states in history.states], True
        )
        lengths = torch.tensor([1 + len(states) for states in history.states])
        real = torch.arange(seen.shape[1]) < lengths[:, None]
        return AttentiveState(seen[:, 0], seen, real)

    def step(self, token_ids, state):
        hidden = self.decoder(self.embedding(token_ids), state.hidden)
        weights = (state.seen @ hidden[..., None]).squeeze(-1).masked_fill(~state.real, -torch.inf)
        context = (weights.softmax(-1)[:, None] @ state.seen).squeeze(1)
        log_probs = self.output(torch.cat([hidden, context], -1)).log_softmax(-1)
        return log_probs, state._replace(hidden=hidden)

    def log_likelihood(self, batch):
        state = self.start(histories_before(self.read, batch, self.empty_history(1)))
        ids, found, likeliest = batch.token_ids, [], []
        read = nn.functional.pad(ids[:, :-1], (1, 0), value=BOS)
        for time in range(ids.shape[1]):
            log_probs, state = self.step(read[:, time], state)
            found.append(log_probs.gather(1, ids[:, time, None]))
            likeliest.append(log_probs.argmax(-1))
        real = torch.arange(ids.shape[1]) < batch.lengths[:, None]
        hits = (torch.stack(likeliest, 1) == ids) & real
        return Likelihood((torch.cat(found, 1) * real).sum(1), batch.lengths, hits)


class Summing(nn.Module):
    """One of the four calls, and a vector for a history: nothing says what the empty one is."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, 5)

    def encode_turn(self, token_ids, lengths, history):
        real = (torch.arange(token_ids.shape[1]) < lengths[:, None])[..., None]
        said = (self.embedding(token_ids) * real).sum(1).detach()
        return said if history is None else history + said


HRED = {"utterance": 12, "context": 9, "bidirectional": True}
ALL = {"hred": ("hred", HRED), **MODELS}


@pytest.fixture(params=[*ALL, "attentive", "summing"])
def model(request):
    torch.manual_seed(7)
    if request.param == "attentive":
        return Attentive(VOCABULARY, 6).eval()
    if request.param == "summing":
        return Summing().eval()
    name, sizes = ALL[request.param]
    return build(name, **sizes)


def test_histories_turn_by_turn_are_those_of_all_turns_at_once(model):
    """Of conversations that go on from something, each turn as it was heard, and some without
    anything before them.
    """
    begun = stack_histories(
        [history_after(model, make_conversation(n, seed=9)) for n in range(1, 5)]
    )
    without = torch.arange(12) % 5 == 3
    batch = as_batch(UNEVEN, history=begun, without_history=without)
    heard = as_batch([[turn[::-1] for turn in turns] for turns in UNEVEN])
    batch = replace(batch, encoder_input=(heard.token_ids, heard.lengths))
    expected = []
    for row, turns in enumerate(UNEVEN):
        history = begun[[row]]
        for turn in turns:
            is_first = bool(without[len(expected)])
            expected.append(empty_history(model) if is_first else history)
            said = torch.tensor([turn[::-1]])
            history = model.encode_turn(said, torch.tensor([len(turn)]), history)
    found = histories_before(model.encode_turn, batch, empty_history(model))
    same(found, stack_histories(expected))


def test_the_rows_of_a_history_apart_are_copies_of_each(model):
    histories = [history_after(model, conversation) for conversation in UNEVEN]
    every = stack_histories(histories)
    apart = rows_apart(every)
    for one, expected in zip(apart, histories, strict=True):
        same(one, expected)
    if isinstance(every, torch.Tensor):
        assert all(one.untyped_storage().nbytes() == one.nbytes for one in apart)


def test_a_history_goes_through_bytes_and_back_digit_by_digit(model):
    for history in (empty_history(model), *(history_after(model, turns) for turns in UNEVEN)):
        data = history_to_bytes(history)
        found = history_from_bytes(data, empty_history(model))
        assert type(found) is type(history)
        assert torch.equal(found.flatten(), history.flatten())
        most = max_history_bytes(empty_history(model))
        assert most is None or len(data) <= most
        assert history_to_bytes(found) == data


def test_half_precision_halves_numbers_with_a_point_and_leaves_whole_ones(model):
    history = history_after(model, UNEVEN[0])
    whole, half = history_to_bytes(history), history_to_bytes(history, half=True)
    found = history_from_bytes(half, empty_history(model))
    if not history.flatten().is_floating_point():
        assert half == whole
        assert torch.equal(found.flatten(), history.flatten())
        return
    assert len(whole) - len(half) >= history.nbytes // 2 - 8  # the header is padded to eight bytes
    assert found.flatten().dtype == torch.float32
    torch.testing.assert_close(found.flatten(), history.flatten(), rtol=1e-3, atol=1e-3)


def test_a_number_too_large_for_half_precision_is_kept_in_full():
    history = torch.tensor([[1e9, 2.0]])
    found = history_from_bytes(history_to_bytes(history, half=True), torch.zeros(1, 2))
    assert torch.equal(found, history)


@pytest.mark.parametrize("change", ["short", "long", "empty", "noise", "header"])
def test_bytes_that_hold_no_history_are_refused(model, change):
    data = history_to_bytes(history_after(model, UNEVEN[0]))
    wrong = {
        "short": data[:-1],
        "long": data + b"\0",
        "empty": b"",
        "noise": bytes(range(200)),
        "header": data[:8] + b"[" + data[9:],
    }[change]
    with pytest.raises(ValueError, match=rf"found {len(wrong)} bytes that hold no history"):
        history_from_bytes(wrong, empty_history(model))


def test_a_history_of_another_model_is_refused_by_what_it_is():
    vector, text = (
        torch.zeros(1, 9),
        build("transformer", **MODELS["transformer"][1]).empty_history(1),
    )
    refused = [
        (torch.zeros(1, 8), vector, r"values \(1, 8\) of torch.float32, expected values \(1, 9\)"),
        (torch.zeros(1, 9, dtype=torch.long), vector, r"of torch.int64, expected values \(1, 9\)"),
        (torch.full((1, 9), torch.nan), vector, "values hold NaN or infinity"),
        (vector, text, r"values \(1, 9\) .*, expected values \(up to 200\) of torch.int32"),
        (of_ids([4] * 201), text, r"values \(201\) .*, expected values \(up to 200\)"),
        (of_ids([4, VOCABULARY]), text, f"from 4 to {VOCABULARY}, expected 0 to {VOCABULARY - 1}"),
        (of_ids([-1, 4]), text, "from -1 to 4"),
        (replace(of_ids([4]), values=torch.tensor([4])), text, "of torch.int64, expected values"),
        (torch.zeros(1, 9, dtype=torch.complex64), vector, "of torch.complex64, expected one of"),
        (vector, LastUtterance((), 6), r"found \['values'\], expected states of 6 numbers each"),
    ]
    for history, empty, says in refused:
        with pytest.raises(ValueError, match=says):
            history_from_bytes(history_to_bytes(history), empty)


def of_ids(ids):
    return RaggedHistory(torch.tensor(ids, dtype=torch.int32), torch.tensor([len(ids)]))


def test_what_grows_without_bound_says_so_and_what_does_not_says_how_large_it_gets():
    assert max_history_bytes(Attentive(VOCABULARY, 6).empty_history(1)) is None
    assert max_history_bytes(of_ids([])) is None
    assert max_history_bytes(torch.zeros(1, 512)) == len(history_to_bytes(torch.zeros(1, 512)))
    bounded = replace(of_ids([]), longest=256)
    assert max_history_bytes(bounded) == len(history_to_bytes(of_ids([5] * 256)))


def test_a_model_with_a_class_of_histories_has_to_say_what_the_empty_one_is():
    model = Attentive(VOCABULARY, 6)
    model.empty_history = None
    model.__class__ = type("Speechless", (nn.Module,), {"encode_turn": Attentive.encode_turn})
    with pytest.raises(ValueError, match="Speechless is of the class LastUtterance, not a tensor"):
        empty_history(model)


def test_rows_of_uneven_lengths_are_taken_kept_and_lengthened():
    rows = [[1, 2, 3], [], [4, 5], [6]]
    history = RaggedHistory(
        torch.tensor([1, 2, 3, 4, 5, 6]), torch.tensor([len(row) for row in rows])
    )

    def listed(history):
        return [part.tolist() for part in history.values.split(history.lengths.tolist())]

    assert listed(history) == rows
    assert listed(history[torch.tensor([2, 2, 1, 0])]) == [[4, 5], [4, 5], [], [1, 2, 3]]
    assert listed(history.last(torch.tensor([2, 2, 1, 0]))) == [[2, 3], [], [5], []]
    assert listed(history.followed_by(history[[3, 2, 1, 0]])) == [
        [1, 2, 3, 6], [4, 5], [4, 5], [6, 1, 2, 3],
    ]  # fmt: skip
    padded, real = history.padded()
    assert padded.tolist() == [[1, 2, 3], [0, 0, 0], [0, 4, 5], [0, 0, 6]]
    assert real.sum(1).tolist() == [3, 0, 2, 1]
    assert history.nbytes == 6 * 8 + 4 * 8


def test_a_model_with_attention_over_the_last_utterance_talks_and_is_measured(
    word_vocabulary, conversations
):
    """Its history is a list of states of any length: it is searched, scored, kept and read back
    like any other.
    """
    sizes = ModelConfig(vocab_size=len(word_vocabulary), hidden=12)
    torch.manual_seed(0)
    model = Attentive.from_config(sizes, bos_id=word_vocabulary.bos_id).eval()
    decode = DecodeConfig(method="greedy", anti_lm=0)
    agent = DialogueAgent(Checkpoint(model, word_vocabulary, sizes, {}), decode=decode)
    (before,) = agent.hear([Conversation()], [Turn("bot", conversations[0].turns[0])])
    kept = history_from_bytes(history_to_bytes(before.history), agent.empty_history)
    after = [replace(before, history=history) for history in (before.history, kept)]
    replies = agent.answer([*after, Conversation()], ["hi", "hi", "what do you do?"])
    assert replies[0].candidates == replies[1].candidates
    assert replies[0].conversation.nbytes > before.history[[0]].nbytes

    encoded = [
        [[*word_vocabulary.encode(turn), EOS] for turn in talk.turns] for talk in conversations[:4]
    ]
    exchanges = exchanges_of(model, encoded, torch.device("cpu"))
    found = score(
        model, [e.token_ids for e in exchanges], histories=[e.history for e in exchanges], name=""
    )
    whole = iter(model.log_likelihood(as_batch(encoded)).log_probs.tolist())
    expected = {(c, t): next(whole) for c, turns in enumerate(encoded) for t in range(len(turns))}
    close(found.float(), torch.tensor([expected[e.conversation, e.turn] for e in exchanges]))
