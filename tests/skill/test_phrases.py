from skill import phrases


def test_the_same_seed_picks_the_same_wording_and_all_wordings_are_picked():
    picked = [phrases.pick(phrases.WELCOME, str(seed)) for seed in range(50)]
    assert picked == [phrases.pick(phrases.WELCOME, str(seed)) for seed in range(50)]
    assert set(picked) == set(phrases.WELCOME)


def test_a_farewell_is_a_whole_utterance():
    assert phrases.is_farewell("Good bye!")
    assert not phrases.is_farewell("stop and smell the roses")
    assert not phrases.is_farewell("thank you")
    assert not phrases.is_farewell("")
