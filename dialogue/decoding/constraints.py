"""Constrain what each row may say next.

A constraint is a function (log_probs (R, V), what the rows have said) -> log_probs (R, V). It
depends on nothing else, and each row is independent of the others. The table is the search's own,
new at every step: a constraint may write into it, and returns it.

`rules_of` lists the rules of a search in order: what each blocks, and whether it gives way. `apply`
derives the two ways of applying them from that list. `compose` adds what is not a rule: a penalty
on repetition before the rules, and duties, which override them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dialogue.config import DecodeConfig
from dialogue.decoding.ngram_state import NEVER, NgramState, Phrases, Source, lay_out
from dialogue.decoding.paths import IMPOSSIBLE
from dialogue.device import sent

Constraint = Callable[[Tensor, NgramState], Tensor]
EVERYTHING = slice(None)


@dataclass(frozen=True)
class Limits:
    """What replies must and must not contain, as token ids.

    user, replies and prefixes have an entry for each conversation, or are empty.
    """

    forbidden: Sequence[int] = ()
    block_list: Phrases = ()
    stop_words: Phrases = ()
    user: Sequence[Phrases] = ()  # whose n-grams block_user_ngrams blocks
    replies: Sequence[Phrases] = ()  # whose n-grams block_reply_ngrams blocks
    prefixes: Phrases = ()  # what each reply begins with, even if it is blocked
    more: Sequence[Constraint] = ()  # custom constraints; they never give way


@dataclass(frozen=True)
class Rule:
    """Something that a reply must not say, and whether the rule gives way.

    blocks: a constraint, or phrases whose last token is blocked after the others.
    gives_way: whether a row may break the rule if it would have no token left otherwise.
    most: the maximum number of tokens that a constraint can block in a row at once.
    reads_reply: whether a constraint looks at the reply so far. If none does, and nothing else
    needs the reply, it is not tracked.
    """

    name: str
    blocks: Constraint | Source
    gives_way: bool = False
    most: float = math.inf
    reads_reply: bool = True

    @property
    def blocks_something(self) -> bool:
        """Return whether there is anything to block."""
        return self.blocks.counts if isinstance(self.blocks, Source) else self.most > 0


def rules_of(
    config: DecodeConfig,
    limits: Limits,
    reply: Source,
    *,
    conversations: int,
    eos_id: int,
    device: torch.device | None,
) -> list[Rule]:
    """Return the rules of a search, hardest first.

    If a row would be left without a token, the last rule gives way first; if only rules remain that
    never give way, the row ends. reply: the source that the reply itself is written into.
    """
    nothing: list[Phrases] = [()] * conversations
    forbidden, ending = (forbid(ids, device=device) for ids in (limits.forbidden, [eos_id]))
    block_list = Source([limits.block_list] * conversations)
    too_short = until(config.min_length, ending)
    own = never_twice if config.block_ngrams == 1 else reply
    earlier = Source(limits.replies or nothing, config.block_reply_ngrams)
    user = Source(limits.user or nothing, config.block_user_ngrams)
    return [
        Rule("forbidden tokens", forbidden, most=len(limits.forbidden), reads_reply=False),
        Rule("phrases of the block list", block_list),
        *(Rule("a constraint of your own", constraint) for constraint in limits.more),
        Rule(
            "</s> before the minimum length",
            too_short,
            gives_way=True,
            most=1,
            reads_reply=False,
        ),
        Rule("n-grams of this reply", own, gives_way=True, most=config.max_length),
        Rule("n-grams of earlier replies", earlier, gives_way=True),
        Rule("n-grams of the user", user, gives_way=True),
    ]


def forbid(token_ids: Sequence[int], *, device: torch.device | None = None) -> Constraint:
    """Return a constraint that blocks these tokens."""
    forbidden = sent(token_ids, device, dtype=torch.long)
    return lambda log_probs, ngram_state: log_probs.index_fill_(1, forbidden, IMPOSSIBLE)


def until(length: int, constraint: Constraint) -> Constraint:
    """Return a constraint that holds until a reply has `length` tokens."""

    def constrain(log_probs: Tensor, ngram_state: NgramState) -> Tensor:
        return constraint(log_probs, ngram_state) if ngram_state.length < length else log_probs

    return constrain


def block(columns: slice = EVERYTHING) -> Constraint:
    """Return a constraint that blocks tokens which would complete a phrase in these columns."""

    def constrain(log_probs: Tensor, ngram_state: NgramState) -> Tensor:
        tokens, matching, needed = ngram_state.tokens, ngram_state.matching, ngram_state.needed
        if columns != EVERYTHING:
            tokens, matching, needed = tokens[:, columns], matching[:, columns], needed[:, columns]
        return log_probs.scatter_add_(1, tokens, torch.where(matching >= needed, IMPOSSIBLE, 0.0))

    return constrain


def never_twice(log_probs: Tensor, ngram_state: NgramState) -> Tensor:
    """Block the tokens that the reply already contains: n-grams of one token.

    The columns cannot do this: those that the reply has not reached yet hold a token, too.
    """
    return log_probs.scatter_(1, ngram_state.written, IMPOSSIBLE)


def penalise_repeats(penalty: float) -> Constraint:
    """Return a constraint that subtracts `penalty` once from every token already in the reply."""

    def constrain(log_probs: Tensor, ngram_state: NgramState) -> Tensor:
        return log_probs.scatter_(
            1, ngram_state.written, log_probs.gather(1, ngram_state.written) - penalty
        )

    return constrain


def oblige(constraint: Constraint, *, stops: slice, eos_id: int) -> Constraint:
    """Return a constraint with duties: a row says its prefix first, and </s> after a stop word.

    A row with a duty fulfils it whatever the constraint blocks; other rows obey the constraint.
    stops: the columns that show that a stop word has been said.
    """

    def constrain(log_probs: Tensor, ngram_state: NgramState) -> Tensor:
        has_prefix = ngram_state.length < ngram_state.prefix.shape[1]
        has_stops = stops.start < stops.stop
        if not has_prefix and not has_stops:
            return constraint(log_probs, ngram_state)
        if has_prefix:
            duty = ngram_state.prefix[:, ngram_state.length]  # (R,), -1: none
        else:
            duty = torch.full_like(ngram_state.needed[:, 0], -1)
        if has_stops:
            stopped = (ngram_state.matching[:, stops] >= ngram_state.needed[:, stops]).any(1)
            duty = duty.masked_fill(stopped & (duty < 0), eos_id)
        places, free = duty.clamp_min(0)[:, None], (duty < 0)[:, None]
        kept = log_probs.gather(1, places)  # what the constraint may be about to block
        log_probs = constraint(log_probs, ngram_state).masked_fill_(~free, IMPOSSIBLE)
        return log_probs.scatter_(1, places, torch.where(free, log_probs.gather(1, places), kept))

    return constrain


def in_turn(constraints: Sequence[Constraint]) -> Constraint:
    """Return a constraint that applies all of these in order."""

    def constrain(log_probs: Tensor, ngram_state: NgramState) -> Tensor:
        for constraint in constraints:
            log_probs = constraint(log_probs, ngram_state)
        return log_probs

    return constrain


def giving_way(hard: Constraint, soft: Sequence[Constraint], *, eos_id: int) -> Constraint:
    """Return a constraint that leaves no row without a token.

    The `soft` ones come hardest first. One that would leave a row nothing to say is skipped for
    that row at that step, so the last gives way first. If `hard` leaves nothing, the row ends.
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


