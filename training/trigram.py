"""python -m training.trigram: an interpolated trigram model, measured like training.evaluate does.

It shows what merely counting words achieves. Smoothing is Kneser-Ney (Kneser and Ney 1995),
interpolated as in Chen and Goodman 1999, with one discount D per order:

    p(w | u v) = max(c(u v w) - D, 0) / c(u v) + what the discount left / c(u v) * p(w | v)
    p(w | v)   = the same with c(v w) = the number of different u before v w
    p(w)       = the same with c(w) = the number of different v before w, and then 1 / V

The discounts are those that maximise the likelihood of the validation split. They are usually
derived from counts of one and two; but a corpus of triples contains most utterances three times, so
such counts say little here.

A conversation is one running text: its turns end with </s>, and </s> </s> stand before the first.
The model has the same four calls as any other; its history is the last two tokens.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from tqdm import tqdm

from dialogue.agent import DialogueAgent
from dialogue.checkpoint import Checkpoint
from dialogue.command_line import at_least, command
from dialogue.config import ModelConfig
from dialogue.models import Batch, Likelihood
from dialogue.models.history import histories_before
from dialogue.vocabulary import Vocabulary
from training import corpora
from training.corpora.transcript import Complaints
from training.data import batches
from training.data.vocabulary import load_vocabulary
from training.metrics.evaluation import evaluate

DISCOUNTS = (0.25, 0.5, 0.75, 0.9, 1.25, 1.75, 2.25, 2.75, 3.5, 4.5)
Conversations = Sequence[Sequence[Sequence[int]]]  # turns of token ids, each closed by </s>


class Counts(NamedTuple):
    """One order: what follows each context. Contexts and their words are sorted by number."""

    keys: Tensor  # (K,) context * V + word
    shares: Tensor  # (K,) the discounted relative frequency of the word in its context
    contexts: Tensor  # (X,)
    begins: Tensor  # (X + 1,) where each context's words begin among the K
    backoff: Tensor  # (X,) the probability mass left for the lower order

    @classmethod
    def of(cls, keys: Tensor, counts: Tensor, vocab_size: int, *, discount: float) -> Counts:
        """Discount the counts (K,) of the n-grams `keys` (K,), which are sorted."""
        contexts, inverse, types = torch.unique_consecutive(
            keys // vocab_size, return_inverse=True, return_counts=True
        )
        counts = counts.double()
        totals, left = (
            torch.zeros(len(contexts), dtype=torch.float64).index_add_(0, inverse, summed)
            for summed in (counts, counts.clamp_max(discount))
        )
        begins = torch.cat([torch.zeros(1, dtype=torch.long), types.cumsum(0)])
        return cls(
            keys,
            (counts - discount).clamp_min(0) / totals[inverse],
            contexts,
            begins,
            left / totals,
        )

    def places(self, contexts: Tensor) -> tuple[Tensor, Tensor]:
        """Find contexts (R,) among the X; return indices and whether they exist, (R,) and (R,)
        bool.
        """
        places = torch.searchsorted(self.contexts, contexts.contiguous()).clamp_max(
            len(self.contexts) - 1
        )
        return places, self.contexts[places] == contexts

    def prob(self, contexts: Tensor, words: Tensor, lower: Tensor, vocab_size: int) -> Tensor:
        """Interpolate each word's probability in its context with the lower order's: (P,) each."""
        keys = contexts * vocab_size + words
        places = torch.searchsorted(self.keys, keys).clamp_max(len(self.keys) - 1)
        share = torch.where(self.keys[places] == keys, self.shares[places], 0)
        places, known = self.places(contexts)
        return share + torch.where(known, self.backoff[places], 1) * lower

    def rows(self, contexts: Tensor, lower: Tensor) -> Tensor:
        """Interpolate all words' probabilities in each context: (R,), lower (R, V) -> (R, V)."""
        places, known = self.places(contexts)
        table = torch.where(known, self.backoff[places], 1)[:, None] * lower
        # List the seen words of all contexts in one flat index, row by row, and add their shares.
        counts = (self.begins[places + 1] - self.begins[places]) * known
        rows = torch.arange(len(contexts)).repeat_interleave(counts)
        within = torch.arange(len(rows)) - (counts.cumsum(0) - counts)[rows]
        seen = self.begins[places][rows] + within
        return table.index_put_(
            (rows, self.keys[seen] % lower.shape[1]), self.shares[seen], accumulate=True
        )


