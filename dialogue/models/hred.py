"""HRED, the hierarchical recurrent encoder-decoder (Serban et al. 2016, arXiv 1507.04808).

    utterance (T tokens) --encoder GRU--> utterance vector (U) --context GRU--> history vector (C)
        --decoder GRU--> reply

A turn costs the same however long the conversation is: its utterance is encoded once, and the
context GRU takes one step from the history vector of the previous turn. The decoder starts from
tanh(W . history) and sees the history at every step.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dialogue.device import moved
from dialogue.models import LIKELIHOOD, Batch, Configured, Likelihood, Objective, PreparedModel
from dialogue.models.history import rows_before
from dialogue.models.layers import GRU, Dropout, PreparedGRU, check_batch, check_ids
from dialogue.models.objectives import likelihood
from dialogue.models.packing import last_positions, pack, rows
from dialogue.models.projection import choose_precision, lay_out

FOLDED_BYTES = 256 * 2**20  # limit for the table of all tokens' gates


@dataclass(frozen=True)
class HREDState:
    """The decoder between two tokens: hidden (R, H), the history's part of the gates (R, 3H)."""

    hidden: Tensor
    context_gates: Tensor

    def repeat(self, times: int) -> HREDState:
        """Return every row `times` times in a row."""
        return HREDState(
            self.hidden.repeat_interleave(times, dim=0),
            self.context_gates.repeat_interleave(times, dim=0),
        )

    def select(self, rows: Tensor) -> HREDState:
        """Take rows (R,) in their order."""
        return HREDState(
            self.hidden.index_select(0, rows), self.context_gates.index_select(0, rows)
        )


@dataclass(frozen=True)
class Hearing:
    """The half of the model that hears: as trained, or laid out for talking."""

    embedding: nn.Embedding
    embed: Callable[[Tensor], Tensor]
    encoders: Sequence[GRU | PreparedGRU]
    context: GRU | PreparedGRU

    @torch.no_grad()
    def encode_turn(self, token_ids: Tensor, lengths: Tensor, history: Tensor | None) -> Tensor:
        """Update the history with one utterance, like HRED.encode_turn."""
        check_ids(token_ids, self.embedding)
        vectors = self.utterance_vectors(token_ids, lengths)  # (N, U)
        if history is None:
            history = vectors.new_zeros(len(vectors), self.context.hidden_size)
        return self.context.step(self.context.gates(vectors), history)

    def utterance_vectors(self, token_ids: Tensor, lengths: Tensor) -> Tensor:
        """Encode utterances: (M, T), lengths (M,) -> (M, U), the last state of each direction.

        token_ids may be on the CPU: they are sent to the model's device.
        """
        device = self.embedding.weight.device
        forwards = pack(token_ids, lengths)
        sizes = forwards.batch_sizes.tolist()
        last = moved(last_positions(forwards, lengths), device)  # (M,)
        orders = [forwards]
        if len(self.encoders) == 2:
            at = torch.arange(token_ids.shape[1], device=token_ids.device)
            reverse = (lengths.to(token_ids.device)[:, None] - 1 - at).clamp_min(0)  # (M, T)
            orders.append(pack(token_ids.gather(1, reverse), lengths))
        vectors = []
        for encoder, packed in zip(self.encoders, orders, strict=True):
            gates = encoder.gates(self.embed(moved(packed.data, device)))
            start = gates.new_zeros(sizes[0], encoder.hidden_size)
            vectors.append(encoder(gates, sizes, start).index_select(0, last))
        return torch.cat(vectors, dim=-1)


