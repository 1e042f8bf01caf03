"""A public address for development: ngrok, through pyngrok.

A tunnel that cannot be opened is reported in one plain sentence and never ends the server. ngrok's
agent and pyngrok are third-party code: their messages are shown without tokens and addresses, and
whatever they raise only means that the server goes on without a tunnel.
"""

from __future__ import annotations

import codecs
import copy
import json
import logging
import os
import re
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from urllib.request import ProxyHandler, Request, build_opener

from skill.background import begin, is_done
from skill.redaction import redact, redact_logs, redact_secrets, redact_tokens

if TYPE_CHECKING:
    from pyngrok.log import NgrokLog

log = logging.getLogger(__name__)

# How long to wait: for the tunnel, for a call of the agent's API, for the agent to end.
SECONDS = 30.0  # pyngrok waits for ever for an agent that stays silent
ASK_SECONDS, END_SECONDS = 4.0, 2.0
CONFIG_BYTES = 1 << 20
REASON_CHARACTERS = 200
GOES_ON = "the skill goes on without a tunnel"

DASHBOARD = "https://dashboard.ngrok.com"
TOKEN_PAGE = f"{DASHBOARD}/get-started/your-authtoken"
_TOKEN = f"copy your account's token from {TOKEN_PAGE} into NGROK_AUTHTOKEN"
_ACCOUNT = f"check your account at {DASHBOARD}"
_UPDATE = "update the agent with `ngrok update`, or delete it, so that a new one is fetched"
_NETWORK = "start from a network that ngrok and your account allow"
_DOMAIN = f"pass a domain of your account ({DASHBOARD}/domains) as --domain, or leave it out"
_ENDPOINT = f"stop what holds the address ({DASHBOARD}/endpoints) and start again"
ADVICE = {  # https://ngrok.com/docs/errors
    **dict.fromkeys((102, 103), _ACCOUNT),
    **dict.fromkeys((105, 106, 107, 109, 300, 4018), _TOKEN),
    108: f"stop the agent that runs elsewhere ({DASHBOARD}/agents) and start again",
    **dict.fromkeys((115, 116, 9040), _NETWORK),
    **dict.fromkeys((119, 120, 121), _UPDATE),
    **dict.fromkeys((313, 314, 319, 320, 354, 401, 412, 7117, 7118), _DOMAIN),
    **dict.fromkeys((334, 6030, 18016, 18017), _ENDPOINT),
    8012: "make sure that this server is still running and that nothing else uses its port",
    9009: "unset http_proxy and https_proxy, which free accounts may not use for the agent",
}

_CODE = re.compile(r"ERR_NGROK_(\d+)")
_URL = re.compile(r"https?://\S+")
# The error in a line that pyngrok could not parse.
_ERR = re.compile(r'"?\berr"?[=:]\s?"((?:[^"\\]|\\.)*)')
# As text, not as YAML, so that a broken file is searched, too. A comment, null or "" is no token.
_CONFIGURED = re.compile(
    r"""^[^#\n]*\bauthtoken["']?[ \t]*:[ \t]*["']?(?!null\b|~)[^\s"'#}]""", re.MULTILINE
)
_SECRET = re.compile(r"""\b(?:authtoken|api_key)["']?[ \t]*:[ \t]*["']?([^\s"'#},]+)""")
_HOST_NAME = re.compile(
    r"(?=.{4,253}$)(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z](?:[a-z0-9-]{0,61}[a-z0-9])"
)


class NoTunnel(RuntimeError):
    """There is no tunnel; the message says why and what to do."""


def is_configured() -> bool:
    """Return whether an ngrok token is configured, in NGROK_AUTHTOKEN or in ngrok's own file.

    The file is searched as text, so that a broken one does no harm.
    """
    if os.environ.get("NGROK_AUTHTOKEN", "").strip():
        return True
    return _CONFIGURED.search(_config_text()) is not None


