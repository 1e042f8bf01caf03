"""Settings of models and of the search: frozen dataclasses that validate themselves."""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, TypeVar, get_args, get_type_hints

Value = TypeVar("Value")
METHODS = {
    "greedy": "always the likeliest token",
    "beam": "the beam_size likeliest hypotheses are kept",
    "diverse-beam": "beam, with sibling_penalty for each better sibling (Li and Jurafsky 2016)",
    "group-beam": "beams in groups; a token that an earlier group chose costs group_penalty "
    "(Vijayakumar et al. 2018)",
    "top-k": "a token drawn from the top_k likeliest (Fan et al. 2018)",
    "nucleus": "a token drawn from the smallest set of probability top_p "
    "(Holtzman et al. 2020); 1: from all",
    "factual-nucleus": "nucleus; top_p shrinks within a sentence by top_p_decay, to top_p_floor "
    "(Lee et al. 2022)",
    "delayed-beam": "the first `delay` tokens as top-k, then beam (Massarelli et al. 2020)",
    "delayed-nucleus-beam": "the first `delay` tokens as nucleus, then beam",
}
READOUTS = ("linear", "maxout")
CELLS = ("gru", "lstm", "rnn")


def _at_least(config: object, least: float, *names: str, whole: bool = True) -> None:
    for name in names:
        value = getattr(config, name)
        if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)):
            raise ValueError(f"{name} is {value!r}; it must be a {'whole ' if whole else ''}number")
        if not value >= least:
            raise ValueError(f"{name} is {value}; it must be {least} or more")


def _known_fields(cls: type, values: dict[str, Any]) -> dict[str, Any]:
    names = {field.name for field in fields(cls)}
    unknown = sorted(set(values) - names)
    if unknown:
        raise ValueError(
            f"unknown setting {', '.join(unknown)}; {cls.__name__} knows {', '.join(sorted(names))}"
        )
    return values


def setting(default: Value, meaning: str, *, metavar: str | tuple[str, ...] = "") -> Value:
    """Return a field with its default and its help text."""
    return field(default=default, metadata={"help": meaning, "metavar": metavar})


@dataclass(frozen=True)
class ModelConfig:
    """Sizes of a model; each kind uses some of them (see SETTINGS of its class).

    The shape letters are those of dialogue/__init__.py.
    """

    vocab_size: int
    embedding: int = setting(256, "size of a token's vector")
    utterance: int = setting(512, "size of hred's utterance vector, both directions together")
    context: int = setting(512, "size of hred's history vector")
    hidden: int = setting(512, "size of the decoder's state")
    bidirectional: bool = setting(True, "whether hred reads utterances in both directions")
    readout: str = setting(
        "linear", "hred's output: linear, or maxout, the larger of two (Goodfellow et al. 2013)"
    )
    dropout: float = setting(0.2, "fraction of inputs and outputs zeroed in training")
    cell: str = setting("gru", f"cell of seq2seq and language-model: {', '.join(CELLS)}")
    layers: int = setting(1, "layers of seq2seq, language-model and transformer")
    one_hot: bool = setting(
        False,
        "whether language-model reads one-hot tokens, without an embedding: for characters",
    )
    heads: int = setting(4, "attention heads of the transformer")
    window: int = setting(256, "tokens that the transformer attends to")

    def __post_init__(self) -> None:
        if self.readout not in READOUTS:
            raise ValueError(
                f"readout is {self.readout!r}; it must be one of {', '.join(READOUTS)}"
            )
        if self.cell not in CELLS:
            raise ValueError(f"cell is {self.cell!r}; it must be one of {', '.join(CELLS)}")
        _at_least(
            self,
            1,
            "vocab_size",
            "embedding",
            "utterance",
            "context",
            "hidden",
            "layers",
            "heads",
            "window",
        )
        if self.bidirectional and self.utterance % 2:
            raise ValueError(
                f"utterance is {self.utterance}; a bidirectional encoder needs an even size, "
                "half for each direction"
            )
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout is {self.dropout}; it must be at least 0 and below 1")

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> ModelConfig:
        """Return the sizes stored in a checkpoint.

        Raises ValueError on an unknown setting, or if vocab_size is missing.
        """
        if "vocab_size" not in values:
            raise ValueError("the model's configuration lacks vocab_size")
        return cls(**_known_fields(cls, values))