class HRED(Configured, nn.Module):
    """Serban's model, with one (tied) embedding for input and output."""

    SETTINGS = frozenset(
        {"embedding", "utterance", "context", "hidden", "bidirectional", "readout", "dropout"}
    )

    def __init__(
        self,
        *,
        vocab_size: int,
        bos_id: int,
        embedding: int,
        utterance: int,
        context: int,
        hidden: int,
        bidirectional: bool,
        dropout: float,
        readout: str = "linear",
    ) -> None:
        super().__init__()
        self.bos_id = bos_id
        self.embedding = nn.Embedding(vocab_size, embedding)
        directions = 2 if bidirectional else 1
        self.encoder = nn.ModuleList(
            GRU(embedding, utterance // directions) for _ in range(directions)
        )
        self.context = GRU(utterance, context)
        self.decoder = GRU(embedding, hidden)
        self.context_gates = nn.Linear(context, 3 * hidden, bias=False)
        self.initial = nn.Linear(context, hidden)
        self.maxout = readout == "maxout"
        self.readout = nn.Linear(hidden, embedding * (2 if self.maxout else 1))
        self.output_bias = nn.Parameter(torch.zeros(vocab_size))
        self.dropout = Dropout(dropout)
        self.embedding_scale = math.sqrt(
            embedding
        )  # small rows suit the output layer; inputs are scaled to unit size
        nn.init.normal_(self.embedding.weight, std=1 / self.embedding_scale)

    # --- talking ----------------------------------------------------------------------------------

    def empty_history(self, count: int) -> Tensor:
        """Return the history vectors of new conversations: (count, C)."""
        return self.embedding.weight.new_zeros(count, self.context.hidden_size)

    @torch.no_grad()
    def encode_turn(self, token_ids: Tensor, lengths: Tensor, history: Tensor | None) -> Tensor:
        """Update the history with one utterance: (N, C) -> (N, C).

        token_ids (N, T) end with </s>; lengths (N,). Raises ValueError on a token id out of range.
        """
        return self._hearing().encode_turn(token_ids, lengths, history)

    @torch.no_grad()
    def start(self, history: Tensor) -> HREDState:
        """Begin a reply to each history: (N, C) -> N rows."""
        return HREDState(torch.tanh(self.initial(history)), self.context_gates(history))

    @torch.no_grad()
    def step(self, token_ids: Tensor, state: HREDState) -> tuple[Tensor, HREDState]:
        """Read one token per row, (R,), and return the log-probabilities of the next, (R, V)."""
        gates = self.decoder.gates(self._embed(token_ids)) + state.context_gates  # (R, 3H)
        hidden = self.decoder.step(gates, state.hidden)
        logits = F.linear(self._read_out(hidden), self.embedding.weight, self.output_bias)
        return F.log_softmax(logits.float(), dim=-1), HREDState(hidden, state.context_gates)

    @torch.no_grad()
    def prepare(self, precision: str) -> PreparedModel[HREDState]:
        """Return the calls prepared for talking.

        precision: of the output layer, see dialogue.models.projection. The embedding is folded into
        the decoder's input gates, so that a token's gates are one lookup in a table (V, 3H). The
        readout is folded into the output layer, unless that would make it wider.
        """
        log_probs, precision = self._prepared_output(precision)
        initial = lay_out(self.initial.weight, self.initial.bias, precision="fp32")
        no_bias = torch.zeros_like(self.decoder.bias_input)
        context_gates = lay_out(self.context_gates.weight, no_bias, precision="fp32")
        decoder, hearing = PreparedGRU(self.decoder), self._prepared_hearing()
        every = torch.arange(self.embedding.num_embeddings, device=no_bias.device)
        folded = len(every) * no_bias.nbytes <= FOLDED_BYTES
        table = decoder.gates(hearing.embed(every)) if folded else None
        if table is not None and precision != "fp32":
            table = table.half()  # half the memory; finer than the output layer in any precision

        def start(history: Tensor) -> HREDState:
            return HREDState(initial(history).tanh_(), context_gates(history))

        @torch.no_grad()
        def read(token_ids: Tensor, state: HREDState) -> tuple[Tensor, HREDState]:
            gates = (
                decoder.gates(hearing.embed(token_ids))
                if table is None
                else table.index_select(0, token_ids).float()
            )
            hidden = decoder.step(gates.add_(state.context_gates), state.hidden)
            return hidden, HREDState(hidden, state.context_gates)

        # On CUDA the model's own encode_turn is used, as cuDNN runs a whole turn at once.
        is_apart = not self.embedding.weight.is_cuda
        hear = hearing.encode_turn if is_apart else self.encode_turn
        return PreparedModel(hear, start, read, log_probs, precision, is_apart)

    def _hearing(self) -> Hearing:
        return Hearing(
            self.embedding,
            lambda token_ids: self.dropout(self._embed(token_ids)),
            cast("Sequence[GRU]", self.encoder),
            self.context,
        )

    def _prepared_hearing(self) -> Hearing:
        """Return the hearing half, laid out so that it does not need this module."""
        weight = self.embedding.weight.detach()
        embedding = nn.Embedding.from_pretrained(weight)  # type: ignore[no-untyped-call]
        scale = self.embedding_scale
        return Hearing(
            embedding,
            lambda token_ids: embedding(token_ids) * scale,
            [PreparedGRU(cast("GRU", encoder)) for encoder in self.encoder],
            PreparedGRU(self.context),
        )

    def _prepared_output(self, precision: str) -> tuple[Callable[[Tensor], Tensor], str]:
        """Return hidden (R, H) -> log-probabilities (R, V), and the precision "auto" came to."""
        weight, bias = self.embedding.weight.detach(), self.output_bias.detach()
        narrow = self.decoder.hidden_size <= weight.shape[1] and not self.maxout
        if narrow:
            weight, bias = weight @ self.readout.weight, bias + weight @ self.readout.bias
        if precision == "auto":
            precision = choose_precision(weight, bias)
        project = lay_out(weight, bias, precision=precision)
        read_out = (
            None if narrow else lay_out(self.readout.weight, self.readout.bias, precision="fp32")
        )

        def log_probs(hidden: Tensor) -> Tensor:
            logits = project(hidden if read_out is None else self._largest(read_out(hidden)))
            return torch.log_softmax(logits, dim=-1, out=logits)

        return log_probs, precision

    # --- all turns of a batch at once -------------------------------------------------------------

    def log_likelihood(self, batch: Batch) -> Likelihood:
        """Score every utterance given its conversation so far; gradients flow. Per utterance, (M,).

        Raises ValueError on a token id out of range.
        """
        return self.penalised(batch, LIKELIHOOD)

    def penalised(self, batch: Batch, objective: Objective) -> Likelihood:
        """Score like log_likelihood, with an objective's penalty.

        The decoder reads batch.decoder_input if there is one.
        """
        # Everything is laid out on the CPU and sent from there, so as not to wait for a device.
        plan, device = check_batch(batch, self.embedding), batch.token_ids.device
        history = self._history_before(batch, plan)  # (M, C)
        if batch.without_history is not None:
            history = history.masked_fill(batch.without_history[:, None], 0)
        token_ids, lengths = plan.token_ids, plan.lengths
        read = token_ids if plan.decoder_input is None else plan.decoder_input
        chosen = (
            plan.loss_mask if plan.loss_mask is not None and bool(plan.loss_mask.any()) else None
        )
        if chosen is not None:
            # Turns that do not count are not predicted: half the work if only one speaker counts.
            objective = objective.among(chosen, lengths)
            places = chosen.nonzero().squeeze(1)
            history = history.index_select(0, moved(places, device))
            token_ids, read, lengths = token_ids[places], read[places], lengths[places]
        targets = pack(token_ids, lengths)
        assert targets.sorted_indices is not None
        read = F.pad(
            read[:, :-1], (1, 0), value=self.bos_id
        )  # <s> w1 w2 ... predicts w1 w2 ... </s>
        inputs = moved(pack(read, lengths).data, device)
        owners = moved(rows(targets, plan.token_ids.device), device)  # (P,): each token's utterance
        of_history = F.embedding(
            owners, self.context_gates(history)
        )  # (P, 3H); indexing's backward pass is many times slower
        gates = self.decoder.gates(self.dropout(self._embed(inputs))).add_(of_history)
        start = torch.tanh(self.initial(history))
        start = start.index_select(0, moved(targets.sorted_indices, device))
        states = self.decoder(gates, targets.batch_sizes.tolist(), start)  # (P, H)
        readout = self._read_out(self.dropout(states))
        output = (readout, self.embedding.weight, self.output_bias)
        words = moved(targets.data, device)
        found = likelihood(*output, words, owners, lengths, objective=objective)
        if len(lengths) == len(plan.lengths) or batch.loss_mask is None:
            return found
        return found.among(batch.loss_mask, width=batch.token_ids.shape[1])

    def _read_out(self, states: Tensor) -> Tensor:
        """Map decoder states (..., H) to the size of an embedding, (..., E)."""
        return self._largest(self.readout(states))

    def _largest(self, pieces: Tensor) -> Tensor:
        """Return the larger of each pair if the readout is a maxout: (..., 2E) -> (..., E)."""
        return torch.maximum(*pieces.chunk(2, dim=-1)) if self.maxout else pieces

    def _embed(self, token_ids: Tensor) -> Tensor:
        vectors: Tensor = self.embedding(token_ids) * self.embedding_scale
        return vectors

    def _history_before(self, batch: Batch, plan: Batch) -> Tensor:
        """Return what was said before each utterance as history vectors: (M, C).

        plan: the same batch on the CPU.
        """
        turns, device = batch.turns, batch.token_ids.device
        begin = self.empty_history(len(turns)) if batch.history is None else batch.history
        first = turns.cumsum(0) - turns  # (N,): where each conversation begins among the M
        going_on = turns > 1
        if not bool(going_on.any()):
            return begin
        # One row per conversation, one column per turn that another one follows: the last utterance
        # of each is only predicted.
        columns = torch.arange(int(turns.max()) - 1)
        table = first[going_on, None] + columns  # (N', columns) indices among the M
        packed = pack(table, turns[going_on] - 1)
        heard = packed.data  # (P',): utterances in the order of the context GRU
        token_ids, lengths = plan.encoder_input or (plan.token_ids, plan.lengths)
        vectors = self._hearing().utterance_vectors(token_ids[heard], lengths[heard])
        sizes = packed.batch_sizes.tolist()
        start = begin[moved(going_on.nonzero().squeeze(1)[packed.sorted_indices], device)]
        after = self.context(self.context.gates(self.dropout(vectors)), sizes, start)
        rows = moved(rows_before(turns, heard), device)
        return torch.cat([begin, after]).index_select(0, rows)