def domain_name(text: str) -> str:
    """Return the host name of an ngrok domain, which may be written as an https address.

    Raises ValueError if the text is anything else.
    """
    found = text.strip()
    try:
        parts = urlsplit(found if "://" in found else f"//{found}")
        host, port = (parts.hostname or "").removesuffix("."), parts.port
    except ValueError:
        host, port = "", None
    else:
        rest = (parts.path.strip("/"), parts.query, parts.fragment, parts.username or "")
        if parts.scheme not in ("", "https") or port not in (None, 443) or any(rest):
            host = ""
    if not _HOST_NAME.fullmatch(host):
        shown = redact_tokens(found)[:80]
        raise ValueError(
            f"{shown!r} is not the domain of a tunnel: it must be just a host name, such as "
            f"your-name.ngrok-free.app ({DASHBOARD}/domains)"
        )
    return host


def open_tunnel(port: int, *, domain: str = "", seconds: float = SECONDS) -> str:
    """Open a tunnel to a local port and return its https address.

    domain: the host name of a fixed domain; empty: ngrok chooses. Raises NoTunnel if the tunnel
    cannot be opened or takes too long.
    """
    try:
        from pyngrok import process  # raises on a system that it does not know
    except Exception as odd:
        raise NoTunnel(f"ngrok cannot be used here ({type(odd).__name__}); {GOES_ON}") from None
    opened = threading.Event()
    secrets = _secrets(domain)
    redact_logs(process.__name__.split(".")[0], secrets)

    # A thread, because pyngrok has no timeout for download, start and tunnel together.
    connection = begin(lambda: _connect(port, domain, _listener(secrets, opened)), name="ngrok")
    late = not is_done(connection, seconds)  # asked before `close`, which makes the thread fail
    if not late and connection.exception() is None:
        opened.set()  # from now on, errors that the agent logs are shown
        return connection.result()
    close()  # end an agent that is silent or refused the tunnel
    # No error of pyngrok's may stop the server.
    error = connection.exception() if is_done(connection, END_SECONDS) else None
    said = _complaint(error)
    if said:
        raise NoTunnel(f"{_sentence(said, secrets)}; {GOES_ON}")
    if late or error is None:
        raise NoTunnel(f"the ngrok agent did not answer within {seconds:.0f} s; {GOES_ON}")
    raise NoTunnel(f"{redact_secrets(_why(error), secrets)}; {GOES_ON}")


def close() -> None:
    """End the agent, which would outlive this process on a signal.

    pyngrok holds its lock while it waits for a silent agent to start, so end the agent's process
    first, and then let pyngrok clean up.
    """
    from pyngrok import ngrok

    if (running := _running()) is not None:
        running.proc.kill()
    is_done(begin(ngrok.kill, name="ngrok-kill"), END_SECONDS)


def _running() -> Any:
    """Return pyngrok's record of the agent's process, or None if no agent runs."""
    from pyngrok import conf, process

    return getattr(process, "_current_processes", {}).get(conf.get_default().ngrok_path)


class _Agent(subprocess.Popen[str]):
    """The agent's process, with two leaks closed.

    Its stderr, where it may print the token, is read together with stdout instead of being shown.
    And pyngrok would pass the token as an argument, which every user of this machine can read in
    the process list; here it goes into the environment, where the agent finds it, too.
    """

    def __init__(self, command: list[str], **options: Any) -> None:
        mixed = {"stderr": subprocess.STDOUT, "encoding": "utf-8", "errors": "replace"}
        environment = dict(options.pop("env", None) or os.environ)
        if "--authtoken" in command:
            place = command.index("--authtoken")
            environment["NGROK_AUTHTOKEN"] = command[place + 1]
            command = command[:place] + command[place + 2 :]
        super().__init__(command, **{**options, **mixed, "env": environment})


class Ngrok:
    """An open ngrok tunnel."""

    def __init__(self, address: str) -> None:
        self.address = address

    def is_alive(self) -> bool:
        """Return whether the agent still runs."""
        running = _running()
        return running is not None and running.proc.poll() is None

    def close(self) -> None:
        """End the agent."""
        close()


