"""Who makes the lists: the hybrid with its trees or one family with its settings, as files; it is chosen elsewhere."""

import json
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from datetime import date
from typing import Any, Protocol, Self

import polars as pl
from pydantic import ValidationError

from cer_assets.recommend.evaluate import Targets
from cer_assets.recommend.families import all_families
from cer_assets.recommend.hybrid import Examples, Hybrid, Ranker, RankerSettings
from cer_assets.recommend.hybrid.ranker import examples_of
from cer_assets.recommend.interactions import Interactions, days_since_epoch
from cer_assets.recommend.model import Recommender
from cer_assets.recommend.topk import all_at_once

FILE = "champion.json"
"""The file beside those of the trees."""


class Learned(Protocol):
    """What was learned from earlier windows of how to order the candidates of all families."""

    def files(self) -> dict[str, bytes]:
        """Its files, the same bytes for the same content."""
        ...

    def card(self) -> dict[str, Any]:
        """What it was learned from, as JSON."""
        ...


class Ensemble(Protocol):
    """A way to rank over all families that learns from windows of the past."""

    name: str
    """Of the ranking that has learned."""
    plain: str
    """Of the ranking that has not."""

    def window(
        self, fitted: Mapping[str, Recommender], products: pl.DataFrame, cut: date, wanted: Mapping[str, Targets]
    ) -> Any:
        """What a window teaches, small enough to keep, from families fitted before a cut and the targets after it.

        None where it teaches nothing.
        """
        ...

    def learn(self, windows: Sequence[Any]) -> Learned | None:
        """Learn from windows, oldest first; None where they are not enough."""
        ...

    def over(self, fitted: Mapping[str, Recommender], products: pl.DataFrame, as_of: date, learned: Any) -> Recommender:
        """Rank over families fitted as of a day, with what was learned before it; None: without."""
        ...

    def from_files(self, files: Mapping[str, bytes]) -> Learned:
        """What `Learned.files` wrote."""
        ...


class HybridEnsemble:
    """The hybrid as the backtest sees it: `hybrid` with its trees, `weighed` without."""

    name, plain = "hybrid", "weighed"

    def __init__(self, settings: RankerSettings | None = None):
        self.settings = settings or RankerSettings()

    def window(
        self, fitted: Mapping[str, Recommender], products: pl.DataFrame, cut: date, wanted: Mapping[str, Targets]
    ) -> Examples | None:
        """Labelled candidates; see `examples_of`. None also where too little time lies before the cut."""
        history = next(iter(fitted.values())).interactions_
        first = int(history.days.min(initial=days_since_epoch(cut)))
        if days_since_epoch(cut) - first < self.settings.windows.fewest_days:
            return None
        return examples_of(fitted, history, products, cut, wanted, self.settings)

    def learn(self, windows: Sequence[Examples]) -> Ranker | None:
        """Trees of all windows together, None where nothing of the candidates was bought."""
        if not any(window.labels["window"].any() for window in windows):
            return None
        return Ranker.learn(windows, self.settings)

    def over(
        self, fitted: Mapping[str, Recommender], products: pl.DataFrame, as_of: date, learned: Ranker | None
    ) -> Hybrid:
        """The hybrid over families that are fitted already."""
        history = next(iter(fitted.values())).interactions_
        hybrid = Hybrid(learned, name=self.plain if learned is None else self.name)
        return hybrid.over(fitted, history, products, as_of)

    def from_files(self, files: Mapping[str, bytes]) -> Ranker:
        """The trees."""
        return Ranker.from_files(files)


@dataclass(frozen=True)
class Champion:
    """A recommender that was chosen on days it had not seen."""

    name: str
    """Of the ensemble, learned or plain, or of one member of a family."""
    as_of: date
    """First day not known when it was chosen."""
    learned_from: date
    """First of the days it learned to rank from; for a family, of as many days."""
    learned_before: date
    """First day that nothing learned in it has seen: it may be judged from here on."""
    settings: Mapping[str, Any] | None = None
    """Of the family; None for the ensemble."""
    learned: Any = None
    """What the ensemble learned, a `Learned`; None for a family, and where nothing was."""

    def over(
        self, fitted: Mapping[str, Recommender], products: pl.DataFrame, as_of: date, ensemble: Ensemble
    ) -> Recommender:
        """This champion over families fitted as of a day.

        A family that stands there under the champion's settings is taken as it is, else fitted anew under those.

        Raises:
            LookupError: there is no such family any more, or not with such settings.
        """
        member = self.member(fitted)
        if member is None:
            return ensemble.over(fitted, products, as_of, self.learned)
        there = fitted[self.name]
        return there if there.settings == member.settings else member.fit(there.interactions_, products, as_of)

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
            LookupError: there is no such family any more, or not with such settings.
        """
        members = families()
        member = self.member(members)
        if member is not None:
            return member.fit(interactions, products, as_of)
        fitted = all_at_once(lambda _, model: model.fit(interactions, products, as_of), members)
        return ensemble.over(fitted, products, as_of, self.learned)

    def member(self, members: Mapping[str, Recommender]) -> Recommender | None:
        """A copy, under this champion's settings, of the member of a family that it is; None for the ensemble.

        Raises:
            LookupError: there is no such family any more, or not with such settings.
        """
        if self.settings is None:
            return None
        if self.name not in members:
            raise LookupError(f"no family has a member {self.name}: a challenge finds another champion")
        own = copy(members[self.name])
        try:
            own.settings = type(own.settings).model_validate(self.settings)
        except ValidationError as error:
            raise LookupError(f"{self.name} has other settings by now: a challenge finds another champion") from error
        return own

    def files(self) -> dict[str, bytes]:
        """Which recommender it is, and what it learned; the same champion gives the same bytes."""
        known = {
            "name": self.name,
            "as_of": self.as_of.isoformat(),
            "learned_from": self.learned_from.isoformat(),
            "learned_before": self.learned_before.isoformat(),
            "settings": self.settings,
        }
        learned = {} if self.learned is None else self.learned.files()
        return {FILE: json.dumps(known, indent=2, sort_keys=True).encode(), **learned}

    @classmethod
    def from_files(cls, files: Mapping[str, bytes], ensemble: Ensemble) -> Self:
        """The champion that `files` wrote."""
        known = json.loads(files[FILE])
        days = {name: date.fromisoformat(known[name]) for name in ("as_of", "learned_from", "learned_before")}
        rest = {name: data for name, data in files.items() if name != FILE}
        learned = ensemble.from_files(rest) if rest else None
        return cls(name=known["name"], settings=known["settings"], learned=learned, **days)

    def card(self) -> dict[str, Any]:
        """Name, days and settings, and what was learned from what, as JSON."""
        learned = {} if self.learned is None else {"learned": self.learned.card()}
        return {**json.loads(self.files()[FILE]), **learned}
