"""What an alert says; how it is sent is said in `targets.py`."""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self

Severity = Literal["error", "warning"]


@dataclass(frozen=True)
class Alert:
    """Something that is wrong. None of its words may come from a record or a library: ours hold no personal value."""

    key: str
    """The same for as long as it is the same trouble."""
    what: str
    """A sentence: what happened, and if known what to do."""
    where: str
    """The job, the table and its check, or the feed."""
    since: dt.datetime
    """When it began, with its time zone."""
    severity: Severity = "error"
    link: str | None = None
    """The run, or the table, in the UI."""

    def as_json(self) -> dict[str, Any]:
        """Its fields as JSON holds them."""
        return {
            "key": self.key,
            "what": self.what,
            "where": self.where,
            "since": self.since.isoformat(),
            "severity": self.severity,
            "link": self.link,
        }

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> Self:
        """The alert that `as_json` wrote."""
        written: dict[str, Any] = {**fields, "since": dt.datetime.fromisoformat(fields["since"])}
        return cls(**written)


@dataclass(frozen=True)
class Change:
    """What a target is told: something became wrong, or is right again."""

    alert: Alert
    over: bool = False

    @property
    def title(self) -> str:
        """One line."""
        return f"{'right again' if self.over else self.alert.severity}: {self.alert.where}"

    @property
    def text(self) -> str:
        """All that there is to say, in a few lines."""
        lines = [self.title, self.alert.what, f"since {self.alert.since:%Y-%m-%d %H:%M %Z}".rstrip(), self.alert.link]
        return "\n".join(line for line in lines if line)

    def as_json(self) -> dict[str, Any]:
        """The alert's fields, whether it is over, and the text."""
        return self.alert.as_json() | {"over": self.over, "text": self.text}
