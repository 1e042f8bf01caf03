"""Draw tokens by inverse CDF, from random numbers that are drawn before the search begins.

Each conversation has its own seed, so its reply does not depend on what else is in the batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from dialogue.config import DecodeConfig
from dialogue.decoding.paths import Paths
from dialogue.device import sent

Draw = Callable[[Tensor, Tensor, Paths], Tensor]
BINS = 2048  # of a histogram over a span of log-probabilities
SPAN = 32.0  # in nats: all tokens less likely than exp(-32) share the last bin


def uniforms(seeds: Sequence[int], samples: int, steps: int) -> Tensor:
    """Draw all random numbers of a search from [0, 1): (N, samples, steps).

    Each conversation has its own seed.
    """
    if not steps:
        return torch.empty(len(seeds), samples, 0)
    generators = [
        torch.Generator().manual_seed(seed) for seed in seeds
    ]  # on the CPU, for the same numbers on every device
    return torch.stack(
        [torch.rand(samples, steps, generator=generator, device="cpu") for generator in generators]
    )


def drawing(config: DecodeConfig, sentence_ends: Sequence[int], *, device: torch.device) -> Draw:
    """Return the function with which a method draws tokens.

    It takes log_probs (R, V), uniform (R,) and the steps so far, and returns tokens (R,).
    """
    if config.method in ("top-k", "delayed-beam"):
        return lambda log_probs, uniform, paths: draw_top_k(log_probs, uniform, config.top_k)
    if config.method != "factual-nucleus":
        return lambda log_probs, uniform, paths: draw_nucleus(log_probs, uniform, config.top_p)
    ends = sent(sentence_ends, device, dtype=torch.long)

    def draw_factual(log_probs: Tensor, uniform: Tensor, paths: Paths) -> Tensor:
        decay = config.top_p_decay ** since_sentence_end(paths, log_probs.shape, ends)
        return draw_nucleus(
            log_probs, uniform, (config.top_p * decay).clamp_min(config.top_p_floor)[:, None]
        )

    return draw_factual


def since_sentence_end(paths: Paths, shape: Sequence[int], ends: Tensor) -> Tensor:
    """Count the tokens of each row's current sentence: (R,). shape: R, V."""
    length, (rows, vocabulary) = len(paths.steps), shape
    if not length:
        return torch.zeros(rows, device=ends.device)
    said = torch.stack([step.kept.view(-1) for step in paths.steps]) % vocabulary  # (T, R)
    places = torch.arange(1, length + 1, device=ends.device)[:, None]
    # a table, because with many `ends` torch.isin sorts, and waits for the device
    is_end = torch.zeros(vocabulary, dtype=torch.long, device=ends.device).index_fill_(0, ends, 1)
    return length - (is_end[said] * places).amax(0)


def draw(weights: Tensor, uniform: Tensor) -> Tensor:
    """Draw one index per row in proportion to its weights: (R, V), uniform (R,) -> (R,).

    Weights of 0 are never drawn.
    """
    cumulative = weights.cumsum(-1)
    total = cumulative[:, -1:]
    below = torch.minimum(
        uniform[:, None] * total, torch.nextafter(total, torch.zeros_like(total))
    )  # rounding may reach total
    return (
        torch.searchsorted(cumulative, below, right=True).squeeze(1).clamp_max(weights.shape[1] - 1)
    )


def draw_top_k(log_probs: Tensor, uniform: Tensor, k: int) -> Tensor:
    """Draw one of the k likeliest tokens of each row: (R, V), uniform (R,) -> (R,)."""
    likeliest, tokens = log_probs.topk(min(k, log_probs.shape[1]), dim=-1)
    return tokens.gather(1, draw(likeliest.softmax(-1), uniform)[:, None]).squeeze(1)


def draw_nucleus(log_probs: Tensor, uniform: Tensor, top_p: Tensor | float) -> Tensor:
    """Draw from the fewest tokens whose probabilities add up to top_p.

    log_probs (R, V), uniform (R,), top_p (R, 1) or one number -> tokens (R,).
    """
    log_probs = log_probs.log_softmax(-1)
    probs = log_probs.exp()
    if isinstance(top_p, Tensor) or top_p < 1:
        probs = probs.masked_fill_(log_probs < nucleus_threshold(log_probs, probs, top_p), 0.0)
    return draw(probs, uniform)


def nucleus_threshold(log_probs: Tensor, probs: Tensor, top_p: Tensor | float) -> Tensor:
    """Return the log-probability (R, 1) above which the fewest tokens add up to top_p.

    This is a radix select: a histogram finds the bin in which the sum reaches top_p, and a second
    one the bin within that bin (1e-5 wide; tokens closer than that count as equally likely).
    Sorting 10,000 tokens takes ten times as long.
    """
    top, width = torch.zeros_like(log_probs[:, :1]), SPAN
    for _ in range(2):
        # Tokens likelier than `top` count in the first bin, and those below the span in the last.
        # NaN must not become an index.
        bins = ((top - log_probs) * (BINS / width)).clamp_(0, BINS).nan_to_num_(BINS).long()
        mass = probs.new_zeros(len(probs), BINS + 1).scatter_add_(1, bins, probs).cumsum(-1)
        width /= BINS
        top = top - (mass < top_p).sum(-1, keepdim=True).clamp_max(BINS - 1) * width
    return top - width