def _connect(port: int, domain: str, listener: Callable[[NgrokLog], None]) -> str:
    """Open the tunnel with pyngrok, after replacing its `subprocess` and `urlopen`.

    Left alone, pyngrok would show the agent's stderr, and would call the agent's API through
    http_proxy, in some places without a timeout.
    """
    from pyngrok import conf, ngrok, process

    # Only the names in pyngrok's modules are replaced; other modules keep theirs.
    direct = build_opener(ProxyHandler({}))

    def ask(request: Request, data: bytes | None = None, timeout: float = ASK_SECONDS) -> Any:
        return direct.open(request, data, timeout)

    processes = ModuleType("subprocess")
    vars(processes).update({**vars(subprocess), "Popen": _Agent})
    vars(process).update(subprocess=processes, urlopen=ask)
    vars(ngrok).update(urlopen=ask)
    # A copy, because pyngrok's default configuration is shared by the whole process.
    settings = copy.copy(conf.get_default())
    settings.log_event_callback = listener
    settings.auth_token = (settings.auth_token or "").strip() or None
    options = {"url": f"https://{domain}"} if domain else {}
    # A full URL, because the agent would build a broken upstream from a bare host:port.
    upstream = f"http://127.0.0.1:{port}"
    tunnel = ngrok.connect(upstream, name="alexa-skill", pyngrok_config=settings, **options)
    return str(tunnel.public_url)


def _listener(secrets: tuple[str, ...], opened: threading.Event) -> Callable[[NgrokLog], None]:
    """Return a callback for the agent's log that logs each new error once the tunnel is open."""
    last = [""]  # the agent repeats an error with every attempt; once is enough

    def hear(line: NgrokLog) -> None:
        if not opened.is_set() or not (
            line.lvl in ("ERROR", "CRITICAL") or _CODE.search(line.line)
        ):
            return
        sentence = _sentence(line.err or line.msg or line.line, secrets)
        if sentence != last[0]:
            last[0] = sentence
            log.warning("%s", sentence)

    return hear


def _complaint(error: BaseException | None) -> str:
    """Return what the agent itself said about an error, preferring a line with a code; or ""."""
    from pyngrok.exception import PyngrokNgrokError, PyngrokNgrokHTTPError

    if isinstance(error, PyngrokNgrokHTTPError):
        said = error.body.strip()
        words = said if re.search(r"\w", said) else ""  # "[]" explains nothing
        return _refusal(said) or words or f"its API answered {error.status_code}"
    if not isinstance(error, PyngrokNgrokError):
        return ""
    logs = error.ngrok_logs
    unparsed = [found[1] for line in logs if not line.err and (found := _ERR.search(line.line))]
    shown = "\n".join(
        line.line.removeprefix("ERROR:").strip() for line in logs if line.line.startswith("ERROR:")
    )
    errors = [
        line.err or line.msg or line.line for line in logs if line.lvl in ("ERROR", "CRITICAL")
    ]
    # From the most to the least informative.
    texts = [
        error.ngrok_error or "",
        *errors,
        *unparsed,
        shown,
        *(line.line for line in logs if line.lvl != "INFO"),
    ]
    texts = [text for text in texts if text.strip() and text != "nil"]
    return next((text for text in texts if _CODE.search(text)), texts[0] if texts else "")


def _refusal(body: str) -> str:
    """Return the reason in an answer of the agent's API, or ""."""
    try:
        answer = json.loads(body)
        return str((answer.get("details") or {}).get("err") or answer.get("msg") or "")
    except (ValueError, AttributeError):
        return ""


