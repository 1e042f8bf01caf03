"""The search for replies, batched over conversations and hypotheses, for any step function and every method.

A step is one call of the model for R = N * K rows, the constraints, and a choice: the best of all candidates (beam.py) or a
draw for each row (sampling.py). Nothing in the loop waits for the device but the question, every few steps, which
conversations are done; those leave the batch. The clock is looked at there, too.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

import torch
from torch import Tensor

from dialogue.config import DecodeConfig
from dialogue.decoding import beam, sampling
from dialogue.decoding.constraints import Limits, compose
from dialogue.decoding.ngram_state import NgramState
from dialogue.decoding.paths import IMPOSSIBLE, Hypothesis, Paths, Taken, penalty, without_nan_
from dialogue.models import DecoderState

log = logging.getLogger(__name__)

State = TypeVar("State", bound=DecoderState)
Step = Callable[[Tensor, State], tuple[Tensor, State]]
LOOK_EVERY = 4  # steps between two questions whether all is done
LEAVE_AT = 4  # conversations leave the batch once one in so many is done: taking the rest out of all tensors costs, too


@dataclass
class _Live(Generic[State]):
    """What is searched at the moment: N beams of K hypotheses, R = N * K rows."""

    state: State
    last: Tensor  # (R,)
    totals: Tensor  # (N, K): what the search sums up
    sums: Tensor  # (N, K): the model's own log-probability, without temperature and penalties
    ngram_state: NgramState
    uniform: Tensor  # (N, K, T): random numbers of the tokens that are drawn
    paths: Paths
    conversations: list[int]

    def select(self, conversations: list[int], groups: int) -> _Live[State]:
        """Take these conversations (indices into those searched now) with all their groups."""
        beams = _spread(torch.tensor(conversations, device=self.totals.device), groups)
        rows = _spread(beams, self.totals.shape[1])
        return _Live(
            state=self.state.select(rows),
            last=self.last[rows],
            totals=self.totals[beams],
            sums=self.sums[beams],
            ngram_state=self.ngram_state.select(rows),
            uniform=self.uniform[beams // groups],
            paths=self.paths.select(beams),
            conversations=[self.conversations[index] for index in conversations],
        )


def _spread(indices: Tensor, times: int) -> Tensor:
    """Turn indices of things into those of their `times` parts."""
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
    deadline: float | None = None,
    clock: Callable[[], float] = time.monotonic,
    device: torch.device | None = None,
) -> list[list[Hypothesis]]:
    """Find the K best replies of each conversation, best first.

    step: a model's; its log-probabilities (R, V) are the search's to write on. state: N rows, one a conversation. seeds: one
    a conversation, for methods that draw; the config's where none are given. sentence_ends: tokens after which top_p of
    factual-nucleus begins anew, and a reply may be cut. deadline: the time of `clock` after which no step is begun.

    Every finished hypothesis ends by </s>, which is the only token left at the maximum length, so that its log_prob is what
    the model gives to its tokens. At the deadline a conversation without a finished one gets what there is, cut at the last
    sentence end where there is one.
    A token whose log-probability is NaN is never said; a conversation that has no others gets no hypothesis, and a line in
    the log. Raises ValueError where that is so of every conversation, or where limits contradict the config.
    """
    limits, device = limits or Limits(), device or torch.device("cpu")
    groups = config.groups if config.method == "group-beam" and not config.is_greedy else 1
    k = 1 if config.is_greedy else config.beam_size // groups
    rows, drawn = conversations * groups * k, config.drawn_tokens
    constrain, ngram_state = compose(
        config, limits, conversations=conversations, repeat=groups * k, eos_id=eos_id, device=device
    )
    draw = sampling.drawing(config, sentence_ends, device=device)
    uniform = sampling.uniforms(seeds or [config.seed] * conversations, samples=k, steps=drawn)
    totals = torch.full((conversations * groups, k), 0.0 if drawn else IMPOSSIBLE, device=device)
    totals[:, 0] = 0.0  # hypotheses of a beam are alike at first: only one of them is expanded
    last, here = torch.full((rows,), bos_id, device=device), list(range(conversations))
    paths = Paths(k, eos_id, config.length_penalty)
    live = _Live(
        state.repeat(groups * k), last, totals, totals, ngram_state, uniform.to(device), paths, here
    )
    first_rows = torch.arange(0, rows, k, device=device)[:, None]  # (N, 1): where each beam begins
    found: list[list[Hypothesis]] = [[] for _ in range(conversations)]
    best_case, out_of_time = penalty(config.max_length, config.length_penalty), False

    for length in range(config.max_length + 1):
        log_probs, live.state = step(live.last, live.state)  # (R, V)
        table, vocabulary = _shaped(log_probs, config), log_probs.shape[1]
        raw = None if table is log_probs else log_probs
        if length == config.max_length:
            _say(live, torch.full_like(live.last, eos_id), table, raw, eos_id=eos_id)
            break
        table = constrain(table, live.ngram_state)
        if length < drawn:
            _say(
                live,
                draw(table, live.uniform[:, :, length].reshape(-1), live.paths),
                table,
                raw,
                eos_id=eos_id,
            )
            parents = None
        else:
            if length == drawn:
                live.totals = _without_doubles(live.totals, live.paths, vocabulary)
            _extend(
                live,
                _candidates(table, live.totals, config, eos_id=eos_id),
                raw,
                vocabulary=vocabulary,
                eos_id=eos_id,
            )
            parents = (live.paths.steps[-1].kept // vocabulary + first_rows).view(-1)
            live.state = live.state.select(parents)
        live.last = (live.paths.steps[-1].kept % vocabulary).view(-1)
        live.ngram_state = live.ngram_state.after(live.last, parents)

        if length % LOOK_EVERY == LOOK_EVERY - 1:
            out_of_time = deadline is not None and clock() >= deadline
            if out_of_time:
                break
            if length < config.min_length:
                continue
            hopeless = live.totals.amax(1) / best_case <= live.paths.worst_kept(vocabulary)  # (N,)
            done = hopeless.view(-1, groups).all(1).tolist()
            if all(done):
                break
            if (
                sum(done) * LEAVE_AT >= len(done) and not limits.more
            ):  # nobody else's constraint can follow rows that leave
                leaving = [index for index, is_done in enumerate(done) if is_done]
                ended = live.select(leaving, groups)
                for conversation, hypotheses in zip(
                    ended.conversations, _merge(ended.paths.read(vocabulary), groups), strict=True
                ):
                    found[conversation] = hypotheses
                live = live.select(
                    [index for index, is_done in enumerate(done) if not is_done], groups
                )
                first_rows = first_rows[: live.totals.shape[0]]
    finished = _merge(live.paths.read(vocabulary), groups)
    if out_of_time:
        unfinished = [
            [_cut(hypothesis, sentence_ends) for hypothesis in beam]
            for beam in live.paths.read_unfinished(live.totals, vocabulary)
        ]
        finished = [
            ended or so_far
            for ended, so_far in zip(finished, _merge(unfinished, groups), strict=True)
        ]
    for conversation, hypotheses in zip(live.conversations, finished, strict=True):
        found[conversation] = hypotheses
    _complain(found)
    return found


def _shaped(log_probs: Tensor, config: DecodeConfig) -> Tensor:
    """Give the table that the search goes by: log_probs themselves, or a new one at a temperature or with penalties to come."""
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
    """Let the K best candidates that do not end go on. raw (R, V): the model's own log-probabilities, where others were gone by."""
    n, k = live.totals.shape
    priorities, scores, flat = candidates
    ends = flat % vocabulary == eos_id  # (N, 2K)
    best, chosen = torch.where(ends, IMPOSSIBLE, priorities).topk(
        k
    )  # 2K hold K that go on: each parent has one </s> only
    if k == 1:  # a beam of one is greedy: where it ends, no other hypothesis goes on
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
    """Let every hypothesis say one token (R,) that was drawn for it; where that is </s> it ends."""
    n, k = live.totals.shape
    scores = without_nan_(live.totals + table.gather(1, tokens[:, None]).view(n, k))
    sums = scores if raw is None else live.sums + raw.gather(1, tokens[:, None]).view(n, k)
    live.totals, live.sums = scores.masked_fill(tokens.view(n, k) == eos_id, IMPOSSIBLE), sums
    candidates = torch.arange(k, device=table.device) * table.shape[1] + tokens.view(n, k)
    live.paths.steps.append(Taken(candidates, scores, sums, candidates, sums))