@dataclass(frozen=True)
class DecodeConfig:
    """How a reply is searched for and chosen. Lengths are in tokens, not counting </s>."""

    method: str = setting("beam", f"one of {', '.join(METHODS)}")
    beam_size: int = setting(
        20, "hypotheses in a beam; with methods that draw, independent samples"
    )
    temperature: float = setting(1.0, "divides logits; 0 is greedy, whatever the method")
    top_k: int = setting(10, "for top-k and delayed-beam")
    top_p: float = setting(0.9, "for nucleus, factual-nucleus and delayed-nucleus-beam")
    top_p_decay: float = setting(
        0.9, "lambda of factual-nucleus: each token of a sentence multiplies top_p by it"
    )
    top_p_floor: float = setting(0.3, "omega of factual-nucleus: top_p never falls below it")
    delay: int = setting(3, "tokens that delayed-beam and delayed-nucleus-beam draw")
    sibling_penalty: float = setting(0.5, "gamma of diverse-beam: cost per rank among siblings")
    groups: int = setting(2, "groups of group-beam; they share beam_size evenly")
    group_penalty: float = setting(
        0.5, "lambda of group-beam: cost of a token that an earlier group chose at this step"
    )
    seed: int = setting(0, "for methods that draw: same seed and conversation, same reply")
    min_length: int = setting(2, "minimum tokens in a reply")
    max_length: int = setting(40, "maximum tokens in a reply")
    length_penalty: float = setting(
        0.65, "alpha of GNMT (Wu et al. 2016): score / ((5 + length) / 6) ** alpha; 0 is none"
    )
    block_ngrams: int = setting(3, "n-grams of this size never repeat within a reply; 0: off")
    block_user_ngrams: int = setting(
        0, "n-grams of this size are never copied from the utterance; 0: off"
    )
    block_reply_ngrams: int = setting(
        4, "n-grams of this size are never copied from the bot's last replies; 0: off"
    )
    block_list: str = setting("", "file of phrases never to say, one per line")
    stop_words: tuple[str, ...] = setting(
        (), "words or phrases; a reply ends after the first of them", metavar="TEXT"
    )
    repetition_penalty: float = setting(0.0, "cost of a token already in the reply, in nats")
    anti_lm: float = setting(
        0.3, "lambda of re-ranking: log p(reply | history) - lambda * log p(reply) + gamma * length"
    )
    length_bonus: float = setting(0.3, "gamma of re-ranking (Li et al. 2016)")
    recall: int = setting(
        6, "remembered replies among the candidates, if the checkpoint has any; 0: none"
    )
    stock: int = setting(
        3, "plain stock replies among the candidates, if the checkpoint has any; 0: none"
    )
    topical: int = setting(
        2, "topical stock replies among the candidates, if the checkpoint has any; 0: none"
    )
    recall_from: float = setting(
        0.3, "score from which a remembered reply ranks above whatever the search finds"
    )
    recall_likelihood: float = setting(
        0.1,
        "weight of (log p(reply | history) - log p(reply)) / sqrt(length), added to the similarity",
    )

    variety: float = setting(
        0.03,
        "of the learned ranker: cost of a reply that comes first in n of 1000 contexts, "
        "per log(1 + n); 0: none",
    )
    listen: float = setting(
        0.33,
        "of the learned ranker: score of an invitation to go on, said where nothing scores higher; "
        "0: none",
    )
    ranker: str = setting(
        "auto",
        "orders the candidates: auto, likelihood, recall, learned or module:Class",
    )

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise ValueError(f"method is {self.method!r}; it must be one of {', '.join(METHODS)}")
        _at_least(self, 1, "beam_size", "max_length", "top_k", "groups")
        _at_least(
            self,
            0,
            "min_length",
            "block_ngrams",
            "block_user_ngrams",
            "block_reply_ngrams",
            "delay",
            "seed",
            "recall",
            "stock",
            "topical",
        )
        _at_least(
            self, float("-inf"), "length_bonus", "recall_from", "recall_likelihood", whole=False
        )
        _at_least(
            self, 0, "temperature", "length_penalty", "anti_lm", "variety", "listen", whole=False
        )
        _at_least(self, 0, "sibling_penalty", "group_penalty", "repetition_penalty", whole=False)
        for name in ("top_p", "top_p_decay", "top_p_floor"):
            _at_least(self, 0, name, whole=False)
            if not 0 < getattr(self, name) <= 1:
                raise ValueError(
                    f"{name} is {getattr(self, name)}; it must be above 0, and 1 at most"
                )
        for one in fields(self):
            value = getattr(self, one.name)
            if isinstance(value, float) and not math.isfinite(value):
                raise ValueError(f"{one.name} is {value}; it must be finite")
        if self.min_length > self.max_length:
            raise ValueError(
                f"min_length {self.min_length} is above max_length {self.max_length}; "
                "no reply could have that length"
            )
        if self.method == "group-beam" and self.beam_size % self.groups:
            raise ValueError(
                f"beam_size {self.beam_size} is not a multiple of groups {self.groups}; "
                "groups share it evenly"
            )
        if isinstance(self.stop_words, str) or not all(
            isinstance(word, str) and word.strip() for word in self.stop_words
        ):
            raise ValueError(
                f"stop_words is {self.stop_words!r}; it must be a tuple of words or phrases"
            )

    @property
    def is_greedy(self) -> bool:
        """Whether every token is the likeliest one, due to the method or a temperature of 0."""
        return self.method == "greedy" or self.temperature == 0

    @property
    def drawn_tokens(self) -> int:
        """The maximum number of tokens drawn in a reply, before any beam continues; 0: none."""
        if self.is_greedy:
            return 0
        if self.method in ("delayed-beam", "delayed-nucleus-beam"):
            return min(self.delay, self.max_length)
        return self.max_length if self.method in ("top-k", "nucleus", "factual-nucleus") else 0


