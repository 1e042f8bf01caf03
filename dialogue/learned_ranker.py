"""A ranker that has read judgements: it scores a candidate by the SSA that a reader would give it.

    numbers: likelihood, similarity, shared words, place among its kind, ... -+
    gladness of the person, and of what the candidate answers ----------------+
    last turns -> words in context ---+                                       |
                                      |  attention                            |
    candidate  -> words in context ---+-> right reply? sensible? specific? ---+
                                          judges -> sensible? specific? <-----+

A few small judges, whose verdicts are averaged, are fitted to what readers said of candidates, as
LaMDA's ranker was (Thoppilan et al. 2022, arXiv 2201.08239). The cross-encoder, which a ranker may
do without, reads a candidate with the last turns before it. It has learnt which reply is the true
one among others, the model's own among them, and which make sense. training.fit_ranker fits both.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, cast

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from dialogue import tensor_file
from dialogue.atomic_file import replace_file
from dialogue.candidate_numbers import NUMBERS, described, spoken_turns
from dialogue.conversation import Conversation
from dialogue.feelings import HEARD, SAID, Feelings
from dialogue.ranking import Candidate
from dialogue.vocabulary import Vocabulary, without_marks
from dialogue.words import words

FILE = "ranker.safetensors"  # within a checkpoint's folder
READ_TURNS = 4  # the last ones of a conversation
READ_TOKENS = 24  # of each: of a turn the last, of a reply the first
LATE_TEXTS, LATE_COST = 8, 0.1  # see `late_cost`; chosen on 140 contexts of twenty live talks
EARLIER = 0.5  # how much of a person's feeling lasts from one turn to the next
MATCH, SENSIBLE, SPECIFIC = range(3)  # what the cross-encoder answers


@dataclass(frozen=True)
class RankerConfig:
    """Sizes of the cross-encoder (width, heads, layers) and of the judges; how many judges.

    layers: 0 for no cross-encoder.
    """

    vocab_size: int
    width: int = 160
    heads: int = 5
    layers: int = 2
    hidden: int = 48
    judges: int = 4
    dropout: float = 0.1


class ReplyLayer(nn.TransformerDecoderLayer):
    """torch's layer, normalised first, for many replies to one context.

    The keys and values of a context are computed once, not once for each reply to it.
    """

    def read(
        self, replies: Tensor, real: Tensor, context: Tensor, heard: Tensor, owners: Tensor
    ) -> Tensor:
        """Read replies: (R, T, W) -> (R, T, W).

        context (N, S, W): what each of N conversations has heard. owners (R,): whose each reply is.
        real (R, T), heard (N, S): which places hold a token.
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
        """Project to queries, keys and values, or to those of them that `part` names."""
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
        """Answer three questions about each reply, as logits: (R, 3), see MATCH.

        turns (N, READ_TURNS, T), the last one first; replies (R, T'); owners (R,): whose each is.
        """
        said = self._embed(turns) + self.turn.weight[:, None]
        said, heard = said.flatten(1, 2), (turns != self.pad_id).flatten(1)
        # A conversation without a word shows its first place, or there would be no attention.
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
    """A small network from numbers to two logits: sensible, and specific where sensible."""

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
    """A cross-encoder, if it has layers, and judges that see its answers among the numbers.

    Each number is brought to mean 0 and spread 1.
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
        """Scale the numbers of candidates, (R, F), for the judges."""
        return (numbers - self.mean) / self.spread

    def forward(self, numbers: Tensor) -> Tensor:
        """Return P(sensible) and P(specific | sensible): (R, F) -> (R, 2)."""
        scaled = self.scaled(numbers)
        return torch.stack([judge(scaled) for judge in self.judges]).sigmoid().mean(0)

    def expected(self, numbers: Tensor) -> Tensor:
        """Return the SSA to expect, P(sensible) * (1 + P(specific | sensible)) / 2: (R,)."""
        sensible, specific = self(numbers).unbind(1)
        ssa: Tensor = sensible * (1 + specific) / 2
        return ssa


def late_cost(conversation: Conversation, candidate: Candidate) -> float:
    """Return what a candidate that the search found costs late in a conversation, in SSA.

    Late is after LATE_TEXTS texts of both speakers. Readers judged few long talks with the
    companion, so the judges expect too much of it there.
    """
    is_found = candidate.similarity is None and candidate.fit is None
    return LATE_COST if is_found and len(conversation.turns) >= LATE_TEXTS else 0.0


class LearnedRanker:
    """Scores candidates by the SSA expected of them, less what it costs to be common or late.

    A reply that comes first in n of a thousand contexts costs variety * log(1 + n). common: that n,
    by a reply's words (see `key`). What the search found also costs late in a talk: `late_cost`.
    """

    needs_blank = False

    def __init__(
        self,
        network: RankerNetwork,
        vocabulary: Vocabulary,
        *,
        common: Mapping[str, float] | None = None,
        variety: float = 0.0,
    ) -> None:
        self.network, self.vocabulary = network, vocabulary
        self.common, self.variety = common or {}, variety

    def with_variety(self, variety: float) -> LearnedRanker:
        """Return the same ranker with another price of being common, in SSA per log(1 + n)."""
        return LearnedRanker(self.network, self.vocabulary, common=self.common, variety=variety)

    @torch.inference_mode()
    def __call__(
        self, conversations: Sequence[Conversation], candidates: Sequence[Sequence[Candidate]]
    ) -> list[list[float]]:
        """Return a score for each candidate, 1 at most."""
        if not any(candidates):
            return [[] for _ in candidates]
        numbers = self.numbers(conversations, candidates)
        scores = iter(self.network.expected(numbers).tolist())
        return [
            [next(scores) - self._price(one.text) - late_cost(conversation, one) for one in found]
            for conversation, found in zip(conversations, candidates, strict=True)
        ]

    def _price(self, text: str) -> float:
        """Say what it costs a reply to be common."""
        if not self.variety:
            return 0.0
        return self.variety * math.log1p(self.common.get(key(text), 0.0))

    def numbers(
        self, conversations: Sequence[Conversation], candidates: Sequence[Sequence[Candidate]]
    ) -> Tensor:
        """Describe candidates, at least one, by numbers in the order of NUMBERS: (R, F)."""
        device = self.network.mean.device
        owners = torch.tensor(
            [row for row, found in enumerate(candidates) for _ in found], device=device
        )
        texts = [without_marks(candidate.text) for found in candidates for candidate in found]
        replies = self.tokens(texts, beginning=True).to(device)
        turns = self.context_tokens([spoken_turns(c) for c in conversations]).to(device)
        encoder = self.network.encoder
        answers = encoder(turns, replies, owners) if encoder else turns.new_zeros(len(owners), 3)
        plain = [
            row
            for c, found in zip(conversations, candidates, strict=True)
            for row in described(c, found)
        ]
        earlier = self.tokens([(c.said("user")[-2:-1] or [""])[0] for c in conversations])
        felt = self.felt(turns[:, 0], earlier.to(device), replies, owners)
        return torch.cat([torch.tensor(plain, device=device), answers, felt], dim=1)

    def felt(self, last: Tensor, earlier: Tensor, replies: Tensor, owners: Tensor) -> Tensor:
        """Describe candidates by what is felt.

        last, earlier (N, T): the person's last turn and the one before it. replies (R, T), owners
        (R,): whose each is. Return (R, 4): how glad the person sounds now, and of late; how glad a
        turn the reply would suit; and whether the two agree, negative where sorrow meets cheer.
        """
        feelings = self.network.feelings
        heard = feelings(last)[:, HEARD]
        lasting = heard + EARLIER * feelings(earlier)[:, HEARD]
        said = feelings(replies)[:, SAID]
        return torch.stack(
            [heard[owners], lasting[owners], said, lasting[owners].tanh() * said], dim=1
        )

    def context_tokens(self, conversations: Sequence[Sequence[str]]) -> Tensor:
        """Lay out the last turns of conversations, the last one first: (N, READ_TURNS, T)."""
        turns = [([""] * READ_TURNS + list(spoken))[-READ_TURNS:][::-1] for spoken in conversations]
        return self.tokens([turn for spoken in turns for turn in spoken]).view(
            len(turns), READ_TURNS, -1
        )

    def tokens(self, texts: Sequence[str], *, beginning: bool = False) -> Tensor:
        """Lay out texts, (M, T): the last READ_TOKENS of each, or those at its beginning."""
        part = slice(READ_TOKENS) if beginning else slice(-READ_TOKENS, None)
        rows = [ids[part] for ids in self.vocabulary.encode_all(texts)]
        return table(rows, self.vocabulary.pad_id)


def key(text: str) -> str:
    """Return the words of a reply, by which it is counted."""
    return " ".join(words(without_marks(text)))


def table(rows: Sequence[Sequence[int]], pad_id: int) -> Tensor:
    """Pad rows of token ids, at least one, to a tensor (M, T) of at least one column."""
    rows = [row or [pad_id] for row in rows]
    # one tensor, then split: a tensor made for each row takes twice as long
    flat = torch.tensor([token for row in rows for token in row])
    parts = list(torch.split(flat, [len(row) for row in rows]))
    return pad_sequence(parts, batch_first=True, padding_value=pad_id)


# --- in a checkpoint -----------------------------------------------------------------------------


def save(folder: Path, ranker: LearnedRanker, about: dict[str, Any]) -> None:
    """Write a ranker into a checkpoint's folder, in half precision. about: how it was fitted."""
    tensors = {
        name: tensor.detach().cpu().half().contiguous()
        for name, tensor in ranker.network.state_dict().items()
    }
    metadata = {
        "config": json.dumps(asdict(ranker.network.config)),
        "vocabulary_sha256": ranker.vocabulary.sha256,
        "numbers": json.dumps(NUMBERS),
        "common": json.dumps(dict(ranker.common), ensure_ascii=False),
        "about": json.dumps(about),
    }
    replace_file(folder / FILE, lambda path: save_file(tensors, path, metadata=metadata))


