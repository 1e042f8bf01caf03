import argparse
from dataclasses import FrozenInstanceError, asdict, fields

import pytest

from dialogue.config import DecodeConfig, ModelConfig, add_options, decode_config


@pytest.mark.parametrize("name", ["vocab_size", "embedding", "utterance", "context", "hidden"])
def test_a_size_below_one_is_refused_by_name(name):
    with pytest.raises(ValueError, match=f"{name} is 0; it must be 1 or more"):
        ModelConfig(**{"vocab_size": 40, "bidirectional": False, name: 0})


@pytest.mark.parametrize("dropout", [-0.1, 1.0, 2.0, float("nan")])
def test_a_dropout_that_is_no_share_is_refused(dropout):
    with pytest.raises(ValueError, match="dropout is"):
        ModelConfig(vocab_size=40, dropout=dropout)


def test_an_odd_utterance_vector_cannot_be_split_between_two_directions():
    with pytest.raises(
        ValueError, match="utterance is 7; a bidirectional encoder needs an even size"
    ):
        ModelConfig(vocab_size=40, utterance=7)
    assert ModelConfig(vocab_size=40, utterance=7, bidirectional=False).utterance == 7


def test_a_model_configuration_survives_being_written_down():
    config = ModelConfig(
        vocab_size=40,
        embedding=3,
        utterance=4,
        context=5,
        hidden=6,
        bidirectional=False,
        dropout=0.1,
    )
    assert ModelConfig.from_dict(asdict(config)) == config


def test_an_unknown_setting_is_refused_with_the_known_ones():
    with pytest.raises(
        ValueError, match=r"unknown setting stories; ModelConfig knows bidirectional, cell, context"
    ):
        ModelConfig.from_dict({"vocab_size": 40, "stories": 3})


def test_a_configuration_without_the_size_of_its_vocabulary_is_refused():
    with pytest.raises(ValueError, match="lacks vocab_size"):
        ModelConfig.from_dict({"embedding": 3})


@pytest.mark.parametrize(
    ("name", "value", "least"),
    [
        ("beam_size", 0, 1),
        ("max_length", 0, 1),
        ("min_length", -1, 0),
        ("length_penalty", -0.1, 0),
        ("block_ngrams", -1, 0),
        ("block_user_ngrams", -1, 0),
        ("block_reply_ngrams", -1, 0),
        ("anti_lm", -0.5, 0),
        ("anti_lm", float("nan"), 0),
        ("temperature", -1.0, 0),
        ("top_k", 0, 1),
        ("groups", 0, 1),
        ("delay", -1, 0),
        ("seed", -1, 0),
        ("sibling_penalty", -0.5, 0),
        ("group_penalty", -0.5, 0),
        ("repetition_penalty", -0.5, 0),
    ],
)
def test_a_decode_setting_out_of_range_is_refused_by_name(name, value, least):
    with pytest.raises(ValueError, match=f"{name} is {value}; it must be {least} or more"):
        DecodeConfig(**{name: value})


def test_a_minimum_above_the_maximum_length_is_refused():
    with pytest.raises(ValueError, match="min_length 9 is above max_length 8"):
        DecodeConfig(min_length=9, max_length=8)
    assert DecodeConfig(min_length=8, max_length=8).max_length == 8


@pytest.mark.parametrize(
    ("name", "value"), [("top_p", 2.0), ("top_p", 0.0), ("top_p_decay", 1.5), ("top_p_floor", 0.0)]
)
def test_a_probability_out_of_range_is_refused_by_name(name, value):
    with pytest.raises(ValueError, match=f"{name} is {value}; it must be above 0, and 1 at most"):
        DecodeConfig(**{name: value})


@pytest.mark.parametrize(
    "name", ["temperature", "length_penalty", "length_bonus", "anti_lm", "variety"]
)
def test_a_setting_that_is_infinite_is_refused_by_name(name):
    with pytest.raises(ValueError, match=f"{name} is inf; it must be finite"):
        DecodeConfig(**{name: float("inf")})


def test_an_unknown_method_is_refused_and_all_are_named():
    with pytest.raises(
        ValueError, match="method is 'bean'; it must be one of greedy, beam, diverse-beam"
    ):
        DecodeConfig(method="bean")


def test_groups_share_a_beam_evenly():
    with pytest.raises(ValueError, match="beam_size 20 is not a multiple of groups 3"):
        DecodeConfig(method="group-beam", groups=3)
    assert DecodeConfig(groups=3).groups == 3, "of no other method"


@pytest.mark.parametrize("words", ["bye", ("",), ("bye", 3)])
def test_stop_words_that_are_none_are_refused(words):
    with pytest.raises(ValueError, match="it must be a tuple of words or phrases"):
        DecodeConfig(stop_words=words)


def test_every_setting_is_an_option_of_the_command_line():
    parser = argparse.ArgumentParser()
    add_options(parser)
    typed = (
        "--method nucleus --beam-size 3 --top-p 0.5 --stop-words bye good,night "
        "--block-list never.txt --anti-lm 0"
    )
    assert decode_config(parser.parse_args(typed.split())) == DecodeConfig(
        method="nucleus",
        beam_size=3,
        top_p=0.5,
        stop_words=("bye", "good,night"),
        block_list="never.txt",
        anti_lm=0.0,
    )
    assert decode_config(parser.parse_args([])) == DecodeConfig()
    for field in fields(DecodeConfig):
        assert f"--{field.name.replace('_', '-')}" in parser.format_help()
        assert field.metadata["help"]


def test_configurations_do_not_change():
    for config in (ModelConfig(vocab_size=40), DecodeConfig()):
        with pytest.raises(FrozenInstanceError):
            config.beam_size = 3


def test_a_readout_that_is_none_is_refused():
    with pytest.raises(ValueError, match="readout is 'softmax'; it must be one of linear, maxout"):
        ModelConfig(vocab_size=9, readout="softmax")
