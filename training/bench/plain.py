"""The plain loop: the implementation that one would write first.

It has the same model, batch size in tokens and optimiser, but uses torch.nn.GRU over
pack_padded_sequence, float32 and shuffled batches without grouping by length. It projects real
tokens only.
"""

from __future__ import annotations

import random
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

from dialogue.config import ModelConfig
from dialogue.models import Batch
from training.data import batches
from training.run.trainer import GRADIENT_NORM


class PlainHRED(nn.Module):
    """The same HRED in its plainest form. It predicts every turn, the first one without history."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        directions = 2 if config.bidirectional else 1
        self.embedding = nn.Embedding(config.vocab_size, config.embedding)
        self.encoder = nn.GRU(
            config.embedding,
            config.utterance // directions,
            bidirectional=directions == 2,
            batch_first=True,
        )
        self.context = nn.GRU(config.utterance, config.context, batch_first=True)
        self.decoder = nn.GRU(config.embedding + config.context, config.hidden, batch_first=True)
        self.initial = nn.Linear(config.context, config.hidden)
        self.maxout = config.readout == "maxout"
        self.readout = nn.Linear(config.hidden, config.embedding * (2 if self.maxout else 1))
        self.output_bias = nn.Parameter(torch.zeros(config.vocab_size))
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, batch: Batch, bos_id: int) -> Tensor:
        """Return the mean loss per token."""
        packed = _pack(self.dropout(self.embedding(batch.token_ids)), batch.lengths)
        _, last = self.encoder(packed)  # (directions, M, U / directions)
        vectors = self.dropout(last.transpose(0, 1).flatten(1))
        conversations = nn.utils.rnn.pad_sequence(
            list(vectors.split(batch.turns.tolist())), batch_first=True
        )
        states, _ = self.context(_pack(conversations, batch.turns))
        states, _ = nn.utils.rnn.pad_packed_sequence(states, batch_first=True)
        before = F.pad(states, (0, 0, 1, 0))  # nothing before the first turn
        history = torch.cat(
            [before[row, :turns] for row, turns in enumerate(batch.turns.tolist())]
        )  # (M, C)
        read = F.pad(batch.token_ids[:, :-1], (1, 0), value=bos_id)
        seen = history[:, None].expand(-1, read.shape[1], -1)
        inputs = _pack(torch.cat([self.dropout(self.embedding(read)), seen], dim=-1), batch.lengths)
        output, _ = self.decoder(inputs, torch.tanh(self.initial(history))[None])
        readout = self.readout(self.dropout(output.data))
        if self.maxout:
            readout = torch.maximum(*readout.chunk(2, dim=-1))
        logits = F.linear(readout, self.embedding.weight, self.output_bias)
        return F.cross_entropy(logits, _pack(batch.token_ids, batch.lengths).data)


def _pack(padded: Tensor, lengths: Tensor) -> Any:
    return pack_padded_sequence(padded, lengths, batch_first=True, enforce_sorted=False)


def plain_batches(conversations: list[list[batches.Utterance]], batch_tokens: int) -> list[Batch]:
    """Group shuffled windows into batches of as many tokens, regardless of length."""
    windows = [window for conversation in conversations for window in batches.windows(conversation)]
    random.Random(0).shuffle(windows)
    return [batches.collate(planned, pad_id=0) for planned in batches.fill(windows, batch_tokens)]


class PlainLoop:
    """The plain model, its optimiser and a training step."""

    def __init__(self, config: ModelConfig, *, bos_id: int, device: torch.device) -> None:
        self.bos_id, self.device = bos_id, device
        self.model = PlainHRED(config).to(device).train()
        self.optimiser = torch.optim.Adam(
            self.model.parameters(), lr=1e-3, fused=device.type in ("cpu", "cuda")
        )

    def step(self, batch: Batch) -> None:
        """Take a step, and wait for the device."""
        self.optimiser.zero_grad()
        loss = self.model(batch.to(self.device), self.bos_id)
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), GRADIENT_NORM)
        self.optimiser.step()
        loss.item()
