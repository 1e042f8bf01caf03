import torch

from training.corpora.transcript import Transcript
from training.data import batches
from training.metrics.exchanges import by_hash, chosen_exchanges, exchanges_of
from training.metrics.prediction import score


def test_the_histories_of_exchanges_are_those_of_the_conversation_encoded_at_once(
    agent, conversations
):
    encoded = batches.encode(conversations[:5], agent.vocabulary, truncate=None).conversations
    encoded.append(encoded[0][:2])  # uneven lengths
    encoded.append(encoded[1][:1])  # and one that nothing follows
    exchanges = exchanges_of(agent.model, encoded, agent.device)
    assert sorted((e.conversation, e.turn) for e in exchanges) == sorted(
        (c, t) for c, turns in enumerate(encoded) for t in range(1, len(turns))
    )
    whole = agent.model.log_likelihood(batches.collate(encoded, pad_id=0)).log_probs
    first = torch.tensor([0, *map(len, encoded)]).cumsum(0)
    found = score(
        agent.model,
        [e.token_ids for e in exchanges],
        histories=[e.history for e in exchanges],
        name="",
    )
    expected = torch.stack([whole[first[e.conversation] + e.turn] for e in exchanges]).double()
    torch.testing.assert_close(found, expected.detach(), atol=1e-4, rtol=1e-5)


def test_histories_to_answer_have_two_turns_at_least_and_one_is_chosen_a_conversation(
    heard, conversations
):
    transcripts = by_hash([*conversations, Transcript("short", "x", ("hi", "hello"))])
    exchanges = heard(transcripts)
    chosen = chosen_exchanges(exchanges, transcripts, limit=None)
    assert [e.conversation for e in chosen] == [
        i for i, t in enumerate(transcripts) if t.id != "short"
    ]
    assert all(2 <= e.turn < len(transcripts[e.conversation].turns) for e in chosen)
    assert chosen_exchanges(exchanges, transcripts, limit=3) == chosen[:3]
