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
from cer_assets.recommend.hybrid.candidates import CandidateSettings, blocks_of, candidates
from cer_assets.recommend.hybrid.features import Examples, Features
from cer_assets.recommend.interactions import Interactions
from cer_assets.recommend.model import Recommender, Scores, Settings

logger = logging.getLogger(__name__)


class WindowSettings(Settings):
    """Which past windows a ranker learns from."""

    days: int = Field(default=28, ge=1)
    """Length of a window."""
    windows: int = Field(default=4, ge=1)
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

    window: TreeSettings = TreeSettings()
    """Trees for what is bought in the window."""
    new: TreeSettings = TreeSettings(trees=100, leaves=15)
    """Trees for what is bought for the first time."""
    sketch: TreeSettings = TreeSettings(trees=40, learning_rate=0.15)
    """Trees of a first look that chooses which features are kept."""
    sketch_examples: int = Field(default=100_000, ge=1)
    """Examples of that look."""
    features: int = Field(default=64, ge=1)
    """Features that a head keeps: time grows with their number, and the rest says next to nothing."""
    candidates: CandidateSettings = CandidateSettings()
    windows: WindowSettings = WindowSettings()


@dataclass(frozen=True)
class Head:
    """Trees for one goal, and the features they read."""

    names: tuple[str, ...]
    trees: Boosting

    @classmethod
    def learn(
        cls,
        X: Scores,
        y: NDArray[np.bool_],
        weights: NDArray[np.float32],
        names: tuple[str, ...],
        trees: TreeSettings,
        settings: RankerSettings,
    ) -> Self:
        """Choose the features that say most in a first look at some examples, then grow trees on those alone.

        Examples that were not bought stand for as many as their weight: that shifts the log odds of all, and no order.
        """
        few = np.arange(len(X))
        if len(X) > settings.sketch_examples:
            drawn = np.random.default_rng(settings.sketch.seed)
            few = np.sort(drawn.choice(few, settings.sketch_examples, replace=False))
        if y[few].any() and not y[few].all() and len(names) > settings.features:
            gain = Boosting.grow(X[few], y[few], settings.sketch).weight_of_features()
            kept = np.sort(np.argsort(-gain, kind="stable")[: settings.features])
        else:
            kept = np.arange(len(names))
        stand_for = float(np.log(weights[~y].mean(dtype=np.float64))) if not y.all() else 0.0
        return cls(tuple(names[at] for at in kept), Boosting.grow(X[:, kept], y, trees).less(stand_for))

    def weight_of_features(self) -> dict[str, float]:
        """Share of the gain that each feature brought, most first."""
        gain = self.trees.weight_of_features()
        return {self.names[at]: round(float(gain[at]), 5) for at in np.argsort(-gain, kind="stable") if gain[at] > 0}


@dataclass(frozen=True)
class Ranker:
    """Boosted trees per goal over the features of candidates.

    The head `window` orders a list: what is bought in the days ahead. The head `new` orders what the customer never
    bought among itself, where a list holds nothing else.
    """

    heads: Mapping[str, Head]
    """By goal."""
    settings: RankerSettings
    learned_on: Mapping[str, int]
    """Examples, and how many of them were bought, by window."""

    @classmethod
    def learn(cls, windows: Sequence[Examples], settings: RankerSettings | None = None) -> Self:
        """Learn from candidates of earlier windows and what became of them.

        Args:
            windows: labelled examples of each window.
            settings: how.

        Raises:
            ValueError: there is nothing to learn from: no window, or none in which a candidate was bought.
        """
        settings = settings or RankerSettings()
        bought = sum(int(window.labels["window"].sum()) for window in windows)
        if not bought:
            raise ValueError("a ranker needs at least one window in which a candidate was bought")
        names = windows[0].names
        X = np.concatenate([window.aligned(names) for window in windows])
        weights = np.concatenate([window.weights_or_one() for window in windows])
        new = ~np.concatenate([window.bought for window in windows])
        label = {goal: np.concatenate([window.labels[goal] for window in windows]) for goal in ("window", "new")}
        heads = {"window": Head.learn(X, label["window"], weights, names, settings.window, settings)}
        if label["new"][new].any() and not label["new"][new].all():
            heads["new"] = Head.learn(X[new], label["new"][new], weights[new], names, settings.new, settings)
        logger.info("ranker learned from %s examples, %s bought", len(X), bought)
        return cls(heads, settings, {"windows": len(windows), "examples": len(X), "bought": bought})

    def log_odds(self, examples: Examples, goal: str = "window") -> NDArray[np.float32]:
        """Natural log of the odds that each pair is bought (n); of a goal never learned those of `window`."""
        head = self.heads.get(goal, self.heads["window"])
        return head.trees.log_odds(examples.aligned(head.names)).astype(np.float32)

    def files(self) -> dict[str, bytes]:
        """Trees, names and settings; the same ranker gives the same bytes, and nothing in them tells of a customer."""
        about = {
            "names": {goal: list(head.names) for goal, head in self.heads.items()},
            "settings": self.settings.model_dump(mode="json"),
            "learned_on": dict(self.learned_on),
        }
        trees = {f"{goal}.npz": self.heads[goal].trees.as_bytes() for goal in sorted(self.heads)}
        return trees | {"ranker.json": json.dumps(about, indent=1, sort_keys=True).encode()}

    @classmethod
    def from_files(cls, files: Mapping[str, bytes]) -> Self:
        """The ranker that `files` wrote."""
        about = json.loads(files["ranker.json"])
        heads = {
            goal: Head(tuple(names), Boosting.from_bytes(files[f"{goal}.npz"]))
            for goal, names in about["names"].items()
        }
        return cls(heads, RankerSettings.model_validate(about["settings"]), about["learned_on"])

    def card(self) -> dict[str, Any]:
        """Settings, what was learned from, and the features that say most."""
        return {
            "settings": self.settings.model_dump(mode="json"),
            "learned_on": dict(self.learned_on),
            "features": {goal: dict(list(head.weight_of_features().items())[:20]) for goal, head in self.heads.items()},
        }


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
    if not any(window.labels["window"].any() for window in found):
        return None
    return Ranker.learn(found, settings)


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
    fitted = (
        {name: model.fit(history, products, cut) for name, model in families.items()} if len(wanted["A"].rows) else {}
    )
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
    drawn = np.random.default_rng(settings.windows.seed)
    if len(rows) > settings.windows.customers:
        rows = np.sort(drawn.choice(rows, settings.windows.customers, replace=False))
    features = Features(history, products, cut)
    found: list[Examples] = []
    for _, block in blocks_of(rows, len(history.products), len(fitted)):
        whole = features.of(candidates(fitted, block, settings.candidates)).labelled(wanted)
        found.append(_sample(whole, settings.windows.others, drawn))
    result = Examples.together(found)
    bought = int(result.labels["window"].sum())
    logger.info("window from %s: %s customers, %s examples, %s bought", cut, len(rows), len(result), bought)
    return result


def _sample(whole: Examples, others: float, drawn: np.random.Generator) -> Examples:
    bought = whole.labels["window"]
    share = min(1.0, others * max(int(bought.sum()), 1) / max(int((~bought).sum()), 1))
    kept = bought | (drawn.random(len(whole)) < share)
    return whole.taken(kept, np.where(bought[kept], 1.0, 1 / share).astype(np.float32))