@dataclass(frozen=True)
class LastTokens:
    """The two tokens before the next one: (R, 2)."""

    tokens: Tensor

    def repeat(self, times: int) -> LastTokens:
        """Repeat every row `times` times, consecutively."""
        return LastTokens(self.tokens.repeat_interleave(times, dim=0))

    def select(self, rows: Tensor) -> LastTokens:
        """Select rows (R,) in the given order."""
        return LastTokens(self.tokens.index_select(0, rows))


class Trigram(nn.Module):
    """The four calls over counts. A history (N, 2) holds the last two tokens."""

    def __init__(
        self,
        trigrams: Tensor,
        *,
        vocab_size: int,
        bos_id: int,
        eos_id: int,
        discounts: Sequence[float],
    ) -> None:
        """Count trigrams (P,) from trigrams_of. discounts: of trigrams, bigrams and unigrams."""
        super().__init__()
        self.vocab_size, self.bos_id, self.eos_id, self.discounts = (
            vocab_size,
            bos_id,
            eos_id,
            tuple(discounts),
        )
        trigrams, counts = torch.unique_consecutive(trigrams.sort().values, return_counts=True)
        bigrams, different = torch.unique_consecutive(
            (trigrams % vocab_size**2).sort().values, return_counts=True
        )
        self._trigrams = Counts.of(trigrams, counts, vocab_size, discount=discounts[0])
        self._bigrams = Counts.of(bigrams, different, vocab_size, discount=discounts[1])
        words, different = torch.unique_consecutive(
            (bigrams % vocab_size).sort().values, return_counts=True
        )
        # Unigrams have the single, empty context 0.
        unigrams = Counts.of(words, different, vocab_size, discount=discounts[2])
        even = torch.full((1, vocab_size), 1 / vocab_size, dtype=torch.float64)
        self.unigrams = nn.Parameter(
            unigrams.rows(torch.zeros(1, dtype=torch.long), even)[0], requires_grad=False
        )

    @classmethod
    def from_config(cls, config: ModelConfig, *, bos_id: int) -> Trigram:
        """Raise ValueError: a trigram cannot be built before anything has been counted."""
        raise ValueError("a trigram is counted, not fitted or loaded: python -m training.trigram")

    @property
    def size(self) -> int:
        """Return how many numbers the model stores."""
        return len(self._trigrams.keys) + len(self._bigrams.keys) + self.vocab_size

    def empty_history(self, count: int) -> Tensor:
        """Return the history before the first turn, </s> </s>: (count, 2)."""
        return torch.full((count, 2), self.eos_id)

    def encode_turn(self, token_ids: Tensor, lengths: Tensor, history: Tensor | None) -> Tensor:
        """Keep the last two tokens: token_ids (N, T), lengths (N,), (N, 2) -> (N, 2)."""
        before = self.empty_history(len(lengths)) if history is None else history
        text = torch.cat([before, token_ids], dim=1)
        return text.gather(1, lengths[:, None] + torch.arange(2))

    def start(self, history: Tensor) -> LastTokens:
        """Begin a reply to each history: (N, 2) -> N rows."""
        return LastTokens(history)

    def step(self, token_ids: Tensor, state: LastTokens) -> tuple[Tensor, LastTokens]:
        """Read one token per row, (R,), and return the next ones' log-probabilities, (R, V).

        <s> is not part of the text.
        """
        read = torch.stack([state.tokens[:, 1], token_ids], dim=1)
        tokens = torch.where((token_ids == self.bos_id)[:, None], state.tokens, read)
        return self._log_probs(tokens), LastTokens(tokens)

    def prob(self, trigrams: Tensor) -> Tensor:
        """Return the probability of each trigram's last token given its first two: (P,) -> (P,)."""
        pairs, words = trigrams // self.vocab_size, trigrams % self.vocab_size
        lower = self._bigrams.prob(
            pairs % self.vocab_size, words, self.unigrams[words], self.vocab_size
        )
        return self._trigrams.prob(pairs, words, lower, self.vocab_size)

    def _log_probs(self, tokens: Tensor) -> Tensor:
        lower = self._bigrams.rows(tokens[:, 1], self.unigrams.expand(len(tokens), -1))
        return (
            self._trigrams.rows(tokens[:, 0] * self.vocab_size + tokens[:, 1], lower).log().float()
        )

    def log_likelihood(self, batch: Batch) -> Likelihood:
        """Score every utterance after the two tokens before it. Per utterance, (M,)."""
        before = histories_before(self.encode_turn, batch, self.empty_history(1))
        text = torch.cat([before, batch.token_ids], dim=1)  # (M, 2 + T)
        real = torch.arange(batch.token_ids.shape[1]) < batch.lengths[:, None]
        rows, words = real.nonzero()[:, 0], batch.token_ids[real]
        tokens = torch.stack([text[:, :-2][real], text[:, 1:-1][real]], dim=1)  # (P, 2)
        pairs = tokens[:, 0] * self.vocab_size + tokens[:, 1]
        probs = self.prob(pairs * self.vocab_size + words)
        # The likeliest next token costs a row of V per context, so find it once per distinct pair.
        keys, order = pairs.sort()
        contexts, which = torch.unique_consecutive(keys, return_inverse=True)
        pairs = torch.stack([contexts // self.vocab_size, contexts % self.vocab_size], dim=1)
        likeliest = torch.cat(
            [self._log_probs(part).argmax(-1) for part in torch.split(pairs, 256)]
        )
        correct = torch.empty_like(real[real]).index_put_(
            (order,), likeliest[which] == words[order]
        )
        totals = torch.zeros(len(batch.lengths), dtype=torch.float64)
        return Likelihood(
            log_probs=totals.index_add(0, rows, probs.log()).float(),
            tokens=batch.lengths,
            correct_mask=real.masked_scatter(real, correct),
        )


def trigrams_of(conversations: Conversations, *, vocab_size: int, eos_id: int) -> Tensor:
    """Number each token together with the two before it, (u * V + v) * V + w: (P,)."""
    found = []
    for conversation in conversations:
        text = torch.tensor([eos_id, eos_id, *(token for turn in conversation for token in turn)])
        found.append((text[:-2] * vocab_size + text[1:-1]) * vocab_size + text[2:])
    return torch.cat(found)


def count(train: Conversations, validation: Conversations, vocabulary: Vocabulary) -> Trigram:
    """Count trigrams, choosing the discounts that maximise the likelihood of validation in turn."""
    size, eos_id = len(vocabulary), vocabulary.eos_id
    seen, held_out = (
        trigrams_of(part, vocab_size=size, eos_id=eos_id) for part in (train, validation)
    )
    discounts = [0.75, 0.75, 0.75]

    def counted() -> Trigram:
        return Trigram(
            seen, vocab_size=size, bos_id=vocabulary.bos_id, eos_id=eos_id, discounts=discounts
        )

    for order in tqdm((0, 1, 2, 0), desc="discounts", leave=False, disable=None):
        likelihoods = {}
        for discounts[order] in DISCOUNTS:
            likelihoods[discounts[order]] = counted().prob(held_out).log().sum().item()
        discounts[order] = max(likelihoods, key=likelihoods.__getitem__)
    return counted()


@command
def main(arguments: list[str] | None = None) -> int:
    """Count a corpus and measure what that reaches, from the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m training.trigram",
        description="Fit an interpolated trigram model and measure it.",
    )
    add = parser.add_argument
    add(
        "--data",
        action="append",
        metavar="NAME|PATH",
        help="a corpus, any number of times (default: as training.fit)",
    )
    add(
        "--vocabulary",
        type=Path,
        default=Path("dict"),
        metavar="FILE|dict",
        help="as training.fit (default: %(default)s)",
    )
    add("--split", default="test", help="the split to measure on (default: %(default)s)")
    add(
        "--limit",
        type=int,
        metavar="N",
        help="answer and rank N histories at most (default: one in each conversation)",
    )
    options = parser.parse_args(arguments)
    names = options.data or corpora.default_names()
    at_least(1, limit=options.limit)
    vocabulary = load_vocabulary(options.vocabulary, names)
    measured_on = corpora.load(names, options.split, Complaints())
    train, validation = (
        batches.encode(
            corpora.load(names, split, Complaints()), vocabulary, truncate=None
        ).conversations
        for split in ("train", "validation")
    )
    model = count(train, validation, vocabulary)
    agent = DialogueAgent(
        Checkpoint(model.eval(), vocabulary, ModelConfig(vocab_size=len(vocabulary)), {})
    )
    figures = evaluate(agent, measured_on, limit=options.limit).figures
    table = Table("figure", "value")
    table.add_row("discounts", ", ".join(map(str, model.discounts)))
    table.add_row("numbers kept", f"{model.size:,}")
    for name, value in figures.items():
        table.add_row(name, f"{value:,.4g}")
    Console().print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
