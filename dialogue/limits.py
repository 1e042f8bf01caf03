"""What the search must not write: the block list, phrases never to say, earlier n-grams."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from dialogue.config import DecodeConfig
from dialogue.conversation import Conversation
from dialogue.decoding.constraints import Limits
from dialogue.text_files import read_lines
from dialogue.vocabulary import Vocabulary

BLOCKED_REPLIES = 4  # how many of the bot's replies block_reply_ngrams looks back at


def read_phrases(path: str) -> dict[str, str]:
    """Read a file of phrases, one per line, and return them by location."""
    try:
        lines = read_lines(path)
    except ValueError as error:
        raise ValueError(
            f"block_list: {error}; it must be a text file with one phrase a line"
        ) from None
    return {
        f"{path}, line {number}": line.strip()
        for number, line in enumerate(lines, start=1)
        if line.strip()
    }


def limits_of_settings(
    vocabulary: Vocabulary,
    decode: DecodeConfig,
    *,
    block_list: dict[str, str],
    never_say: Sequence[str],
) -> Limits:
    """Return the limits that hold in every conversation.

    block_list: as `read_phrases` returns it. never_say: more phrases; those that the vocabulary
    cannot spell are ignored. Raises ValueError if it cannot spell a phrase of the block list or a
    stop word.
    """
    ids_of_never_said = map(vocabulary.encode, never_say)
    return Limits(
        forbidden=vocabulary.never_generated,
        block_list=[
            *(_encode(vocabulary, phrase, where) for where, phrase in block_list.items()),
            *(ids for ids in ids_of_never_said if ids and vocabulary.unk_id not in ids),
        ],
        stop_words=[_encode(vocabulary, phrase, "stop_words") for phrase in decode.stop_words],
    )


def limits_of(
    conversations: Sequence[Conversation],
    prefixes: Sequence[str],
    *,
    always: Limits,
    vocabulary: Vocabulary,
) -> Limits:
    """Return the limits that always hold, with those from what was said in each conversation."""
    encode = vocabulary.encode
    return replace(
        always,
        user=[[encode(text) for text in c.said("user")[-1:]] for c in conversations],
        replies=[
            [encode(text) for text in c.said("bot")[-BLOCKED_REPLIES:]] for c in conversations
        ],
        prefixes=[encode(prefix) for prefix in prefixes],
    )


def _encode(vocabulary: Vocabulary, phrase: str, where: str) -> list[int]:
    token_ids = vocabulary.encode(phrase)
    if not token_ids or vocabulary.unk_id in token_ids:
        raise ValueError(
            f"{where}: {phrase!r} holds characters that the vocabulary lacks; "
            "no reply could hold it: leave it out"
        )
    return token_ids
