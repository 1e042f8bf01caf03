"""Six corpora as their authors publish them: one reader per format, each for a single file.

The formats and their sources:

- EmpatheticDialogues: train.csv, valid.csv and test.csv, as parlai/tasks/empathetic_dialogues/
  agents.py of github.com/facebookresearch/ParlAI reads them: no quotes, "_comma_" for a comma.
- Synthetic-Persona-Chat: data/*.csv of github.com/google-research-datasets/Synthetic-Persona-Chat,
  and the loader beside that folder, Synthetic-Persona-Chat.py.
- Persona-Chat: *_self_original.txt of ParlAI's task convai2; FbDeprecatedDialogTeacher in
  parlai/core/teachers.py explains its lines. The training part has every dialogue twice, the
  second time opened by silence (pull request 632 of ParlAI).
- PhotoChat: multimodalchat/photochat/*/*.json of github.com/google-research/google-research, and
  multimodalchat/README.md.
- Meena's published talks: meena/human.txt and meena/meena.txt of the same repository.
- Small talk: qna_chitchat_*.tsv, Microsoft's chit-chat as QnA Maker exports it (Question, Answer,
  Source, Metadata), and Queries_Responses_*_QnAMaker.tsv, CSharp/Datasets of its
  BotBuilder-PersonalityChat.

The tests use small hand-written samples of these formats: no reader has seen a whole corpus.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

from dialogue.text_files import read_text

QUESTIONS_AN_ANSWER = 12
Row = tuple[int, dict[str, str]]  # the number of its last line and its fields
_SILENCE = re.compile(r"(?i)__ ?silence ?__|<silence>")
_HEADING = re.compile(r"(?i)(?:\w+ )?conversation #?\d+:?")


class Conversation(NamedTuple):
    """One conversation as it is written out: two speakers who take turns."""

    id: str
    topic: str
    turns: tuple[str, ...]


def empathetic(path: Path) -> Iterator[Conversation]:
    """Read EmpatheticDialogues: one utterance per row; the topic is the emotion it is about."""
    columns = ("conv_id", "utterance_idx", "context", "speaker_idx", "utterance")
    said: dict[str, list[tuple[int, str, str]]] = {}
    feelings: dict[str, str] = {}
    for number, row in _table(path, columns, delimiter=",", quoting=csv.QUOTE_NONE):
        index, key = row["utterance_idx"], row["conv_id"]
        if not index.isdecimal():
            found = f"the utterance_idx {index!r}"
            raise ValueError(f"{path}, line {number}: found {found}; expected a number")
        text = row["utterance"].replace("_comma_", ",")
        said.setdefault(key, []).append((int(index), row["speaker_idx"], text))
        feelings.setdefault(key, row["context"])
    for key, rows in said.items():
        parts = re.fullmatch(r"hit:(\d+)_conv:(\d+)", key)
        name = "-".join(parts.groups()) if parts else key
        rows.sort(key=lambda row: row[0])
        turns = _turns((speaker, text) for _, speaker, text in rows)
        yield Conversation(f"ed-{name}", feelings[key], turns)


def synthetic_persona(path: Path) -> Iterator[Conversation]:
    """Read Synthetic-Persona-Chat: one conversation per row, its turns as lines "User 1: ..."."""
    part = path.stem.rpartition("_")[2]
    columns = ("user 1 personas", "user 2 personas", "Best Generated Conversation")
    for count, (_, row) in enumerate(_table(path, columns)):
        topic = row[columns[0]].strip().partition("\n")[0].strip()
        lines = row[columns[2]].split("\n")
        yield Conversation(f"spc-{part}-{count}", topic, _turns(_labelled(lines, r"User [12]")))


def personachat(path: Path) -> Iterator[Conversation]:
    """Read ConvAI2's Persona-Chat: numbered lines, first who "you" are, then "said<TAB>replied".

    Sentence case is restored, and spaces before punctuation are removed. The corpus holds each
    dialogue from both speakers' sides; a dialogue that equals another one without its last turn is
    the other side's copy and is left out.
    """
    # Seen by the speaker who opens it, a dialogue starts with silence, which is dropped, and lacks
    # the last turn. So the shorter of two such dialogues is the copy.
    found = list(_dialogues(path))
    cut = {dialogue.turns[:-1] for dialogue in found}
    yield from (dialogue for dialogue in found if dialogue.turns not in cut)


def _dialogues(path: Path) -> Iterator[Conversation]:
    part = path.stem.partition("_")[0]
    personas: list[str] = []
    turns: list[str] = []
    count, last = 0, 0
    for number, line in _lines(path):
        index, _, text = line.strip().partition(" ")
        said, _, rest = text.partition("\t")
        replied = rest.partition("\t")[0].strip()
        persona = re.fullmatch(r"(your|partner's) persona: (.*)", text)
        spoken = bool(said.strip() and replied)
        if not index.isdecimal() or not (persona or spoken):
            expected = '"1 your persona: ..." or "2 said<TAB>replied"'
            raise ValueError(f"{path}, line {number}: found {line[:60]!r}; expected {expected}")
        if int(index) <= last:  # numbering restarts: a new dialogue
            yield Conversation(f"persona-{part}-{count}", " ".join(personas), tuple(turns))
            personas, turns, count = [], [], count + 1
        last = int(index)
        if persona and persona[1] == "your":
            personas.append(_sentence_case(persona[2]))
        elif not persona:
            opens = [] if _SILENCE.fullmatch(said.strip()) else [said]
            turns += map(_sentence_case, (*opens, replied))
    yield Conversation(f"persona-{part}-{count}", " ".join(personas), tuple(turns))


def _sentence_case(text: str) -> str:
    text = " ".join(text.replace("\\n", " ").split())
    text = re.sub(r" +([.,!?;:])(?=\s|$)", r"\1", text)
    text = re.sub(r"\bi\b(?!\.\w)", "I", text)
    return re.sub(r"(?:^|[.!?] )[a-z]", lambda start: start[0].upper(), text)


def photochat(path: Path) -> Iterator[Conversation]:
    """Read PhotoChat up to the shared photo; consecutive messages by one user are one turn."""
    message = '{"message", "share_photo", "user_id"}'
    expected = f'a list of {{"dialogue_id", "photo_description", "dialogue": [{message}, ...]}}'
    text = _text(path)
    try:
        dialogues = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: found no JSON ({error}); expected {expected}") from None
    if not isinstance(dialogues, list):
        kind = type(dialogues).__name__
        raise ValueError(f"{path}: found JSON that is a {kind}; expected {expected}")
    part = path.stem.replace("_", "-")
    for count, dialogue in enumerate(dialogues, start=1):
        try:
            key, about = dialogue["dialogue_id"], dialogue["photo_description"]
            topic = re.sub(r"The photo has |Objects in the photo: ", "", about).strip()
            turns = _turns(_before_the_photo(dialogue["dialogue"]))
        except (KeyError, TypeError, AttributeError) as error:
            found = f"{type(error).__name__} {error}"
            raise ValueError(f"{path}, dialogue {count}: {found}; expected {expected}") from None
        yield Conversation(f"photochat-{part}-{key}", topic, turns)


def _before_the_photo(messages: list[dict[str, Any]]) -> Iterator[tuple[object, str]]:
    for message in messages:
        if message["share_photo"]:
            return
        yield message["user_id"], message["message"]


def meena(path: Path) -> Iterator[Conversation]:
    """Read Meena's talks: a heading, lines "Human 1: ..." or "Meena: ...", and an empty line."""
    part = {"human": "human", "meena": "bot"}.get(path.stem, path.stem)
    count = 0
    lines = (line.strip() for _, line in _lines(path, empty=True))
    for _, group in groupby(lines, bool):
        talk = [line for line in group if line and not _HEADING.fullmatch(line)]
        if talk:
            count += 1
            turns = _turns(_labelled(talk, r"Human(?: [12])?|Meena"))
            yield Conversation(f"meena-{part}-{count}", "", turns)


