"""State in Redis: one sealed value per session, which expires on its own. Any machine can answer.

voice:{user}:session -> the turn (8 bytes), and the sealed state, or _OVER
voice:{user}         -> the keys of the user's sessions, a set

Session and user appear as digests: Redis never learns the ids, from which the sealing keys are
derived. The braces keep all of a user's data in one slot of a cluster.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any, TypeVar, cast

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from dialogue.bounded import SECONDS
from dialogue.state import ENDED, ENDED_SECONDS, Conflict, Owner, Refused, Unreachable, digest
from dialogue.state.sealing import Seal

TIMEOUT_SECONDS = 0.35  # for each of two attempts: somebody is waiting
_TURN = struct.Struct(">Q")
_OVER = b"\xff" * _TURN.size  # in place of a turn, so that no turn follows it
Result = TypeVar("Result")

# KEYS: the session's, the user's. ARGV: the previous turn ("" if none), the value, its lifetime in
# milliseconds. No two values are sealed alike, so the same value again is a retry: the first
# attempt arrived, but its answer did not.
_PUT = """
local found = redis.call('GET', KEYS[1]) or ''
if found == ARGV[2] then return 1 end
if string.sub(found, 1, 8) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
redis.call('SADD', KEYS[2], KEYS[1])
redis.call('PEXPIRE', KEYS[2], ARGV[3])
return 1
"""


class RedisState:
    """Keeps states in Redis."""

    limit: int | None = None
    is_carried = False
    is_shared = True

    def __init__(
        self,
        url: str,
        seal: Seal,
        *,
        seconds: float = SECONDS,
        timeout: float = TIMEOUT_SECONDS,
    ) -> None:
        """Take Redis's address, without connecting. Raises ValueError if it is invalid."""
        try:
            self._redis = redis.Redis.from_url(
                url,
                socket_timeout=timeout,
                socket_connect_timeout=timeout,
                # once, immediately: a pooled connection may predate Redis's last restart, and a
                # busy machine may answer late for once
                retry=Retry(
                    NoBackoff(), 1, supported_errors=(redis.ConnectionError, redis.TimeoutError)
                ),
            )
        except ValueError:  # whose message may quote a password
            raise ValueError(
                "STATE: that is no address of Redis; it must be like redis://localhost:6379/0, "
                "rediss://:PASSWORD@HOST:6380/0 or unix:///run/redis.sock"
            ) from None
        self._seal, self._milliseconds = seal, round(seconds * 1000)
        self._put = self._redis.register_script(_PUT)

    def check(self) -> None:
        """Check that Redis answers. Raises Unreachable."""
        _asked(self._redis.ping)

    def get(self, owner: Owner, carried: str = "") -> bytes | None:
        """Return the state of an owner, or None. Raises Refused or Unreachable."""
        value = _asked(lambda: cast(bytes | None, self._redis.get(_session_key(owner))))
        if value is None:
            return None
        if value == _OVER:
            return ENDED
        if len(value) < _TURN.size:
            raise Refused("its state was tampered with")
        return self._seal.open(value[_TURN.size :], owner)

    def put(self, owner: Owner, state: bytes, *, turn: int, reopens: bool = False) -> str:
        """Keep the state after a turn; nothing is carried. Raises Conflict or Unreachable."""
        before = _TURN.pack(turn - 1) if turn > 1 else _OVER if reopens else b""
        value = _TURN.pack(turn) + self._seal.seal(state, owner)
        keys = [_session_key(owner), _user_key(owner.user)]
        if not _asked(lambda: self._put(keys, [before, value, self._milliseconds])):
            raise Conflict
        return ""

    def forget(self, owner: Owner) -> None:
        """Drop the state of an owner. Raises Unreachable."""
        key = _session_key(owner)
        self._together(lambda pipe: pipe.delete(key).srem(_user_key(owner.user), key))

    def end(self, owner: Owner) -> None:
        """Drop the state of a session that has ended, for all machines. Raises Unreachable."""
        key, milliseconds = _session_key(owner), round(ENDED_SECONDS * 1000)
        self._together(
            lambda pipe: pipe.set(key, _OVER, px=milliseconds).srem(_user_key(owner.user), key)
        )

    def forget_user(self, user: str) -> None:
        """Drop the state of all of a user's sessions. Raises Unreachable."""
        index = _user_key(user)
        sessions = _asked(lambda: cast(set[bytes], self._redis.smembers(index)))
        self._together(lambda pipe: pipe.delete(index, *sessions))

    def _together(self, commands: Callable[[Any], object]) -> None:
        def execute() -> None:
            with self._redis.pipeline() as pipe:
                commands(pipe)
                pipe.execute()

        _asked(execute)


def _asked(command: Callable[[], Result]) -> Result:
    """Query Redis. Raises Unreachable, with our own message, if it does not answer or refuses."""
    try:
        return command()
    except redis.exceptions.OutOfMemoryError:
        raise Unreachable("Redis is full") from None
    except redis.TimeoutError:
        raise Unreachable("Redis does not answer in time") from None
    except (redis.RedisError, OSError) as error:
        raise Unreachable(f"Redis cannot be asked ({type(error).__name__})") from None


def _user_key(user: str) -> str:
    return f"voice:{{{digest(user).hex()}}}"


def _session_key(owner: Owner) -> str:
    return f"{_user_key(owner.user)}:{digest(owner.session).hex()}"