def _without_doubles(totals: Tensor, paths: Paths, vocabulary: int) -> Tensor:
    """Stop hypotheses (N, K) that were drawn alike but for the first, before a beam goes on from them."""
    if not paths.steps:
        return totals
    drawn = torch.stack([step.kept for step in paths.steps], dim=-1) % vocabulary  # (N, K, T)
    alike = (drawn[:, :, None] == drawn[:, None]).all(-1)  # (N, K, K)
    return totals.masked_fill(alike.tril(-1).any(-1), IMPOSSIBLE)


def _merge(found: list[list[Hypothesis]], groups: int) -> list[list[Hypothesis]]:
    """Put the groups of a conversation together, best first, no reply twice."""
    merged = []
    for begin in range(0, len(found), groups):
        ranked = sorted(
            (h for hypotheses in found[begin : begin + groups] for h in hypotheses),
            key=lambda h: -h.score,
        )
        merged.append(list({h.token_ids: h for h in reversed(ranked)}.values())[::-1])
    return merged


def _cut(hypothesis: Hypothesis, sentence_ends: Sequence[int]) -> Hypothesis:
    """Cut a reply after its last sentence end, where it has one."""
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
    """Name the conversations that no token could be said in."""
    unusable = [conversation for conversation, hypotheses in enumerate(found) if not hypotheses]
    if not unusable:
        return
    what = f"no token has a finite log-probability in conversations {unusable} of {len(found)}: look for NaN in the weights"
    if len(unusable) == len(found):
        raise ValueError(what)
    log.error("%s", what)
