"""Stock replies: fixed sets, from which those are candidates that are likely to suit.

    history vector (plain replies only) -----+
    last turn          mean of its tokens  --+-> hidden layer -> P(suits) for each reply
    the turn before       "    "    "      --+

The art is to know when a fixed reply suits. Networks learn it for each of two sets, as Smart
Reply's does from its users (Kannan et al. 2016, arXiv 1606.04870); what the networks of a set weigh
a reply with is averaged, since each errs in its own way (Hansen and Salamon 1990). *Plain* replies
("That took courage.") answer much of what people say; several suit a turn, so each has a
probability of its own. *Topical* replies ("A cat that knocks things off the table does it for the
audience.") belong to one kind of moment; one suits or none does, so their probabilities and that of
none add up to 1.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, cast

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor, nn

from dialogue import tensor_file
from dialogue.atomic_file import replace_file

PLAIN, TOPICAL = FILES = (  # in a checkpoint's folder
    "stock_replies.safetensors",
    "topical_replies.safetensors",
)
READ_TOKENS = 24  # of each turn, its last ones
SPREAD = 0.3  # that a history's numbers are scaled to
LENGTH = 3  # of a bag's vector
OVERHEARD = 0.2  # share of the tokens that are not read while the network learns


@dataclass(frozen=True)
class Stock:
    """A stock reply.

    fit: the probability that a reader would name it in this context. trust: by how much more often
    than others of its set readers found it right where it was proposed, in log-odds.
    """

    text: str
    fit: float
    is_topical: bool = False
    trust: float = 0.0


@dataclass(frozen=True)
class StockConfig:
    """The sizes of a network.

    history: numbers of a history vector, 0 to read none. embedding: numbers of a token's vector in
    the model. own: numbers of its vector in this network, 0 for none.
    """

    replies: int
    vocab_size: int
    embedding: int
    history: int = 0
    own: int = 0
    hidden: int = 256
    dropout: float = 0.6
    is_topical: bool = False


class StockNetwork(nn.Module):
    """Reads a history vector and the last two turns, and weighs every reply.

    It reads tokens by the model's own embedding, so it belongs to the model's weights.
    """

    mean: Tensor
    spread: Tensor
    rarity: Tensor

    def __init__(self, config: StockConfig) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("mean", torch.zeros(config.history))
        self.register_buffer("spread", torch.ones(config.history))
        self.register_buffer("rarity", torch.ones(config.vocab_size))  # inverse document frequency
        self.own = nn.Embedding(config.vocab_size, config.own) if config.own else None
        size = config.history + 2 * (config.embedding + config.own) + 2
        self.inputs = nn.Linear(size, config.hidden)
        # One more output of topical replies: that none suits.
        self.outputs = nn.Linear(config.hidden, config.replies + config.is_topical)

    def forward(
        self, vectors: Tensor, histories: Tensor, last: Sequence[Tensor], before: Sequence[Tensor]
    ) -> Tensor:
        """Weigh the replies for N contexts, as logits (N, R), or (N, R + 1) of topical ones.

        vectors (V, E): of all tokens. histories (N, C). last, before: the tokens of the last turn
        and of the one before it, none if there was none.
        """
        weights: Tensor = self.outputs(self.read(vectors, histories, last, before))
        return weights

    def read(
        self, vectors: Tensor, histories: Tensor, last: Sequence[Tensor], before: Sequence[Tensor]
    ) -> Tensor:
        """Return the hidden layer, (N, H)."""
        sizes = [
            [float(not len(b)), len(a) / READ_TOKENS] for a, b in zip(last, before, strict=True)
        ]
        parts = [(histories - self.mean) / self.spread * SPREAD] if self.config.history else []
        tables = [vectors] if self.own is None else [vectors, self.own.weight]
        parts += [self.bag(table, turns) for table in tables for turns in (last, before)]
        parts.append(vectors.new_tensor(sizes))
        dropout = self.config.dropout
        inputs = F.dropout(torch.cat(parts, dim=1), dropout / 2, self.training)
        return F.dropout(F.gelu(self.inputs(inputs)), dropout, self.training)

    def bag(self, table: Tensor, turns: Sequence[Tensor]) -> Tensor:
        """Sum the vectors of each turn's tokens, the rarer the heavier: (N, E) of length LENGTH."""
        flat = torch.cat(list(turns))
        begins = torch.tensor([0, *map(len, turns[:-1])], device=flat.device).cumsum(0)
        weights = self.rarity[flat]
        if self.training:
            weights = weights * (torch.rand_like(weights) > OVERHEARD)
        bags = F.embedding_bag(flat, table, begins, mode="sum", per_sample_weights=weights)
        return LENGTH * F.normalize(bags, dim=1)


