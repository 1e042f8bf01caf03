"""Step functions made of tables, and the slow, obvious twins of the searches.

The twins handle one conversation, with lists and loops over rows.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dialogue.config import DecodeConfig
from dialogue.decoding.constraints import Limits
from dialogue.decoding.sampling import uniforms
from dialogue.decoding.search import search as search_with_model

Step = Callable[[Tensor, Any], tuple[Tensor, Any]]
Found = tuple[float, tuple[int, ...], float]  # score, tokens, the model's own log-probability
EOS, BOS, A, B, C = range(5)
CODES = 499
IMPOSSIBLE = float("-inf")
DRAWN = ("top-k", "nucleus", "factual-nucleus")
SEARCHED = ("beam", "diverse-beam", "group-beam")


@dataclass(frozen=True)
class Path:
    """A decoder state for tables: each row's conversation (R,), and a number (R,) that encodes the
    tokens read so far.
    """

    conversation: Tensor
    code: Tensor

    def repeat(self, times: int) -> Path:
        return Path(self.conversation.repeat_interleave(times), self.code.repeat_interleave(times))

    def select(self, rows: Tensor) -> Path:
        return Path(self.conversation[rows], self.code[rows])


def begin(conversations: list[int]) -> Path:
    return Path(torch.tensor(conversations), torch.zeros(len(conversations), dtype=torch.long))


def bigrams(table: object) -> Step:
    """A step function from probabilities: table[conversation][last token] -> probabilities of the
    next.
    """
    log_probs = torch.tensor(table).log()
    return lambda token_ids, path: (log_probs[path.conversation, token_ids], path)


def random_step(
    seed: int,
    *,
    vocabulary: int = 4,
    conversations: int = 1,
    ending: float = 0.0,
    spread: float = 2.0,
) -> Step:
    """A step function whose log-probabilities depend on the conversation and every token read.

    ending: a bias for or against </s>.
    """
    generator = torch.Generator().manual_seed(seed)
    logits = (
        torch.randn(conversations, CODES, vocabulary, generator=generator, device="cpu") * spread
    )
    logits[:, :, EOS] += ending
    table = logits.log_softmax(-1).to(torch.get_default_device())

    def step(token_ids: Tensor, path: Path) -> tuple[Tensor, Path]:
        code = (path.code * 31 + token_ids + 1) % CODES
        return table[path.conversation, code], Path(path.conversation, code)

    return step


def search(
    step: Step, config: DecodeConfig, *, conversations: Iterable[int] = (0,), **asked: Any
) -> Any:
    count = len(list(conversations))
    return search_with_model(
        step, begin(list(conversations)), count, config=config, bos_id=BOS, eos_id=EOS,
        device=torch.get_default_device(), **asked
    )  # fmt: skip


class Clock:
    """A clock that advances by one second whenever it is read."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 1
        return self.now


def decoding(**settings: Any) -> DecodeConfig:
    """Settings in which everything that is not named is off."""
    plain: dict[str, Any] = {
        "method": "beam",
        "beam_size": 10,
        "min_length": 0,
        "length_penalty": 0.0,
        "block_ngrams": 0,
        "block_reply_ngrams": 0,
    }
    return DecodeConfig(**{**plain, **settings})


def forced(step: Step, token_ids: Sequence[int], *, conversation: int = 0) -> list[float]:
    """The log-probabilities of a reply's tokens, read one by one, ending with that of </s>."""
    state: Any = begin([conversation])
    found: list[float] = []
    for read, target in itertools.pairwise([BOS, *token_ids, EOS]):
        log_probs, state = step(torch.tensor([read]), state)
        found.append(float(log_probs[0, target]))
    return found


def penalised(log_prob: float, length: int, alpha: float) -> float:
    return float(log_prob / ((5 + length) / 6) ** alpha)


def ngrams(tokens: Sequence[int], n: int) -> list[tuple[int, ...]]:
    return [tuple(tokens[start : start + n]) for start in range(len(tokens) - n + 1)]


