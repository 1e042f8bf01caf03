"""Stock replies: fixed texts, proposed as candidates where they are likely to suit.

    history vector ---------------------------+
    last turn          sum of its tokens    --+-> hidden layer -+-> P(suits) of each plain reply
    the turn before       "    "    "       --+                 +-> P(suits) of each topical one

The difficulty is to know when a fixed reply suits. A network learns this, as Smart Reply's learns
from its users (Kannan et al. 2016, arXiv 1606.04870). *Plain* replies ("That took courage.") answer
much of what people say; several may suit a turn, so their probabilities are independent. *Topical*
replies ("A cat that knocks things off the table does it for the audience.") belong to one kind of
moment; one suits or none does, so their probabilities and that of "none" add up to 1.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor, nn

from dialogue import tensor_file
from dialogue.atomic_file import replace_file

FILE = "stock_replies.safetensors"  # in a checkpoint's folder
READ_TOKENS = 24  # tokens read of each turn, from its end
SPREAD = 0.3  # spread that the numbers of a history vector are scaled to
LENGTH = 3  # length of a bag's vector
OVERHEARD = 0.2  # share of the tokens dropped in training


@dataclass(frozen=True)
class Stock:
    """A stock reply.

    fit: the probability that a reader would name it in this context. trust: how much more often
    than others of its set readers found it right where it was proposed, in log-odds.
    """

    text: str
    fit: float
    is_topical: bool = False
    trust: float = 0.0


@dataclass(frozen=True)
class StockConfig:
    """The sizes of a network, and how many replies of each set it weighs.

    history: the size of a history vector. embedding: the size of the model's token vectors. own:
    the size of this network's token vectors.
    """

    plain: int
    topical: int
    vocab_size: int
    embedding: int
    history: int
    own: int = 96
    hidden: int = 640
    dropout: float = 0.3


class StockNetwork(nn.Module):
    """A network that reads a history vector and the last two turns, and weighs every reply.

    It also reads tokens through the model's own embedding, so it belongs to the model's weights.
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
        self.own = nn.Embedding(config.vocab_size, config.own)
        size = config.history + 2 * (config.embedding + config.own) + 2
        self.inputs = nn.Linear(size, config.hidden)
        # One more output for topical replies: none suits.
        self.outputs = nn.Linear(config.hidden, config.plain + config.topical + 1)

    def forward(
        self, vectors: Tensor, histories: Tensor, last: Sequence[Tensor], before: Sequence[Tensor]
    ) -> Tensor:
        """Return the logits of the replies for N contexts, (N, P + Q + 1).

        These are for P plain replies, Q topical ones, and no topical one. vectors (V, E): of all
        tokens. histories (N, C). last, before: the tokens of the last turn and of the turn before
        it, which is empty if there was none.
        """
        sizes = [
            [float(not len(b)), len(a) / READ_TOKENS] for a, b in zip(last, before, strict=True)
        ]
        parts = [(histories - self.mean) / self.spread * SPREAD]
        for table in (vectors, self.own.weight):
            parts += [self.bag(table, last), self.bag(table, before)]
        parts.append(vectors.new_tensor(sizes))
        dropout = self.config.dropout
        inputs = F.dropout(torch.cat(parts, dim=1), dropout / 2, self.training)
        hidden = F.dropout(F.gelu(self.inputs(inputs)), dropout, self.training)
        weights: Tensor = self.outputs(hidden)
        return weights

    def bag(self, table: Tensor, turns: Sequence[Tensor]) -> Tensor:
        """Sum each turn's token vectors, weighted by rarity, and scale to LENGTH: (N, E)."""
        flat = torch.cat(list(turns))
        begins = torch.tensor([0, *map(len, turns[:-1])], device=flat.device).cumsum(0)
        weights = self.rarity[flat]
        if self.training:
            weights = weights * (torch.rand_like(weights) > OVERHEARD)
        bags = F.embedding_bag(flat, table, begins, mode="sum", per_sample_weights=weights)
        return LENGTH * F.normalize(bags, dim=1)


