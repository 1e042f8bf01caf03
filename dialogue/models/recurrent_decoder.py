"""A recurrent decoder, which reads a token and predicts the next, whatever the history is."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dialogue.models import Batch, Likelihood, Objective
from dialogue.models.layers import Dropout, check_batch
from dialogue.models.objectives import likelihood
from dialogue.models.packing import pack, rows
from dialogue.models.projection import choose_precision, lay_out
from dialogue.models.recurrent import Stack


@dataclass(frozen=True)
class RecurrentState:
    """The state of all layers between two tokens: (R, C)."""

    values: Tensor

    def repeat(self, times: int) -> RecurrentState:
        """Return every row `times` times in a row."""
        return RecurrentState(self.values.repeat_interleave(times, dim=0))

    def select(self, rows: Tensor) -> RecurrentState:
        """Take rows (R,) in their order."""
        return RecurrentState(self.values.index_select(0, rows))


class RecurrentDecoder(nn.Module):
    """A tied embedding, recurrent layers and a readout; dropout follows embedding and layers.

    one_hot: the embedding is a fixed identity of the vocabulary's size, and the readout is the
    output layer.
    """

    def __init__(
        self,
        *,
        vocab_size: int,
        embedding: int,
        hidden: int,
        cell: str,
        layers: int,
        dropout: float,
        one_hot: bool = False,
    ) -> None:
        super().__init__()
        embedding = vocab_size if one_hot else embedding
        self.embedding = nn.Embedding(vocab_size, embedding)
        self.stack = Stack(cell, embedding, hidden, layers=layers, dropout=dropout)
        self.readout = nn.Linear(hidden, embedding)
        self.output_bias = nn.Parameter(torch.zeros(vocab_size))
        self.dropout = Dropout(dropout)
        self.embedding_scale = math.sqrt(
            embedding
        )  # small rows suit the output layer; inputs are scaled to unit size
        if one_hot:
            nn.init.eye_(self.embedding.weight.requires_grad_(False))
        else:
            nn.init.normal_(self.embedding.weight, std=1 / self.embedding_scale)

    def embed(self, token_ids: Tensor) -> Tensor:
        """Read tokens: (...) -> (..., E)."""
        vectors: Tensor = self.dropout(self.embedding(token_ids) * self.embedding_scale)
        return vectors

    def empty(self, count: int) -> Tensor:
        """Return the states before anything has been read: (count, C)."""
        return self.embedding.weight.new_zeros(count, self.stack.state_size)

    def begin(self, batch: Batch) -> Tensor:
        """Return the states from which the conversations of a batch continue: (N, C)."""
        return (
            self.empty(len(batch.turns))
            if batch.history is None
            else batch.history.to(self.embedding.weight.dtype)
        )

    def read(self, token_ids: Tensor, state: Tensor) -> Tensor:
        """Read one token per row: (R,), (R, C) -> (R, C)."""
        return self.stack.step(self.embed(token_ids), state)

    def log_probs(self, state: Tensor) -> Tensor:
        """Return the log-probability of each next token: (R, C) -> (R, V), float32."""
        logits = F.linear(
            self.readout(self.stack.output(state)), self.embedding.weight, self.output_bias
        )
        return F.log_softmax(logits.float(), dim=-1)

    def check(self, batch: Batch) -> None:
        """Raise ValueError if a token id that is written or heard is out of range."""
        check_batch(batch, self.embedding)

    @torch.no_grad()
    def prepare(self, precision: str) -> tuple[Callable[[Tensor], Tensor], str]:
        """Return `log_probs` prepared for decoding, and the precision that "auto" came to.

        precision: see dialogue.models.projection.
        """
        weight, bias = self.embedding.weight.detach(), self.output_bias.detach()
        read_out = None
        if self.stack.hidden_size <= weight.shape[1]:
            # Two layers without a nonlinearity in between are one. Folding them together pays off
            # if it does not widen the output layer, the largest product of a step.
            weight, bias = weight @ self.readout.weight, bias + weight @ self.readout.bias
        else:
            read_out = lay_out(self.readout.weight, self.readout.bias, precision="fp32")
        if precision == "auto":
            precision = choose_precision(weight, bias)
        project = lay_out(weight, bias, precision=precision)

        def log_probs(state: Tensor) -> Tensor:
            output = self.stack.output(state)
            logits = project(output if read_out is None else read_out(output))
            return torch.log_softmax(logits, dim=-1, out=logits)

        return log_probs, precision

    def states(self, token_ids: Tensor, lengths: Tensor, start: Tensor) -> tuple[Tensor, Tensor]:
        """Read rows of tokens: (M, T), lengths (M,), start (M, C).

        Returns the packed states after each token, (P, C), and the rows they belong to, (P,).
        """
        packed = pack(token_ids, lengths)
        start = start[packed.sorted_indices]
        return self.stack(self.embed(packed.data), packed.batch_sizes.tolist(), start), rows(
            packed, token_ids.device
        )

    def score(
        self,
        outputs: Tensor,
        targets: Tensor,
        rows: Tensor,
        lengths: Tensor,
        *,
        objective: Objective,
    ) -> Likelihood:
        """Score targets (P,) of utterances `rows` (P,), given the output before each, (P, H)."""
        inputs = self.readout(self.dropout(outputs))
        return likelihood(
            inputs,
            self.embedding.weight,
            self.output_bias,
            targets,
            rows,
            lengths,
            objective=objective,
        )