def ends_with(written: Sequence[int], phrase: Sequence[int]) -> bool:
    return len(written) >= len(phrase) and tuple(written[len(written) - len(phrase) :]) == tuple(
        phrase
    )


def following(written: Sequence[int], phrases: Iterable[Sequence[int]], n: int) -> set[int]:
    """The tokens that would complete an n-gram of some phrases."""
    return {
        gram[-1]
        for phrase in phrases
        for gram in ngrams(phrase, n)
        if n and ends_with(written, gram[:-1])
    }


def allowed(
    row: list[float],
    written: Sequence[int],
    config: DecodeConfig,
    limits: Limits | None = None,
    *,
    conversation: int = 0,
) -> list[float]:
    """What one row may say next: its log-probabilities, with minus infinity for what is blocked.

    Blocks give way in the documented order.
    """
    limits = limits or Limits()
    plain, row = row, list(row)
    for token in set(written):
        row[token] -= config.repetition_penalty
    may = {token for token, log_prob in enumerate(row) if log_prob > IMPOSSIBLE}
    may -= set(limits.forbidden) | {
        phrase[-1] for phrase in limits.block_list if ends_with(written, phrase[:-1])
    }
    for blocked in (
        {EOS} if len(written) < config.min_length else set(),
        following(written, [written], config.block_ngrams),
        following(
            written,
            limits.replies[conversation] if limits.replies else [],
            config.block_reply_ngrams,
        ),
        following(
            written, limits.user[conversation] if limits.user else [], config.block_user_ngrams
        ),
    ):
        may = may - blocked or may
    if (
        not may
        or len(written) == config.max_length
        or any(ends_with(written, phrase) for phrase in limits.stop_words)
    ):
        may, row[EOS] = {EOS}, plain[EOS]
    prefix = limits.prefixes[conversation] if limits.prefixes else ()
    if len(written) < len(prefix):
        may, row = {prefix[len(written)]}, plain
    return [log_prob if token in may else IMPOSSIBLE for token, log_prob in enumerate(row)]


def rows_of(
    step: Step,
    state: Any,
    written: Sequence[int],
    config: DecodeConfig,
    limits: Limits | None,
    conversation: int,
) -> tuple[list[float], list[float], Any]:
    """One step of one row: what it may say, the model's own log-probabilities, the next state."""
    log_probs, after = step(torch.tensor([written[-1] if written else BOS]), state)
    raw = log_probs[0].tolist()
    shaped = (
        raw
        if config.temperature in (0, 1)
        else (log_probs[0] / config.temperature).log_softmax(-1).tolist()
    )
    return allowed(shaped, written, config, limits, conversation=conversation), raw, after


def greedy(
    step: Step,
    state: Any,
    config: DecodeConfig,
    *,
    bos: int = BOS,
    eos: int = EOS,
    limits: Limits | None = None,
) -> tuple[tuple[int, ...], float]:
    """Say the likeliest token until it is </s>."""
    assert (bos, eos) == (BOS, EOS) or limits is None
    written: list[int] = []
    total = 0.0
    while True:
        log_probs, state = step(torch.tensor([written[-1] if written else bos]), state)
        row = log_probs[0].tolist()
        row = allowed(row, written, config, limits) if eos == EOS else row
        token = max(range(len(row)), key=row.__getitem__)
        if len(written) == config.max_length:
            token = eos
        total += row[token]
        if token == eos:
            return tuple(written), total
        written.append(token)


