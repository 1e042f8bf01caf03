"""The replies to time: of a reference model, to compare machines and versions, and of a checkpoint.

The reference (vocabulary 10,008, all vectors 300) is untrained and forced to say 20 tokens;
encoding is timed separately. The checkpoint answers through the agent, either at its default
settings or forced to say the same number of tokens after any number of turns.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

import torch

from dialogue.agent import DialogueAgent
from dialogue.bench.timing import Call
from dialogue.config import METHODS, DecodeConfig, ModelConfig
from dialogue.conversation import Conversation, Turn
from dialogue.decoding.constraints import Limits
from dialogue.decoding.search import search
from dialogue.models import PreparedModel
from dialogue.models.hred import HRED

REFERENCE = ModelConfig(
    vocab_size=10_008, embedding=300, utterance=300, context=300, hidden=300, dropout=0.0
)
REPLY_TOKENS, UTTERANCE_TOKENS = 20, 12
SIZES = ((1, 1), (1, 5), (1, 20), (8, 5), (32, 5))  # batch x beam
LENGTHS = (5, 10, 20, 40)
TURNS = (2, 20, 200)
MANY = 32  # replies, in one call or in as many calls
BOS, EOS = 2, 3
FORCED = "checkpoint, forced"
TALK = (
    "i went to the beach yesterday",
    "do you like the beach?",
    "it was sunny and warm",
    "what do you do on weekends?",
)
PreparedModels = dict[str, PreparedModel[Any]]  # by precision


@dataclass(frozen=True)
class Row:
    """What one row of the table times."""

    method: str
    model: str
    precision: str
    batch: int
    beam: int
    blocking: str = "none"
    turns: int = 1
    reply_tokens: int = REPLY_TOKENS
    calls: int = 1

    @property
    def size(self) -> tuple[int, int]:
        """Batch and beam."""
        return self.batch, self.beam

    def figures(self, **more: float | None) -> dict[str, Any]:
        """Return the row as a dict for JSON, with more figures."""
        return asdict(self) | {
            name: None if value is None else round(value, 3) for name, value in more.items()
        }


def reference_model(device: torch.device) -> HRED:
    """Build the reference model, with the same weights every time."""
    torch.manual_seed(0)
    return HRED.from_config(REFERENCE, bos_id=BOS).eval().to(device)


def reference_rows(prepared: PreparedModels, device: torch.device) -> dict[Row, Call]:
    """Return beams by precision and size, without and with all blocking, plus 32 separate calls."""
    beams = [
        Row("greedy" if size[1] == 1 else "beam", "reference", p, *size)
        for size in SIZES
        for p in prepared
    ]
    rows = [replace(row, blocking=blocking) for row in beams for blocking in ("none", "all")]
    rows += [Row("beam", "reference", precision, 1, 5, calls=MANY) for precision in prepared]
    return {row: reference_reply(row, prepared, device) for row in rows}


def length_rows(prepared: PreparedModels, device: torch.device) -> dict[Row, Call]:
    """Return replies of several lengths."""
    return {row: reference_reply(row, prepared, device) for row in map(_of_length, LENGTHS)}


def _of_length(tokens: int) -> Row:
    return Row("beam", "reference", "fp32", 1, 5, reply_tokens=tokens)


def method_rows(prepared: PreparedModels, device: torch.device) -> dict[Row, Call]:
    """Return every method of DecodeConfig, for one conversation and for 32."""
    rows = [
        Row(method, "reference", "fp32", batch, 10) for method in METHODS for batch in (1, MANY)
    ]
    return {row: reference_reply(row, prepared, device) for row in rows}


def reference_reply(row: Row, prepared: PreparedModels, device: torch.device) -> Call:
    """Return a call that searches for the replies of one of the reference model's rows."""
    generator = torch.Generator().manual_seed(0)
    histories = torch.randn(row.batch, REFERENCE.context, generator=generator).to(device)

    def phrases(count: int, length: int) -> list[list[int]]:
        return torch.randint(4, REFERENCE.vocab_size, (count, length), generator=generator).tolist()

    length = row.reply_tokens
    config = DecodeConfig(
        method=row.method,
        beam_size=row.beam,
        min_length=length,
        max_length=length,
        block_ngrams=0,
        block_reply_ngrams=0,
    )
    limits = Limits()
    if row.blocking == "all":
        config = replace(config, block_ngrams=3, block_user_ngrams=3, block_reply_ngrams=3)
        limits = Limits(
            forbidden=range(2),
            block_list=phrases(20, 3),
            user=[phrases(1, UTTERANCE_TOKENS) for _ in range(row.batch)],
            replies=[phrases(4, UTTERANCE_TOKENS) for _ in range(row.batch)],
        )
    model = prepared[row.precision]

    def reply() -> None:
        for _ in range(row.calls):
            search(
                model.step, model.start(histories), row.batch,
                config=config, limits=limits, bos_id=BOS, eos_id=EOS, device=device,
            )  # fmt: skip

    return reply


