import pytest
import torch

from dialogue.device import choose_device, computes_in_bf16


def test_the_device_that_was_named_is_chosen():
    assert choose_device("cpu") == torch.device("cpu")


@pytest.mark.parametrize("name", ["tpu", "", "CPU", "cpu:zero", "cuda:99", "gpu"])
def test_a_device_that_is_not_there_is_refused_with_those_that_are(name):
    """A known device name with a wrong index, "cpu:zero", was a RuntimeError from PyTorch."""
    with pytest.raises(ValueError, match=r"is not there; this machine has .*cpu"):
        choose_device(name)


@pytest.mark.parametrize(
    ("cuda", "mps", "expected"),
    [(True, True, "cuda"), (True, False, "cuda"), (False, True, "mps"), (False, False, "cpu")],
)
def test_without_a_name_the_best_device_is_chosen(monkeypatch, cuda, mps, expected):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    assert choose_device().type == expected


@pytest.mark.parametrize(
    ("able", "expected"),
    [
        ({"avx512_bf16": True}, True),
        ({"amx_bf16": True}, True),
        ({"avx2": True}, False),
        ({}, False),
    ],
)
def test_a_cpu_computes_in_bf16_where_it_has_instructions_for_it(monkeypatch, able, expected):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: able)
    assert computes_in_bf16(torch.device("cpu")) is expected


def test_other_accelerators_compute_in_fp32():
    assert computes_in_bf16(torch.device("mps")) is False
