"""Who makes the lists: the hybrid with its trees or one family with its settings, as files; it is chosen elsewhere."""

import json
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Protocol, Self

import polars as pl

from cer_assets.recommend.evaluate import Targets
from cer_assets.recommend.families import all_families
from cer_assets.recommend.interactions import Interactions
from cer_assets.recommend.model import Recommender

FILE = "champion.json"
"""The file beside those of the trees."""


class Ranker(Protocol):
    """What was learned from earlier windows of how to order the candidates of all families."""

    def files(self) -> dict[str, bytes]:
        """Its files, the same bytes for the same ranker."""
        ...

    def card(self) -> dict[str, Any]:
        """What it was learned from, as JSON."""
        ...


class Ensemble(Protocol):
    """A way to rank over all families that learns from windows of the past."""

    name: str

    def window(
        self, fitted: Mapping[str, Recommender], products: pl.DataFrame, cut: date, wanted: Mapping[str, Targets]
    ) -> Any:
        """What one window teaches, small enough to keep, from families fitted before a cut and the targets after it.

        None where it teaches nothing.
        """
        ...

    def learn(self, windows: Sequence[Any]) -> Ranker | None:
        """Learn from windows, oldest first; None where they are not enough."""
        ...

    def over(
        self, fitted: Mapping[str, Recommender], products: pl.DataFrame, as_of: date, ranker: Ranker
    ) -> Recommender:
        """Rank over families fitted as of a day with what was learned before it."""
        ...

    def from_files(self, files: Mapping[str, bytes]) -> Ranker:
        """The ranker whose files these are."""
        ...


@dataclass(frozen=True)
class Champion:
    """A recommender that was chosen on days it had not seen."""

    name: str
    """`Ensemble.name`, or that of one member of a family."""
    as_of: date
    """First day not known when it was chosen."""
    learned_from: date
    """First of the days it learned to rank from; for a family, of as many days."""
    learned_before: date
    """First day that nothing learned in it has seen: it may be judged from here on."""
    settings: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Of the family; none for the ensemble, whose ranker has its own."""
    ranker: Ranker | None = None
    """What the ensemble learned."""

    def over(
        self, fitted: Mapping[str, Recommender], products: pl.DataFrame, as_of: date, ensemble: Ensemble
    ) -> Recommender:
        """This champion over families fitted as of a day.

        A family that stands there under the champion's settings is taken as it is, else fitted anew under those.

        Raises:
            LookupError: there is no such family any more.
        """
        if self.ranker is not None:
            return ensemble.over(fitted, products, as_of, self.ranker)
        there = self._member(fitted)
        if there.settings.model_dump(mode="json") == self.settings:
            return there
        return self._with_settings(there).fit(there.interactions_, products, as_of)

    def fit(
        self,
        interactions: Interactions,
        products: pl.DataFrame,
        as_of: date,
        ensemble: Ensemble,
        families: Callable[[], Mapping[str, Recommender]] = all_families,
    ) -> Recommender:
        """This champion as of a day, with as many families as it needs fitted for it.

        Raises:
            LookupError: there is no such family any more.
        """
        members = families()
        if self.ranker is None:
            return self._with_settings(self._member(members)).fit(interactions, products, as_of)
        fitted = {name: model.fit(interactions, products, as_of) for name, model in members.items()}
        return ensemble.over(fitted, products, as_of, self.ranker)

    def _member(self, members: Mapping[str, Recommender]) -> Recommender:
        if self.name not in members:
            raise LookupError(f"no family has a member {self.name}: a challenge finds another champion")
        return members[self.name]

    def _with_settings(self, member: Recommender) -> Recommender:
        own = copy(member)
        own.settings = type(member.settings).model_validate(dict(self.settings))
        return own

    def files(self) -> dict[str, bytes]:
        """Which recommender it is and the files of its ranker; the same champion gives the same bytes."""
        known = {
            "name": self.name,
            "as_of": self.as_of.isoformat(),
            "learned_from": self.learned_from.isoformat(),
            "learned_before": self.learned_before.isoformat(),
            "settings": dict(self.settings),
        }
        ranker = self.ranker.files() if self.ranker is not None else {}
        return {FILE: json.dumps(known, indent=2, sort_keys=True).encode(), **ranker}

    @classmethod
    def from_files(cls, files: Mapping[str, bytes], ensemble: Ensemble) -> Self:
        """The champion that `files` wrote."""
        known = json.loads(files[FILE])
        days = {name: date.fromisoformat(known[name]) for name in ("as_of", "learned_from", "learned_before")}
        ranker = {name: data for name, data in files.items() if name != FILE}
        return cls(
            name=known["name"],
            settings=known["settings"],
            ranker=ensemble.from_files(ranker) if ranker else None,
            **days,
        )

    def card(self) -> dict[str, Any]:
        """Name, days and settings, and the card of the ranker, as JSON."""
        ranker = {} if self.ranker is None else {"ranker": self.ranker.card()}
        return {**json.loads(self.files()[FILE]), **ranker}
