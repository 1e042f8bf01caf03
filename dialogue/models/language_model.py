"""A recurrent language model (Mikolov et al. 2010): a conversation is one text of turns with </s>.

The history vector is the state of all layers after the text so far; a reply continues the text. <s>
is not part of the text, and `step` ignores it.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from dialogue.models import LIKELIHOOD, Batch, Configured, Likelihood, Objective, PreparedModel
from dialogue.models.layers import check_ids
from dialogue.models.packing import last_positions, pack, positions
from dialogue.models.recurrent_decoder import RecurrentDecoder, RecurrentState


class LanguageModel(Configured, nn.Module):
    """A recurrent decoder that reads every turn, whoever said it."""

    SETTINGS = frozenset({"embedding", "one_hot", "hidden", "cell", "layers", "dropout"})

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
        one_hot: bool = False,
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
            one_hot=one_hot,
        )

    # --- talking ----------------------------------------------------------------------------------

    def empty_history(self, count: int) -> Tensor:
        """Return the states before anything was read: (count, C)."""
        return self.decoder.empty(count)

    @torch.no_grad()
    def encode_turn(self, token_ids: Tensor, lengths: Tensor, history: Tensor | None) -> Tensor:
        """Continue the text: token_ids (N, T) with </s>, lengths (N,), state (N, C) -> (N, C).

        Raises ValueError on a token id out of range.
        """
        check_ids(token_ids, self.decoder.embedding)
        if history is None:
            history = self.empty_history(len(lengths))
        states, _ = self.decoder.states(token_ids, lengths, history)
        return states[last_positions(pack(token_ids, lengths), lengths).to(token_ids.device)]

    @torch.no_grad()
    def start(self, history: Tensor) -> RecurrentState:
        """Continue each text: (N, C) -> N rows."""
        return RecurrentState(history)

    @torch.no_grad()
    def step(self, token_ids: Tensor, state: RecurrentState) -> tuple[Tensor, RecurrentState]:
        """Read one token per row, (R,), and return the log-probabilities of the next, (R, V)."""
        after = self._read(token_ids, state.values)
        return self.decoder.log_probs(after), RecurrentState(after)

    @torch.no_grad()
    def prepare(self, precision: str) -> PreparedModel[RecurrentState]:
        """Return start and step prepared for decoding.

        precision: of the output layer, see dialogue.models.projection.
        """
        log_probs, precision = self.decoder.prepare(precision)

        def read(token_ids: Tensor, state: RecurrentState) -> tuple[Tensor, RecurrentState]:
            after = self._read(token_ids, state.values)
            return after, RecurrentState(after)

        return PreparedModel(self.encode_turn, self.start, read, log_probs, precision)

    def _read(self, token_ids: Tensor, state: Tensor) -> Tensor:
        return torch.where(
            (token_ids == self.bos_id)[:, None], state, self.decoder.read(token_ids, state)
        )

    # --- all turns of a batch at once -------------------------------------------------------------

    def log_likelihood(self, batch: Batch) -> Likelihood:
        """Score every utterance as a continuation of the text; gradients flow. Per utterance, (M,).

        Raises ValueError on a token id out of range.
        """
        return self.penalised(batch, LIKELIHOOD)

    def penalised(self, batch: Batch, objective: Objective) -> Likelihood:
        """Score like log_likelihood, with an objective's penalty.

        The decoder reads batch.decoder_input if there is one.
        """
        return self.read_on(batch, objective)[0]

    def read_on(self, batch: Batch, objective: Objective) -> tuple[Likelihood, Tensor]:
        """Score like penalised, and return the detached state after each conversation, (N, C).

        The text is read once. Turns whose scored form differs from it are read separately, from the
        state before them.
        """
        self.decoder.check(batch)
        device, count = batch.token_ids.device, len(batch.turns)
        heard, lengths = batch.encoder_input or (batch.token_ids, batch.lengths)
        texts = torch.zeros(count, dtype=torch.long).index_add_(
            0, torch.arange(count).repeat_interleave(batch.turns), lengths
        )
        text = _joined(heard, lengths)  # (Q,)
        states, before, ends = self._states(text, texts, self.decoder.begin(batch))
        carried = states[ends].detach()
        history = states[before[(lengths.cumsum(0) - lengths).to(device)]]  # (M, C)
        if batch.without_history is not None:
            history = history.masked_fill(batch.without_history[:, None], 0)

        apart = _apart(batch)  # (M,)
        kept = (~apart).repeat_interleave(lengths).to(device)
        owners = (
            torch.arange(len(lengths)).repeat_interleave(lengths).to(device)
        )  # (Q,): each token's utterance
        outputs = [
            F.embedding(before[kept], self.decoder.stack.output(states))
        ]  # indexing's backward pass is many times slower
        targets, rows = [text[kept]], [owners[kept]]
        if bool(apart.any()):
            these, lengths = apart.nonzero().squeeze(1), batch.lengths[apart]
            chosen = these.to(device)
            read = batch.token_ids if batch.decoder_input is None else batch.decoder_input
            states, before, _ = self._states(
                _joined(read[chosen], lengths), lengths, history[chosen]
            )
            outputs.append(F.embedding(before, self.decoder.stack.output(states)))
            targets.append(_joined(batch.token_ids[chosen], lengths))
            rows.append(these.repeat_interleave(lengths).to(device))
        parts = torch.cat(outputs), torch.cat(targets), torch.cat(rows)
        return self.decoder.score(*parts, batch.lengths, objective=objective), carried

    def _states(
        self, text: Tensor, lengths: Tensor, start: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Read concatenated texts: (Q,), with their lengths (N,) and initial states (N, C).

        Returns states (N + Q, C), the row of the state before each token, (Q,), and the row of the
        last state of each text, (N,).
        """
        packed = pack(
            pad_sequence(list(torch.split(text, lengths.tolist())), batch_first=True), lengths
        )
        after = self.decoder.stack(
            self.decoder.embed(packed.data),
            packed.batch_sizes.tolist(),
            start[packed.sorted_indices],
        )
        rows = torch.arange(len(lengths)).repeat_interleave(lengths)
        last = lengths.cumsum(0) - 1
        times = torch.arange(len(text)) - (last - lengths + 1)[rows]
        behind = len(lengths) + positions(
            packed, rows, times
        )  # (Q,): the row of the state after each token
        before = torch.where(times == 0, rows, behind.roll(1))
        return torch.cat([start, after]), before.to(text.device), behind[last].to(text.device)


def _joined(token_ids: Tensor, lengths: Tensor) -> Tensor:
    """Concatenate rows (M, T) without their padding: (Q,)."""
    return token_ids[(torch.arange(token_ids.shape[1]) < lengths[:, None]).to(token_ids.device)]


def _apart(batch: Batch) -> Tensor:
    """Return which turns are scored in a form that differs from the text: (M,), on the CPU."""
    apart = torch.full((len(batch.lengths),), batch.decoder_input is not None)
    if batch.without_history is not None:
        apart |= batch.without_history.cpu()
    if batch.encoder_input is not None:
        heard, lengths = batch.encoder_input
        width = min(heard.shape[1], batch.token_ids.shape[1])
        real = (torch.arange(width) < lengths[:, None]).to(heard.device)
        other = ((heard[:, :width] != batch.token_ids[:, :width]) & real).any(1)
        apart |= other.cpu() | (lengths != batch.lengths)
    return apart
