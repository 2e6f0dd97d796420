"""Requests to the archives' servers: one session, and which of their answers are worth another try."""

from __future__ import annotations

import random
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from ..core.errors import InputError, MissingInput, one_line
from ..core.settings import load_settings

if TYPE_CHECKING:
    from requests import Response, Session

__all__ = ["Refused", "TryAgain", "ask", "content_length", "open_session", "persist", "read_all"]

T = TypeVar("T")

#: Of servers that are overloaded or restarted: too many requests, errors of a server, of a gateway.
_AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504})
#: Seconds before the first repetition, and at most; each wait is twice the one before.
_FIRST_WAIT, _LONGEST_WAIT = 1.0, 60.0
#: A number of bytes. Others have more digits than a disk, or than Python takes for a number.
_BYTES = re.compile(r"\d{1,18}", re.ASCII)
#: The words of errors of the libraries, and those of messages.
_REASONS = {
    "timed out": "connection: timed out",
    "refused": "connection: refused",
    "Name or service not known": "connection: Name or service not known",
    "reset by peer": "connection: reset by peer",
    "IncompleteRead": "the answer was cut short",
    "without response": "the server closed the connection",
    "BadStatusLine": "the answer is not HTTP",
    "HTTPException": "the answer is not HTTP",
    "LineTooLong": "the answer is not HTTP",
    "InvalidChunkLength": "the answer is not HTTP",
    "failed to decode": "the answer is not packed as its Content-Encoding says",
}
#: Longest `Retry-After` of a server that is respected (seconds).
_LONGEST_ADVICE = 600.0


class TryAgain(Exception):
    """What went wrong may go well the next time."""

    def __init__(self, reason: str, wait: float = 0.0) -> None:
        super().__init__(reason)
        self.wait = wait  #: Seconds that the server asks for


class Refused(InputError):
    """The server does not give a file, and asking again does not help."""


def open_session() -> Session:
    """A session, with the proxies and certificates that the environment names.

    Raises
    ------
    InputError
        If requests is not installed.
    """
    try:
        import requests
    except ImportError:
        raise InputError(
            "tasoc-mpi download needs requests: pip install 'tasoc-mpi[download]'; or let another program "
            "fetch the files to the folders that docs/data.md names"
        ) from None
    session = requests.Session()
    # Else a server may compress a file on the way, and its size and ranges would be those of other bytes.
    session.headers["Accept-Encoding"] = "identity"
    return session


@contextmanager
def ask(session: Session, url: str, headers: dict[str, str] | None = None) -> Iterator[Response]:
    """Send a GET request; the body is left to be read.

    Parameters
    ----------
    session : requests.Session
    url : str
    headers : dict, optional
        Of the request; with them the answer may be one to a Range. Default: the whole file is wanted.

    Raises
    ------
    TryAgain
        If the server is not reached, or has an error that passes, before or while the body is read.
    Refused
        If it does not have or not give the file.
    """
    import requests
    import urllib3

    timeout = load_settings().getfloat("download", "timeout")
    try:
        with _get(session, url, headers, timeout) as response:
            if response.status_code in _AGAIN:
                raise TryAgain(_status(response), _advice(response.headers.get("Retry-After", "")))
            if response.status_code not in ((200,) if headers is None else (200, 206, 416)):
                raise Refused(f"{url}: {_status(response)}")
            yield response
    except requests.exceptions.SSLError as error:
        if "CERTIFICATE_VERIFY_FAILED" in str(error):
            raise Refused(
                f"{url}: the certificate of the server is not trusted; REQUESTS_CA_BUNDLE names others"
            ) from None
        raise TryAgain(one_line(error)[:200]) from None
    except (requests.exceptions.InvalidURL, requests.exceptions.InvalidSchema) as error:
        raise Refused(f"{url}: {one_line(error)[:200]}; correct the address in the settings") from None
    except (requests.exceptions.RequestException, urllib3.exceptions.HTTPError) as error:
        raise TryAgain(_reason(error)) from None


def _get(session: Session, url: str, headers: dict[str, str] | None, timeout: float) -> Response:
    """The answer to a GET request; Refused where the server redirects it to an address that is none."""
    import requests

    try:
        return session.get(url, headers=headers, stream=True, timeout=timeout)
    except requests.exceptions.RequestException:
        raise
    except ValueError as error:
        raise Refused(
            f"{url}: the server redirects it to no address ({one_line(error)[:100]}); name a mirror in the "
            "settings"
        ) from None


def content_length(response: Response) -> int | None:
    """The bytes of an answer by its header; None where it does not tell."""
    text = response.headers.get("Content-Length", "")
    return int(text) if _BYTES.fullmatch(text) else None


def _reason(error: Exception) -> str:
    """The words of the innermost error: those around it name objects of the library."""
    text = one_line(error)
    return next((reason for words, reason in _REASONS.items() if words in text), text[:200])


def _status(response: Response) -> str:
    return f"HTTP status {response.status_code} {one_line(response.reason)[:60]}".rstrip()


def _advice(text: str) -> float:
    """Seconds of a Retry-After; 0 for a date or anything else."""
    known = text.isascii() and text.isdecimal() and len(text) < 6
    return min(float(text), _LONGEST_ADVICE) if known else 0.0


def persist(work: Callable[[], T], stop: threading.Event, progressed: Callable[[], bool] | None = None) -> T:
    """Do something until it succeeds, with growing waits in between.

    Parameters
    ----------
    work : callable
        Raises TryAgain where it may succeed another time.
    stop : threading.Event
        Ends the waiting.
    progressed : callable, optional
        Whether the last try came further than those before it: then they do not count.

    Raises
    ------
    TryAgain
        The last one, when the retries of the settings are used up.
    KeyboardInterrupt
        If `stop` is set.
    """
    retries = load_settings().getint("download", "retries")
    failed = 0
    while True:
        try:
            return work()
        except TryAgain as error:
            failed = 1 if progressed is not None and progressed() else failed + 1
            if failed > retries:
                raise
            wait = min(_FIRST_WAIT * 2 ** (failed - 1), _LONGEST_WAIT)
            # The threads of a server that was restarted are not to come back at one moment.
            if stop.wait(max(error.wait, wait * random.uniform(0.5, 1.0))):
                raise KeyboardInterrupt from None


def read_all(session: Session, url: str, most: int, what: str) -> str:
    """The text of a list of files, or of a page.

    Parameters
    ----------
    session : requests.Session
    url : str
    most : int
        Bytes that it has at most.
    what : str
        What it is, for messages.

    Raises
    ------
    MissingInput
        If it is not there.
    InputError
        If the server does not give it.
    """

    def read() -> bytes:
        with ask(session, url) as response:
            content = bytearray()
            for block in response.iter_content(1 << 20):
                content += block
                if len(content) > most:
                    raise InputError(f"{url}: more than {most / 1e6:.0f} MB, too much for {what}")
            if not content:
                raise TryAgain("the answer is empty")
            return bytes(content)

    try:
        return persist(read, threading.Event()).decode("utf-8", "replace")
    except Refused as error:
        raise MissingInput(f"{what} is not there: {error}") from None
    except TryAgain as error:
        raise InputError(f"{url}: {error}; try again later, or name a mirror in the settings") from None