def add_settings(parser: argparse._ActionsContainer, config: type) -> None:
    """Add an option for each setting of a configuration, that is, each field with a help text.

    An option that is not given is absent from the result, so that a resumed run or a recipe can
    tell what was asked for from a default.
    """
    types = get_type_hints(config)
    for one in fields(config):
        if "help" not in one.metadata:
            continue
        kind, default, text = types[one.name], one.default, one.metadata["help"]
        if default not in (None, "", ()):
            shown = " ".join(map(str, default)) if isinstance(default, tuple) else default
            text += f" (default: {shown})"
        asked: dict[str, Any] = {"help": text.replace("%", "%%"), "default": argparse.SUPPRESS}
        if kind is bool:
            asked["action"] = argparse.BooleanOptionalAction
        elif isinstance(default, tuple):
            of, *more = get_args(kind)  # tuple[str, ...] or tuple[float, float]
            asked |= {"type": of, "nargs": "+" if ... in more else 1 + len(more)}
            asked["metavar"] = one.metadata["metavar"]
        else:
            asked["type"] = next(iter(get_args(kind)), kind)  # float of float | None
        parser.add_argument(f"--{one.name.replace('_', '-')}", **asked)


def given(options: Mapping[str, Any], config: type) -> dict[str, Any]:
    """Return the settings of a configuration that were given on a command line."""
    found = {
        one.name: options[one.name]
        for one in fields(config)
        if "help" in one.metadata and one.name in options
    }
    return {
        name: tuple(value) if isinstance(value, list) else value for name, value in found.items()
    }


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add an option for each setting of DecodeConfig, in a separate group."""
    add_settings(parser.add_argument_group("how a reply is searched for"), DecodeConfig)


def decode_config(options: argparse.Namespace) -> DecodeConfig:
    """Return what `add_options` read. Raises ValueError on a setting out of range."""
    return DecodeConfig(**given(vars(options), DecodeConfig))