def _sentence(said: str, secrets: tuple[str, ...]) -> str:
    """Return what the agent said as one sentence: its code, its reason, and what to do."""
    # The log's escapes become line breaks; then the first line that is not just a code or an
    # address is the reason, and its first sentence is enough.
    plain = re.sub(r"\\[rnt]|[\x00-\x1f\x7f]", "\n", said).replace('\\"', '"')
    code = _CODE.search(plain)
    lines = [line.strip() for line in plain.split("\n")]
    lines = [
        line for line in lines if line and not _CODE.fullmatch(line) and not _URL.fullmatch(line)
    ]
    first = re.split(r"(?<=[.!?])\s+(?=[A-Z])", lines[0])[0] if lines else ""
    first = re.sub(r"^(?:authentication failed|failed to start (?:tunnel|endpoint)): ", "", first)
    reason = redact(_CODE.sub("", first), secrets).strip(" .:;()[]")[:REASON_CHARACTERS]
    if code is None:
        return f"ngrok's agent says: {reason or 'nothing'}"
    page = f"see https://ngrok.com/docs/errors/{code[0].lower()}"
    advice = ADVICE.get(int(code[1]), page)
    return f"ngrok's agent says {code[0]}: {reason or 'no reason'}; {advice}"


def _why(error: BaseException) -> str:
    """Return why the agent could not be started: its file, its program, or something else."""
    from pyngrok import conf
    from pyngrok.exception import PyngrokNgrokInstallError, PyngrokNgrokURLError

    default = conf.get_default()
    path, agent = conf.get_config_path(default), default.ngrok_path
    if isinstance(error, UnicodeError):
        return f"ngrok's file {path} is not UTF-8 (PowerShell writes UTF-16): save it as UTF-8"
    # A YAML error's own message may quote a line of the file, and with it the token.
    if type(error).__module__.split(".")[0] == "yaml":
        line = getattr(getattr(error, "problem_mark", None), "line", None)
        where = "" if line is None else f"line {line + 1} of "
        return (
            f"{where}ngrok's file {path} is not YAML "
            "(perhaps a tab is used instead of spaces): correct it"
        )
    if isinstance(error, OSError) and str(error.filename) == agent:
        return (
            f"ngrok's agent {agent} cannot be started ({error.strerror}): "
            "install it from https://ngrok.com/download"
        )
    if isinstance(error, OSError) and error.filename is not None:
        return (
            f"ngrok's file {error.filename} cannot be used ({error.strerror}): correct or remove it"
        )
    if isinstance(error, PyngrokNgrokInstallError):
        return (
            "ngrok's agent is not installed and could not be downloaded: "
            "install it from https://ngrok.com/download"
        )
    if isinstance(error, PyngrokNgrokURLError):
        return "ngrok's agent did not answer when it was asked for a tunnel: start again"
    return (
        f"ngrok could not be started ({type(error).__name__}): make sure that its file {path} is "
        "correct and its agent installed (https://ngrok.com/download)"
    )


def _config_text() -> str:
    """Return ngrok's own file as text, whatever its encoding, or "" if it cannot be read."""
    try:
        from pyngrok import conf

        path = Path(conf.get_config_path(conf.get_default()))
        if not path.is_file():  # reading a pipe would block
            return ""
        with path.open("rb") as file:
            data = file.read(CONFIG_BYTES)
    except Exception:  # neither the file nor the library that finds it is ours
        return ""
    # PowerShell writes UTF-16; without a byte order mark, a zero in the first two bytes reveals it.
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return data.decode("utf-16", errors="replace")
    if b"\0" in data[:2]:
        return data.decode("utf-16-be" if data[:1] == b"\0" else "utf-16-le", errors="replace")
    return data.decode("utf-8-sig", errors="replace")


def _secrets(domain: str) -> tuple[str, ...]:
    """Return what must not be shown: the domain, and the tokens that ngrok may use."""
    from pyngrok import conf

    default = conf.get_default()
    found = [
        domain,
        default.auth_token or "",
        default.api_key or "",
        *_SECRET.findall(_config_text()),
    ]
    found += [os.environ.get(name, "") for name in ("NGROK_AUTHTOKEN", "NGROK_API_KEY")]
    return tuple({secret.strip() for secret in found if secret.strip()})
