"""What makes a customer buy a candidate, learned on earlier windows; where candidates come from lives elsewhere."""

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import Field

from cer_assets.recommend.evaluate import Targets, targets
from cer_assets.recommend.families import all_families
from cer_assets.recommend.hybrid.boosting import Boosting, TreeSettings
from cer_assets.recommend.hybrid.candidates import CandidateSettings, candidates, rows_of_block
from cer_assets.recommend.hybrid.features import Examples, Features
from cer_assets.recommend.interactions import Interactions
from cer_assets.recommend.model import Indices, Recommender, Settings
from cer_assets.recommend.topk import all_at_once, over_blocks

logger = logging.getLogger(__name__)


class WindowSettings(Settings):
    """Which past windows a ranker learns from."""

    days: int = Field(default=28, ge=1)
    """Length of a window."""
    windows: int = Field(default=3, ge=1)
    """Windows, each as long before the next; the last ends the day before the cut."""
    fewest_days: int = Field(default=56, ge=1)
    """A window is left out where less time than this lies before it."""
    customers: int = Field(default=5_000, ge=1)
    """Customers of a window that are learned from; of more than that a sample is drawn."""
    others: float = Field(default=3.0, gt=0)
    """Candidates that were not bought for each that was: of more than that a sample stands for all."""
    seed: int = 0
    """Of both samples."""


class RankerSettings(Settings):
    """How a ranker learns."""

    trees: TreeSettings = TreeSettings()
    """Trees of each window."""
    older: float = Field(default=0.5, gt=0, le=1)
    """Weight of a window's trees relative to those of the window after it."""
    soon: float = Field(default=0.4, ge=0, lt=1)
    """Weight of the trees for the next basket; those for the whole window have the rest."""
    sketch: TreeSettings = TreeSettings(trees=40, learning_rate=0.15)
    """Trees of a first look that chooses which features are kept."""
    sketch_examples: int = Field(default=100_000, ge=1)
    """Examples of that look."""
    features: int = Field(default=64, ge=1)
    """Features that are kept: time grows with their number, and the rest says next to nothing."""
    candidates: CandidateSettings = CandidateSettings()
    windows: WindowSettings = WindowSettings()


@dataclass(frozen=True)
class Ranker:
    """Boosted trees over the features of candidates: the log odds that each is bought in the days ahead.

    Every window has trees of its own, and the log odds are their mean, in which later windows weigh more: what makes
    people buy changes over the year, so that the window next to the cut teaches most. Trees grown on all windows
    together rank worse. Of each window some trees learn what is bought in all of it and some what is in its first
    basket; their mean (of log odds) ranks both better than either alone. One order serves every list: trees grown on
    first purchases alone rank those no better.
    """

    names: tuple[str, ...]
    """Features in the order the trees know them."""
    trees: Boosting
    """Of all windows."""
    settings: RankerSettings
    learned_on: Mapping[str, int]
    """How many windows, examples, and how many of those were bought."""

    @classmethod
    def learn(cls, windows: Sequence[Examples], settings: RankerSettings | None = None) -> Self:
        """Learn from candidates of earlier windows and what became of them.

        Args:
            windows: labelled examples of each window, oldest first.
            settings: how.

        Raises:
            ValueError: there is nothing to learn from: no window, or none in which a candidate was bought.
        """
        settings = settings or RankerSettings()
        taught = [(age, one) for age, one in enumerate(reversed(windows)) if _teaches(one)]
        if not taught:
            raise ValueError("a ranker needs at least one window in which a candidate was bought, and one was not")
        names = _telling([one for _, one in taught], settings)
        goals = {"window": 1 - settings.soon, "basket": settings.soon}
        heads = [(age, one, goal) for age, one in taught for goal in goals if goals[goal] and _teaches(one, goal)]
        grown = [_grown(one, goal, names, settings.trees) for _, one, goal in heads]
        weights = np.array([settings.older**age * goals[goal] for age, _, goal in heads])
        examples, bought = sum(len(one) for _, one in taught), sum(int(one.labels["window"].sum()) for _, one in taught)
        logger.info("ranker learned from %s examples of %s windows, %s bought", examples, len(taught), bought)
        told = {"windows": len(taught), "examples": examples, "bought": bought}
        return cls(names, Boosting.mean(grown, weights), settings, told)

    def log_odds(self, examples: Examples) -> NDArray[np.float32]:
        """Natural log of the odds that each pair is bought (n)."""
        return self.trees.log_odds(examples.aligned(self.names)).astype(np.float32)

    def weight_of_features(self) -> dict[str, float]:
        """Share of the gain that each feature brought, most first."""
        gain = self.trees.weight_of_features()
        return {self.names[at]: round(float(gain[at]), 5) for at in np.argsort(-gain, kind="stable") if gain[at] > 0}

    def files(self) -> dict[str, bytes]:
        """Trees, names and settings; the same ranker gives the same bytes, and nothing in them tells of a customer."""
        about = {
            "names": list(self.names),
            "settings": self.settings.model_dump(mode="json"),
            "learned_on": dict(self.learned_on),
        }
        return {"ranker.json": json.dumps(about, indent=1, sort_keys=True).encode(), "trees.npz": self.trees.as_bytes()}

    @classmethod
    def from_files(cls, files: Mapping[str, bytes]) -> Self:
        """The ranker that `files` wrote."""
        about = json.loads(files["ranker.json"])
        settings = RankerSettings.model_validate(about["settings"])
        return cls(tuple(about["names"]), Boosting.from_bytes(files["trees.npz"]), settings, about["learned_on"])

    def card(self) -> dict[str, Any]:
        """Settings, what was learned from, and the features that say most."""
        return {
            "settings": self.settings.model_dump(mode="json"),
            "learned_on": dict(self.learned_on),
            "features": dict(list(self.weight_of_features().items())[:20]),
        }


