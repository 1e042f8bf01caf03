"""Classify whether somebody sounds glad or troubled, and which of the two a reply answers.

Every token, and every pair of neighbouring tokens, has a weight for each of the two questions; a
sum above 0 means glad, one below 0 troubled. It is a linear classifier, like fastText (Joulin et
al. 2016, arXiv 1607.01759). Pairs, hashed into a table of fixed size, tell "not good" from "good".
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

PAIRS = 16384  # rows of the table that pairs are hashed into
HEARD, SAID = 0, 1  # the two questions: about what a person says, and about a reply to it
_FIRST, _SECOND = 31, 1009  # odd and far apart, so that (a, b) and (b, a) seldom meet


class Feelings(nn.Module):
    """Two linear classifiers over a table of tokens and one of pairs; untrained, they answer 0."""

    def __init__(self, vocab_size: int, *, pad_id: int) -> None:
        super().__init__()
        self.pad_id = pad_id
        self.tokens = nn.Embedding(vocab_size, 2)
        self.pairs = nn.Embedding(PAIRS, 2)
        self.bias = nn.Parameter(torch.zeros(2))
        nn.init.zeros_(self.tokens.weight)
        nn.init.zeros_(self.pairs.weight)

    def forward(self, token_ids: Tensor) -> Tensor:
        """Weigh utterances: (M, T), padded -> (M, 2), for HEARD and SAID; 0 for an empty one."""
        real = (token_ids != self.pad_id).unsqueeze(2)
        before = F.pad(token_ids[:, :-1], (1, 0), value=self.pad_id)
        pairs = (before * _FIRST + token_ids * _SECOND) % PAIRS
        lengths = real.sum(1)
        total = ((self.tokens(token_ids) + self.pairs(pairs)) * real).sum(1)
        # Divided by the root of the length, so that one strong word in a long story is not lost.
        weighed: Tensor = total / lengths.clamp_min(1).sqrt() + self.bias
        return weighed * (lengths > 0)