def slow_beam(
    step: Step, config: DecodeConfig, *, conversation: int = 0, limits: Limits | None = None
) -> list[Found]:
    """The twin of beam, diverse beam and group beam.

    Returns (score, tokens, the model's own log-probability), best first.
    """
    groups = config.groups if config.method == "group-beam" else 1
    size = config.beam_size // groups
    beginning: tuple[tuple[int, ...], float, float, Any] = ((), 0.0, 0.0, begin([conversation]))
    alive = [[beginning] for _ in range(groups)]
    finished: list[list[Found]] = [[] for _ in range(groups)]
    for length in range(config.max_length + 1):
        said: list[int] = []  # by earlier groups at this step
        for group in range(groups):
            candidates = []
            for written, total, own, state in alive[group]:
                row, raw, after = rows_of(step, state, written, config, limits, conversation)
                order = sorted(
                    (token for token, p in enumerate(row) if p != IMPOSSIBLE),
                    key=lambda token, row=row: -row[token],  # type: ignore[misc]
                )
                for rank, token in enumerate(order):
                    score = total + row[token]
                    worth = score - (
                        config.sibling_penalty * rank if config.method == "diverse-beam" else 0.0
                    )
                    worth -= config.group_penalty * said.count(token) if groups > 1 else 0.0
                    candidates.append((worth, score, own + raw[token], written, token, after))
            candidates.sort(key=lambda candidate: -candidate[0])
            finished[group] += [
                (penalised(score, length, config.length_penalty), written, own)
                for _, score, own, written, token, _ in candidates[:size]
                if token == EOS
            ]
            going_on = [candidate for candidate in candidates if candidate[4] != EOS][:size]
            said += [candidate[4] for candidate in going_on]
            if size == 1 and candidates and candidates[0][4] == EOS:
                going_on = []
            alive[group] = [
                ((*written, token), score, own, after)
                for _, score, own, written, token, after in going_on
            ]
    best: dict[tuple[int, ...], Found] = {}
    for found in finished:  # each group contributes as many as it has hypotheses
        best |= {
            written: (score, written, own)
            for score, written, own in sorted(found, key=lambda f: -f[0])[:size]
        }
    return sorted(best.values(), key=lambda found: -found[0])


def slow_draw(row: list[float], uniform: float, config: DecodeConfig, since_end: int) -> int:
    """Draw a token: list all allowed ones with their shares and walk along until the random number
    is passed.
    """
    shares = torch.tensor(row, dtype=torch.float64, device="cpu").softmax(-1).tolist()
    order = sorted(range(len(shares)), key=lambda token: -shares[token])
    if config.method in ("top-k", "delayed-beam"):
        kept = [token for token in order[: config.top_k] if shares[token]]
    else:
        top_p = config.top_p
        if config.method == "factual-nucleus":
            top_p = max(config.top_p_floor, config.top_p * config.top_p_decay**since_end)
        kept, mass = [], 0.0
        for token in order:
            if mass >= top_p or not shares[token]:
                break
            kept.append(token)
            mass += shares[token]
        kept.sort()
    target, reached = uniform * sum(shares[token] for token in kept), 0.0
    for token in kept:
        reached += shares[token]
        if reached > target:
            return token
    return kept[-1]


def slow_sample(
    step: Step,
    config: DecodeConfig,
    *,
    seed: int,
    conversation: int = 0,
    limits: Limits | None = None,
    sentence_ends: Collection[int] = (),
) -> list[Found]:
    """The twin of the sampling methods: every sample by itself, ranked, without duplicates."""
    uniform = uniforms([seed], samples=config.beam_size, steps=config.drawn_tokens)[0].tolist()
    finished: dict[tuple[int, ...], Found] = {}
    for sample in range(config.beam_size):
        written: list[int] = []
        state: Any = begin([conversation])
        total, own, since_end = 0.0, 0.0, 0
        while True:
            row, raw, state = rows_of(step, state, written, config, limits, conversation)
            token = EOS
            if len(written) < config.max_length:
                token = slow_draw(row, uniform[sample][len(written)], config, since_end)
            since_end = 0 if token in sentence_ends else since_end + 1
            total, own = total + row[token], own + raw[token]
            if token == EOS:
                break
            written.append(token)
        finished[tuple(written)] = (
            penalised(total, len(written), config.length_penalty),
            tuple(written),
            own,
        )
    return sorted(finished.values(), key=lambda found: -found[0])


def tokens_of(found: Iterable[Any]) -> list[tuple[int, ...]]:
    return [hypothesis.token_ids for hypothesis in found]


def scores_of(found: Iterable[Any]) -> list[float]:
    return [hypothesis.score for hypothesis in found]
