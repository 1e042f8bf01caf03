"""`pytest --device cuda`: a GPU computes what the CPU computes; without a GPU, these tests are
skipped.

That a search never waits for the device is also checked on the CPU.
"""

from contextlib import contextmanager

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from dialogue.agent import DialogueAgent
from dialogue.batching import BatchingAgent
from dialogue.checkpoint import Checkpoint
from dialogue.config import METHODS, DecodeConfig
from dialogue.conversation import Conversation
from dialogue.decoding import search as searching
from dialogue.decoding.constraints import Limits
from dialogue.decoding.scoring import log_probs_of
from dialogue.decoding.search import search
from dialogue.models import prepare
from dialogue.models.history import history_from_bytes, history_to_bytes, stack_histories
from dialogue.models.hred import HRED
from dialogue.models.projection import precisions
from tests.dialogue.conftest import BOS, EOS, as_batch, make_conversation, make_model
from tests.dialogue.test_siblings import MODELS, build

WAITS = {
    "_local_scalar_dense",
    "nonzero",
    "masked_select",
    "unique_dim",
    "_unique2",
    "equal",
    "is_nonzero",
    "isin",
}
LIMITS = Limits(
    forbidden=(0, 1), block_list=((7, 8),), user=(((5, 6, 9),),) * 2, replies=(((10, 11, 12),),) * 2
)


pytestmark = pytest.mark.filterwarnings(  # it says that it does not see every wait
    "ignore:Synchronization debug mode:UserWarning"
)
CPU = torch.device("cpu")
EVERY_MODEL = ["hred", "hred with a maxout", *MODELS]


@pytest.fixture
def gpu(device):
    """The device, for what would say nothing about a CPU."""
    if device.type != "cuda":
        pytest.skip("not run: it takes a GPU and --device cuda")
    return device


def named(name, device):
    """One of EVERY_MODEL, with the same weights every time."""
    if name.startswith("hred"):
        made = make_model(readout="maxout" if "maxout" in name else "linear")
    else:
        kind, sizes = MODELS[name]
        made = build(kind, **sizes)
    return made.to(device)


def histories_of(model, device, *, count=3):
    """The histories of conversations of so many turns: 1, 2, 3 ..."""
    found = []
    for number in range(count):
        history = None
        for turn in make_conversation(number + 1, seed=number):
            ids = torch.tensor([turn], device=device)
            history = model.encode_turn(ids, torch.tensor([len(turn)]), history)
        found.append(history)
    return stack_histories(found)


@contextmanager
def no_waiting():
    """Raise where anything waits for the GPU."""
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


def may_wait(monkeypatch, name):
    """Let one function of the search wait for the GPU, within `no_waiting`."""
    real = getattr(searching, name)

    def waiting(*arguments, **named):
        torch.cuda.set_sync_debug_mode("default")
        try:
            return real(*arguments, **named)
        finally:
            torch.cuda.set_sync_debug_mode("error")

    monkeypatch.setattr(searching, name, waiting)


def replies_of(model, config, device, *, precision="fp32"):
    decoder = prepare(model.to(device), precision)
    history = torch.randn(2, 9, generator=torch.Generator().manual_seed(0)).to(device)
    with torch.no_grad():
        start = decoder.start(history)
    return search(
        decoder.step, start, 2, config=config, bos_id=BOS, eos_id=EOS, limits=LIMITS,
        sentence_ends=range(20, 35), device=device,
    )  # fmt: skip


@pytest.mark.parametrize("method", METHODS)
def test_every_method_finds_there_what_it_finds_on_the_cpu(device, method):
    config = DecodeConfig(
        method=method, beam_size=4, min_length=2, max_length=9, block_user_ngrams=2, block_ngrams=2
    )
    expected = replies_of(make_model(peaked=4.0), config, torch.device("cpu"))
    for mine, other in zip(
        replies_of(make_model(peaked=4.0), config, device), expected, strict=True
    ):
        assert [h.token_ids for h in mine] == [h.token_ids for h in other]
        assert [h.score for h in mine] == pytest.approx([h.score for h in other], abs=1e-4)


def test_every_precision_of_the_device_is_nearly_its_fp32(device):
    history = torch.randn(3, 9, device=device)
    model = make_model().to(device)
    with torch.no_grad():
        expected, _ = model.step(torch.tensor([BOS, 5, 6], device=device), model.start(history))
        for precision in precisions(device):
            decoder = prepare(model, precision)
            found, _ = decoder.step(
                torch.tensor([BOS, 5, 6], device=device), decoder.start(history)
            )
            torch.testing.assert_close(
                found, expected, atol=1e-5 if precision == "fp32" else 0.05, rtol=0
            )


@pytest.mark.parametrize("name", EVERY_MODEL)
def test_every_model_answers_there_as_on_the_cpu(gpu, name):
    config = DecodeConfig(method="beam", beam_size=5, max_length=9, block_ngrams=2)
    found = []
    for device in (CPU, gpu):
        model = named(name, device)
        decoder = prepare(model, "fp32")
        start = decoder.start(histories_of(model, device))
        found.append(
            search(decoder.step, start, 3, config=config, bos_id=BOS, eos_id=EOS, device=device)
        )
    for expected, mine in zip(*found, strict=True):
        assert [h.token_ids for h in mine] == [h.token_ids for h in expected]
        assert [h.log_prob for h in mine] == pytest.approx(
            [h.log_prob for h in expected], rel=1e-5, abs=1e-4
        )


