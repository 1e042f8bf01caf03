"""What an agent answers: variety, repetition and length, and overlap with the true replies."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence

from sacrebleu.metrics.bleu import BLEU
from tqdm import tqdm

from dialogue.agent import DialogueAgent, Reply
from dialogue.conversation import Conversation, Turn
from dialogue.safety import hits
from dialogue.vocabulary import CONTINUED, normalise, without_marks
from dialogue.words import repeats_ngram, words
from training.corpora.transcript import Transcript
from training.metrics.exchanges import Exchange, Metrics

BATCH_REPLIES = 32
MEANINGS = {
    "distinct_1": "distinct words over all words of the replies",
    "distinct_2": "distinct pairs of consecutive words over all such pairs",
    "unique_replies": "distinct replies over all replies",
    "repeated_2gram": "share of replies that contain the same two consecutive words twice",
    "repeated_3gram": "share of replies that contain the same three consecutive words twice",
    "placeholders": "share of replies with a mark such as <person>",
    "mean_length": "words per reply",
    "fallbacks": "share of fixed sentences, used only when every candidate is rejected",
    "listed_words": "replies with a word of the safety lists, mild ones included",
    "replies": "number of replies, one per conversation, after two true turns or more",
    "token_f1": (
        "words shared with the true reply: harmonic mean of precision and recall, as in ParlAI, "
        "averaged over all replies"
    ),
    "bleu": "corpus BLEU of all replies against the true ones, 0 to 100 (sacrebleu, lower case)",
}
_MARK = re.compile(r"<\w+>")
_PUNCTUATION = re.compile(r"[!\"#$%&()*+,\-./:;<=>?@\[\]\\^`{|}~_']")  # ParlAI's, and no other
_ARTICLE = re.compile(r"\b(a|an|the)\b")


def answers(
    agent: DialogueAgent,
    chosen: Sequence[Exchange],
    *,
    exchanges: Sequence[Exchange],
    transcripts: Sequence[Transcript],
) -> list[Reply]:
    """Let the agent answer the true histories before the chosen exchanges."""
    histories = {(exchange.conversation, exchange.turn): exchange.history for exchange in exchanges}
    replies: list[Reply] = []
    for begin in tqdm(
        range(0, len(chosen), BATCH_REPLIES), desc="replies", leave=False, disable=None
    ):
        conversations, utterances = [], []
        for exchange in chosen[begin : begin + BATCH_REPLIES]:
            *said, utterance = transcripts[exchange.conversation].turns[: exchange.turn]
            # The last speaker is the user; speakers alternate.
            turns = (
                Turn("bot" if (len(said) - i) % 2 else "user", text) for i, text in enumerate(said)
            )
            conversations.append(
                Conversation(histories[exchange.conversation, exchange.turn - 1], tuple(turns))
            )
            utterances.append(utterance)
        replies += agent.answer(conversations, utterances)
    return replies


def reply_metrics(replies: Sequence[Reply]) -> Metrics:
    """Measure variety, repetition and length of replies; dialogue.words splits them into words."""
    texts = [reply.text.replace(CONTINUED, " ") for reply in replies]
    spoken = [words(text) for text in texts]

    def distinct(n: int) -> float:
        grams = [gram for reply in spoken for gram in ngrams(reply, n)]
        return len(set(grams)) / max(1, len(grams))

    return {
        "distinct_1": distinct(1),
        "distinct_2": distinct(2),
        "unique_replies": len(set(map(tuple, spoken))) / len(replies),
        "repeated_2gram": sum(repeats_ngram(text, 2) for text in texts) / len(replies),
        "repeated_3gram": sum(repeats_ngram(text, 3) for text in texts) / len(replies),
        "placeholders": sum(bool(_MARK.search(reply.text)) for reply in replies) / len(replies),
        "mean_length": sum(map(len, spoken)) / len(replies),
        "fallbacks": sum(reply.is_fallback for reply in replies) / len(replies),
        "listed_words": sum(bool(hits(reply.text)) for reply in replies),
        "replies": len(replies),
    }


def ngrams(spoken: Sequence[str], n: int) -> Iterator[tuple[str, ...]]:
    """Return all n-grams: every n consecutive words."""
    return zip(*(spoken[start:] for start in range(n)), strict=False)


def overlap_metrics(replies: Sequence[Reply], truth: Sequence[str]) -> tuple[Metrics, str]:
    """Measure the replies' overlap with the true ones, normalised like replies.

    Return the figures and sacrebleu's signature.
    """
    said, expected = (
        [reply.text for reply in replies],
        [normalise(without_marks(text)) for text in truth],
    )
    metric = BLEU(lowercase=True)
    bleu = metric.corpus_score(said, [expected]).score
    return {"token_f1": sum(map(token_f1, said, expected)) / len(said), "bleu": bleu}, str(
        metric.get_signature()
    )


def token_f1(reply: str, truth: str) -> float:
    """Compute ParlAI's F1 (Miller et al. 2017) over bags of words.

    Case, punctuation and articles are ignored.
    """
    said, expected = (
        _ARTICLE.sub(" ", _PUNCTUATION.sub(" ", text.lower())).split() for text in (reply, truth)
    )
    common = sum((Counter(said) & Counter(expected)).values())
    return 2 * common / (len(said) + len(expected)) if common else 0.0
