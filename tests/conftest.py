"""What tests share: one thread, twenty conversations, their vocabulary, and a model that learnt
them.
"""

import random
from collections.abc import Iterator

import pytest
import torch
from hypothesis import settings

from dialogue.checkpoint import Checkpoint
from dialogue.config import ModelConfig
from dialogue.device import choose_device
from dialogue.models.hred import HRED
from dialogue.vocabulary import Vocabulary
from training.corpora.transcript import Transcript
from training.data import batches, cache
from training.data.vocabulary import build
from training.run.trainer import Trainer

torch.set_num_threads(1)
settings.register_profile("repeatable", deadline=None, derandomize=True)
settings.load_profile("repeatable")

CONVERSATIONS = (
    ("hi", "hello, how are you?", "i am fine, thanks", "glad to hear it"),
    ("hello", "hi, how is it going?", "very well, and you?", "i am well too"),
    ("do you like music?", "yes, i like jazz", "me too, jazz is great", "who do you listen to?"),
    ("what do you do?", "i am a student", "what do you study?", "i study history"),
    ("have you seen a good movie?", "yes, i saw a comedy", "was it funny?", "it was very funny"),
    ("do you have a dog?", "no, i have a cat", "cats are nice", "mine sleeps all day"),
    ("where do you live?", "i live in a small town", "is it quiet there?", "very quiet at night"),
    ("what is your favorite food?", "i love pizza", "with cheese?", "of course, with cheese"),
    ("do you play football?", "no, i play tennis", "are you good at it?", "not really"),
    ("how is the weather?", "it is cold today", "is there snow?", "a lot of snow"),
    ("what time is it?", "it is late", "time to sleep", "good night"),
    ("do you read books?", "yes, every night", "what do you read?", "mostly old stories"),
    ("tell me a joke", "i know no jokes", "that is sad", "maybe next time"),
    ("can you cook?", "i can cook eggs", "that is a start", "i learn slowly"),
    ("do you like school?", "not in the morning", "why is that?", "i am tired then"),
    ("are you busy?", "a little, why?", "let us talk", "fine, let us talk"),
    ("who is your friend?", "my friend is tall", "is he nice?", "he is very nice"),
    ("do you drink coffee?", "no, i drink tea", "tea is healthy", "so they say"),
    ("i went to the beach", "was the water warm?", "it was too cold", "then you came back early"),
    ("i have a new car", "what color is it?", "it is red", "red cars are fast"),
)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--device",
        default="cpu",
        help="where the decoding tests run: cpu or cuda (not run where there is none)",
    )


@pytest.fixture(scope="session")
def device(request: pytest.FixtureRequest) -> torch.device:
    wanted = torch.device(request.config.getoption("--device"))
    if wanted.type == "cuda" and not torch.cuda.is_available():
        pytest.skip("not run: there is no GPU here")
    return choose_device(str(wanted))  # as the product does: float32 is float32 then


@pytest.fixture
def on_device(device: torch.device) -> Iterator[None]:
    """Create a test's tensors on the device that --device names."""
    with device:
        yield


@pytest.fixture(scope="session", autouse=True)
def no_cache_of_the_user(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep the corpora that tests tokenise out of the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cache, "FOLDER", tmp_path_factory.mktemp("cache"))
        yield


@pytest.fixture(scope="session")
def conversations() -> list[Transcript]:
    return [
        Transcript(f"conversation {number}", "by hand", turns)
        for number, turns in enumerate(CONVERSATIONS)
    ]


@pytest.fixture(scope="session")
def word_vocabulary(conversations: list[Transcript]) -> Vocabulary:
    """A vocabulary of whole words: small, and whatever a model says with it is made of words."""
    return build((turn for c in conversations for turn in c.turns), size=400, model_type="word")


@pytest.fixture(scope="session")
def talker(conversations: list[Transcript], word_vocabulary: Vocabulary) -> Checkpoint:
    """A checkpoint whose model has learnt the twenty conversations well enough to answer them."""
    torch.manual_seed(0)
    config = ModelConfig(
        vocab_size=len(word_vocabulary),
        embedding=24,
        utterance=24,
        context=24,
        hidden=24,
        dropout=0.0,
    )
    trainer = Trainer(
        HRED.from_config(config, bos_id=word_vocabulary.bos_id),
        learning_rate=1e-2,
        precision="fp32",
        device=torch.device("cpu"),
    )
    encoded = batches.encode(conversations, word_vocabulary, truncate=None).conversations
    rng = random.Random(0)
    for _ in range(80):
        for planned in batches.plan(encoded, batch_tokens=200, rng=rng):
            batch = batches.collate(planned, pad_id=word_vocabulary.pad_id)
            trainer.step(batch, learning_rate=1e-2)
    return Checkpoint(trainer.model.eval(), word_vocabulary, config, {})