def load(folder: Path, vocabulary: Vocabulary, device: torch.device) -> LearnedRanker | None:
    """Read a checkpoint's ranker; None where it has none.

    Raises ValueError on one that is broken or of another model.
    """
    path = folder / FILE
    if not path.exists():
        return None
    try:
        halves, metadata = tensor_file.read(path)
        tensors = {name: tensor.float() for name, tensor in halves.items()}
        settings = json.loads(metadata["config"])
        config = RankerConfig(
            **{field.name: settings[field.name] for field in fields(RankerConfig)}
        )
        if metadata["vocabulary_sha256"] != vocabulary.sha256:
            raise ValueError("it was fitted to another vocabulary")
        if json.loads(metadata["numbers"]) != list(NUMBERS):
            raise ValueError("it was fitted to other numbers")
        if not all(torch.isfinite(tensor).all() for tensor in tensors.values()):
            raise ValueError("it has weights that are not finite")
        network = RankerNetwork(config, pad_id=vocabulary.pad_id)
        network.load_state_dict(tensors)
        common = {
            str(text): float(n) for text, n in json.loads(metadata.get("common", "{}")).items()
        }
        if not all(0 <= n <= 1000 for n in common.values()):
            raise ValueError("it counts more than a thousand in a thousand")
    except (
        OSError, SafetensorError, KeyError, TypeError, ValueError, RuntimeError, AttributeError,
    ) as error:  # fmt: skip
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(
            f"{path} is no ranker of this checkpoint ({reason}); "
            "fit one with python -m training.fit_ranker, or delete it"
        ) from None
    return LearnedRanker(network.eval().to(device), vocabulary, common=common)
