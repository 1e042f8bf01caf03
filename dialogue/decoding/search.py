"""Search for replies, batched over conversations, with any step function and every method.

A step is one call of the model for R = N * K rows, the constraints, and a choice: the best of all
candidates (beam.py) or a draw for each row (sampling.py). The loop waits for the device only every
few steps, to see which conversations are done; those leave the batch. The clock is checked then,
too. The phases are numbered in `search`.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Generic, TypeVar, cast

import torch
from torch import Tensor

from dialogue.config import DecodeConfig
from dialogue.decoding import beam, sampling
from dialogue.decoding.constraints import Constraint, Limits, compose
from dialogue.decoding.ngram_state import NgramState
from dialogue.decoding.paths import IMPOSSIBLE, Hypothesis, Paths, Taken, penalty, without_nan_
from dialogue.device import sent
from dialogue.models import DecoderState

log = logging.getLogger(__name__)

State = TypeVar("State", bound=DecoderState)
Step = Callable[[Tensor, State], tuple[Tensor, State]]
LOOK_EVERY = 4  # steps between checks for what is done
LEAVE_AT = 4  # rows leave once one conversation in so many is done: removing rows has a cost, too


@dataclass(frozen=True)
class _Plan:
    """What stays the same in all steps of a search."""

    config: DecodeConfig
    eos_id: int
    groups: int  # per conversation; each is a separate beam
    constrain: Constraint
    draw: sampling.Draw
    sentence_ends: Sequence[int]
    may_leave: bool  # whether conversations that are done leave the batch


@dataclass
class _Live(Generic[State]):
    """What is being searched: N beams of K hypotheses, R = N * K rows."""

    state: State
    last: Tensor  # (R,): the token that each row said last
    totals: Tensor  # (N, K): the search's sums
    sums: Tensor  # (N, K): the model's own log-probability, without temperature and penalties
    first_rows: Tensor  # (N, 1): the row at which each beam begins
    ngram_state: NgramState
    uniform: Tensor  # (N, K, T): random numbers for the tokens that are drawn
    paths: Paths
    conversations: list[int]

    def select(self, conversations: list[int], groups: int) -> _Live[State]:
        """Return these conversations (indices into those searched now) with all their groups."""
        beams = _spread(sent(conversations, self.totals.device), groups)
        rows = _spread(beams, self.totals.shape[1])
        return _Live(
            state=self.state.select(rows),
            last=self.last[rows],
            totals=self.totals[beams],
            sums=self.sums[beams],
            first_rows=self.first_rows[: len(beams)],
            ngram_state=self.ngram_state.select(rows),
            uniform=self.uniform[beams // groups],
            paths=self.paths.select(beams),
            conversations=[self.conversations[index] for index in conversations],
        )


def _spread(indices: Tensor, times: int) -> Tensor:
    """Turn indices (M,) of items into those of their `times` parts: (M * times,)."""
    return (indices[:, None] * times + torch.arange(times, device=indices.device)).view(-1)


@torch.no_grad()
def search(
    step: Step[State],
    state: State,
    conversations: int,
    *,
    config: DecodeConfig,
    bos_id: int,
    eos_id: int,
    limits: Limits | None = None,
    seeds: Sequence[int] | None = None,
    sentence_ends: Sequence[int] = (),
    deadline: float | Sequence[float] | None = None,
    clock: Callable[[], float] = time.monotonic,
    device: torch.device | None = None,
) -> list[list[Hypothesis]]:
    """Return the K best replies of each conversation, best first.

    step: the model's; the search may write into its log-probabilities (R, V). state: N rows, one
    for each conversation. seeds: one for each, for methods that draw; by default, the config's.
    sentence_ends: tokens after which top_p of factual-nucleus is reset and a reply may be cut.
    deadline: the time of `clock` after which no step is begun, one for all conversations or one for
    each. A late conversation without a finished reply gets its unfinished ones, cut at their last
    sentence ends if they have any; the other conversations go on.

    Every finished hypothesis ends with </s>, the only token left at the maximum length, so its
    log_prob is what the model gives to its tokens. A token whose log-probability is NaN is never
    said; a conversation without any other token gets no hypothesis, and an error is logged. Raises
    ValueError if that is so for every conversation, or if limits contradict the config.
    """
    # 1. Lay out the rows: N conversations become beams of K hypotheses each.
    plan, live = _begin(
        state, conversations, config, limits or Limits(), seeds or [config.seed] * conversations,
        bos_id=bos_id, eos_id=eos_id, sentence_ends=sentence_ends, device=device,
    )  # fmt: skip
    found: dict[int, list[Hypothesis]] = {}
    out_of_time = False
    for length in range(config.max_length + 1):
        # 2. Ask the model what each row may say next.
        log_probs, live.state = step(live.last, live.state)  # (R, V)
        vocabulary = log_probs.shape[1]
        # 3. Apply the constraints, and choose the best tokens or draw some.
        parents = _choose(live, log_probs, plan)
        if length == config.max_length:
            break
        # 4. Go on from the parents with the tokens chosen.
        _go_on(live, parents, vocabulary)
        # 5. Every few steps, check whether time is up or all is done; what is done may leave.
        if length % LOOK_EVERY == LOOK_EVERY - 1:
            late = _late(live, deadline, clock)
            out_of_time = any(late)
            done = late if all(late) else _done(live, plan, vocabulary)
            done = [ended or over for ended, over in zip(done, late, strict=True)]
            if all(done):
                break
            live = _let_leave(live, done, plan, vocabulary, found, out_of_time=out_of_time)
    # 6. Read the replies back out of the steps taken.
    found |= _read(live, plan, vocabulary, out_of_time=out_of_time)
    replies = [found[conversation] for conversation in range(conversations)]
    _complain(replies)
    return replies


def _begin(
    state: State,
    conversations: int,
    config: DecodeConfig,
    limits: Limits,
    seeds: Sequence[int],
    *,
    bos_id: int,
    eos_id: int,
    sentence_ends: Sequence[int],
    device: torch.device | None,
) -> tuple[_Plan, _Live[State]]:
    """Return the plan of a search, and its rows before the first step."""
    device = device or torch.device("cpu")
    groups = config.groups if config.method == "group-beam" and not config.is_greedy else 1
    k = 1 if config.is_greedy else config.beam_size // groups
    rows, drawn = conversations * groups * k, config.drawn_tokens
    constrain, ngram_state = compose(
        config, limits, conversations=conversations, repeat=groups * k, eos_id=eos_id, device=device
    )
    totals = torch.full((conversations * groups, k), 0.0 if drawn else IMPOSSIBLE, device=device)
    totals[:, 0] = 0.0  # a beam's hypotheses are identical at first: only one of them is expanded
    plan = _Plan(
        config,
        eos_id,
        groups,
        constrain,
        sampling.drawing(config, sentence_ends, device=device),
        sentence_ends,
        # Custom constraints may refer to rows by number, and numbers change when rows leave.
        may_leave=not limits.more,
    )
    live = _Live(
        state=state.repeat(groups * k),
        last=torch.full((rows,), bos_id, device=device),
        totals=totals,
        sums=totals,
        first_rows=torch.arange(0, rows, k, device=device)[:, None],
        ngram_state=ngram_state,
        uniform=sampling.uniforms(seeds, samples=k, steps=drawn).to(device, non_blocking=True),
        paths=Paths(k, eos_id, config.length_penalty),
        conversations=list(range(conversations)),
    )
    return plan, live


def _choose(live: _Live[State], log_probs: Tensor, plan: _Plan) -> Tensor | None:
    """Add the next step to live.paths, and return the parent that each row continues.

    log_probs (R, V) -> parents (R,), or None if each row continues itself.
    """
    config, length, vocabulary = plan.config, len(live.paths.steps), log_probs.shape[1]
    table = _shaped(log_probs, config)
    raw = None if table is log_probs else log_probs
    if length == config.max_length:
        _say(live, torch.full_like(live.last, plan.eos_id), table, raw, eos_id=plan.eos_id)
        return None
    table = plan.constrain(table, live.ngram_state)
    if length < config.drawn_tokens:
        tokens = plan.draw(table, live.uniform[:, :, length].reshape(-1), live.paths)
        _say(live, tokens, table, raw, eos_id=plan.eos_id)
        return None
    if length == config.drawn_tokens:
        live.totals = _without_doubles(live.totals, live.paths, vocabulary)
    candidates = _candidates(table, live.totals, config, eos_id=plan.eos_id)
    _extend(live, candidates, raw, vocabulary=vocabulary, eos_id=plan.eos_id)
    return (live.paths.steps[-1].kept // vocabulary + live.first_rows).view(-1)


def _go_on(live: _Live[State], parents: Tensor | None, vocabulary: int) -> None:
    """Update every row after a step: its last token, and the state that it continues."""
    live.last = (live.paths.steps[-1].kept % vocabulary).view(-1)
    live.ngram_state = live.ngram_state.after(live.last, parents)
    if parents is not None:
        live.state = live.state.select(parents)


def _late(
    live: _Live[State], deadline: float | Sequence[float] | None, clock: Callable[[], float]
) -> list[bool]:
    """Return for each conversation whether its time is up."""
    if deadline is None:
        return [False] * len(live.conversations)
    now = clock()
    if isinstance(deadline, Sequence):
        return [now >= deadline[conversation] for conversation in live.conversations]
    return [now >= deadline] * len(live.conversations)


def _done(live: _Live[State], plan: _Plan, vocabulary: int) -> list[bool]:
    """Return for each conversation whether nothing better can be found any more.

    At best, a hypothesis keeps its total, divided by the highest possible length penalty; that must
    not beat the K-th best finished one. Waits for the device.
    """
    config = plan.config
    if len(live.paths.steps) <= config.min_length:
        return [False] * len(live.conversations)
    best_case = live.totals.amax(1) / penalty(config.max_length, config.length_penalty)  # (N,)
    hopeless = best_case <= live.paths.worst_kept(vocabulary)
    return cast(list[bool], hopeless.view(-1, plan.groups).all(1).tolist())


def _let_leave(
    live: _Live[State],
    done: list[bool],
    plan: _Plan,
    vocabulary: int,
    found: dict[int, list[Hypothesis]],
    *,
    out_of_time: bool,
) -> _Live[State]:
    """Remove finished conversations, once there are enough; their replies go into `found`.

    out_of_time: some conversations are late; they leave at once, with their replies so far.
    """
    enough = out_of_time or sum(done) * LEAVE_AT >= len(done)
    if not plan.may_leave or not enough:
        return live
    leaving = live.select([index for index, is_done in enumerate(done) if is_done], plan.groups)
    found |= _read(leaving, plan, vocabulary, out_of_time=out_of_time)
    return live.select([index for index, is_done in enumerate(done) if not is_done], plan.groups)


def _read(
    live: _Live[State], plan: _Plan, vocabulary: int, *, out_of_time: bool
) -> dict[int, list[Hypothesis]]:
    """Return the replies of each conversation; if out_of_time, unfinished ones if need be."""
    replies = _merge(live.paths.read(vocabulary), plan.groups)
    if out_of_time:
        unfinished = [
            [_cut(hypothesis, plan.sentence_ends) for hypothesis in hypotheses]
            for hypotheses in live.paths.read_unfinished(live.totals, vocabulary)
        ]
        so_far = _merge(unfinished, plan.groups)
        replies = [ended or begun for ended, begun in zip(replies, so_far, strict=True)]
    return dict(zip(live.conversations, replies, strict=True))


def _shaped(log_probs: Tensor, config: DecodeConfig) -> Tensor:
    """Return the table that the search uses.

    It is log_probs (R, V) itself, or a new tensor if a temperature or a penalty changes it.
    """
    if config.temperature not in (0, 1):
        return (log_probs / config.temperature).log_softmax(-1)
    return log_probs.clone() if config.repetition_penalty else log_probs


def _candidates(
    table: Tensor, totals: Tensor, config: DecodeConfig, *, eos_id: int
) -> beam.Candidates:
    if config.method == "diverse-beam" and not config.is_greedy:
        return beam.diverse(table, totals, config.sibling_penalty)
    if config.method == "group-beam" and not config.is_greedy:
        return beam.grouped(
            table, totals, config.groups, penalty=config.group_penalty, eos_id=eos_id
        )
    return beam.best(table, totals)


def _extend(
    live: _Live[State],
    candidates: beam.Candidates,
    raw: Tensor | None,
    *,
    vocabulary: int,
    eos_id: int,
) -> None:
    """Continue with the K best candidates that do not end.

    raw (R, V): the model's own log-probabilities, if the search does not use them itself.
    """
    n, k = live.totals.shape
    priorities, scores, flat = candidates
    ends = flat % vocabulary == eos_id  # (N, 2K)
    # At least K of 2K candidates can go on: each parent has only one </s>.
    best, chosen = torch.where(ends, IMPOSSIBLE, priorities).topk(k)
    if k == 1:  # a beam of one is greedy: if its best candidate ends, nothing goes on
        best = best.masked_fill(ends[:, :1], IMPOSSIBLE)
    sums = (
        scores
        if raw is None
        else live.sums.gather(1, flat // vocabulary) + raw.view(n, -1).gather(1, flat)
    )
    live.totals = (
        best
        if priorities is scores
        else torch.where(best == IMPOSSIBLE, best, scores.gather(1, chosen))
    )
    live.sums = live.totals if raw is None else sums.gather(1, chosen)
    live.paths.steps.append(Taken(flat, scores, sums, flat.gather(1, chosen), live.sums))


def _say(
    live: _Live[State], tokens: Tensor, table: Tensor, raw: Tensor | None, *, eos_id: int
) -> None:
    """Extend every hypothesis by the token (R,) given for it; with </s>, it ends."""
    n, k = live.totals.shape
    scores = without_nan_(live.totals + table.gather(1, tokens[:, None]).view(n, k))
    sums = scores if raw is None else live.sums + raw.gather(1, tokens[:, None]).view(n, k)
    live.totals, live.sums = scores.masked_fill(tokens.view(n, k) == eos_id, IMPOSSIBLE), sums
    candidates = torch.arange(k, device=table.device) * table.shape[1] + tokens.view(n, k)
    live.paths.steps.append(Taken(candidates, scores, sums, candidates, sums))


def _without_doubles(totals: Tensor, paths: Paths, vocabulary: int) -> Tensor:
    """Return totals (N, K) with all but the first of identically drawn hypotheses ruled out.

    This is needed before a beam continues them: it would contain the same reply twice.
    """
    if not paths.steps:
        return totals
    drawn = torch.stack([step.kept for step in paths.steps], dim=-1) % vocabulary  # (N, K, T)
    alike = (drawn[:, :, None] == drawn[:, None]).all(-1)  # (N, K, K)
    return totals.masked_fill(alike.tril(-1).any(-1), IMPOSSIBLE)


def _merge(found: list[list[Hypothesis]], groups: int) -> list[list[Hypothesis]]:
    """Merge the replies of each conversation's groups, best first, without duplicates."""
    merged = []
    for begin in range(0, len(found), groups):
        ranked = sorted(
            (h for hypotheses in found[begin : begin + groups] for h in hypotheses),
            key=lambda h: -h.score,
        )
        merged.append(list({h.token_ids: h for h in reversed(ranked)}.values())[::-1])
    return merged


def _cut(hypothesis: Hypothesis, sentence_ends: Sequence[int]) -> Hypothesis:
    """Cut a reply after its last sentence end, if it has one."""
    length = max(
        (place + 1 for place, token in enumerate(hypothesis.token_ids) if token in sentence_ends),
        default=None,
    )
    kept = hypothesis.token_log_probs[:length]
    return replace(
        hypothesis,
        token_ids=hypothesis.token_ids[:length],
        token_log_probs=kept,
        log_prob=sum(kept),
    )


def _complain(found: list[list[Hypothesis]]) -> None:
    """Log which conversations have no reply. Raise ValueError if none has one."""
    unusable = [conversation for conversation, hypotheses in enumerate(found) if not hypotheses]
    if not unusable:
        return
    what = (
        f"no token has a finite log-probability in conversations {unusable} of {len(found)}: "
        "look for NaN in the weights"
    )
    if len(unusable) == len(found):
        raise ValueError(what)
    log.error("%s", what)
