"""The contract of every recommender; no family of models lives here, and no selection of the best."""

from abc import ABC, abstractmethod
from copy import copy
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import Any, ClassVar, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from cer_assets.recommend.context import ANYTIME, Context
from cer_assets.recommend.interactions import Interactions
from cer_assets.recommend.topk import BLOCK as BLOCK
from cer_assets.recommend.topk import Indices as Indices
from cer_assets.recommend.topk import Scores as Scores
from cer_assets.recommend.topk import best_of_rows
from cer_assets.recommend.topk import blocks as blocks
from cer_assets.recommend.topk import top_k as top_k


class Settings(BaseModel):
    """Configuration of one family; a family adds its parameters."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Voice(StrEnum):
    """What kind of sentence explains what a family recommends."""

    REPEAT = "repeat"
    """The customer bought it before."""
    LIKENESS = "likeness"
    """It goes with something the customer bought: `behind` names it."""
    CONTENT = "content"
    """It is described like something the customer bought or looked at: `behind` names it."""
    TOGETHER = "together"
    """It is bought in one basket with something the customer bought: `behind` names it."""
    CUSTOMERS = "customers"
    """Customers who buy alike buy it."""
    TREND = "trend"
    """Many buy it lately."""


@dataclass(frozen=True)
class Explanation:
    """Where recommended products come from, all (n x k)."""

    source: NDArray[np.object_]
    """Name of the family."""
    voice: NDArray[np.object_]
    """Its `Voice`, as text."""
    behind: Indices
    """The product of the customer's own that speaks for it, -1 where none does."""


class Recommender(ABC):
    """A family of recommenders: `fit` and `score` in one file of `families/`, and it is ranked, blended and backtested.

    Settings are given at construction; what is learned ends in an underscore. A fitted model reads nothing but the
    interactions it was fitted with: the same interactions in any order give the same scores, whatever the threads.
    """

    name: str
    """How tables and plots call it; one family may stand there several times, under a name for each of its settings."""
    voice: ClassVar[Voice]
    settings: Any
    """The family's own `Settings`."""
    interactions_: Interactions

    @abstractmethod
    def fit(self, interactions: Interactions, products: pl.DataFrame, as_of: date) -> Self:
        """Learn from what was bought before `as_of`; `products` is the catalogue, which may be empty."""

    @abstractmethod
    def score(self, rows: Indices, context: Context = ANYTIME) -> Scores:
        """Score every candidate product for some matrix rows (-1: a customer never seen).

        Returns:
            (rows x products), higher is better, comparable within a row only; -inf where the model has nothing to say.
            The caller may write into it.
        """

    def of_others(self, interactions: Interactions, as_of: date) -> Self:
        """A copy that scores these customers by what was learned of those it was fitted with; nothing is learned anew.

        Where there are too many customers to learn from and to hold at once, a model is fitted on some and then handed
        the others, block after block. Of who was fitted with, every score is what it was.

        Args:
            interactions: of the customers asked for, in the products (columns) the model was fitted with.
            as_of: the day it was fitted as of.
        """
        found = copy(self)
        found.interactions_ = interactions
        found._place(interactions, as_of)
        return found

    def _place(self, interactions: Interactions, as_of: date) -> object:  # noqa: B027 - what is popular is so for all
        """Weigh what each of these customers bought, where the family looks at that; in place."""

    def behind(self, rows: Indices, columns: Indices, titles: NDArray[np.int64]) -> Indices:
        """The product in each row's own history that speaks most for a recommended one, -1 where none does.

        Args:
            rows: matrix rows (n).
            columns: products recommended to them (n x k).
            titles: a code per product; products of one title are not explained by each other.

        Returns:
            Columns of products (n x k).
        """
        return np.full(columns.shape, -1, np.int32)

    def explain(self, rows: Indices, columns: Indices, titles: NDArray[np.int64]) -> Explanation:
        """Who brought each recommended product, and what stands behind it; arguments as those of `behind`."""
        return Explanation(
            source=np.full(columns.shape, self.name, dtype=object),
            voice=np.full(columns.shape, self.voice.value, dtype=object),
            behind=self.behind(rows, columns, titles),
        )

    def card(self) -> dict[str, Any]:
        """Name, settings and whatever else tells this model from another, as JSON."""
        return {"model": self.name, "settings": self.settings.model_dump(mode="json")}

    def recommend(self, customers: pl.Series, k: int = 10, context: Context = ANYTIME) -> pl.DataFrame:
        """Top `k` products of each customer_id: customer_id, rank, product_id, score.

        A list is shorter than `k` where the model has no more to say; it is never filled up.
        """
        rows, products = self.interactions_.row_of(customers), self.interactions_.products
        columns, scores = best_of_rows(lambda block: self.score(block, context), rows, len(products), k)
        return as_frame(customers, columns, scores, products)


def as_frame(customers: pl.Series, columns: Indices, scores: Scores, products: pl.Series) -> pl.DataFrame:
    """Lists as rows: customer_id, rank (from 1), product_id, score; entries scored -inf are dropped."""
    recommended = np.isfinite(scores)
    row, place = np.nonzero(recommended)
    return pl.DataFrame(
        {
            "customer_id": customers.gather(row),
            "rank": (place + 1).astype(np.int64),
            "product_id": products.gather(columns[recommended]),
            "score": scores[recommended].astype(np.float64),
        },
        schema={"customer_id": pl.String, "rank": pl.Int64, "product_id": pl.String, "score": pl.Float64},
    )
