"""The flat encoder-decoder of Sutskever et al. 2014 (arXiv 1409.3215): it answers one utterance.

    utterance (T tokens) --encoder--> its state after the last token (C) --decoder--> reply

The history vector is that state, for all layers, so each turn replaces the previous one.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dialogue.models import LIKELIHOOD, Batch, Configured, Likelihood, Objective, PreparedModel
from dialogue.models.history import rows_before
from dialogue.models.layers import check_ids
from dialogue.models.packing import last_positions, pack
from dialogue.models.recurrent import Stack
from dialogue.models.recurrent_decoder import RecurrentDecoder, RecurrentState


class Seq2Seq(Configured, nn.Module):
    """Two recurrent stacks of the same cell and size, with one embedding for input and output."""

    SETTINGS = frozenset({"embedding", "hidden", "cell", "layers", "dropout"})

    def __init__(
        self,
        *,
        vocab_size: int,
        bos_id: int,
        embedding: int,
        hidden: int,
        cell: str,
        layers: int,
        dropout: float,
    ) -> None:
        super().__init__()
        self.bos_id = bos_id
        self.decoder = RecurrentDecoder(
            vocab_size=vocab_size,
            embedding=embedding,
            hidden=hidden,
            cell=cell,
            layers=layers,
            dropout=dropout,
        )
        self.encoder = Stack(cell, embedding, hidden, layers=layers, dropout=dropout)

    # --- talking ----------------------------------------------------------------------------------

    def empty_history(self, count: int) -> Tensor:
        """Return the states before anything was read: (count, C)."""
        return self.decoder.empty(count)

    @torch.no_grad()
    def encode_turn(self, token_ids: Tensor, lengths: Tensor, history: Tensor | None) -> Tensor:
        """Read an utterance, (N, T) ending with </s>, lengths (N,), and return its state (N, C).

        Everything before it is forgotten. Raises ValueError on a token id out of range.
        """
        check_ids(token_ids, self.decoder.embedding)
        return self._encode(token_ids, lengths)

    @torch.no_grad()
    def start(self, history: Tensor) -> RecurrentState:
        """Begin a reply to each history: (N, C) -> N rows."""
        return RecurrentState(history)

    @torch.no_grad()
    def step(self, token_ids: Tensor, state: RecurrentState) -> tuple[Tensor, RecurrentState]:
        """Read one token per row, (R,), and return the log-probabilities of the next, (R, V)."""
        after = self.decoder.read(token_ids, state.values)
        return self.decoder.log_probs(after), RecurrentState(after)

    @torch.no_grad()
    def prepare(self, precision: str) -> PreparedModel[RecurrentState]:
        """Return start and step prepared for decoding.

        precision: of the output layer, see dialogue.models.projection.
        """
        log_probs, precision = self.decoder.prepare(precision)

        def read(token_ids: Tensor, state: RecurrentState) -> tuple[Tensor, RecurrentState]:
            after = self.decoder.read(token_ids, state.values)
            return after, RecurrentState(after)

        return PreparedModel(self.encode_turn, self.start, read, log_probs, precision)

    # --- all turns of a batch at once -------------------------------------------------------------

    def log_likelihood(self, batch: Batch) -> Likelihood:
        """Score every utterance given the one before it; gradients flow. Per utterance, (M,).

        Raises ValueError on a token id out of range.
        """
        return self.penalised(batch, LIKELIHOOD)

    def penalised(self, batch: Batch, objective: Objective) -> Likelihood:
        """Score like log_likelihood, with an objective's penalty.

        The decoder reads batch.decoder_input if there is one.
        """
        self.decoder.check(batch)
        history = self._history_before(batch)
        read = batch.token_ids if batch.decoder_input is None else batch.decoder_input
        read = F.pad(
            read[:, :-1], (1, 0), value=self.bos_id
        )  # <s> w1 w2 ... predicts w1 w2 ... </s>
        states, rows = self.decoder.states(read, batch.lengths, history)
        targets = pack(batch.token_ids, batch.lengths).data
        return self.decoder.score(
            self.decoder.stack.output(states), targets, rows, batch.lengths, objective=objective
        )

    def _history_before(self, batch: Batch) -> Tensor:
        """Return the decoder's initial state at each utterance: (M, C)."""
        history, device = self.decoder.begin(batch), batch.token_ids.device
        is_followed = torch.ones(len(batch.lengths), dtype=torch.bool)
        is_followed[batch.turns.cumsum(0) - 1] = False
        heard = is_followed.nonzero().squeeze(1)  # (M - N,)
        if len(heard):
            token_ids, lengths = batch.encoder_input or (batch.token_ids, batch.lengths)
            after = self._encode(token_ids[heard.to(device)], lengths[heard])
            rows = rows_before(batch.turns, heard).to(device)
            history = torch.cat([history, after])[rows]
        return (
            history
            if batch.without_history is None
            else history.masked_fill(batch.without_history[:, None], 0)
        )

    def _encode(self, token_ids: Tensor, lengths: Tensor) -> Tensor:
        """Read utterances: (M, T), lengths (M,) -> the states after their last tokens (M, C)."""
        packed = pack(token_ids, lengths)
        start = self.decoder.empty(len(lengths))
        states: Tensor = self.encoder(
            self.decoder.embed(packed.data), packed.batch_sizes.tolist(), start
        )
        return states[last_positions(packed, lengths).to(token_ids.device)]