class StockReplies:
    """The stock replies of a checkpoint."""

    def __init__(
        self,
        plain: Sequence[str],
        topical: Sequence[str],
        network: StockNetwork,
        vectors: Tensor,
        trust: Sequence[float],
    ) -> None:
        """Take the texts of both sets, and the trust in each, plain replies first.

        vectors (V, E): of the model's tokens.
        """
        self.plain, self.topical, self.trust = tuple(plain), tuple(topical), tuple(trust)
        self.network, self._vectors = network, vectors

    def __len__(self) -> int:
        return len(self.plain) + len(self.topical)

    def weigh(
        self, histories: Tensor, last: Sequence[Sequence[int]], before: Sequence[Sequence[int]]
    ) -> Tensor:
        """Return StockNetwork's logits of the replies for N contexts, (N, P + Q + 1).

        histories (N, C). last, before: the token ids of the last turn and of the turn before it.
        """
        weights: Tensor = self.network(
            self._vectors, histories.float(), self.tokens(last), self.tokens(before)
        )
        return weights

    @torch.inference_mode()
    def find(
        self,
        histories: Tensor,
        last: Sequence[Sequence[int]],
        before: Sequence[Sequence[int]],
        *,
        plain: int,
        topical: int,
    ) -> list[list[Stock]]:
        """Return the replies that best suit N contexts, best first.

        histories, last, before: as in `weigh`. plain, topical: how many of each set.
        """
        found: list[list[Stock]] = [[] for _ in last]
        if plain <= 0 and topical <= 0:
            return found
        sizes = [len(self.plain), len(self.topical) + 1]
        of_plain, of_topical = torch.split(self.weigh(histories, last, before), sizes, dim=1)
        fits = (of_plain.sigmoid(), of_topical.softmax(1)[:, :-1])
        sets = ((self.plain, plain, 0), (self.topical, topical, len(self.plain)))
        for theirs, (texts, count, earlier) in zip(fits, sets, strict=True):
            best, places = theirs.topk(min(max(count, 0), len(texts)))
            for row, some, at in zip(found, best.tolist(), places.tolist(), strict=True):
                row += [
                    Stock(texts[place], fit, earlier > 0, self.trust[earlier + place])
                    for fit, place in zip(some, at, strict=True)
                ]
        return found

    def tokens(self, turns: Iterable[Sequence[int]]) -> list[Tensor]:
        """Lay out the last tokens of turns for the network."""
        return [
            torch.tensor(turn[-READ_TOKENS:], dtype=torch.long, device=self._vectors.device)
            for turn in turns
        ]


def token_vectors(model: object) -> Tensor | None:
    """Return the vectors of a model's tokens, (V, E), or None if it has no `embedding`."""
    embedding = getattr(model, "embedding", None)
    return embedding.weight.detach() if isinstance(embedding, nn.Embedding) else None


# --- in a checkpoint -----------------------------------------------------------------------------


def save(folder: Path, stock: StockReplies, *, model: str, about: dict[str, Any]) -> None:
    """Write stock replies into a checkpoint's folder, with matrices in eight bits.

    model: the fingerprint of the weights. about: how the network was fitted.
    """
    tensors: dict[str, Tensor] = {"trust": torch.tensor(stock.trust).half()}
    for name, tensor in stock.network.state_dict().items():
        exact = tensor.detach().cpu().float().contiguous()
        if exact.dim() == 2:  # each row is scaled to -127 to 127
            scale = (exact.abs().amax(1, keepdim=True) / 127).clamp_min(1e-6).half()
            rounded = (exact / scale.float()).round().clamp(-127, 127).char()
            tensors[name], tensors[f"{name}.scale"] = rounded, scale
        else:
            tensors[name] = exact.half()
    metadata = {
        "model": model, "config": json.dumps(asdict(stock.network.config)),
        "plain": json.dumps(stock.plain), "topical": json.dumps(stock.topical),
        "about": json.dumps(about),
    }  # fmt: skip
    replace_file(folder / FILE, lambda path: save_file(tensors, path, metadata=metadata))


def load(
    folder: Path, *, model: str, vectors: Tensor | None, history: int | None
) -> StockReplies | None:
    """Read a checkpoint's stock replies; None if it has none, or they belong to other weights.

    model: the fingerprint of the weights. vectors: of the model's tokens. history: the size of a
    history vector. Raises ValueError if the file is broken.
    """
    path = folder / FILE
    if vectors is None or history is None or not path.exists():
        return None
    try:
        saved, metadata = tensor_file.read(path)
        if metadata["model"] != model:
            return None
        plain, topical = (
            [str(text) for text in json.loads(metadata[name])] for name in ("plain", "topical")
        )
        settings = json.loads(metadata["config"])
        config = StockConfig(**{field.name: settings[field.name] for field in fields(StockConfig)})
        sizes = (len(plain), len(topical), *vectors.shape, history)
        if sizes != (
            config.plain, config.topical, config.vocab_size, config.embedding, config.history,
        ):  # fmt: skip
            raise ValueError("its sizes are not those of its replies and of the model")
        tensors = {
            name: tensor.float() * saved.get(f"{name}.scale", torch.ones(()))
            for name, tensor in saved.items()
            if not name.endswith(".scale")
        }
        if not all(bool(tensor.isfinite().all()) for tensor in tensors.values()):
            raise ValueError("it holds NaN or infinity")
        trust = tensors.pop("trust")
        if trust.shape != (len(plain) + len(topical),):
            raise ValueError(f"trust in {len(trust)} of {len(plain) + len(topical)} replies")
        network = StockNetwork(config)
        network.load_state_dict(tensors)
    except (OSError, SafetensorError, LookupError, TypeError, ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(
            f"{path} holds no stock replies ({reason}); "
            "fit them again with python -m training.fit_stock, or delete it"
        ) from None
    network = network.eval().to(vectors.device)
    return StockReplies(plain, topical, network, vectors, trust.tolist())
