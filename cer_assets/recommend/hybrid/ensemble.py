"""One list from all families: by what a ranker learned, or by their weighed mean where it could learn nothing."""

from collections.abc import Callable, Iterator, Mapping
from copy import copy
from dataclasses import dataclass
from datetime import date
from threading import local
from typing import Any, ClassVar, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import Field

from cer_assets.recommend.context import ANYTIME, Context, ContextLift
from cer_assets.recommend.families import all_families
from cer_assets.recommend.hybrid.candidates import CandidateSettings, blocks_of, candidates, standardised
from cer_assets.recommend.hybrid.features import Features
from cer_assets.recommend.hybrid.ranker import Ranker
from cer_assets.recommend.interactions import Interactions
from cer_assets.recommend.model import Explanation, Indices, Recommender, Scores, Settings, Voice
from cer_assets.recommend.topk import all_at_once

USUAL_ODDS = -3.0
"""Log odds that a mean candidate is bought, for a customer no ranker can judge: about one in twenty."""


class HybridSettings(Settings):
    """How families are weighed where no ranker was learned, and for whom nothing was bought."""

    weights: dict[str, float] = Field(
        default={"tifu_knn": 1.0, "decayed_frequency": 0.5, "forward": 0.3, "als_global": 0.1, "trending": 0.02}
    )
    """Weight of each family's standardised scores; a family that is not there is left out. The last orders the rest."""
    newcomer_weights: dict[Voice, float] = Field(default={Voice.CONTENT: 1.0, Voice.TREND: 0.25})
    """The same by voice, for customers without a purchase: what is like what they looked at, then what sells."""
    context_weight: float = Field(default=0.25, ge=0)
    """Weight of a product's log lift in the moment a list is shown in, for customers with purchases: more than a
    quarter ranked their next baskets worse. For strangers it counts in full."""