@pytest.mark.parametrize("name", EVERY_MODEL)
def test_every_model_has_there_the_likelihoods_and_gradients_of_the_cpu(gpu, name):
    talk = [make_conversation(turns, seed=turns) for turns in (3, 1, 6, 2)]
    expected, found = {}, {}
    for device, figures in ((CPU, expected), (gpu, found)):
        model = named(name, device).train()  # without dropout, in both modes
        likelihood = model.log_likelihood(as_batch(talk).to(device))
        likelihood.log_probs.sum().backward()
        figures["log_probs"] = likelihood.log_probs.detach()
        figures["correct_count"] = likelihood.correct_count
        figures["tokens"] = likelihood.tokens
        figures |= {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
    assert found.keys() == expected.keys()
    for figure, value in expected.items():
        scale = float(value.abs().max())
        torch.testing.assert_close(
            found[figure].cpu(), value, rtol=1e-5, atol=1e-5 * scale,
            msg=lambda said, figure=figure: f"{figure}: {said}",
        )  # fmt: skip


@pytest.mark.parametrize("name", EVERY_MODEL)
def test_a_history_is_written_there_and_read_on_the_cpu_and_back(gpu, name):
    here, there = named(name, CPU), named(name, gpu)
    expected = histories_of(here, CPU, count=1)
    written = history_to_bytes(histories_of(there, gpu, count=1))
    read = history_from_bytes(written, here.empty_history(1))
    torch.testing.assert_close(read.flatten(), expected.flatten(), rtol=1e-5, atol=1e-5)
    back = history_from_bytes(history_to_bytes(read), there.empty_history(1))
    assert back.flatten().device.type == "cuda"


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize("method", METHODS)
def test_the_loop_never_waits_for_the_gpu(gpu, monkeypatch, method, precision):
    """Except where every few steps it asks whether all is done, and where it reads the replies."""
    for name in ("_done", "_read"):
        may_wait(monkeypatch, name)
    config = DecodeConfig(
        method=method, beam_size=4, min_length=2, max_length=9, block_user_ngrams=2, block_ngrams=2
    )
    decoder = prepare(make_model(peaked=4.0).to(gpu), precision)
    start = decoder.start(torch.randn(2, 9, device=gpu))
    with no_waiting():
        with pytest.raises(RuntimeError, match="synchron"):
            torch.ones(1, device=gpu).item()  # a wait would be seen
        search(
            decoder.step, start, 2, config=config, bos_id=BOS, eos_id=EOS, limits=LIMITS,
            sentence_ends=range(20, 35), device=gpu,
        )  # fmt: skip


def test_scoring_known_replies_never_waits_for_the_gpu(gpu):
    model = make_model().to(gpu)
    decoder = prepare(model, "fp32")
    start = decoder.start(histories_of(model, gpu))
    with no_waiting():
        log_probs_of(
            decoder.read, decoder.log_probs, start, [0, 1, 1, 2], [[5, 6], [5], [], [7, 8, 9]],
            bos_id=BOS, eos_id=EOS, device=gpu,
        )  # fmt: skip


def moved(talker, device):
    """A copy of the checkpoint on a device."""
    there = HRED.from_config(talker.config, bos_id=talker.vocabulary.bos_id)
    there.load_state_dict(talker.model.state_dict())
    return Checkpoint(there.eval().to(device), talker.vocabulary, talker.config, {})


def test_batches_of_many_threads_are_answered_there_as_on_the_cpu(gpu, talker):
    talk = [["hi", "do you have a dog?", "what time is it?"], ["tell me a joke", "hi", "hi"]]
    alone, batching = DialogueAgent(talker), BatchingAgent(DialogueAgent(moved(talker, gpu)))
    names = ["one", "two", "three"]
    for said in talk:
        asked = [
            batching.submit(name, text, deadline=60.0)
            for name, text in zip(names, said, strict=True)
        ]
        found = [future.result(60).text for future in asked]
        assert found == [
            alone.respond([name], [text])[0] for name, text in zip(names, said, strict=True)
        ]
    batching.close()


def test_an_agent_says_there_what_it_says_on_the_cpu(device, talker):
    agents = DialogueAgent(talker), DialogueAgent(moved(talker, device))
    said = ["hi", "do you have a dog?", "what time is it?"]
    expected, found = (
        [reply.text for reply in agent.answer([Conversation()] * 3, said)] for agent in agents
    )
    assert found == expected


class Operations(TorchDispatchMode):
    """Record the names of all operations."""

    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, function, types, arguments=(), named=None):
        self.names.append(function.overloadpacket.__name__)
        return function(*arguments, **(named or {}))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_the_search_does_nothing_that_waits_for_the_device(method, precision):
    """Except asking, every few steps, whether all is done, and reading the replies at the end: both
    are `tolist`.
    """
    config = DecodeConfig(
        method=method, beam_size=4, min_length=2, max_length=9, block_user_ngrams=2, block_ngrams=2
    )
    model = make_model(peaked=4.0)
    with Operations() as operations:
        replies_of(model, config, torch.device("cpu"), precision=precision)
        assert not WAITS & set(operations.names)
        assert len(operations.names) > 100
        bool(torch.ones(1)[0])
        torch.ones(3).nonzero()
    assert {"_local_scalar_dense", "nonzero"} <= set(operations.names), (
        "what waits would not have been seen"
    )
