"""The teacher of stock replies: a pretrained sentence encoder, fitted to labels and moments.

    [CLS] the turns before [SEP] last turn [SEP] -> encoder -> first and mean state -> every reply

It is loaded from a folder in the format of Hugging Face's transformers. The shipped replies learnt
from all-MiniLM-L6-v2 (Reimers and Gurevych 2019, arXiv 1908.10084; Apache-2.0).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor, nn
from tqdm import trange

from dialogue import tensor_file
from dialogue.atomic_file import replace_file
from dialogue.device import computes_in_bf16
from dialogue.vocabulary import Vocabulary
from training.ranking.lessons import CHUNK, Lessons
from training.ranking.stock import train

READ = (40, 24, 14, 14)  # tokens of the last turn, of the one before it, ...
EPOCHS, BATCH, LEARNING_RATE, HEAD, WEIGHT_DECAY = 3, 64, 1e-4, 2e-3, 0.01
DROPOUT = 0.2


class SentenceTeacher(nn.Module):
    """Scores every stock reply for a context, as StockNetwork does."""

    def __init__(self, folder: Path, lessons: Lessons) -> None:
        """Load the encoder in a folder. Raises ValueError if there is none."""
        try:  # here, since it takes seconds to import
            from transformers import AutoModel, AutoTokenizer
        except ImportError:
            raise ValueError(
                "a sentence encoder needs transformers, not installed: run make setup-train, "
                "or python -m pip install -r requirements-train.txt"
            ) from None
        super().__init__()
        try:
            self.tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True)
            self.encoder: Any = AutoModel.from_pretrained(folder, local_files_only=True)
        except (OSError, ValueError, KeyError) as error:
            reason = str(error).splitlines()[0]
            raise ValueError(
                f"{folder} holds no sentence encoder ({reason}); it takes a folder in the form of "
                "transformers, such as that of sentence-transformers/all-MiniLM-L6-v2"
            ) from None
        self.lessons = lessons
        self.outputs = nn.Linear(2 * self.encoder.config.hidden_size, lessons.outputs)

    def encode(self, contexts: Sequence[Sequence[str]]) -> list[tuple[list[int], int]]:
        """Return the tokens of contexts, and where the last turn begins in them."""
        turns = [context[-len(READ) :][::-1] for context in contexts]
        texts = [turn for some in turns for turn in some]
        found = self.tokenizer(texts, add_special_tokens=False)["input_ids"] if texts else []
        ids = iter(cast("list[list[int]]", found))
        begin, end = self.tokenizer.cls_token_id, self.tokenizer.sep_token_id
        rows = []
        for some in turns:
            last, *before = [next(ids)[-most:] for _, most in zip(some, READ, strict=False)]
            row = [begin]
            for turn in reversed(before):
                row += [*turn, end]
            row += [] if before else [end]
            rows.append(([*row, *last, end], len(row)))
        return rows

    def forward(self, rows: Sequence[tuple[list[int], int]]) -> Tensor:
        """Score the replies for encoded contexts: logits (N, P + Q + 1)."""
        states, real = self._states(rows)
        read = torch.cat([states[:, 0], _mean(states, real)], dim=1).float()
        with torch.autocast(read.device.type, enabled=False):  # bfloat16 is too coarse for logits
            weights: Tensor = self.outputs(F.dropout(read, DROPOUT, self.training))
        return weights

    def _states(self, rows: Sequence[tuple[list[int], int]]) -> tuple[Tensor, Tensor]:
        """Return the states (N, T, W) of encoded contexts, and which of them are real (N, T)."""
        device = self.outputs.weight.device
        size = max(len(row) for row, _ in rows)
        lengths = torch.tensor([len(row) for row, _ in rows], device=device)
        begins = torch.tensor([begin for _, begin in rows], device=device)
        places = torch.arange(size, device=device)
        real = places < lengths[:, None]
        states: Tensor = self.encoder(
            input_ids=torch.tensor(
                [row + [0] * (size - len(row)) for row, _ in rows], device=device
            ),
            token_type_ids=((places >= begins[:, None]) & real).long(),
            attention_mask=real.long(),
        ).last_hidden_state
        return states, real

    @torch.inference_mode()
    def words(self, vocabulary: Vocabulary, size: int) -> Tensor:
        """Return the encoder's vectors for the pieces of a vocabulary: (V, size).

        Each piece is encoded alone and reduced to the principal components of all of them, as in
        Model2Vec (Tulkens and van Dongen 2024).
        """
        numbers = range(len(vocabulary))
        pieces = [vocabulary.piece(number).replace("\u2581", "") for number in numbers]
        begin, end = self.tokenizer.cls_token_id, self.tokenizer.sep_token_id
        ids = self.tokenizer(pieces, add_special_tokens=False)["input_ids"]
        means = []
        for at in range(0, len(ids), CHUNK):
            rows = [([begin, *some, end], len(some) + 2) for some in ids[at : at + CHUNK]]
            means.append(_mean(*self._states(rows)).float())
        vectors = torch.cat(means)
        vectors = vectors - vectors.mean(0)
        _, _, axes = torch.linalg.svd(vectors, full_matrices=False)
        found = vectors.new_zeros(len(vectors), size)
        found[:, : len(axes[:size])] = vectors @ axes[:size].T
        return found

    def fit(self, *, seed: int) -> None:
        """Learn from the lessons. The encoder's word embeddings stay frozen."""
        torch.manual_seed(seed)
        lessons = self.lessons
        nn.init.constant_(self.outputs.bias[: len(lessons.plain)], -4)
        words = self.encoder.get_input_embeddings().weight.requires_grad_(False)
        rows = self.encode(lessons.contexts)
        body = [one for one in self.encoder.parameters() if one is not words]
        train(
            self, lambda some: lessons.loss(self([rows[row] for row in some]), some),
            lessons.learnt(), [len(row) for row, _ in rows],
            rates=[(body, LEARNING_RATE), (list(self.outputs.parameters()), HEAD)],
            weight_decay=WEIGHT_DECAY, epochs=EPOCHS, size=BATCH, seed=seed,
        )  # fmt: skip

    @torch.inference_mode()
    def probabilities(self, contexts: Sequence[Sequence[str]]) -> Tensor:
        """Return what suits contexts, as probabilities (N, P + Q + 1), float16, on the CPU.

        These are P(suits) of each plain reply, then those of the topical replies and of none, which
        add up to 1.
        """
        rows, plain = self.encode(contexts), len(self.lessons.plain)
        device = self.outputs.weight.device
        order = sorted(range(len(rows)), key=lambda row: len(rows[row][0]))
        found = torch.empty(len(rows), self.lessons.outputs, dtype=torch.half)
        for at in trange(0, len(order), CHUNK, desc="asking the teacher", disable=None):
            some = order[at : at + CHUNK]
            with torch.autocast(device.type, torch.bfloat16, enabled=computes_in_bf16(device)):
                weights = self([rows[row] for row in some])
            suit = [weights[:, :plain].sigmoid(), weights[:, plain:].softmax(1)]
            found[some] = torch.cat(suit, dim=1).half().cpu()
        return found

    def write(self, path: Path) -> None:
        """Save what was learnt to a file."""
        tensors = {name: one.detach().cpu().contiguous() for name, one in self.state_dict().items()}
        about = {"replies": self.lessons.digest}
        replace_file(path, lambda temporary: save_file(tensors, temporary, metadata=about))

    def read(self, path: Path) -> None:
        """Load what `write` saved. Raises ValueError if it is for other replies, or broken."""
        try:
            tensors, about = tensor_file.read(path)
            if about["replies"] != self.lessons.digest:
                raise ValueError("it was fitted to others")
            self.load_state_dict(tensors)
        except (OSError, SafetensorError, LookupError, RuntimeError, ValueError) as error:
            reason = str(error).splitlines()[0]
            raise ValueError(
                f"{path} holds no teacher of these replies ({reason}); "
                "delete it, and it is fitted anew"
            ) from None
        self.eval()


def _mean(states: Tensor, real: Tensor) -> Tensor:
    mask = real.unsqueeze(2)
    return (states * mask).sum(1) / mask.sum(1)