def apply(rules: Sequence[Rule], columns: dict[Source, slice], *, eos_id: int) -> Constraint:
    """Return the constraint of a list of rules, whose sources lie in adjacent columns.

    The careful way applies the rules one by one and looks for rows without a token after each. The
    fast way is for a vocabulary larger than all that the rules can block: no row can run out of
    tokens, so the order does not matter, and all phrases are blocked at once.
    """

    def alone(rule: Rule) -> Constraint:
        return block(columns[rule.blocks]) if isinstance(rule.blocks, Source) else rule.blocks

    careful = giving_way(
        in_turn([alone(rule) for rule in rules if not rule.gives_way]),
        [alone(rule) for rule in rules if rule.gives_way],
        eos_id=eos_id,
    )
    at_once = [rule.blocks for rule in rules if not isinstance(rule.blocks, Source)]
    blocked = [columns[rule.blocks] for rule in rules if isinstance(rule.blocks, Source)]
    if blocked:
        at_once.append(block(slice(blocked[0].start or None, None)))
    fast = in_turn(at_once)
    most = sum(rule.most for rule in rules if not isinstance(rule.blocks, Source))
    most += sum(where.stop - where.start for where in blocked)

    def constrain(log_probs: Tensor, ngram_state: NgramState) -> Tensor:
        return (fast if log_probs.shape[1] > most else careful)(log_probs, ngram_state)

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
    """Return the constraint of a search, and the state of its rows before the first step.

    N conversations have `repeat` rows each. Duties override the rules, and the penalty on
    repetition comes before them. Raises ValueError if a prefix is too long, or if `limits` does not
    cover every conversation.
    """
    _check(config, limits, conversations)
    stop = Source([limits.stop_words] * conversations, closed=True)
    reply = Source(
        [[[eos_id] * config.max_length]] * conversations,
        config.block_ngrams if config.block_ngrams > 1 else NEVER,
    )
    every = rules_of(
        config, limits, reply, conversations=conversations, eos_id=eos_id, device=device
    )
    rules = [rule for rule in every if rule.blocks_something]
    of_rules = [rule.blocks for rule in rules if isinstance(rule.blocks, Source)]
    sources = [source for source in (stop, *of_rules) if source.counts]
    reads_reply = config.repetition_penalty or any(rule.reads_reply for rule in rules)
    if reply not in sources and (sources or reads_reply):
        sources.append(reply)  # it blocks nothing, but the reply so far is read or compared
    ngram_state, columns = lay_out(
        sources, reply, limits.prefixes,
        conversations=conversations, repeat=repeat, padding=eos_id, device=device,
    )  # fmt: skip
    constrain = apply(rules, columns, eos_id=eos_id)
    penalise = [penalise_repeats(config.repetition_penalty)] if config.repetition_penalty else []
    return oblige(
        in_turn([*penalise, constrain]), stops=columns.get(stop, slice(0, 0)), eos_id=eos_id
    ), ngram_state


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
                f"the prefix of conversation {row} has {len(prefix)} tokens; "
                f"max_length allows {config.max_length}: shorten the prefix or raise max_length"
            )


def _stuck(log_probs: Tensor) -> Tensor:
    return log_probs.amax(1) == IMPOSSIBLE
