"""What is known of each candidate at the cut, as a table of numbers; what becomes of it is learned elsewhere."""

import zlib
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from datetime import date

import numpy as np
import polars as pl
from numpy.typing import NDArray

from cer_assets.recommend.evaluate import Targets
from cer_assets.recommend.hybrid.candidates import Candidates
from cer_assets.recommend.hybrid.ledger import Columns, Ints, Ledger
from cer_assets.recommend.hybrid.own import OwnPurchases
from cer_assets.recommend.hybrid.returns import Returns
from cer_assets.recommend.hybrid.shop import Customers, Products
from cer_assets.recommend.hybrid.tastes import Taste, kinds_of
from cer_assets.recommend.interactions import Interactions
from cer_assets.recommend.model import Indices, Scores

GOALS = {"window": "A", "basket": "B"}
"""What a ranker may be asked to put first, and the protocol whose targets those are."""


@dataclass(frozen=True)
class Examples:
    """Pairs of a customer and a candidate with their features, and what became of them where that is known."""

    rows: Indices
    """Matrix row of each pair (n), rising."""
    columns: Indices
    """Its product (n)."""
    X: Scores
    """Features (n x f), nan for what is not known."""
    names: tuple[str, ...]
    """What each feature is."""
    labels: Mapping[str, NDArray[np.bool_]] = field(default_factory=dict[str, NDArray[np.bool_]])
    """By goal, whether the pair is what it asks for (n); empty where that is not known."""
    weights: NDArray[np.float32] | None = None
    """How many pairs each stands for (n); none: one."""

    def __len__(self) -> int:
        """Number of pairs."""
        return len(self.columns)

    def labelled(self, wanted: Mapping[str, Targets]) -> "Examples":
        """The same pairs with what became of them, from the targets per protocol."""
        cells = {goal: wanted[protocol].cells for goal, protocol in GOALS.items()}
        width = wanted["A"].width
        own = self.rows.astype(np.int64) * width + self.columns
        labels = {goal: np.isin(own, cell, assume_unique=False) for goal, cell in cells.items()}
        return Examples(self.rows, self.columns, self.X, self.names, labels, self.weights)

    def taken(self, which: Ints | NDArray[np.bool_], weights: NDArray[np.float32] | None = None) -> "Examples":
        """Some of the pairs."""
        own = self.weights[which] if weights is None and self.weights is not None else weights
        labels = {goal: label[which] for goal, label in self.labels.items()}
        return Examples(self.rows[which], self.columns[which], self.X[which], self.names, labels, own)

    def weighed(self, weights: NDArray[np.float32]) -> "Examples":
        """The same pairs, each standing for so many."""
        return replace(self, weights=weights)

    def weights_or_one(self) -> NDArray[np.float32]:
        """How many pairs each stands for (n)."""
        return np.ones(len(self), np.float32) if self.weights is None else self.weights

    def aligned(self, names: Sequence[str]) -> Scores:
        """Features in the order of `names`, nan for those that are not here."""
        if tuple(names) == self.names:
            return self.X
        number = {name: at for at, name in enumerate(self.names)}
        result = self.X[:, [number.get(name, 0) for name in names]]
        result[:, [name not in number for name in names]] = np.nan
        return result

    @classmethod
    def together(cls, parts: Sequence["Examples"]) -> "Examples":
        """Blocks of one window one after the other."""
        weights = [part.weights for part in parts if part.weights is not None]
        return cls(
            np.concatenate([part.rows for part in parts]),
            np.concatenate([part.columns for part in parts]),
            np.concatenate([part.X for part in parts]),
            parts[0].names,
            {goal: np.concatenate([part.labels[goal] for part in parts]) for goal in parts[0].labels},
            np.concatenate(weights) if len(weights) == len(parts) else None,
        )


class Features:
    """Everything that was known at a cut, counted once; `of` looks it up for a block of candidates."""

    def __init__(self, interactions: Interactions, products: pl.DataFrame, as_of: date):
        ledger = Ledger(interactions, as_of)
        kinds = kinds_of(interactions.products, products)
        self._products = Products(ledger, products)
        self._tastes = [Taste(name, kind, ledger, self._products.price) for name, kind in kinds.items()]
        self._returns = Returns(ledger, kinds)
        self._place(ledger)

    def of_others(self, interactions: Interactions, as_of: date) -> "Features":
        """What is known of these customers, beside what these features know of products; as `Recommender.of_others`.

        The customers need not be there all at once: features take some kilobytes for each pair of customer and product.
        """
        found, ledger = copy(self), Ledger(interactions, as_of)
        found._tastes = [taste.of_others(ledger) for taste in self._tastes]
        found._returns = self._returns.of_others(ledger)
        found._place(ledger)
        return found

    def _place(self, ledger: Ledger) -> None:
        interactions = ledger.interactions
        self._ledger = ledger
        self._own = OwnPurchases(ledger)
        self._customers = Customers(ledger)
        self._traits = {
            f"trait {name}": _codes(interactions.trait(name))
            for name in interactions.traits.columns
            if name != "customer_id"
        }

    def of(self, found: Candidates) -> Examples:
        """Features of each pair; those that a family says come first."""
        rows = np.where(found.rows < 0, self._ledger.customers - 1, found.rows).astype(np.int64)
        columns = found.columns.astype(np.int64)
        known: Columns = {}
        for number, name in enumerate(found.families):
            known[f"{name} score"] = found.scores[:, number]
            known[f"{name} rank"] = found.ranks[:, number]
        known |= self._own.of(rows, columns) | self._products.of(columns) | self._customers.of(rows)
        for taste in self._tastes:
            known |= taste.of(rows, columns)
        known |= self._returns.of(rows, columns)
        known |= {name: codes[rows] for name, codes in self._traits.items()}
        X = np.empty((len(columns), len(known)), np.float32)
        for number, values in enumerate(known.values()):
            X[:, number] = values
        return Examples(found.rows, found.columns, X, tuple(known))


def _codes(values: NDArray[np.object_]) -> NDArray[np.float32]:
    """A number for each text that is the same in every window, whatever else occurs there; nan for none."""
    said = pl.Series(values.tolist(), dtype=pl.String, strict=False)
    codes = {text: zlib.crc32(text.encode()) % 65_521 for text in said.drop_nulls().unique()}
    return said.replace_strict(codes, default=None, return_dtype=pl.Float32).fill_null(np.nan).to_numpy()
