"""What a verifier remembers of chains, who waits for a fetch, and what an outage of S3 changes."""

import json
import threading
import time
from datetime import UTC, datetime, timedelta

import pytest

from skill.verify import NotAlexa, Verifier, fetch_chain

from .conftest import read_request
from .rig import (
    BUSY,
    ok,
    pem,
    raw,
    rsa_key,
    with_time,
)
from .verify_cases import (
    AMAZON,
    pieces,
    stranger,
)

# --- what is remembered
# --------------------------------------------------------------------------------------------


@pytest.fixture
def clock():
    return [datetime.now(UTC)]


@pytest.fixture
def verify(alexa, clock):
    """Verify a good request at a URL, by a verifier whose clock the test holds; gives how often S3
    was asked.
    """
    verifier = Verifier(now=lambda: clock[0])

    def check(address, **changes):
        stamp = clock[0].isoformat()
        body = json.dumps({"request": {"type": "LaunchRequest", "timestamp": stamp}}).encode()
        verifier.check(body, alexa.sign(body, address, **changes))
        return alexa.s3.asked.count(address.removeprefix("https://s3.amazonaws.com"))

    check.verifier = verifier
    return check


def refused(verify, address):
    with pytest.raises(NotAlexa):
        verify(address)


def test_a_chain_is_fetched_once_a_day_however_its_address_is_spelt(alexa, verify, clock):
    address = alexa.publish()
    for spelt in (address, address.replace("s3.a", "S3.A"), address.replace(".com", ".com:443")):
        verify(spelt)
    assert verify(address) == 1
    clock[0] += timedelta(hours=25)
    assert verify(address) == 2


def test_a_cached_leaf_is_not_believed_after_it_has_expired(alexa, verify, clock):
    address = alexa.publish(
        ok(pem(alexa.authority.leaf(days=(-1, 1 / 24)), alexa.authority.middle))
    )
    verify(address)
    clock[0] += timedelta(hours=2)
    with pytest.raises(NotAlexa, match="chain does not verify"):
        verify(address)


def test_few_leaves_are_kept(alexa, verify):
    for _ in range(12):
        verify(alexa.publish())
    assert len(verify.verifier._leaves) == 8


@pytest.mark.parametrize("behaviour", [raw(b"HTTP/1.1 404 No\r\n\r\n"), ok(b"garbage")])
def test_an_address_that_has_no_chain_is_left_alone_for_a_moment(alexa, verify, clock, behaviour):
    address = alexa.publish(behaviour)
    for _ in range(3):
        refused(verify, address)
    put_right(alexa, address)
    with pytest.raises(NotAlexa, match="a moment ago"):
        verify(address)
    clock[0] += timedelta(seconds=11)
    assert verify(address) == 2


@pytest.mark.parametrize("behaviour", [raw(BUSY), raw(), raw(b"hello")])
def test_what_s3_cannot_give_now_is_asked_for_again_by_the_next_request(alexa, verify, behaviour):
    """One 503 was remembered for a minute, in which all of Alexa's requests were refused."""
    address = alexa.publish(behaviour)
    refused(verify, address)
    put_right(alexa, address)
    verify(address)


def put_right(alexa, address):
    alexa.s3.chains[address.removeprefix("https://s3.amazonaws.com")] = ok(alexa.good_chain)


def test_a_bounded_number_of_failures_is_remembered(alexa, verify):
    for number in range(300):
        refused(verify, f"{AMAZON}{number}.pem")
    assert len(verify.verifier._failures) == 256


