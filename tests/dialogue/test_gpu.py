"""`pytest --device cuda`: a GPU computes what the CPU computes; without a GPU, these tests are
skipped.

That a search never waits for the device is also checked on the CPU.
"""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from dialogue.agent import DialogueAgent
from dialogue.checkpoint import Checkpoint
from dialogue.config import METHODS, DecodeConfig
from dialogue.conversation import Conversation
from dialogue.decoding.constraints import Limits
from dialogue.decoding.search import search
from dialogue.models import prepare
from dialogue.models.hred import HRED
from dialogue.models.projection import precisions
from tests.dialogue.conftest import BOS, EOS, make_model

WAITS = {
    "_local_scalar_dense",
    "nonzero",
    "masked_select",
    "unique_dim",
    "_unique2",
    "equal",
    "is_nonzero",
}
LIMITS = Limits(
    forbidden=(0, 1), block_list=((7, 8),), user=(((5, 6, 9),),) * 2, replies=(((10, 11, 12),),) * 2
)


def replies_of(model, config, device, *, precision="fp32"):
    decoder = prepare(model.to(device), precision)
    history = torch.randn(2, 9, generator=torch.Generator().manual_seed(0)).to(device)
    with torch.no_grad():
        start = decoder.start(history)
    return search(
        decoder.step, start, 2, config=config, bos_id=BOS, eos_id=EOS, limits=LIMITS, device=device
    )


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


def test_an_agent_says_there_what_it_says_on_the_cpu(device, talker):
    there = HRED.from_config(talker.config, bos_id=talker.vocabulary.bos_id)
    there.load_state_dict(talker.model.state_dict())
    agents = (
        DialogueAgent(talker),
        DialogueAgent(Checkpoint(there.eval().to(device), talker.vocabulary, talker.config, {})),
    )
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