class Hybrid(Recommender):
    """Every family's candidates in one order.

    With a ranker the score of a candidate is the log odds (natural) that it is bought in the days ahead; all other
    products score -inf. Without one it is the families' standardised scores, weighed, over every product.
    """

    voice: ClassVar[Voice] = Voice.REPEAT

    def __init__(
        self,
        ranker: Ranker | None = None,
        settings: HybridSettings | None = None,
        families: Callable[[], dict[str, Recommender]] = all_families,
        name: str = "hybrid",
    ):
        self.name = name
        self.ranker = ranker
        self.settings: HybridSettings = settings or HybridSettings()
        self._families = families

    def fit(self, interactions: Interactions, products: pl.DataFrame, as_of: date) -> Self:
        """Fit every family afresh, and count the features."""
        fitted = all_at_once(lambda _, model: model.fit(interactions, products, as_of), self._families())
        return self.over(fitted, interactions, products, as_of)

    def over(
        self, fitted: Mapping[str, Recommender], interactions: Interactions, products: pl.DataFrame, as_of: date
    ) -> Self:
        """Rank with families that were fitted elsewhere on the same interactions."""
        self.interactions_ = interactions
        self.fitted_ = dict(sorted(fitted.items()))
        self.lift_ = ContextLift().fit(interactions, products, as_of)
        self.features_ = Features(interactions, products, as_of) if self.ranker is not None else None
        self._count(interactions)
        return self

    def of_others(self, interactions: Interactions, as_of: date) -> Self:
        """As every family, by all families at once."""
        found = copy(self)
        found.interactions_ = interactions
        found.fitted_ = {name: model.of_others(interactions, as_of) for name, model in self.fitted_.items()}
        found.features_ = self.features_.of_others(interactions, as_of) if self.features_ is not None else None
        found._count(interactions)
        return found

    def _count(self, interactions: Interactions) -> None:
        self._counts = interactions.counts()
        self._last = local()
        self.bought_ = np.bincount(interactions.rows, minlength=interactions.shape[0])

    def score(self, rows: Indices, context: Context = ANYTIME) -> Scores:
        """Log odds of each candidate, -inf for all other products; where nothing is known, the weighed families."""
        scores = np.full((len(rows), len(self.interactions_.products)), -np.inf, np.float32)
        known = self.bought_[rows] > 0
        if self.ranker is None:
            scores[known] = self._weighed(rows[known], self.settings.weights)
        else:
            for part in self._judged(rows):
                scores[part.places, part.columns] = part.odds
        if not known.all():
            scores[~known] = self._weighed(rows[~known], self._newcomer_weights())
        lift = self.lift_.lift(context)
        if lift.any():
            scores += np.where(known, self.settings.context_weight, 1.0).astype(np.float32)[:, None] * lift
        return scores

    def explain(self, rows: Indices, columns: Indices, titles: NDArray[np.int64]) -> Explanation:
        """The family that ranks each product highest, its voice, and what stands behind it by that family.

        What the customer bought before is explained by a family of repeat purchases, anything else by another one; by
        what is popular only where no family says something of the customer's own.
        """
        source = np.full(columns.shape, self.name, dtype=object)
        voice = np.full(columns.shape, Voice.TREND.value, dtype=object)
        behind = np.full(columns.shape, -1, np.int32)
        speaker = self._speakers(rows, columns)
        for number, name in enumerate(self.fitted_):
            mine = speaker == number
            asked = mine.any(axis=1)
            if asked.any():
                said = self.fitted_[name].explain(rows[asked], columns[asked], titles)
                for kept, given in ((source, said.source), (voice, said.voice), (behind, said.behind)):
                    kept[mine] = given[mine[asked]]
        return Explanation(source, voice, behind)

    def card(self) -> dict[str, Any]:
        """The ranker's card, and how families are weighed without it."""
        learned = {} if self.ranker is None else {"ranker": self.ranker.card()}
        families = sorted(self.fitted_) if hasattr(self, "fitted_") else sorted(self._families())
        return super().card() | {"families": families} | learned

    def _judged(self, rows: Indices) -> list["_Judged"]:
        """Candidates of some rows with ranks and odds; a thread that asks for the same rows again is given the same."""
        asked = rows.tobytes()
        if getattr(self._last, "asked", None) != asked:
            self._last.judged = [self._judged_block(*block) for block in self._blocks(rows)]
            self._last.asked = asked
        return self._last.judged

    def _judged_block(self, start: int, rows: Indices) -> "_Judged":
        settings = CandidateSettings() if self.ranker is None else self.ranker.settings.candidates
        found = candidates(self.fitted_, rows, settings)
        odds = np.zeros(len(found), np.float32)
        if self.ranker is not None and self.features_ is not None:
            odds = self.ranker.log_odds(self.features_.of(found))
        return _Judged(found.places + start, found.columns, found.ranks, odds)

    def _blocks(self, rows: Indices) -> Iterator[tuple[int, Indices]]:
        return blocks_of(rows, len(self.interactions_.products), len(self.fitted_))

    def _newcomer_weights(self) -> dict[str, float]:
        weights = self.settings.newcomer_weights
        return {name: weights[model.voice] for name, model in self.fitted_.items() if model.voice in weights}

    def _weighed(self, rows: Indices, weights: Mapping[str, float]) -> Scores:
        """Weighed sum of the families' standardised scores; a family that is silent of a product puts it last."""
        total = np.full((len(rows), len(self.interactions_.products)), USUAL_ODDS, np.float32)
        heard = np.zeros(total.shape, bool)
        for name in sorted(set(weights) & set(self.fitted_)):
            z = standardised(self.fitted_[name].score(rows))
            silent = np.isnan(z)
            least = np.where(silent, np.inf, z).min(axis=1, initial=np.inf, keepdims=True)
            z = np.where(silent, np.where(np.isfinite(least), least, 0), z)
            total += np.float32(weights[name]) * z
            heard |= ~silent
        total[~heard] = -np.inf
        return total

    def _speakers(self, rows: Indices, columns: Indices) -> NDArray[np.int64]:
        """Number of the family that speaks most for each product (rows x k), -1 where none does."""
        width = len(self.interactions_.products)
        judged = self._judged(rows)
        keys = np.concatenate([part.places.astype(np.int64) * width + part.columns for part in judged])
        if not len(keys):
            return np.full(columns.shape, -1)
        ranks = np.concatenate([part.ranks for part in judged])
        wanted = np.arange(len(rows))[:, None] * width + columns
        at = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
        place = np.where((keys[at] == wanted)[:, :, None], ranks[at], np.nan)
        own = self._counts[np.repeat(rows, columns.shape[1]), columns.ravel()]
        own = np.asarray(own).reshape(columns.shape) > 0
        voices = np.array([model.voice for model in self.fitted_.values()])
        # What says nothing of the customer comes after everything that does.
        place = place + np.where(voices == Voice.TREND, np.float32(width), np.float32(0))
        fits = own[:, :, None] == (voices == Voice.REPEAT)
        place = np.where(fits & ~np.isnan(place), place, np.inf)
        return np.where(np.isfinite(place).any(axis=2), place.argmin(axis=2), -1)


@dataclass(frozen=True)
class _Judged:
    """Candidates of a block of customers: who, what, how the families rank it, and its log odds."""

    places: Indices
    columns: Indices
    ranks: Scores
    odds: Scores
