"""Whole conversations that an agent holds, and how often it repeats itself in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tqdm import tqdm

from dialogue.agent import DialogueAgent, Reply
from dialogue.conversation import Conversation
from dialogue.words import words
from training.corpora.transcript import Transcript
from training.metrics.exchanges import Metrics
from training.metrics.replies import BATCH_REPLIES, ngrams

TALKS = 50  # conversations that the agent holds
TALK_TURNS = 12  # turns that a transcript needs for that
MEANINGS = {
    "repeated_replies": (
        "share of replies already given in the same conversation, when the agent holds whole ones"
    ),
    "repeated_4grams_across_turns": (
        "share of their 4-grams that an earlier reply of the same conversation contains"
    ),
    "replies_in_conversations": (
        "number of replies in whole conversations, to the true turns of one speaker"
    ),
}


@dataclass(frozen=True)
class Talk:
    """A conversation that the agent held: the true turns of one speaker and its reply to each."""

    transcript: Transcript
    replies: tuple[Reply, ...]

    @property
    def heard(self) -> tuple[str, ...]:
        """Return what the agent heard: every other turn of the transcript."""
        return self.transcript.turns[::2]


def hold_talks(
    agent: DialogueAgent, transcripts: Sequence[Transcript], *, limit: int = TALKS
) -> list[Talk]:
    """Let the agent hold whole conversations with one speaker of each long transcript."""
    talks = [
        Talk(transcript, ()) for transcript in transcripts if len(transcript.turns) >= TALK_TURNS
    ][:limit]
    for turn in tqdm(
        range(max((len(talk.heard) for talk in talks), default=0)),
        desc="conversations",
        leave=False,
        disable=None,
    ):
        going_on = [index for index, talk in enumerate(talks) if turn < len(talk.heard)]
        for begin in range(0, len(going_on), BATCH_REPLIES):
            part = going_on[begin : begin + BATCH_REPLIES]
            so_far = [
                talks[index].replies[-1].conversation if turn else Conversation() for index in part
            ]
            replies = agent.answer(so_far, [talks[index].heard[turn] for index in part])
            for index, reply in zip(part, replies, strict=True):
                talks[index] = Talk(talks[index].transcript, (*talks[index].replies, reply))
    return talks


def talk_metrics(talks: Sequence[Talk]) -> Metrics:
    """Measure how much the agent repeats itself, with words as dialogue.words splits them."""
    replies = said_again = grams = grams_again = 0
    for talk in talks:
        said: set[tuple[str, ...]] = set()
        known: set[tuple[str, ...]] = set()
        for reply in talk.replies:
            spoken = tuple(words(reply.text))
            found = list(ngrams(spoken, 4))
            replies, said_again = replies + 1, said_again + (spoken in said)
            grams, grams_again = (
                grams + len(found),
                grams_again + sum(gram in known for gram in found),
            )
            said.add(spoken)
            known.update(found)
    return {
        "repeated_replies": said_again / max(1, replies),
        "repeated_4grams_across_turns": grams_again / max(1, grams),
        "replies_in_conversations": replies,
    }
