"""A decoder-only Transformer over the flattened conversation (Vaswani et al. 2017).

It has pre-normalisation, rotary positions and a tied embedding.

    <s> w w w <s> w w <s> w ...   every turn is read after <s>, which also separates the turns

Where a recurrent model has a history vector, this one has the text itself: a history is the ids of
the conversation's last tokens. It is bounded: a history that would exceed the window is cut to its
last window // 2 tokens. As cuts are rare, many turns in a row share one beginning, so a batch reads
them in one row; a window that slid with every turn would need a row for each turn.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dialogue.device import moved
from dialogue.models import LIKELIHOOD, Batch, Configured, Likelihood, Objective, PreparedModel
from dialogue.models.conversation_rows import ConversationRows, rows_of
from dialogue.models.history import RaggedHistory
from dialogue.models.layers import Dropout, check_batch, check_ids
from dialogue.models.objectives import likelihood
from dialogue.models.projection import Linear, choose_precision, lay_out

ROTARY_BASE = 10_000.0  # Su et al. 2021 (RoFormer, arXiv 2104.09864)

Attend = Callable[
    [Tensor, Tensor, Tensor], Tensor
]  # queries, keys, values (P, heads, D) -> (P, heads, D)


@dataclass(frozen=True)
class TransformerState:
    """The decoder between two tokens: keys and values.

    The hypotheses of a conversation share those of its history. history (layers, 2, N, heads, T,
    D). real (N, T) bool: not padding. reply (layers, 2, R, heads, t, D): of the t tokens read so
    far. Row r continues history r // (R / N).
    """

    history: Tensor
    real: Tensor
    reply: Tensor

    def repeat(self, times: int) -> TransformerState:
        """Return every row `times` times in a row; the history is not copied."""
        return replace(self, reply=self.reply.repeat_interleave(times, dim=2))

    def select(self, rows: Tensor) -> TransformerState:
        """Take rows (R,) in their order.

        Rows made by `repeat` must stay together: R / N consecutive rows per conversation.
        """
        sharing = self.reply.shape[2] // len(self.real)
        origins = (rows // sharing).view(-1, sharing)
        torch._assert_async(
            (origins == origins[:, :1]).all(), "rows of different conversations were mixed"
        )
        reply = self.reply.index_select(2, rows)
        if (
            sharing > 1 and len(rows) == self.reply.shape[2]
        ):  # a beam following its parents: all conversations are still there
            return replace(self, reply=reply)
        kept = origins[:, 0]
        return TransformerState(
            self.history.index_select(2, kept), self.real.index_select(0, kept), reply
        )


class Block(nn.Module):
    """Attention and a feed-forward network, each with pre-normalisation and a residual."""

    def __init__(
        self, *, embedding: int, hidden: int, heads: int, layers: int, dropout: float
    ) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm, self.feed_forward_norm = (
            nn.LayerNorm(embedding),
            nn.LayerNorm(embedding),
        )
        self.queries_keys_values = nn.Linear(embedding, 3 * embedding, bias=False)
        self.attended = nn.Linear(embedding, embedding)
        self.widen, self.narrow = nn.Linear(embedding, hidden), nn.Linear(hidden, embedding)
        self.dropout = Dropout(dropout)
        for last in (
            self.attended,
            self.narrow,
        ):  # 2 * layers of these are added up (Radford et al. 2019)
            last.weight.data /= math.sqrt(2 * layers)

    def forward(self, inputs: Tensor, attend: Attend) -> Tensor:
        """Apply the layer to tokens, (P, E). attend: computes attention, with its mask."""
        parts = self.queries_keys_values(self.attention_norm(inputs)).view(
            len(inputs), 3, self.heads, -1
        )
        seen = attend(*parts.unbind(1)).reshape(inputs.shape)
        inputs = inputs + self.dropout(self.attended(seen))
        wide = F.gelu(self.widen(self.feed_forward_norm(inputs)))
        outputs: Tensor = inputs + self.dropout(self.narrow(wide))
        return outputs


class Transformer(Configured, nn.Module):
    """A small Transformer with one embedding for input and output.

    hidden: the width of its feed-forward networks.
    """

    SETTINGS = frozenset({"embedding", "hidden", "layers", "heads", "window", "dropout"})

    def __init__(
        self,
        *,
        vocab_size: int,
        bos_id: int,
        embedding: int,
        hidden: int,
        layers: int,
        heads: int,
        window: int,
        dropout: float,
    ) -> None:
        super().__init__()
        if embedding % (2 * heads):
            raise ValueError(
                f"embedding is {embedding} and heads {heads}; each head needs an even share of the "
                "embedding"
            )
        self.bos_id, self.window, self.heads = bos_id, window, heads
        self.embedding = nn.Embedding(vocab_size, embedding)
        self.blocks = nn.ModuleList(
            Block(embedding=embedding, hidden=hidden, heads=heads, layers=layers, dropout=dropout)
            for _ in range(layers)
        )
        self.norm = nn.LayerNorm(embedding)
        self.output_bias = nn.Parameter(torch.zeros(vocab_size))
        self.dropout = Dropout(dropout)
        self.embedding_scale = math.sqrt(
            embedding
        )  # small rows suit the output layer; inputs are scaled to unit size
        nn.init.normal_(self.embedding.weight, std=1 / self.embedding_scale)

    # --- talking ----------------------------------------------------------------------------------

    def empty_history(self, count: int) -> RaggedHistory:
        """Return the histories of new conversations, which have no text yet."""
        return RaggedHistory(
            torch.zeros(0, dtype=torch.int32, device=self.embedding.weight.device),
            torch.zeros(count, dtype=torch.long),
            longest=self.window,
            below=self.embedding.num_embeddings,
        )

    @torch.no_grad()
    def encode_turn(
        self, token_ids: Tensor, lengths: Tensor, history: RaggedHistory | None
    ) -> RaggedHistory:
        """Append one utterance to the history: token_ids (N, T) ending with </s>, lengths (N,).

        The network is not run. Raises ValueError on a token id out of range.
        """
        check_ids(token_ids, self.embedding)
        if history is None:
            history = self.empty_history(len(lengths))
        real = (torch.arange(token_ids.shape[1]) < lengths[:, None]).to(token_ids.device)  # (N, T)
        said = replace(history, values=self._behind_bos(token_ids)[real].int(), lengths=lengths)
        text = history.followed_by(said)
        if int(text.lengths.max()) <= self.window:
            return text
        return text.last(torch.where(text.lengths > self.window, self.window // 2, text.lengths))

    @torch.no_grad()
    def start(self, history: RaggedHistory) -> TransformerState:
        """Begin a reply to each history: N rows.

        The text is read anew; it is never longer than the window.
        """
        token_ids, real = history.padded()  # (N, T)
        rows, time = token_ids.shape
        size = self.embedding.embedding_dim // self.heads
        caches = self.embedding.weight.new_zeros(len(self.blocks), 2, rows, self.heads, time, size)
        if not time:
            return TransformerState(caches, real, caches)
        at = torch.arange(time, device=real.device)
        # Padding sees itself, as a softmax over nothing is undefined.
        visible = (at[:, None] >= at) & real[:, None] | (at[:, None] == at)  # (N, T, T)
        turn = _rotation(at.repeat(rows), size)
        inputs = self._embed(token_ids.view(-1))  # (N * T, E)

        def attend(cache: Tensor, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
            parts = (_rotated(queries, turn), _rotated(keys, turn), values)
            query, key, value = (
                part.view(rows, time, *part.shape[1:]).transpose(1, 2) for part in parts
            )
            cache[0], cache[1] = key, value
            return (
                F.scaled_dot_product_attention(query, key, value, attn_mask=visible[:, None])
                .transpose(1, 2)
                .flatten(0, 1)
            )

        for block, cache in zip(self.blocks, caches, strict=True):
            inputs = block(inputs, partial(attend, cache))
        return TransformerState(caches, real, caches[:, :, :, :, :0])

    @torch.no_grad()
    def step(self, token_ids: Tensor, state: TransformerState) -> tuple[Tensor, TransformerState]:
        """Read one token per row, (R,), and return the log-probabilities of the next, (R, V)."""
        outputs, state = self._further(token_ids, state)
        logits = F.linear(outputs, self.embedding.weight, self.output_bias)
        return F.log_softmax(logits.float(), dim=-1), state

    @torch.no_grad()
    def prepare(self, precision: str) -> PreparedModel[TransformerState]:
        """Lay out the output layer for decoding.

        precision: see dialogue.models.projection.
        """
        weight, bias = self.embedding.weight.detach(), self.output_bias.detach()
        if precision == "auto":
            precision = choose_precision(weight, bias)
        project: Linear = lay_out(weight, bias, precision=precision)

        def log_probs(outputs: Tensor) -> Tensor:
            logits = project(outputs)
            return torch.log_softmax(logits, dim=-1, out=logits)

        read = torch.no_grad()(self._further)
        return PreparedModel(self.encode_turn, self.start, read, log_probs, precision)

    def _further(
        self, token_ids: Tensor, state: TransformerState
    ) -> tuple[Tensor, TransformerState]:
        """Read one token per row, (R,); return the output layer's input (R, E) and the state."""
        _, _, rows, heads, time, size = state.reply.shape
        conversations, past = state.real.shape
        sharing = rows // conversations  # rows that share a history
        turn = _rotation(torch.full_like(token_ids, past + time), size)
        caches = F.pad(state.reply, (0, 0, 0, 1))  # (layers, 2, R, heads, t + 1, D)
        unseen = ~state.real[:, None, None]  # (N, 1, 1, T)

        def attend(
            before: Tensor, cache: Tensor, queries: Tensor, keys: Tensor, values: Tensor
        ) -> Tensor:
            """Attend to the history and to the reply, with one softmax over both.

                             history: one per conversation   reply: one per row
            query of row 0   . . . . . . (shared)            . . .
            query of row 1   . . . . . . (shared)            . . .
                             <------- one softmax per row -------->
            """
            cache[0, :, :, time], cache[1, :, :, time] = _rotated(keys, turn), values
            query = _rotated(queries, turn) / math.sqrt(size)
            # The R / N rows of a conversation attend to its one history like R / N further tokens
            # of it: one matrix product, for which the history need not be repeated.
            together = query.view(conversations, sharing, heads, size).transpose(
                1, 2
            )  # (N, heads, R / N, D)
            to_history = (
                (together @ before[0].transpose(-1, -2))
                .masked_fill(unseen, -torch.inf)
                .transpose(1, 2)
                .flatten(0, 1)
            )
            to_reply = (cache[0] @ query[..., None]).squeeze(-1)  # (R, heads, t + 1)
            weights = torch.cat([to_history, to_reply], dim=-1).softmax(-1)
            # The weights are split again, since each part has its own values to sum up.
            of_history = (
                weights[..., :past].reshape(conversations, sharing, heads, past).transpose(1, 2)
            )
            seen = (of_history @ before[1]).transpose(1, 2).reshape(rows, heads, size)
            seen += (weights[..., None, past:] @ cache[1]).squeeze(-2)
            return seen

        outputs = self._embed(token_ids)
        for block, before, cache in zip(self.blocks, state.history, caches, strict=True):
            outputs = block(outputs, partial(attend, before, cache))
        return self.norm(outputs), replace(state, reply=caches)

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
        outputs, words, lengths = self.states(batch)
        whose = torch.arange(len(lengths)).repeat_interleave(lengths)
        output = (outputs, self.embedding.weight, self.output_bias)
        whose = moved(whose, words.device)
        return likelihood(*output, words, whose, batch.lengths, objective=objective)

    def states(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Return the output layer's input before each token of a batch, utterance by utterance.

        It is (P, E), and comes with the tokens, (P,), and the lengths of the utterances, (M,), on
        the CPU. Raises ValueError on a token id out of range.
        """
        # Everything is laid out on the CPU and sent from there, so as not to wait for a device.
        plan, device = check_batch(batch, self.embedding), batch.token_ids.device
        heard = plan.token_ids if plan.encoder_input is None else plan.encoder_input[0]
        read = plan.token_ids if plan.decoder_input is None else plan.decoder_input
        texts = [self._behind_bos(heard), self._behind_bos(read)]
        if plan.history is not None:
            texts.append(plan.history.values.long())
        rows = rows_of(plan, window=self.window)
        text = torch.cat([text.flatten() for text in texts])[rows.source]
        rows = rows.to(device)
        outputs = self._read(moved(text, device), rows)  # (P, E)
        real = torch.arange(plan.token_ids.shape[1]) < plan.lengths[:, None]  # (M, T)
        words = moved(plan.token_ids[real], device)
        return self.norm(outputs[rows.scored]), words, plan.lengths

    def _read(self, token_ids: Tensor, rows: ConversationRows) -> Tensor:
        """Run over tokens that are packed row by row: (P,) -> (P, E).

        The rows are padded, (B, L), only for attention.
        """
        cells, shape = rows.cells(), (len(rows.sizes), int(rows.sizes.max()))
        visible = rows.visible(cells)[:, None]
        turn = _rotation(rows.position, self.embedding.embedding_dim // self.heads)

        def attend(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
            parts = torch.stack(
                [_rotated(queries, turn), _rotated(keys, turn), values], dim=1
            )  # (P, 3, heads, D)
            padded = parts.new_zeros(math.prod(shape), *parts.shape[1:]).index_copy(0, cells, parts)
            query, key, value = padded.view(*shape, *parts.shape[1:]).permute(
                2, 0, 3, 1, 4
            )  # (B, heads, L, D) each
            seen = F.scaled_dot_product_attention(query, key, value, attn_mask=visible)
            return seen.transpose(1, 2).flatten(0, 1)[cells]

        outputs: Tensor = self.dropout(self._embed(token_ids))
        for block in self.blocks:
            outputs = block(outputs, attend)
        return outputs

    def _behind_bos(self, token_ids: Tensor) -> Tensor:
        """Return the inputs that predict these tokens: <s> w1 w2 ... for w1 w2 ... </s>, (M, T)."""
        return F.pad(token_ids[:, :-1], (1, 0), value=self.bos_id)

    def _embed(self, token_ids: Tensor) -> Tensor:
        vectors: Tensor = self.embedding(token_ids) * self.embedding_scale
        return vectors


def _rotation(positions: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Return the cosines and sines of every position's angles: (P,) -> (P, 1, D / 2) each."""
    rates = ROTARY_BASE ** (-torch.arange(0, size, 2, device=positions.device) / size)
    angles = (positions[:, None] * rates)[:, None]
    return angles.cos(), angles.sin()


def _rotated(vectors: Tensor, turn: tuple[Tensor, Tensor]) -> Tensor:
    """Rotate the two halves of each vector, (P, heads, D), in pairs, by its position's angles."""
    cosine, sine = (part.to(vectors.dtype) for part in turn)
    one, other = vectors.chunk(2, dim=-1)
    return torch.cat([one * cosine - other * sine, one * sine + other * cosine], dim=-1)
