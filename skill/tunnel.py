"""A public address for development: ngrok, through pyngrok. What cannot be opened is one plain sentence, never an end.

Another program's agent speaks here, and another library's code reads its file: what either says is told without
tokens and addresses, and whatever either raises is a reason to go on without a tunnel.
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

from skill.redaction import redact, redact_logs, redact_secrets, redact_tokens

if TYPE_CHECKING:
    from pyngrok.log import NgrokLog

log = logging.getLogger(__name__)

SECONDS = 30.0  # pyngrok waits for ever on an agent that stays silent
ASK_SECONDS, END_SECONDS = 4.0, 2.0
CONFIG_BYTES = 1 << 20
REASON_CHARACTERS = 200
GOES_ON = "the skill goes on without a tunnel"

DASHBOARD = "https://dashboard.ngrok.com"
TOKEN_PAGE = f"{DASHBOARD}/get-started/your-authtoken"
_TOKEN = f"copy your account's token from {TOKEN_PAGE} into NGROK_AUTHTOKEN"
_ACCOUNT = f"look into your account at {DASHBOARD}"
_UPDATE = "update the agent with `ngrok update`, or delete it, so that a new one is fetched"
_NETWORK = "start from a network that ngrok and your account allow"
_DOMAIN = f"pass a domain of your account ({DASHBOARD}/domains) as --domain, or none"
_ENDPOINT = f"stop what holds the address ({DASHBOARD}/endpoints) and start again"
ADVICE = {  # https://ngrok.com/docs/errors
    **dict.fromkeys((102, 103), _ACCOUNT),
    **dict.fromkeys((105, 106, 107, 109, 300, 4018), _TOKEN),
    108: f"stop the agent that runs elsewhere ({DASHBOARD}/agents) and start again",
    **dict.fromkeys((115, 116, 9040), _NETWORK),
    **dict.fromkeys((119, 120, 121), _UPDATE),
    **dict.fromkeys((313, 314, 319, 320, 354, 401, 412, 7117, 7118), _DOMAIN),
    **dict.fromkeys((334, 6030, 18016, 18017), _ENDPOINT),
    8012: "see that this server still runs, and that nothing else uses its port",
    9009: "unset http_proxy and https_proxy, which free accounts may not use for the agent",
}

_CODE = re.compile(r"ERR_NGROK_(\d+)")
_URL = re.compile(r"https?://\S+")
_ERR = re.compile(
    r'"?\berr"?[=:]\s?"((?:[^"\\]|\\.)*)'
)  # of a line that pyngrok could not take apart
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
    """Tell whether an ngrok token is configured, by NGROK_AUTHTOKEN or in ngrok's own file, however odd that is."""
    if os.environ.get("NGROK_AUTHTOKEN", "").strip():
        return True
    return _CONFIGURED.search(_config_text()) is not None


def domain_name(text: str) -> str:
    """Return the host name of an ngrok domain, which may be written as its https address.

    Raises ValueError where it is none, or more than that.
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
            f"{shown!r} is not the domain of a tunnel: it must be a host name alone, such as "
            f"your-name.ngrok-free.app ({DASHBOARD}/domains)"
        )
    return host


def open_tunnel(port: int, *, domain: str = "", seconds: float = SECONDS) -> str:
    """Open a tunnel to a local port and return its https address.

    domain: the host name of a fixed domain; none: ngrok chooses. Raises NoTunnel where it cannot be opened, or takes
    too long.
    """
    try:
        from pyngrok import process  # where it does not know the system, this raises
    except Exception as odd:
        raise NoTunnel(f"ngrok cannot be used here ({type(odd).__name__}); {GOES_ON}") from None
    outcome: list[str | Exception] = []
    opened = threading.Event()
    secrets = _secrets(domain)
    redact_logs(process.__name__.split(".")[0], secrets)

    def connect() -> None:
        try:
            outcome.append(_connect(port, domain, _listener(secrets, opened)))
        except Exception as error:  # whatever it is: the server goes on
            outcome.append(error)

    thread = threading.Thread(target=connect, name="ngrok", daemon=True)
    thread.start()
    thread.join(seconds)
    if outcome and isinstance(outcome[0], str):
        opened.set()
        return outcome[0]
    late = not outcome
    close()  # a silent agent, or one that refused the tunnel
    thread.join(END_SECONDS)
    error = outcome[0] if outcome and isinstance(outcome[0], Exception) else None
    said = _complaint(error)
    if said:
        raise NoTunnel(f"{_sentence(said, secrets)}; {GOES_ON}")
    if late or error is None:
        raise NoTunnel(f"the ngrok agent did not answer within {seconds:.0f} s; {GOES_ON}")
    raise NoTunnel(f"{redact_secrets(_why(error), secrets)}; {GOES_ON}")


def close() -> None:
    """End the agent, which a signal would leave behind.

    pyngrok holds its lock as long as a silent agent is starting, so the agent is ended first, and pyngrok told then.
    """
    from pyngrok import ngrok

    if (running := _running()) is not None:
        running.proc.kill()
    thread = threading.Thread(target=ngrok.kill, name="ngrok-kill", daemon=True)
    thread.start()
    thread.join(END_SECONDS)


def _running() -> Any:
    """Return pyngrok's record of the agent's process; None: there is none."""
    from pyngrok import conf, process

    return getattr(process, "_current_processes", {}).get(conf.get_default().ngrok_path)


class _Agent(subprocess.Popen[str]):
    """The agent's process; what it writes on stderr, the token for one, is read with the rest rather than shown.

    pyngrok would hand over the token as an argument, which everybody on this machine can read in
    the list of processes; the agent takes it from its environment as well.
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
    """Open the tunnel by pyngrok, with stand-ins for what it would do otherwise.

    It would show the agent's stderr, and ask the agent through http_proxy, at times without a limit.
    """
    from pyngrok import conf, ngrok, process

    direct = build_opener(ProxyHandler({}))

    def ask(request: Request, data: bytes | None = None, timeout: float = ASK_SECONDS) -> Any:
        return direct.open(request, data, timeout)

    processes = ModuleType("subprocess")
    vars(processes).update({**vars(subprocess), "Popen": _Agent})
    vars(process).update(subprocess=processes, urlopen=ask)
    vars(ngrok).update(urlopen=ask)
    settings = copy.copy(conf.get_default())
    settings.log_event_callback = listener
    settings.auth_token = (settings.auth_token or "").strip() or None
    options = {"url": f"https://{domain}"} if domain else {}
    # a full URL: from a bare host:port the agent would build a broken upstream
    upstream = f"http://127.0.0.1:{port}"
    tunnel = ngrok.connect(upstream, name="alexa-skill", pyngrok_config=settings, **options)
    return str(tunnel.public_url)


