"""The settings of a model and of a search: frozen dataclasses that check themselves."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any


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
        raise ValueError(f"unknown setting {', '.join(unknown)}; {cls.__name__} knows {', '.join(sorted(names))}")
    return values


@dataclass(frozen=True)
class ModelConfig:
    """Sizes of an HRED. Letters as in dialogue/__init__.py."""

    vocab_size: int
    embedding: int = 256
    utterance: int = 512  # of both directions together
    context: int = 512
    hidden: int = 512
    bidirectional: bool = True
    dropout: float = 0.2

    def __post_init__(self) -> None:
        _at_least(self, 1, "vocab_size", "embedding", "utterance", "context", "hidden")
        if self.bidirectional and self.utterance % 2:
            raise ValueError(f"utterance is {self.utterance}; a bidirectional encoder needs an even size, half for each direction")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout is {self.dropout}; it must be at least 0 and below 1")

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> ModelConfig:
        """Read the sizes that a checkpoint holds. Raises ValueError on an unknown or missing setting."""
        if "vocab_size" not in values:
            raise ValueError("the model's configuration lacks vocab_size")
        return cls(**_known_fields(cls, values))


@dataclass(frozen=True)
class DecodeConfig:
    """How a reply is searched for and chosen. Lengths are in tokens, without </s>."""

    beam_size: int = 10
    min_length: int = 2
    max_length: int = 40
    length_penalty: float = 0.65  # alpha of GNMT (Wu et al. 2016): score / ((5 + length) / 6) ** alpha; 0 is none
    block_ngrams: int = 3  # no n-gram twice within a reply; 0 is off, as below
    block_user_ngrams: int = 0  # no n-gram of the utterance that is answered
    block_reply_ngrams: int = 4  # no n-gram of the bot's last replies
    anti_lm: float = 0.5  # lambda of re-ranking: log p(reply | history) - lambda * log p(reply | no history) + gamma * length
    length_bonus: float = 0.5  # gamma of the same (Li et al. 2016)

    def __post_init__(self) -> None:
        _at_least(self, 1, "beam_size", "max_length")
        _at_least(self, 0, "min_length", "block_ngrams", "block_user_ngrams", "block_reply_ngrams")
        _at_least(self, 0, "length_penalty", "anti_lm", whole=False)
        _at_least(self, float("-inf"), "length_bonus", whole=False)
        if self.min_length > self.max_length:
            raise ValueError(
                f"min_length {self.min_length} is above max_length {self.max_length}; no reply could be of that length"
            )