def _teaches(window: Examples, goal: str = "window") -> bool:
    bought = window.labels[goal]
    return bool(bought.any() and not bought.all())


def _telling(windows: Sequence[Examples], settings: RankerSettings) -> tuple[str, ...]:
    """The features that say most in a first look at some examples of every window."""
    names = windows[0].names
    if len(names) <= settings.features:
        return names
    drawn = np.random.default_rng(settings.sketch.seed)
    few = max(settings.sketch_examples // len(windows), 1)
    some = [
        one if len(one) <= few else one.taken(np.sort(drawn.choice(len(one), few, replace=False))) for one in windows
    ]
    X = np.concatenate([one.aligned(names) for one in some])
    y = np.concatenate([one.labels["window"] for one in some])
    if not y.any() or y.all():
        return names
    gain = Boosting.grow(X, y, settings.sketch).weight_of_features()
    return tuple(names[at] for at in np.sort(np.argsort(-gain, kind="stable")[: settings.features]))


def _grown(window: Examples, goal: str, names: tuple[str, ...], settings: TreeSettings) -> Boosting:
    """Trees of one window. Its sample of what was not bought shifts the log odds of all: that is taken back."""
    y = window.labels[goal]
    stand_for = float(np.log(window.weights_or_one()[~y].mean(dtype=np.float64)))
    return Boosting.grow(window.aligned(names), y, settings).less(stand_for)


History = Callable[[date], Interactions]
"""Interactions before a cut: with the traits of that day, without whoever may not be used."""


def learn(
    history: History,
    order_lines: pl.DataFrame,
    products: pl.DataFrame,
    as_of: date,
    settings: RankerSettings | None = None,
    families: Callable[[], dict[str, Recommender]] = all_families,
    known: dict[date, Examples | None] | None = None,
) -> Ranker | None:
    """Learn a ranker from the windows before `as_of`, every family fitted afresh for each.

    Args:
        history: interactions before a cut.
        order_lines: customer_id, product_id, quantity, amount, ordered_on, merchandise; none from `as_of` on is read.
        products: the catalogue.
        as_of: first day that is not read.
        settings: windows, candidates and trees.
        families: makes the families.
        known: examples by cut from learning at another `as_of` with the same arguments: read, and added to.

    Returns:
        None where there is too little history for a window in which anything was bought.
    """
    settings = settings or RankerSettings()
    past = order_lines.filter(pl.col("ordered_on") < as_of)
    first = past["ordered_on"].min()
    known = {} if known is None else known
    found: list[Examples] = []
    for number in range(1, settings.windows.windows + 1):
        cut = as_of - timedelta(days=settings.windows.days * number)
        if not isinstance(first, date) or (cut - first).days < settings.windows.fewest_days:
            break
        if cut not in known:
            known[cut] = examples(history(cut), past, products, cut, settings, families())
        found.extend(window for window in [known[cut]] if window is not None)
    if not any(_teaches(window) for window in found):
        return None
    return Ranker.learn(found[::-1], settings)


def examples(
    history: Interactions,
    order_lines: pl.DataFrame,
    products: pl.DataFrame,
    cut: date,
    settings: RankerSettings,
    families: Mapping[str, Recommender],
) -> Examples | None:
    """Candidates of the customers who bought in the window from `cut` on, and what became of them; None for nobody.

    All that were bought are there, and a sample of the others, each standing for as many as its weight.
    """
    wanted = targets(order_lines, history, cut, settings.windows.days)
    some = families if len(wanted["A"].rows) else {}
    fitted = all_at_once(lambda _, model: model.fit(history, products, cut), some)
    return examples_of(fitted, history, products, cut, wanted, settings)


def examples_of(
    fitted: Mapping[str, Recommender],
    history: Interactions,
    products: pl.DataFrame,
    cut: date,
    wanted: Mapping[str, Targets],
    settings: RankerSettings,
) -> Examples | None:
    """The same from families fitted before the cut, and the targets of the window after it."""
    rows = wanted["A"].rows
    if not len(rows):
        return None
    if len(rows) > settings.windows.customers:
        drawn = np.random.default_rng(settings.windows.seed)
        rows = np.sort(drawn.choice(rows, settings.windows.customers, replace=False))
    features = Features(history, products, cut)

    def of_block(start: int, block: Indices) -> Examples:
        whole = candidates(fitted, block, settings.candidates)
        kept, weights = _sample(whole.among(wanted["A"]), settings.windows, start)
        return features.of(whole.taken(kept)).labelled(wanted).weighed(weights)

    # Two blocks are under way at once; how large they are must not depend on the machine, as the samples do on them.
    size = max(rows_of_block(len(history.products), len(fitted)) // 2, 1)
    result = Examples.together(list(over_blocks(of_block, rows, size)))
    bought = int(result.labels["window"].sum())
    logger.info("window from %s: %s customers, %s examples, %s bought", cut, len(rows), len(result), bought)
    return result


def _sample(
    bought: NDArray[np.bool_], settings: WindowSettings, start: int
) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
    """Which candidates of a block are learned from, and how many each of these stands for."""
    share = min(1.0, settings.others * max(int(bought.sum()), 1) / max(int((~bought).sum()), 1))
    kept = bought | (np.random.default_rng([settings.seed, start]).random(len(bought)) < share)
    return kept, np.where(bought[kept], 1.0, 1 / share).astype(np.float32)