def at_once(count, work):
    """Do something in several threads at the same time, and return what each of them got."""
    got, start = [], threading.Barrier(count)

    def one(number):
        start.wait()
        got.append(work(number))

    threads = [threading.Thread(target=one, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return got


def outcome(verify, address):
    try:
        return verify(address) and "answered"
    except NotAlexa as finding:
        return str(finding)


def fetching():
    return [thread.name for thread in threading.enumerate()].count("certificate chain")


class Gate:
    """An S3 that answers when it is told to."""

    def __init__(self, alexa):
        self.alexa, self.open, self.addresses = alexa, threading.Event(), []

    def publish(self):
        self.addresses.append(self.alexa.publish(self.behave))
        return self.addresses[-1]

    def behave(self, connection):
        self.open.wait(20)
        ok(self.alexa.good_chain)(connection)

    def waits_for(self, count):
        paths = [address.removeprefix("https://s3.amazonaws.com") for address in self.addresses]
        for _ in range(1000):
            if sum(self.alexa.s3.asked.count(path) for path in paths) >= count:
                return
            time.sleep(0.01)
        pytest.fail(f"S3 was not asked {count} times")


@pytest.mark.parametrize("count", [2, 4, 8, 30])
def test_all_first_requests_at_once_share_one_fetch_and_are_answered(server, alexa, count):
    """Of four genuine ones, two or three were refused, since another had the chain fetched."""
    slow = raw(*pieces(alexa.good_chain), pause=0.25)
    address = alexa.publish(slow)
    body = json.dumps(with_time(read_request("chat"))).encode()
    headers = alexa.sign(body, address)

    def post(_):
        return server.application.test_client().post("/", data=body, headers=headers).status_code

    assert at_once(count, post) == [200] * count
    assert alexa.s3.asked.count(address.removeprefix("https://s3.amazonaws.com")) == 1


def test_all_who_wait_for_a_chain_that_does_not_verify_hear_why(alexa, verify):
    address = alexa.publish(raw(*pieces(pem(*stranger())), pause=0.25))
    said = at_once(6, lambda _: outcome(verify, address))
    assert set(said) == {"the certificate chain does not verify"}
    assert alexa.s3.asked.count(address.removeprefix("https://s3.amazonaws.com")) == 1


def test_strangers_have_few_chains_fetched_at_a_time_while_alexa_is_answered(alexa, verify):
    cached, gate = alexa.publish(), Gate(alexa)
    verify(cached)
    before = fetching()
    strangers = [threading.Thread(target=outcome, args=(verify, gate.publish())) for _ in range(4)]
    for stranger_ in strangers:
        stranger_.start()
    gate.waits_for(4)
    refusals = at_once(20, lambda _: outcome(verify, alexa.publish()))
    assert set(refusals) == {"too many other certificate chains are being fetched; try again"}
    assert fetching() - before == 4
    assert verify(cached) == 1
    gate.open.set()
    for stranger_ in strangers:
        stranger_.join()
    assert verify(alexa.publish()) == 1


def test_a_first_request_waits_for_its_turn_among_strangers(alexa, verify):
    gate = Gate(alexa)
    strangers = [threading.Thread(target=outcome, args=(verify, gate.publish())) for _ in range(4)]
    for stranger_ in strangers:
        stranger_.start()
    gate.waits_for(4)
    got = []
    genuine = threading.Thread(target=lambda: got.append(outcome(verify, alexa.publish())))
    genuine.start()
    for _ in range(1000):
        if verify.verifier._queued:
            break
        time.sleep(0.01)
    gate.open.set()
    for thread in (*strangers, genuine):
        thread.join()
    assert got == ["answered"]


# --- while S3 is down
# ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "outage",
    [
        raw(BUSY),
        raw(),
        raw(b"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n"),
        ok(b"garbage"),
        ok(pem(*stranger())),
    ],
    ids=["503", "hang up", "404", "garbage", "stranger"],
)
def test_a_key_whose_certificate_is_valid_outlives_an_outage(alexa, verify, clock, outage):
    """A key was thrown away after a day, so that an outage of S3 refused all of Alexa's
    requests.
    """
    path = (address := alexa.publish()).removeprefix("https://s3.amazonaws.com")
    verify(address)
    alexa.s3.chains[path] = outage
    clock[0] += timedelta(hours=25)
    tried = verify(address)
    assert tried > 1
    assert verify(address) == verify(address) == tried  # the next try is a minute later
    clock[0] += timedelta(days=7)
    assert verify(address) > tried
    alexa.s3.chains[path] = ok(alexa.good_chain)
    clock[0] += timedelta(seconds=61)
    again = verify(address)
    clock[0] += timedelta(hours=23)
    assert verify(address) == again
    clock[0] += timedelta(days=1)
    refused(
        verify, address
    )  # ten days are over: the certificate has expired, and S3 has the same one


def test_a_key_whose_certificate_is_valid_outlives_an_s3_that_says_nothing(alexa, verify, clock):
    verify(address := alexa.publish())
    alexa.s3.chains[address.removeprefix("https://s3.amazonaws.com")] = Gate(alexa).behave
    clock[0] += timedelta(hours=25)
    assert verify(address) == verify(address) == 2


def test_a_renewed_chain_replaces_the_key_that_is_a_day_old(alexa, verify, clock):
    path = (address := alexa.publish()).removeprefix("https://s3.amazonaws.com")
    verify(address)
    renewed = rsa_key("renewed")
    alexa.s3.chains[path] = ok(pem(alexa.authority.leaf(key=renewed), alexa.authority.middle))
    with pytest.raises(NotAlexa, match="signature"):
        verify(address, key=renewed)
    clock[0] += timedelta(hours=25)
    assert verify(address, key=renewed) == 2
    with pytest.raises(NotAlexa, match="signature"):
        verify(address)


def test_only_one_request_waits_while_a_key_is_asked_for_again(alexa, verify, clock):
    address, gate = alexa.publish(), Gate(alexa)
    verify(address)
    alexa.s3.chains[address.removeprefix("https://s3.amazonaws.com")] = gate.behave
    gate.addresses.append(address)
    clock[0] += timedelta(hours=25)
    first = threading.Thread(target=verify, args=(address,))
    first.start()
    gate.waits_for(2)
    assert verify(address) == 2
    gate.open.set()
    first.join()


@pytest.mark.parametrize(
    "behaviour",
    [
        raw(b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n", b"-", None, pause=0.1),
        raw(b"HTTP/1.1 200 OK\r\n\r\n", b"-" * 9000, None),
    ],
)
def test_a_fetch_that_was_given_up_ends(alexa, verify, behaviour):
    refused(verify, alexa.publish(behaviour))
    time.sleep(0.5)
    assert verify(alexa.publish()) == 1


@pytest.mark.parametrize(
    "behaviour", [ok(b"-" * 65_537), raw(b"HTTP/1.1 200 OK\r\n\r\n", b"-" * 65_537)]
)
def test_more_than_64_kb_is_not_read(alexa, behaviour):
    with pytest.raises(NotAlexa, match="too large"):
        fetch_chain(alexa.publish(behaviour))
    assert len(fetch_chain(alexa.publish(ok(b"-" * 65_536)))) == 65_536