def _listener(secrets: tuple[str, ...], opened: threading.Event) -> Callable[[NgrokLog], None]:
    """Return what hears the agent's lines, and logs what goes wrong after the tunnel was opened, once."""
    last = [""]

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


def _complaint(error: Exception | None) -> str:
    """Return what the agent itself said of an error, most telling first, or nothing."""
    from pyngrok.exception import PyngrokNgrokError, PyngrokNgrokHTTPError

    if isinstance(error, PyngrokNgrokHTTPError):
        said = error.body.strip()
        words = said if re.search(r"\w", said) else ""  # "[]" tells nobody anything
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
    """Return the reason in what the agent's API answered, or nothing."""
    try:
        answer = json.loads(body)
        return str((answer.get("details") or {}).get("err") or answer.get("msg") or "")
    except (ValueError, AttributeError):
        return ""


def _sentence(said: str, secrets: tuple[str, ...]) -> str:
    """Make one sentence of what the agent said: its code, its reason, and what to do."""
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


def _why(error: Exception) -> str:
    """Say why the agent could not be started: its file, its program, or what else."""
    from pyngrok import conf
    from pyngrok.exception import PyngrokNgrokInstallError, PyngrokNgrokURLError

    default = conf.get_default()
    path, agent = conf.get_config_path(default), default.ngrok_path
    if isinstance(error, UnicodeError):
        return f"ngrok's file {path} is not UTF-8 (PowerShell writes UTF-16): save it as UTF-8"
    if (
        type(error).__module__.split(".")[0] == "yaml"
    ):  # its text may hold a line, and with it the token
        line = getattr(getattr(error, "problem_mark", None), "line", None)
        where = "" if line is None else f"line {line + 1} of "
        return f"{where}ngrok's file {path} is not YAML (a tab, perhaps, where spaces should be): correct it"
    if isinstance(error, OSError) and str(error.filename) == agent:
        return f"ngrok's agent {agent} cannot be started ({error.strerror}): install it from https://ngrok.com/download"
    if isinstance(error, OSError) and error.filename is not None:
        return (
            f"ngrok's file {error.filename} cannot be used ({error.strerror}): correct or remove it"
        )
    if isinstance(error, PyngrokNgrokInstallError):
        return "ngrok's agent is not there and could not be fetched: install it from https://ngrok.com/download"
    if isinstance(error, PyngrokNgrokURLError):
        return "ngrok's agent did not answer when it was asked for a tunnel: start again"
    return (
        f"ngrok could not be started ({type(error).__name__}): see that its file {path} is right, and its agent there "
        "(https://ngrok.com/download)"
    )


def _config_text() -> str:
    """Return ngrok's own file as text, whatever its encoding; nothing where it cannot be read."""
    try:
        from pyngrok import conf

        path = Path(conf.get_config_path(conf.get_default()))
        if not path.is_file():  # a pipe would be waited for
            return ""
        with path.open("rb") as file:
            data = file.read(CONFIG_BYTES)
    except Exception:  # another program's file, and another library's idea of where it is
        return ""
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return data.decode("utf-16", errors="replace")
    if b"\0" in data[:2]:
        return data.decode("utf-16-be" if data[:1] == b"\0" else "utf-16-le", errors="replace")
    return data.decode("utf-8-sig", errors="replace")


def _secrets(domain: str) -> tuple[str, ...]:
    """Return what must not be told: tokens of the environment, of pyngrok and of ngrok's file; the domain."""
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
