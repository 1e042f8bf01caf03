"""Transfer weights to another vocabulary (`--start-from` with `--vocabulary`).

A token in both vocabularies keeps its rows. A new token starts with the mean of the rows of the old
tokens that spell it, as in fast vocabulary transfer (Gee et al. 2022, arXiv 2402.09977).
"""

from __future__ import annotations

from dataclasses import replace
from typing import cast

import torch

from dialogue.checkpoint import Checkpoint
from dialogue.models import ModelClass
from dialogue.vocabulary import Vocabulary


def transfer(source: Checkpoint, vocabulary: Vocabulary) -> Checkpoint:
    """Return the checkpoint's model with another vocabulary.

    Every parameter with one row per token, (V, ...), gets rows for the new vocabulary; the others
    stay. Raises ValueError if the model has others that depend on the vocabulary.
    """
    old, model = source.vocabulary, source.model
    config = replace(source.config, vocab_size=len(vocabulary))
    fresh = cast(ModelClass, type(model)).from_config(config, bos_id=vocabulary.bos_id)
    written = old_tokens(old, vocabulary)
    weights = {}
    for name, weight in model.state_dict().items():
        # A parameter belongs to the vocabulary if its first dimension has one row per token.
        by_token = weight.dim() > 0 and len(weight) == len(old)
        rows = [weight[ids].float().mean(0) for ids in written] if by_token else []
        weights[name] = torch.stack(rows).to(weight.dtype) if by_token else weight
    try:
        fresh.load_state_dict(weights)
    except RuntimeError:
        raise ValueError(
            f"{type(model).__name__} has weights that depend on the vocabulary but do not have "
            "one row per token; leave --vocabulary out"
        ) from None
    return replace(
        source,
        model=fresh.to(next(model.parameters()).device).eval(),
        vocabulary=vocabulary,
        config=config,
    )


def old_tokens(old: Vocabulary, new: Vocabulary) -> list[list[int]]:
    """For each new token, list the old ones that spell it: itself, its longest parts, or <unk>."""
    ids = {old.piece(token_id): token_id for token_id in range(len(old))}
    longest = max(map(len, ids))

    # Greedy longest match; characters that no old piece covers are skipped.
    def parts(piece: str) -> list[int]:
        if piece in ids:
            return [ids[piece]]
        found, at = [], 0
        while at < len(piece):
            size = next(
                (
                    size
                    for size in range(min(longest, len(piece) - at), 0, -1)
                    if piece[at : at + size] in ids
                ),
                0,
            )
            if size:
                found.append(ids[piece[at : at + size]])
            at += max(size, 1)
        return found or [old.unk_id]

    return [parts(new.piece(token_id)) for token_id in range(len(new))]
