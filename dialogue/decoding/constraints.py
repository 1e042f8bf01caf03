"""What a row may say next: functions (log_probs (R, V), what the rows have said) -> log_probs (R, V), to be composed.

A constraint depends on nothing else and touches no row but for what that row has said. The table is the search's own, new
at every step: a constraint may write into it, and gives it back.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dialogue.config import DecodeConfig
from dialogue.decoding.ngram_state import NEVER, NgramState, Phrases, Source, lay_out
from dialogue.decoding.paths import IMPOSSIBLE

Constraint = Callable[[Tensor, NgramState], Tensor]
EVERYTHING = slice(None)


@dataclass(frozen=True)
class Limits:
    """What replies may and must hold, as token ids: for all conversations, and for each of them (empty: nothing, for none)."""

    forbidden: Sequence[int] = ()
    block_list: Phrases = ()
    stop_words: Phrases = ()
    user: Sequence[Phrases] = ()  # what block_user_ngrams is about
    replies: Sequence[Phrases] = ()  # what block_reply_ngrams is about
    prefixes: Phrases = ()  # what each reply begins with, whatever is blocked
    more: Sequence[Constraint] = ()  # anybody's own; they never give way


def forbid(token_ids: Sequence[int], *, device: torch.device | None = None) -> Constraint:
    """Never say these tokens."""
    forbidden = torch.tensor(token_ids, dtype=torch.long, device=device)
    return lambda log_probs, ngram_state: log_probs.index_fill_(1, forbidden, IMPOSSIBLE)


def until(length: int, constraint: Constraint, *, then: Constraint | None = None) -> Constraint:
    """Ask one thing of a reply until it has `length` tokens, and another, or nothing, from then on."""

    def constrain(log_probs: Tensor, ngram_state: NgramState) -> Tensor:
        current = constraint if ngram_state.length < length else then
        return log_probs if current is None else current(log_probs, ngram_state)

    return constrain


def block(columns: slice = EVERYTHING) -> Constraint:
    """Do not say a token that would complete a phrase in these columns."""

    def constrain(log_probs: Tensor, ngram_state: NgramState) -> Tensor:
        tokens, matching, needed = ngram_state.tokens, ngram_state.matching, ngram_state.needed
        if columns != EVERYTHING:
            tokens, matching, needed = tokens[:, columns], matching[:, columns], needed[:, columns]
        return log_probs.scatter_add_(1, tokens, torch.where(matching >= needed, IMPOSSIBLE, 0.0))

    return constrain


def never_twice(log_probs: Tensor, ngram_state: NgramState) -> Tensor:
    """Do not say a token that the reply holds already: an n-gram of one token."""
    return log_probs.scatter_(1, ngram_state.written, IMPOSSIBLE)


def penalise_repeats(penalty: float) -> Constraint:
    """Take `penalty` off every token that the reply holds already, once."""

    def constrain(log_probs: Tensor, ngram_state: NgramState) -> Tensor:
        return log_probs.scatter_(
            1, ngram_state.written, log_probs.gather(1, ngram_state.written) - penalty
        )

    return constrain


def oblige(constraint: Constraint, *, stops: slice, eos_id: int) -> Constraint:
    """Let a row say its prefix first, and nothing but </s> after a stop word, whatever the constraint blocks.

    stops: the columns that tell that a stop word was said. A row without such a duty is the constraint's.
    """

    def constrain(log_probs: Tensor, ngram_state: NgramState) -> Tensor:
        has_prefix, has_stops = (
            ngram_state.length < ngram_state.prefix.shape[1],
            stops.start < stops.stop,
        )
        if not has_prefix and not has_stops:
            return constraint(log_probs, ngram_state)
        duty = (
            ngram_state.prefix[:, ngram_state.length]
            if has_prefix
            else torch.full_like(ngram_state.needed[:, 0], -1)
        )  # (R,)
        if has_stops:
            stopped = (ngram_state.matching[:, stops] >= ngram_state.needed[:, stops]).any(1)
            duty = duty.masked_fill(stopped & (duty < 0), eos_id)
        places, free = duty.clamp_min(0)[:, None], (duty < 0)[:, None]
        kept = log_probs.gather(1, places)
        log_probs = constraint(log_probs, ngram_state).masked_fill_(~free, IMPOSSIBLE)
        return log_probs.scatter_(1, places, torch.where(free, log_probs.gather(1, places), kept))

    return constrain


def in_turn(constraints: Sequence[Constraint]) -> Constraint:
    """Compose constraints: one after the other."""

    def constrain(log_probs: Tensor, ngram_state: NgramState) -> Tensor:
        for constraint in constraints:
            log_probs = constraint(log_probs, ngram_state)
        return log_probs

    return constrain


def giving_way(hard: Constraint, soft: Sequence[Constraint], *, eos_id: int) -> Constraint:
    """Compose constraints so that no row is left without a token.

    `soft` ones come hardest first. One that would leave a row nothing to say is passed over in that row at that step; so the
    last gives way first. Where `hard` leaves nothing, the row ends.
    """

    def constrain(log_probs: Tensor, ngram_state: NgramState) -> Tensor:
        ending = log_probs[:, eos_id].clone()
        log_probs = hard(log_probs, ngram_state)
        for constraint in soft:
            narrower = constraint(log_probs.clone(), ngram_state)
            log_probs = torch.where(_stuck(narrower)[:, None], log_probs, narrower)
        log_probs[:, eos_id] = torch.where(_stuck(log_probs), ending, log_probs[:, eos_id])
        return log_probs

    return constrain


def compose(
    config: DecodeConfig,
    limits: Limits,
    *,
    conversations: int,
    repeat: int,
    eos_id: int,
    device: torch.device | None,
) -> tuple[Constraint, NgramState]:
    """Build what a search asks at every step, and what N conversations have said before it: `repeat` rows each.

    Where every token of a row is blocked, blocks give way in this order: n-grams of the user, of earlier replies, of this
    reply, the minimum length. The forbidden tokens, the block list and `limits.more` never do: the row ends. In a vocabulary
    that is larger than all that can be blocked there is no such row, and nothing looks for one.
    Raises ValueError where a prefix is too long or not all conversations are spoken of.
    """
    _check(config, limits, conversations)
    nothing: list[Phrases] = [()] * conversations
    sources = (
        Source([limits.stop_words] * conversations, closed=True),
        Source([limits.block_list] * conversations),
        Source(
            limits.user if config.block_user_ngrams and limits.user else nothing,
            config.block_user_ngrams,
        ),
        Source(
            limits.replies if config.block_reply_ngrams and limits.replies else nothing,
            config.block_reply_ngrams,
        ),
        Source(
            [[[eos_id] * config.max_length]] * conversations,
            config.block_ngrams if config.block_ngrams > 1 else NEVER,
        ),
    )
    matching = config.block_ngrams > 1 or any(
        phrases for source in sources[:-1] for phrases in source.phrases
    )
    written = bool(config.block_ngrams == 1 or config.repetition_penalty or limits.more)
    laid, columns = lay_out(
        sources if matching or written else (), conversations=conversations, padding=eos_id
    )
    stop, listed, user, replies, reply = columns or [slice(0, 0)] * len(sources)
    width = max(map(len, limits.prefixes), default=0)
    prefix = torch.tensor(
        [[*prefix, *[-1] * (width - len(prefix))] for prefix in limits.prefixes or nothing],
        dtype=torch.long,
    )
    laid, prefix = (
        tensor.to(device).repeat_interleave(repeat, dim=-2) for tensor in (laid, prefix)
    )
    ngram_state = NgramState(
        laid[0], torch.ones_like(laid[0]), laid[1], prefix, begin=reply.start + 1
    )

    never, ending = forbid(limits.forbidden, device=device), forbid([eos_id], device=device)
    mine = never_twice if config.block_ngrams == 1 else block(reply)
    hard = in_turn([never, block(listed), *limits.more])
    careful = giving_way(
        hard, [until(config.min_length, ending), mine, block(replies), block(user)], eos_id=eos_id
    )
    not_yet = forbid([*limits.forbidden, eos_id], device=device)
    parts = [until(config.min_length, not_yet, then=never if limits.forbidden else None)]
    if matching:
        parts.append(block(slice(listed.start, None) if listed.start else EVERYTHING))
    if config.block_ngrams == 1:
        parts.append(never_twice)
    fast, most = in_turn(parts), len(limits.forbidden) + ngram_state.needed.shape[1] + 1

    def constrain(log_probs: Tensor, ngram_state: NgramState) -> Tensor:
        return (fast if log_probs.shape[1] > most and not limits.more else careful)(
            log_probs, ngram_state
        )

    penalise = [penalise_repeats(config.repetition_penalty)] if config.repetition_penalty else []
    return oblige(in_turn([*penalise, constrain]), stops=stop, eos_id=eos_id), ngram_state


def _check(config: DecodeConfig, limits: Limits, conversations: int) -> None:
    for name in ("user", "replies", "prefixes"):
        given = len(getattr(limits, name))
        if given not in (0, conversations):
            raise ValueError(
                f"{name} of {given} conversations; expected one for each of {conversations}"
            )
    for row, prefix in enumerate(limits.prefixes):
        if len(prefix) > config.max_length:
            raise ValueError(
                f"the prefix of conversation {row} has {len(prefix)} tokens; max_length allows {config.max_length}: "
                "shorten the prefix or raise max_length"
            )


def _stuck(log_probs: Tensor) -> Tensor:
    return log_probs.amax(1) == IMPOSSIBLE