class StockReplies:
    """A set of stock replies of a checkpoint."""

    def __init__(
        self,
        texts: Sequence[str],
        networks: Sequence[StockNetwork],
        vectors: Tensor,
        trust: Sequence[float],
    ) -> None:
        """Take R texts, their networks, all of one size, and how far each text is trusted.

        vectors (V, E): of the model's tokens.
        """
        self.texts, self.networks, self._vectors = tuple(texts), tuple(networks), vectors
        self.trust = tuple(trust)
        self.is_topical = networks[0].config.is_topical

    def __len__(self) -> int:
        return len(self.texts)

    @torch.inference_mode()
    def fits(
        self, histories: Tensor, last: Sequence[Sequence[int]], before: Sequence[Sequence[int]]
    ) -> Tensor:
        """Return P(suits) of every reply for N contexts: (N, R).

        histories (N, C). last, before: the token ids of the last turn and of the one before it.
        """
        weights = self.weigh(histories.float(), self.tokens(last), self.tokens(before))
        return weights.softmax(1)[:, :-1] if self.is_topical else weights.sigmoid()

    def weigh(self, histories: Tensor, last: Sequence[Tensor], before: Sequence[Tensor]) -> Tensor:
        """Weigh the replies for N contexts as the networks do on average; see StockNetwork."""
        each = [network(self._vectors, histories, last, before) for network in self.networks]
        return torch.stack(each).mean(0)

    def find(
        self,
        histories: Tensor,
        last: Sequence[Sequence[int]],
        before: Sequence[Sequence[int]],
        *,
        count: int,
    ) -> list[list[Stock]]:
        """Return the replies that fit each of N contexts best, best first; as `fits` takes them."""
        fits, places = self.fits(histories, last, before).topk(min(count, len(self)))
        return [
            [
                Stock(self.texts[place], fit, self.is_topical, self.trust[place])
                for place, fit in zip(row, theirs, strict=True)
            ]
            for row, theirs in zip(places.tolist(), fits.tolist(), strict=True)
        ]

    def tokens(self, turns: Iterable[Sequence[int]]) -> list[Tensor]:
        """Lay out the last tokens of turns for the network."""
        return [
            torch.tensor(turn[-READ_TOKENS:], dtype=torch.long, device=self._vectors.device)
            for turn in turns
        ]


def token_vectors(model: object) -> Tensor | None:
    """Return the vectors of a model's tokens (V, E), None if it has no `embedding`."""
    embedding = getattr(model, "embedding", None)
    return embedding.weight.detach() if isinstance(embedding, nn.Embedding) else None


# --- in a checkpoint -----------------------------------------------------------------------------


def save(folder: Path, stock: StockReplies, *, model: str, about: dict[str, Any]) -> None:
    """Write a set of stock replies into a checkpoint's folder, its matrices in eight bits.

    model: the fingerprint of the weights. about: how they were fitted.
    """
    tensors: dict[str, Tensor] = {"trust": torch.tensor(stock.trust).half()}
    for name, tensor in nn.ModuleList(stock.networks).state_dict().items():
        exact = tensor.detach().cpu().float().contiguous()
        if exact.dim() == 2:  # each row is scaled to -127 to 127
            scale = (exact.abs().amax(1, keepdim=True) / 127).clamp_min(1e-6).half()
            rounded = (exact / scale.float()).round().clamp(-127, 127).char()
            tensors[name], tensors[f"{name}.scale"] = rounded, scale
        else:
            tensors[name] = exact.half()
    metadata = {
        "model": model, "config": json.dumps(asdict(stock.networks[0].config)),
        "texts": json.dumps(stock.texts), "about": json.dumps(about),
    }  # fmt: skip
    path = folder / FILES[stock.is_topical]
    replace_file(path, lambda path: save_file(tensors, path, metadata=metadata))


def load(
    folder: Path, *, model: str, vectors: Tensor | None, history: int | None
) -> tuple[StockReplies, ...]:
    """Read a checkpoint's sets of stock replies, without those that are of other weights.

    model: the fingerprint of the weights. vectors: of the model's tokens; history: how many numbers
    a history vector has. Raises ValueError if a file is broken.
    """
    if vectors is None or history is None:
        return ()
    paths = [folder / name for name in FILES]
    found = [_read(path, model, vectors, history) for path in paths if path.exists()]
    return tuple(one for one in found if one is not None)


def _read(path: Path, model: str, vectors: Tensor, history: int) -> StockReplies | None:
    try:
        saved, metadata = tensor_file.read(path)
        if metadata["model"] != model:
            return None
        texts = [str(text) for text in json.loads(metadata["texts"])]
        settings = json.loads(metadata["config"])
        config = StockConfig(**{field.name: settings[field.name] for field in fields(StockConfig)})
        sizes = (len(texts), *vectors.shape, history if config.history else 0)
        if sizes != (config.replies, config.vocab_size, config.embedding, config.history):
            raise ValueError("its sizes are not those of its replies and of the model")
        tensors = {
            name: tensor.float() * saved.get(f"{name}.scale", torch.ones(()))
            for name, tensor in saved.items()
            if not name.endswith(".scale")
        }
        if not all(bool(tensor.isfinite().all()) for tensor in tensors.values()):
            raise ValueError("it holds NaN or infinity")
        trust = tensors.pop("trust")
        if trust.shape != (len(texts),):
            raise ValueError(f"trust in {len(trust)} replies, where there are {len(texts)}")
        count = max(1, len({name.split(".")[0] for name in tensors}))
        networks = nn.ModuleList(StockNetwork(config) for _ in range(count))
        networks.load_state_dict(tensors)
    except (OSError, SafetensorError, LookupError, TypeError, ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(
            f"{path} holds no stock replies ({reason}); "
            "fit them again with python -m training.fit_stock, or delete it"
        ) from None
    return StockReplies(
        texts,
        [cast(StockNetwork, one.eval().to(vectors.device)) for one in networks],
        vectors,
        trust.tolist(),
    )
