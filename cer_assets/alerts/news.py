"""What each target was told, so that it hears of a trouble once when it begins and once when it ends."""

import json
from collections.abc import Mapping, Sequence

from cer_assets.alerts.alert import Alert, Change
from cer_assets.alerts.targets import NotDelivered, Target

Told = Mapping[str, Mapping[str, Alert]]
"""Target -> the key of an alert -> the alert as the target was told of it."""

MOST = 100
"""Most alerts that a target is told of at once; the rest follow as these end."""


def tell(targets: Sequence[Target], wrong: Sequence[Alert], told: Told) -> tuple[Told, list[str]]:
    """Send each target what is news to it.

    Args:
        targets: whom to tell.
        wrong: what is wrong now.
        told: what each target was told before.

    Returns:
        What each target has been told now, and a sentence for each that could not be reached: to it all of this is news
        the next time still.
    """
    now: dict[str, Mapping[str, Alert]] = {}
    failures: list[str] = []
    for target in targets:
        before = told.get(target.name, {})
        # What goes on is known as it was told: since when it has been wrong does not move with the newest run.
        first = sorted(wrong, key=_first)
        # What was told and goes on stays told, though graver things came since: they do not make it right again.
        current = {a.key: before.get(a.key, a) for n, a in enumerate(first) if n < MOST or a.key in before}
        changes = [Change(alert) for key, alert in current.items() if key not in before]
        changes += [Change(alert, over=True) for key, alert in before.items() if key not in current]
        try:
            if changes:
                target.send(changes)
            now[target.name] = current
        except NotDelivered as failure:
            now[target.name] = before
            failures.append(str(failure))
    return now, failures


def _first(alert: Alert) -> tuple[bool, str, str]:
    return alert.severity != "error", alert.since.isoformat(), alert.key


def as_text(told: Told) -> str:
    """What was told, as text to keep."""
    return json.dumps({name: [alert.as_json() for alert in alerts.values()] for name, alerts in told.items()})


def told_from(text: str | None) -> Told:
    """What `as_text` wrote; nothing where there is none."""
    held: Mapping[str, list[dict[str, object]]] = json.loads(text or "{}")
    return {name: {alert.key: alert for alert in map(Alert.from_json, alerts)} for name, alerts in held.items()}
