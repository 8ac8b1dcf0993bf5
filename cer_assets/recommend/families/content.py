"""Nearest neighbours by content: products described like those the customer bought or looked at."""

from collections.abc import Mapping, Sequence
from datetime import date
from typing import ClassVar, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import Field
from scipy import sparse

from cer_assets.recommend.context import ANYTIME, Context
from cer_assets.recommend.interactions import EVENT_KINDS, Interactions, days_since_epoch
from cer_assets.recommend.likeness import own_product_behind, scale_columns, scaled_to_length_one, weighted
from cer_assets.recommend.model import Indices, Recommender, Scores, Settings, Voice

FACETS = ("department", "category", "type", "brand", "size")
"""Columns of the catalogue whose whole value is one term."""
TEXTS = ("title", "category", "type")
"""Columns whose words are terms, so that a title says what another retailer's category would."""
EVENT_WEIGHTS = {"view": 0.3, "search": 0.5, "cart": 1.0, "email_open": 0.0, "email_click": 0.2}
"""What an event counts beside the first purchase of a product."""


class ContentSettings(Settings):
    """What a profile is made of."""

    half_life_days: float | None = Field(default=30.0, gt=0)
    """Age at which a purchase counts half; none: all count alike."""
    event_weights: Mapping[str, float] = Field(default=EVENT_WEIGHTS)
    """What each kind of event counts, where a product bought once has log(2)."""
    event_half_life_days: float = Field(default=7.0, gt=0)
    """Age at which an event counts half."""
    popularity_power: float = Field(default=0.7, ge=0)
    """Scores are multiplied by buyers of the product to this power: of what is described alike, the better known."""


class Content(Recommender):
    """Cosine of TF-IDF between a product and the customer's profile, times a mild popularity.

    The terms of a product are its words and the values of its columns, whichever are there; its description has length
    one. A profile is the sum of what was bought and looked at. Without a catalogue, and for who neither bought nor
    looked at anything described, every score is -inf.
    """

    voice: ClassVar[Voice] = Voice.CONTENT

    def __init__(self, settings: ContentSettings | None = None, name: str = "content"):
        self.name = name
        self.settings: ContentSettings = settings or ContentSettings()

    def fit(self, interactions: Interactions, products: pl.DataFrame, as_of: date) -> Self:
        """Describe the candidates, and weigh what each customer did with them."""
        self.interactions_ = interactions
        self.described_ = described(products, interactions.products)
        self._by_term = sparse.csr_matrix(self.described_.T)
        self.known_ = np.diff(self.described_.indptr) > 0
        bought = self._place(interactions, as_of)
        buyers = np.bincount(bought.indices, minlength=bought.shape[1]) + 1.0
        self.popularity_ = ((buyers / max(buyers.max(initial=1), 1)) ** self.settings.popularity_power).astype(
            np.float32
        )
        return self

    def _place(self, interactions: Interactions, as_of: date) -> sparse.csr_matrix:
        """The same, of what each customer bought; returns that by itself."""
        bought = weighted(interactions, as_of, self.settings.half_life_days)
        weights = bought + self._looked(days_since_epoch(as_of))
        # Of what is not described nothing can be said.
        weights = scale_columns(sparse.csr_matrix(weights), self.known_.astype(np.float32))
        weights.eliminate_zeros()
        self.weights_ = weights
        return bought

    def score(self, rows: Indices, context: Context = ANYTIME) -> Scores:
        """Likeness to what the customer bought and looked at; -inf for what shares no term with it."""
        return self._scored(self.weights_[rows])

    def score_events(self, visitors: NDArray[np.int64], product_ids: pl.Series, kinds: pl.Series) -> Scores:
        """Score every candidate for visitors of whom only some events are known, all of them of today.

        Args:
            visitors: the visitor of each event, numbered from 0.
            product_ids: the product of each event; those that are no candidates count for nothing.
            kinds: what was done with it, of EVENT_KINDS; others count for nothing.

        Returns:
            (visitors x products), -inf where there is nothing to say.
        """
        columns = self.interactions_.column_of(product_ids)
        worth = kinds.replace_strict(dict(self.settings.event_weights), default=0.0, return_dtype=pl.Float32).to_numpy()
        counts = (columns >= 0) & (worth > 0)
        counts[counts] = self.known_[columns[counts]]
        shape = (int(visitors.max(initial=-1)) + 1, len(self.interactions_.products))
        entries = (worth[counts], (visitors[counts], columns[counts]))
        return self._scored(sparse.csr_matrix(entries, shape=shape, dtype=np.float32))

    def behind(self, rows: Indices, columns: Indices, titles: NDArray[np.int64]) -> Indices:
        """The product bought or looked at that has the largest part in the score."""

        def strength(own: Indices, weight: NDArray[np.float32], asked: Indices) -> Scores:
            k = asked.shape[1]
            pairs = self.described_[np.repeat(own, k)].multiply(self.described_[asked.ravel()])
            return weight[:, None] * np.asarray(pairs.sum(axis=1), np.float32).reshape(asked.shape)

        return own_product_behind(self.weights_, rows, columns, titles, strength)

    def _looked(self, day: int) -> sparse.csr_matrix:
        seen, settings = self.interactions_.events, self.settings
        worth = np.array([settings.event_weights.get(kind, 0.0) for kind in EVENT_KINDS])[seen.kinds]
        worth = worth * np.exp2((seen.days - day) / settings.event_half_life_days)
        return sparse.csr_matrix((worth.astype(np.float32), (seen.rows, seen.columns)), shape=self.interactions_.shape)

    def _scored(self, weights: sparse.csr_matrix) -> Scores:
        profile = sparse.csr_matrix(weights @ self.described_)
        scores = (profile @ self._by_term).toarray() * self.popularity_
        scores[scores <= 0] = -np.inf
        return scores