def encoding(model: PreparedModel[Any], batch: int, device: torch.device) -> Call:
    """Return a call that encodes an utterance of 12 tokens into each history of a batch."""
    histories = torch.zeros(batch, REFERENCE.context, device=device)
    heard = torch.full((batch, UTTERANCE_TOKENS), 4, device=device)
    return partial(model.encode_turn, heard, torch.full((batch,), UTTERANCE_TOKENS), histories)


def checkpoint_rows(
    agents: dict[str, DialogueAgent], forced: DialogueAgent
) -> dict[Row, tuple[Call, Call]]:
    """Return a checkpoint's rows, with the calls of search and encoding for each.

    The rows are at the default settings, and forced after 2, 20 and 200 turns. agents: at the
    default settings, by precision. forced: an agent that always says the same number of tokens.
    """
    found: dict[Row, tuple[Call, Call]] = {}
    for precision, agent in agents.items():
        for batch, turns in ((1, 2), (8, 2)):
            found |= _agent_row(agent, precision, batch, turns, tokens=None)
    for turns in TURNS:
        found |= _agent_row(forced, "fp32", 1, turns, tokens=forced.decode_config.max_length)
    return found


def _agent_row(
    agent: DialogueAgent, precision: str, batch: int, turns: int, *, tokens: int | None
) -> dict[Row, tuple[Call, Call]]:
    conversations = [Conversation()] * batch
    for turn in range(turns - 1):
        conversations = agent.hear(
            conversations, [Turn("bot" if turn % 2 else "user", TALK[turn % len(TALK)])] * batch
        )
    utterances = [TALK[index % len(TALK)] for index in range(batch)]
    said: Sequence[Turn] = [Turn("user", utterance) for utterance in utterances]
    model = "checkpoint" if tokens is None else FORCED
    if tokens is None:
        replies = agent.answer(conversations, utterances)
        tokens = round(
            statistics.mean(len(agent.vocabulary.encode(reply.text)) for reply in replies)
        )
    row = Row(
        "agent", model, precision, batch, agent.decode_config.beam_size, "default", turns, tokens
    )
    return {
        row: (
            partial(agent.candidates, agent.hear(conversations, said)),
            partial(agent.hear, conversations, said),
        )
    }


def relations(times: dict[Row, list[float]]) -> dict[str, dict[str, float]]:
    """Compare rows, and return the comparisons by name.

    They are: all blocking over none; many calls over one; ms per token by the length of the reply;
    ms by the number of turns before it. times: ms of each row, round by round. A ratio is the
    median of the ratios within each round.
    """

    def ratio(row: Row, other: Row) -> float:
        return statistics.median(
            mine / its for mine, its in zip(times[row], times[other], strict=True)
        )

    blocked, many = (
        [row for row in times if row.blocking == "all"],
        [row for row in times if row.calls == MANY],
    )
    found = {
        "blocking_over_none": {
            f"{row.precision} {row.batch}x{row.beam}": ratio(row, replace(row, blocking="none"))
            for row in blocked
        },
        "many_calls_over_one": {
            row.precision: ratio(row, replace(row, batch=MANY, calls=1)) for row in many
        },
        "ms_a_token": {
            str(length): statistics.median(times[_of_length(length)]) / length for length in LENGTHS
        },
        "ms_after_turns": {
            str(row.turns): statistics.median(times[row]) for row in times if row.model == FORCED
        },
    }
    return {
        name: {key: round(value, 3) for key, value in values.items()}
        for name, values in found.items()
    }
