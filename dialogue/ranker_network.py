"""The networks of the learned ranker, drawn in dialogue/learned_ranker.py.

A cross-encoder reads replies with the turns before them; judges turn numbers into verdicts.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from dialogue.candidate_numbers import NUMBERS
from dialogue.feelings import Feelings

READ_TURNS = 4  # turns read, from the end of a conversation
READ_TOKENS = 24  # tokens read: the last ones of a turn, the first ones of a reply
MATCH, SENSIBLE, SPECIFIC = range(3)  # the questions that the cross-encoder answers


@dataclass(frozen=True)
class RankerConfig:
    """The sizes of the cross-encoder (width, heads, layers) and the judges (hidden).

    layers: 0 for no cross-encoder. judges: how many there are.
    """

    vocab_size: int
    width: int = 160
    heads: int = 5
    layers: int = 2
    hidden: int = 48
    judges: int = 4
    dropout: float = 0.1


class ReplyLayer(nn.TransformerDecoderLayer):
    """torch's decoder layer, with pre-normalisation, for many replies to one context.

    The keys and values of a context are computed only once, not for each reply to it.
    """

    def read(
        self, replies: Tensor, real: Tensor, context: Tensor, heard: Tensor, owners: Tensor
    ) -> Tensor:
        """Read replies: (R, T, W) -> (R, T, W).

        context (N, S, W): the turns of each of N conversations, encoded. owners (R,): the
        conversation of each reply. real (R, T), heard (N, S): which places hold a token.
        """
        within, across = self.self_attn, self.multihead_attn
        query, key, value = self._projected(within, self.norm1(replies), slice(None)).chunk(3, -1)
        replies = replies + self._attended(within, query, key, value, real)
        query = self._projected(across, self.norm2(replies), slice(replies.shape[-1]))
        known = self._projected(across, context, slice(replies.shape[-1], None))
        key, value = known.index_select(0, owners).chunk(2, -1)
        replies = replies + self._attended(across, query, key, value, heard.index_select(0, owners))
        read: Tensor = replies + self._ff_block(self.norm3(replies))
        return read

    @staticmethod
    def _projected(attention: nn.MultiheadAttention, inputs: Tensor, part: slice) -> Tensor:
        """Project to queries, keys and values, or to the slice of them that `part` selects."""
        return F.linear(inputs, attention.in_proj_weight[part], attention.in_proj_bias[part])

    def _attended(
        self,
        attention: nn.MultiheadAttention,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        real: Tensor,
    ) -> Tensor:
        query, key, value = (
            one.view(*one.shape[:2], attention.num_heads, -1).transpose(1, 2)
            for one in (query, key, value)
        )
        found = F.scaled_dot_product_attention(
            query,
            key,
            value,
            attn_mask=real[:, None, None],
            dropout_p=attention.dropout if self.training else 0.0,
        )
        out: Tensor = self.dropout1(attention.out_proj(found.transpose(1, 2).flatten(2)))
        return out


class CrossEncoder(nn.Module):
    """A small Transformer that reads replies with attention to the turns before them."""

    def __init__(self, config: RankerConfig, *, pad_id: int) -> None:
        super().__init__()
        self.pad_id, width = pad_id, config.width
        self.embedding = nn.Embedding(config.vocab_size, width)
        self.place = nn.Embedding(READ_TOKENS, width)
        self.turn = nn.Embedding(READ_TURNS, width)
        sizes: dict[str, Any] = {
            "d_model": width, "nhead": config.heads, "dim_feedforward": 3 * width,
            "dropout": config.dropout, "activation": "gelu", "batch_first": True,
            "norm_first": True,
        }  # fmt: skip
        self.context = nn.TransformerEncoder(
            nn.TransformerEncoderLayer(**sizes), config.layers, enable_nested_tensor=False
        )
        self.reply = nn.ModuleList(ReplyLayer(**sizes) for _ in range(config.layers))
        self.answers = nn.Sequential(
            nn.LayerNorm(2 * width),
            nn.Linear(2 * width, width),
            nn.GELU(),
            nn.Dropout(config.dropout),
            nn.Linear(width, 3),
        )
        self.dropout = nn.Dropout(config.dropout)
        for table in (self.embedding, self.place, self.turn):
            nn.init.normal_(table.weight, std=0.3)

    def forward(self, turns: Tensor, replies: Tensor, owners: Tensor) -> Tensor:
        """Answer the three questions about each reply (see MATCH), as logits: (R, 3).

        turns (N, READ_TURNS, T): latest first. replies (R, T'). owners (R,): the conversation of
        each reply.
        """
        said = self._embed(turns) + self.turn.weight[:, None]
        said, heard = said.flatten(1, 2), (turns != self.pad_id).flatten(1)
        # The first place is never masked, as a softmax over nothing is undefined.
        heard[:, 0] = True
        context = self.context(self.dropout(said), src_key_padding_mask=~heard)
        real = replies != self.pad_id
        real[:, 0] = True
        read = self.dropout(self._embed(replies))
        for layer in cast("Iterable[ReplyLayer]", self.reply):
            read = layer.read(read, real, context, heard, owners)
        real = real.unsqueeze(2)
        mean = (read * real).sum(1) / real.sum(1)
        largest = read.masked_fill(~real, -torch.inf).amax(1)
        answers: Tensor = self.answers(torch.cat([mean, largest], dim=1))
        return answers

    def _embed(self, token_ids: Tensor) -> Tensor:
        vectors: Tensor = self.embedding(token_ids) + self.place.weight[: token_ids.shape[-1]]
        return vectors


class Judge(nn.Module):
    """A small network from features to two logits: sensible, and specific given sensible."""

    def __init__(self, inputs: int, config: RankerConfig) -> None:
        super().__init__()
        hidden, dropout = config.hidden, 3 * config.dropout
        self.layers = nn.Sequential(
            nn.Linear(inputs, hidden), nn.GELU(), nn.Dropout(dropout),
            nn.Linear(hidden, hidden), nn.GELU(), nn.Dropout(dropout), nn.Linear(hidden, 2),
        )  # fmt: skip

    def forward(self, numbers: Tensor) -> Tensor:
        """Judge candidates: (R, F) -> (R, 2)."""
        found: Tensor = self.layers(numbers)
        return found


class RankerNetwork(nn.Module):
    """A cross-encoder, if it has layers, and judges whose features include its answers.

    Each feature is scaled to mean 0 and spread 1.
    """

    mean: Tensor
    spread: Tensor

    def __init__(self, config: RankerConfig, *, pad_id: int) -> None:
        super().__init__()
        self.config = config
        self.encoder = CrossEncoder(config, pad_id=pad_id) if config.layers else None
        self.feelings = Feelings(config.vocab_size, pad_id=pad_id)
        self.judges = nn.ModuleList(Judge(len(NUMBERS), config) for _ in range(config.judges))
        self.register_buffer("mean", torch.zeros(len(NUMBERS)))
        self.register_buffer("spread", torch.ones(len(NUMBERS)))

    def scaled(self, numbers: Tensor) -> Tensor:
        """Scale the features of candidates, (R, F), for the judges."""
        return (numbers - self.mean) / self.spread

    def forward(self, numbers: Tensor) -> Tensor:
        """Return P(sensible) and P(specific | sensible): (R, F) -> (R, 2)."""
        scaled = self.scaled(numbers)
        return torch.stack([judge(scaled) for judge in self.judges]).sigmoid().mean(0)

    def expected(self, numbers: Tensor) -> Tensor:
        """Return the expected SSA, P(sensible) * (1 + P(specific | sensible)) / 2: (R,)."""
        sensible, specific = self(numbers).unbind(1)
        ssa: Tensor = sensible * (1 + specific) / 2
        return ssa


def table(rows: Sequence[Sequence[int]], pad_id: int) -> Tensor:
    """Pad M >= 1 rows of token ids to a tensor (M, T) with at least one column."""
    rows = [row or [pad_id] for row in rows]
    # one tensor, then split: making a tensor for each row takes twice as long
    flat = torch.tensor([token for row in rows for token in row])
    parts = list(torch.split(flat, [len(row) for row in rows]))
    return pad_sequence(parts, batch_first=True, padding_value=pad_id)