def described(products: pl.DataFrame, candidates: pl.Series) -> sparse.csr_matrix:
    """TF-IDF of each candidate's terms, its length one (candidates x terms); an empty row for what is not described.

    Args:
        products: the catalogue: product_id and any of FACETS and TEXTS.
        candidates: product_ids.
    """
    numbered = candidates.alias("product_id").to_frame().with_row_index("product")
    there = products.join(numbered, on="product_id") if "product_id" in products.columns else pl.DataFrame()
    terms = [_values(there, name) for name in FACETS if name in there.columns]
    terms += [_words(there, name) for name in TEXTS if name in there.columns]
    if not terms:
        return sparse.csr_matrix(np.empty((len(candidates), 0), np.float32))
    counted = (
        pl.concat(terms)
        .unique()
        .with_columns(described=pl.col("product").n_unique().over("term"), term=pl.col("term").rank("dense") - 1)
        .sort("product", "term")
    )
    everything = max(there.height, 1)
    idf = counted.select(weight=(everything / pl.col("described")).log()).to_series().to_numpy()
    entries = (idf.astype(np.float32), (counted["product"].to_numpy(), counted["term"].to_numpy()))
    shape = (len(candidates), counted["term"].n_unique())
    matrix = sparse.csr_matrix(entries, shape=shape)
    matrix.eliminate_zeros()
    return scaled_to_length_one(matrix)


def _values(products: pl.DataFrame, column: str) -> pl.DataFrame:
    value = pl.col(column).cast(pl.String).str.strip_chars().str.to_lowercase()
    terms = products.select("product", term=column + "=" + value)
    return terms.filter(pl.col("term").is_not_null() & ~pl.col("term").str.ends_with("="))


def _words(products: pl.DataFrame, column: str) -> pl.DataFrame:
    words = pl.col(column).cast(pl.String).str.to_lowercase().str.extract_all(r"[\p{L}\p{N}]+")
    return products.select("product", term=words).explode("term").drop_nulls()


def members() -> Sequence[Recommender]:
    """One profile."""
    return [Content()]
