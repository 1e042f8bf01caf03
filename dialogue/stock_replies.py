"""Stock replies: a fixed set, each a candidate wherever it is likely to suit.

    history vector --------------------------+
    last turn          mean of its tokens  --+-> hidden layer -> P(suits) for each reply
    the turn before       "    "    "      --+

A few hundred plain replies ("How old is she now?", "That took courage.") answer most of what people
say; the art is to know when. The network learns it from contexts for which readers have named the
replies that suit, as Smart Reply's does from its users (Kannan et al. 2016, arXiv 1606.04870).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
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
HIDDEN, DROPOUT = 256, 0.6
READ_TOKENS = 24  # of each turn, its last ones
HISTORY = 0.3  # the spread that a history's numbers are scaled to


@dataclass(frozen=True)
class Stock:
    """A stock reply. fit: the probability that a reader would name it in this context."""

    text: str
    fit: float


class StockNetwork(nn.Module):
    """Reads a history vector and the last two turns, and weighs every reply.

    It reads tokens by the model's own embedding, so it belongs to the model's weights.
    """

    mean: Tensor
    spread: Tensor
    rarity: Tensor

    def __init__(self, replies: int, *, history: int, vocab_size: int, embedding: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(history))
        self.register_buffer("spread", torch.ones(history))
        self.register_buffer("rarity", torch.ones(vocab_size))  # inverse document frequency
        self.inputs = nn.Linear(history + 2 * embedding + 2, HIDDEN)
        self.outputs = nn.Linear(HIDDEN, replies)

    def forward(
        self, vectors: Tensor, histories: Tensor, last: Sequence[Tensor], before: Sequence[Tensor]
    ) -> Tensor:
        """Weigh the replies for N contexts, as logits (N, R).

        vectors (V, E): of all tokens. histories (N, C). last, before: the tokens of the last turn
        and of the one before it, none if there was none.
        """
        sizes = [
            [float(not len(b)), len(a) / READ_TOKENS] for a, b in zip(last, before, strict=True)
        ]
        inputs = torch.cat(
            [
                (histories - self.mean) / self.spread * HISTORY,
                self._bag(vectors, last),
                self._bag(vectors, before),
                histories.new_tensor(sizes),
            ],
            dim=1,
        )
        inputs = F.dropout(inputs, DROPOUT / 2, self.training)
        hidden = F.dropout(F.gelu(self.inputs(inputs)), DROPOUT, self.training)
        weights: Tensor = self.outputs(hidden)
        return weights

    def _bag(self, vectors: Tensor, turns: Sequence[Tensor]) -> Tensor:
        """Sum the vectors of each turn's tokens, the rarer the heavier: (N, E) of length 3."""
        flat = torch.cat(list(turns))
        begins = torch.tensor([0, *map(len, turns[:-1])], device=flat.device).cumsum(0)
        weights = self.rarity[flat]
        if self.training:  # a token in five is overheard
            weights = weights * (torch.rand_like(weights) > 0.2)
        bags = F.embedding_bag(flat, vectors, begins, mode="sum", per_sample_weights=weights)
        return 3 * F.normalize(bags, dim=1)


class StockReplies:
    """The stock replies of a checkpoint."""

    def __init__(self, texts: Sequence[str], network: StockNetwork, vectors: Tensor) -> None:
        """Take the texts, their network, and the vectors (V, E) of the model's tokens."""
        self.texts, self.network, self._vectors = tuple(texts), network, vectors

    def __len__(self) -> int:
        return len(self.texts)

    @torch.inference_mode()
    def fits(
        self, histories: Tensor, last: Sequence[Sequence[int]], before: Sequence[Sequence[int]]
    ) -> Tensor:
        """Return P(suits) of every reply for N contexts: (N, R).

        histories (N, C). last, before: the token ids of the last turn and of the one before it.
        """
        weights: Tensor = self.network(
            self._vectors, histories.float(), self.tokens(last), self.tokens(before)
        )
        return weights.sigmoid()

    def find(
        self, history: Tensor, last: Sequence[int], before: Sequence[int], *, count: int
    ) -> list[Stock]:
        """Return the replies that fit a context best, best first. history (1, C)."""
        if count < 1:
            return []
        fits, places = self.fits(history, [last], [before])[0].topk(min(count, len(self)))
        return [
            Stock(self.texts[place], fit)
            for place, fit in zip(places.tolist(), fits.tolist(), strict=True)
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


def save(folder: Path, stock: StockReplies, *, model: str, about: dict[str, Any]) -> None:
    """Write stock replies into a checkpoint's folder, in half precision.

    model: the fingerprint of the weights. about: how they were fitted.
    """
    tensors = {
        name: tensor.detach().cpu().half().contiguous()
        for name, tensor in stock.network.state_dict().items()
    }
    metadata = {"model": model, "texts": json.dumps(stock.texts), "about": json.dumps(about)}
    replace_file(folder / FILE, lambda path: save_file(tensors, path, metadata=metadata))


def load(
    folder: Path, *, model: str, vectors: Tensor | None, history: int | None
) -> StockReplies | None:
    """Read a checkpoint's stock replies; None if it has none, or they are of other weights.

    model: the fingerprint of the weights. vectors: of the model's tokens; history: how many numbers
    a history vector has. Raises ValueError if the file is broken.
    """
    path = folder / FILE
    if not path.exists() or vectors is None or history is None:
        return None
    try:
        halves, metadata = tensor_file.read(path)
        if metadata["model"] != model:
            return None
        texts = [str(text) for text in json.loads(metadata["texts"])]
        network = StockNetwork(
            len(texts), history=history, vocab_size=vectors.shape[0], embedding=vectors.shape[1]
        )
        tensors = {name: tensor.float() for name, tensor in halves.items()}
        if not all(bool(tensor.isfinite().all()) for tensor in tensors.values()):
            raise ValueError("it holds NaN or infinity")
        network.load_state_dict(tensors)
    except (OSError, SafetensorError, LookupError, TypeError, ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(
            f"{path} holds no stock replies ({reason}); "
            "fit them again with python -m training.fit_stock, or delete it"
        ) from None
    return StockReplies(texts, network.eval().to(vectors.device), vectors)
