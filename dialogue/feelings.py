"""Whether somebody sounds glad or troubled, and whether a reply answers the one or the other.

Every token, and every pair of neighbouring tokens, has a weight for each of the two questions; the
sum says glad above 0 and troubled below. It is a linear classifier, as fastText is (Joulin et al.
2016, arXiv 1607.01759). Pairs are hashed into a table of fixed size: "not good" is no "good".
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

PAIRS = 16384  # rows of the table that pairs share
HEARD, SAID = 0, 1  # the two questions: of what a person says, and of a reply to it
_FIRST, _SECOND = 31, 1009  # odd and far apart, so that (a, b) and (b, a) seldom meet


class Feelings(nn.Module):
    """Two linear classifiers over one table of tokens and one of pairs. New ones answer 0."""

    def __init__(self, vocab_size: int, *, pad_id: int) -> None:
        super().__init__()
        self.pad_id = pad_id
        self.tokens = nn.Embedding(vocab_size, 2)
        self.pairs = nn.Embedding(PAIRS, 2)
        self.bias = nn.Parameter(torch.zeros(2))
        nn.init.zeros_(self.tokens.weight)
        nn.init.zeros_(self.pairs.weight)

    def forward(self, token_ids: Tensor) -> Tensor:
        """Weigh utterances: (M, T), padded -> (M, 2), for HEARD and SAID; of an empty one 0."""
        real = (token_ids != self.pad_id).unsqueeze(2)
        before = F.pad(token_ids[:, :-1], (1, 0), value=self.pad_id)
        pairs = (before * _FIRST + token_ids * _SECOND) % PAIRS
        lengths = real.sum(1)
        total = ((self.tokens(token_ids) + self.pairs(pairs)) * real).sum(1)
        # Over the root of the length, so that one strong word of a long story is not lost.
        weighed: Tensor = total / lengths.clamp_min(1).sqrt() + self.bias
        return weighed * (lengths > 0)
