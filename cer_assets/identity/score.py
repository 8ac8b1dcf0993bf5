"""Pairs of records and their scores by a trained model; which pairs there are is not decided here."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from cer_assets.identity.cluster import MILLION
from cer_assets.identity.compare import levels_sql
from cer_assets.identity.model import Model
from cer_assets.identity.pairs import Codes, Positions, coded, ends
from cer_assets.identity.prepare import Workspace, fill

PAIRS_PER_THREAD = 50_000
"""Fewer pairs are not worth threads of their own."""

LEFT_RECORDS = """
    create temp view left_records as
    from prepared where position between getvariable('low') and getvariable('high')
"""

Scores = npt.NDArray[np.int32]
"""In whole millionths, so that adding them up gives one sum in every order."""


@dataclass(frozen=True)
class Scored:
    """Pairs and their scores, ordered by pair; each pair once."""

    codes: Codes
    score: Scores

    def __len__(self) -> int:
        """Number of pairs."""
        return len(self.codes)

    @classmethod
    def none(cls) -> "Scored":
        """No pair."""
        return cls(np.empty(0, dtype=np.uint64), np.empty(0, dtype=np.int32))

    @classmethod
    def joined(cls, *parts: "Scored") -> "Scored":
        """All pairs of parts that have none in common."""
        codes = np.concatenate([p.codes for p in parts])
        order = np.argsort(codes, kind="stable")
        return cls(codes[order], np.concatenate([p.score for p in parts])[order])

    @property
    def first(self) -> Positions:
        """The smaller position of each pair."""
        return ends(self.codes)[0]

    @property
    def second(self) -> Positions:
        """The larger one."""
        return ends(self.codes)[1]

    def where(self, kept: npt.NDArray[np.bool_]) -> "Scored":
        """Some of the pairs."""
        return Scored(self.codes[kept], self.score[kept])

    def above(self, floor: float) -> "Scored":
        """The pairs that score at least `floor`, a probability."""
        return self.where(self.score >= round(floor * MILLION))


def log_odds_sql(model: Model) -> str:
    """The log-odds of a pair over what `levels_sql` selects; `figures` are its parameters."""
    terms = ["$bias", *(f"list_extract($weights{c}, level{c} + 1)" for c in range(len(model.comparisons)))]
    terms += [
        f"list_extract($rarities, {i + 1}) * coalesce(rarity{i} - list_extract($uniqueness, {i + 1}), 0)"
        for i in range(len(model.fields))
    ]
    return " + ".join(terms)


def figures(model: Model) -> dict[str, Any]:
    """The model's numbers, which reach a query as data, not as text: one list of weights per comparison, and others."""
    return {
        "bias": model.weights.bias,
        "rarities": model.weights.rarities.tolist(),
        "uniqueness": list(model.uniqueness),
        **{f"weights{c}": weights.tolist() for c, weights in enumerate(model.weights.levels)},
    }


class Scorer:
    """Scores pairs of one workspace with one model.

    A pair's score is the logistic function of its log-odds: the bias, a weight per comparison for the level that the
    pair reaches, and per field the worth of how much rarer than usual the value is that both share.
    """

    def __init__(self, ready: Workspace, model: Model) -> None:
        self.ready = ready
        ((self._threads,),) = ready.connection.execute("select current_setting('threads')").fetchall()
        self._query = f"""
            with compared as ({levels_sql(model.fields, "pairs_to_score", "left_records")})
            select first, second, round($million / (1 + exp(-({log_odds_sql(model)}))))::integer as score
            from compared
        """
        self._parameters = {"million": MILLION, **figures(model)}

    def score(self, codes: Codes) -> Scored:
        """The scores of pairs, each of which is given once."""
        if not len(codes):
            return Scored.none()
        codes = np.sort(codes)
        if not self.ready.complete:
            compared = np.zeros(self.ready.size, dtype=bool)
            for positions in ends(codes):
                compared[positions] = True
            fill(self.ready, np.flatnonzero(compared))
        # DuckDB shares out large tables among its threads, not what a join makes of a few pairs; so the pairs are.
        parts = np.array_split(codes, self._threads if len(codes) >= PAIRS_PER_THREAD else 1)
        with ThreadPoolExecutor(len(parts)) as pool:
            scores = list(pool.map(self._part, parts))
        return Scored(codes, np.concatenate(scores))

    def _part(self, codes: Codes) -> Scores:
        first, second = ends(codes)
        cursor = self.ready.cursor()
        try:
            cursor.register("pairs_frame", pl.DataFrame({"first": first, "second": second}))
            cursor.execute("create temp table pairs_to_score as from pairs_frame")
            # Pairs come by their first record, so that few records stand on the left: what is joined twice is small.
            cursor.execute("set variable low = $low", {"low": int(first[0])})
            cursor.execute("set variable high = $high", {"high": int(first[-1])})
            cursor.execute(LEFT_RECORDS)
            found = cursor.sql(self._query, params=self._parameters).pl()
        finally:
            cursor.close()
        order = np.argsort(coded(found["first"].to_numpy(), found["second"].to_numpy()))
        return found["score"].to_numpy()[order]
