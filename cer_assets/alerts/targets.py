"""Where alerts are sent: the log, a web address, a mail server. A setting names them, comma separated.

| setting                                        | target                                                        |
|------------------------------------------------|---------------------------------------------------------------|
| `log:`                                         | the log of the process that looks                             |
| `https://host/path`                            | one JSON POST: `text`, and `alerts` with their fields; no     |
|                                                | user and password; `http://` goes without TLS, path and all   |
| `smtp://user:password@host:587?to=a@x,b@x`     | one e-mail, over TLS where the server offers it; a password   |
|                                                | never goes without, unless `starttls=no`; `from=` a sender;   |
|                                                | `smtps://` speaks TLS from the start                          |
"""

import json
import logging
import smtplib
import ssl
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from email.message import EmailMessage
from http.client import HTTPException
from typing import Protocol
from urllib.error import HTTPError
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

from cer_assets.alerts.alert import Change

SECONDS = 10
"""How long a server may take to answer."""
_PORTS = {"smtp": 587, "smtps": 465}
_SENDER = "cer-assets@localhost"

log = logging.getLogger("cer_assets.alerts")


class InvalidTarget(ValueError):
    """The setting names a target that there is not; the message holds no password."""


class NotDelivered(RuntimeError):
    """A target could not be reached; the message names its host and the kind of error, and nothing it was told."""


class Target(Protocol):
    """Whom to tell."""

    @property
    def name(self) -> str:
        """What tells it from others; without user, password or token."""
        ...

    def send(self, changes: Sequence[Change]) -> None:
        """Say what changed.

        Raises:
            NotDelivered: the target was not told.
        """
        ...


@dataclass(frozen=True)
class Log:
    """The log of this process."""

    name: str = "log"

    def send(self, changes: Sequence[Change]) -> None:
        """A line for each change."""
        for change in changes:
            wrong = logging.ERROR if change.alert.severity == "error" else logging.WARNING
            log.log(logging.INFO if change.over else wrong, "%s", change.text.replace("\n", " | "))


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """An alert goes where the setting says, and nowhere else."""

    def redirect_request(self, *_: object) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """None: the redirect is an error."""


@dataclass(frozen=True)
class Webhook:
    """A web address that takes JSON; chat tools show `text`, others read the fields."""

    name: str
    url: str = field(repr=False)

    def send(self, changes: Sequence[Change]) -> None:
        """One POST for all changes."""
        body = {"text": "\n\n".join(c.text for c in changes), "alerts": [c.as_json() for c in changes]}
        request = urllib.request.Request(self.url, json.dumps(body).encode(), {"Content-Type": "application/json"})
        opener = urllib.request.build_opener(_NoRedirects)
        try:
            with opener.open(request, timeout=SECONDS):
                pass
        except (OSError, HTTPException, ValueError) as error:
            if isinstance(error, HTTPError):  # an answer that says no: its connection is open still
                error.close()
            raise NotDelivered(f"{self.name}: {_kind(error)}") from None


@dataclass(frozen=True)
class Mail:
    """A mail server."""

    name: str
    host: str
    port: int
    sender: str
    to: tuple[str, ...]
    tls: str
    """`smtps` from the start, `starttls` once connected, `offered` where there is, `no` at all."""
    user: str | None = None
    password: str | None = field(default=None, repr=False)

    def send(self, changes: Sequence[Change]) -> None:
        """One e-mail for all changes."""
        message = EmailMessage()
        more = f" and {len(changes) - 1} more" if len(changes) > 1 else ""
        message["Subject"] = f"[cer_assets] {' '.join(changes[0].title.split())}{more}"
        message["From"], message["To"] = self.sender, ", ".join(self.to)
        message.set_content("\n\n".join(change.text for change in changes))
        try:
            self._deliver(message)
        except (OSError, smtplib.SMTPException, ValueError) as error:
            raise NotDelivered(f"{self.name}: {_kind(error)}") from None

    def _deliver(self, message: EmailMessage) -> None:
        trusted = ssl.create_default_context()
        if self.tls == "smtps":
            server = smtplib.SMTP_SSL(self.host, self.port, timeout=SECONDS, context=trusted)
        else:
            server = smtplib.SMTP(self.host, self.port, timeout=SECONDS)
        with server:
            server.ehlo()
            if self.tls == "starttls" or (self.tls == "offered" and server.has_extn("starttls")):
                server.starttls(context=trusted)
            if self.user is not None:
                server.login(self.user, self.password or "")
            server.send_message(message)


def _kind(error: Exception) -> str:
    """Of an error what gives nothing away: a server may quote what it was sent."""
    code: object = getattr(error, "code", getattr(error, "smtp_code", None))
    return f"{type(error).__name__} {code}" if isinstance(code, int) else type(error).__name__


def targets_of(setting: str) -> list[Target]:
    """The targets that a setting names; none where it is empty.

    Raises:
        InvalidTarget: one of them cannot be understood.
    """
    found: list[Target] = []
    for number, part in enumerate(_parts(setting), 1):
        target = _target(part, number)
        twice = sum(one.name.split("#")[0] == target.name for one in found)
        found.append(_target(part, number, f"#{twice + 1}") if twice else target)
    return found


def _parts(setting: str) -> list[str]:
    """The addresses; a comma inside one, as between two receivers, is followed by no scheme."""
    parts: list[str] = []
    for piece in filter(None, (piece.strip() for piece in setting.split(","))):
        if parts and ":" not in piece.split("@")[0]:
            parts[-1] += f",{piece}"
        else:
            parts.append(piece)
    return parts


def _target(part: str, number: int, mark: str = "") -> Target:
    where = f"target {number}"
    try:
        url, wants = urlsplit(part), parse_qs(urlsplit(part).query)
        port = url.port
    except ValueError:
        raise InvalidTarget(f"{where}: expected an address such as https://host/path") from None
    if url.scheme == "log":
        return Log(f"log{mark}")
    if url.scheme in ("http", "https") and url.hostname:
        if "@" in url.netloc:  # urllib would take it for a part of the host, and never deliver
            raise InvalidTarget(f"{where}: expected a web address without user and password")
        return Webhook(f"{url.scheme}://{url.hostname}{f':{port}' if port else ''}{mark}", part)
    if url.scheme in _PORTS and url.hostname:
        return _mail(url, wants, where, mark)
    raise InvalidTarget(f"{where}: expected log:, https://host/path or smtp://host:port?to=address")


def _mail(url: SplitResult, wants: Mapping[str, list[str]], where: str, mark: str) -> Mail:
    to = tuple(address.strip() for each in wants.get("to", []) for address in each.split(",") if "@" in address)
    if not to:
        raise InvalidTarget(f"{where}: expected ?to=address behind the mail server")
    plain = wants.get("starttls", ["yes"])[-1] == "no"
    port = url.port or _PORTS[url.scheme]
    return Mail(
        name=f"{url.scheme}://{url.hostname}:{port}{mark}",
        host=str(url.hostname),
        port=port,
        sender=wants.get("from", [_SENDER])[-1],
        to=to,
        tls="smtps" if url.scheme == "smtps" else "no" if plain else "starttls" if url.username else "offered",
        user=unquote(url.username) if url.username else None,
        password=unquote(url.password) if url.password else None,
    )