def smalltalk(path: Path) -> Iterator[Conversation]:
    """Read Microsoft's chit-chat: one question and its answer per row.

    An answer with more than twelve questions keeps twelve of them, evenly spaced.
    """
    persona = re.sub(r"qna_chitchat_|queries_responses_|_qnamaker", "", path.stem.lower())
    asked: dict[str, list[str]] = {}
    for _, row in _table(path, ("Question", "Answer"), delimiter="\t", quoting=csv.QUOTE_NONE):
        pair = (row["Question"], row["Answer"])
        question, answer = (" ".join(text.replace("\\n", " ").split()) for text in pair)
        asked.setdefault(answer, []).append(question)
    for count, (answer, questions) in enumerate(asked.items()):
        taken = min(len(questions), QUESTIONS_AN_ANSWER)
        for number in (place * len(questions) // taken for place in range(taken)):
            turns = _turns([("asks", questions[number]), ("answers", answer)])
            yield Conversation(f"chitchat-{persona}-{count}-{number}", persona, turns)


def _turns(said: Iterable[tuple[object, str]]) -> tuple[str, ...]:
    """Join the consecutive messages of each speaker and drop empty ones."""
    spoken = [(speaker, text.strip()) for speaker, text in said if text.strip()]
    by_speaker = groupby(spoken, lambda message: message[0])
    return tuple(" ".join(text for _, text in messages) for _, messages in by_speaker)


def _labelled(lines: Iterable[str], speakers: str) -> Iterator[tuple[str, str]]:
    """Yield (speaker, text). A line without a speaker continues the one above, if there is one."""
    speaker = ""
    for line in lines:
        said = re.match(rf"\s*({speakers}):(.*)", line)
        speaker, text = (said[1], said[2]) if said else (speaker, line)
        if speaker:
            yield speaker, text


def _text(path: Path) -> str:
    """Read a text file. Raises ValueError if it cannot be read, is not text or is empty."""
    text = read_text(path)
    if not text.strip():
        raise ValueError(f"{path}: found an empty file; expected conversations")
    return text


def _lines(path: Path, *, empty: bool = False) -> Iterator[tuple[int, str]]:
    lines = enumerate(_text(path).split("\n"), start=1)
    return ((number, line) for number, line in lines if empty or line.strip())


def _table(path: Path, columns: tuple[str, ...], **form: Any) -> Iterator[Row]:
    """Yield the rows of a table. Raises ValueError if a column is missing or a row is short."""
    rows = csv.DictReader(io.StringIO(_text(path), newline=""), **form)
    expected = f"the columns {', '.join(columns)}"
    try:
        names = list(rows.fieldnames or ())
        if not set(columns) <= set(names):
            found = ", ".join(names)[:200]
            raise ValueError(f"{path}: found the columns {found}; expected {expected}")
        for row in rows:
            lacks = ", ".join(name for name in columns if row[name] is None)
            where = f"{path}, line {rows.line_num}"
            if lacks:
                raise ValueError(f"{where}: found a row without {lacks}; expected {expected}")
            yield rows.line_num, row
    except csv.Error as error:
        where = f"{path}, line {rows.line_num}"
        raise ValueError(f"{where}: found no table ({error}); expected {expected}") from None
