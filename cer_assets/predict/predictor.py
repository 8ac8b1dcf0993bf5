"""The one shape of every yes-or-no prediction: learned at past cuts, calibrated and judged on later ones.

What is asked, of whom, and by which features is said beside this, in `buying`, `response` and `categories`.
"""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Any, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from cer_assets.predict.blend import Blend
from cer_assets.predict.curves import LogisticCurves
from cer_assets.predict.drift import Population
from cer_assets.predict.evaluate import calibration, evaluation

logger = logging.getLogger(__name__)

LATER = 0.15
"""Share of the examples, the latest ones, that the calibration asks for at least."""

COMPARED_ROWS = 1_000
"""Later populations are compared with that of the newest cuts which hold so many examples together."""


class Question(BaseModel):
    """What is asked, and what the answer is learned from.

    Examples of it are frames of `keys`, cut Date (nothing from this day on is in the features), known_on Date (nothing
    from this day on is in the outcome), happened Boolean, and the features as Float64, null for not known.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str
    """What it is called in tables."""
    horizon_days: int | None = Field(default=None, ge=1)
    """Days from the cut on in which it may happen; None where each row has a horizon of its own."""
    keys: tuple[str, ...] = ("customer_id",)
    """What a row is about; customer_id is one of them."""
    features: tuple[str, ...]
    rules: tuple[str, ...] = ()
    """Features that are a simple rule each: a curve over nothing else, as a baseline."""
    rivals: tuple[str, ...] = ()
    """Features that are a probability of the outcome as they stand, as a baseline."""
    compared: tuple[str, ...] = ()
    """Features whose population is compared with that of now; all of them, where none are named."""
    judged_cuts: int = Field(default=3, ge=1)
    """How many of the latest cuts are judged on."""
    min_examples: int = Field(default=200, ge=2)
    """Examples needed to learn at all."""
    min_outcomes: int = Field(default=20, ge=1)
    """Examples needed of either outcome, to learn from and again to calibrate on."""


@dataclass(frozen=True)
class Predictor:
    """What was learned, or the reason why nothing was, and how it did on later time."""

    question: Question
    as_of: date
    """Nothing from this day on was read."""
    blend: Blend | None
    reason: str | None
    """Why there is no figure for anyone."""
    examples: int
    """Rows learned from."""
    base_rate: float | None
    """Share of them where it happened."""
    population: Population | None
    """How the features lay over the rows learned from."""
    facts: Mapping[str, float]
    """What the features of a new row need to know beside the rows: parameters of BG/NBD."""
    evaluation: pl.DataFrame
    """Rows of `predict.evaluation`."""
    calibration: pl.DataFrame
    """Rows of `predict.calibration`."""

    def probability(self, rows: pl.DataFrame) -> NDArray[np.float64]:
        """Probability of the outcome for each row, nan where nothing was learned."""
        if self.blend is None:
            return np.full(rows.height, np.nan)
        return self.blend.probability(matrix(rows, self.question.features))

    def predict(self, rows: pl.DataFrame) -> pl.DataFrame:
        """A probability or a reason for each row.

        Args:
            rows: keys, the features, and reason (null where there is enough to judge by).

        Returns:
            keys, horizon_days, probability (null with a reason), reason, in the order of the keys.
        """
        enough = pl.col("reason").is_null()
        judged = rows.filter(enough)
        figures = pl.Series("probability", self.probability(judged), dtype=pl.Float64).fill_nan(None)
        keys = list(self.question.keys)
        return (
            pl.concat(
                [
                    judged.select(*keys, figures, reason=pl.lit(self.reason, pl.String)),
                    rows.filter(~enough).select(*keys, pl.lit(None, pl.Float64).alias("probability"), "reason"),
                ]
            )
            .sort(keys)
            .select(*keys, pl.lit(self.question.horizon_days, pl.Int64).alias("horizon_days"), "probability", "reason")
        )

    def drift(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Feature and psi: how far the rows to be judged have moved from those learned from; none if none were."""
        if self.population is None:
            return pl.DataFrame(schema={"feature": pl.String, "psi": pl.Float64})
        return self.population.psi(rows.filter(pl.col("reason").is_null()))

    def files(self) -> dict[str, bytes]:
        """The model as JSON; the same model gives the same bytes."""
        data = {
            "question": self.question.model_dump(),
            "as_of": self.as_of.isoformat(),
            "blend": self.blend.as_json() if self.blend else None,
            "reason": self.reason,
            "examples": self.examples,
            "base_rate": self.base_rate,
            "population": self.population.as_json() if self.population else None,
            "facts": dict(self.facts),
            "evaluation": self.evaluation.write_json(),
            "calibration": self.calibration.write_json(),
        }
        return {f"{name_of(self.question)}.json": json.dumps(data, sort_keys=True).encode()}

    @classmethod
    def from_files(cls, files: Mapping[str, bytes], question: Question) -> Self:
        """The model that `files` wrote for this question.

        Raises:
            ValueError: the model was made for other features than this code computes.
        """
        data = json.loads(files[f"{name_of(question)}.json"])
        if tuple(data["question"]["features"]) != question.features:
            raise ValueError(f"the {question.model} model was trained on other features than these: train it again")
        none_judged = _nothing_judged(question, date.fromisoformat(data["as_of"]))
        tables = {
            name: pl.read_json(data[name].encode(), schema=getattr(none_judged, name).schema)
            for name in ("evaluation", "calibration")
        }
        return cls(
            question=Question(**data["question"]),
            as_of=date.fromisoformat(data["as_of"]),
            blend=Blend.from_json(data["blend"]) if data["blend"] else None,
            reason=data["reason"],
            examples=data["examples"],
            base_rate=data["base_rate"],
            population=Population.from_json(data["population"]) if data["population"] else None,
            facts=data["facts"],
            **tables,
        )

    def card(self) -> dict[str, Any]:
        """What the model is and how it did, without its numbers."""
        latest = self.evaluation.filter(pl.col("cut") == pl.col("cut").max())
        return {
            "family": "mean of logistic curves and gradient boosted trees, calibrated by Platt's line",
            "question": self.question.model_dump(),
            "as_of": self.as_of.isoformat(),
            "examples": self.examples,
            "base_rate": self.base_rate,
            "reason": self.reason,
            "facts": dict(self.facts),
            "held out": latest.drop("as_of", "model", "horizon_days").to_dicts(),
        }


@dataclass(frozen=True)
class Predictors:
    """Predictors that are trained and stored together."""

    models: tuple[Predictor, ...]

    def files(self) -> dict[str, bytes]:
        """The files of all of them."""
        return {name: data for model in self.models for name, data in model.files().items()}

    def card(self) -> dict[str, Any]:
        """The card of each, by the name of its file."""
        return {name_of(model.question): model.card() for model in self.models}

    def stand(self, cut: date, every_days: int) -> bool:
        """Whether they do for another day: each learned something, before the cut and fewer than so many days before.

        Where there was too little to learn from, there may be enough now.
        """
        return all(one.reason is None and 0 < (cut - one.as_of).days < every_days for one in self.models)

    @classmethod
    def from_files(cls, files: Mapping[str, bytes], questions: Sequence[Question]) -> Self:
        """The models that `files` wrote for these questions."""
        return cls(tuple(Predictor.from_files(files, question) for question in questions))


def learn(
    question: Question, examples: pl.DataFrame, as_of: date, facts: Mapping[str, float] | None = None
) -> Predictor:
    """Learn from examples whose outcome was known by a day.

    Args:
        question: what is asked.
        examples: as `Question` describes, in any order.
        as_of: first day not read; examples whose outcome was not known before are left out.
        facts: kept with the model.

    Returns:
        A predictor; one without a blend, and with the reason, where there is too little to learn from.
    """
    rows = _known_by(question, examples, as_of)
    happened = rows["happened"].to_numpy()
    reason, blend = _too_thin(question, rows), None
    if reason is None:
        earlier, later = _earlier_and_later(question, rows)
        if earlier.any():
            blend = Blend.fit(matrix(rows, question.features), happened, earlier, later)
        else:
            reason = "not enough data: no later examples to calibrate on"
    population = Population.of(_newest(rows), question.compared or question.features) if blend else None
    logger.info("%s as of %s: %d examples", name_of(question), as_of, rows.height)
    base_rate = float(happened.mean()) if rows.height else None
    nothing = _nothing_judged(question, as_of)
    return replace(
        nothing,
        blend=blend,
        reason=reason,
        examples=rows.height,
        base_rate=base_rate,
        population=population,
        facts=facts or {},
    )


def _newest(rows: pl.DataFrame) -> pl.DataFrame:
    """The examples of the newest cuts that hold `COMPARED_ROWS` together: less of the record lay before older ones."""
    sizes = rows.group_by("cut").len("rows").sort("cut", descending=True)
    enough = sizes.filter(pl.col("rows").cum_sum() - pl.col("rows") < COMPARED_ROWS)
    return rows.join(enough, on="cut", how="semi", maintain_order="left")


def learn_and_judge(
    question: Question, examples: pl.DataFrame, as_of: date, facts: Mapping[str, float] | None = None
) -> tuple[Predictor, pl.DataFrame]:
    """`learn`, and `judge` at the latest cuts whose horizon has passed; its figures are kept with the model."""
    held_out = judge(question, examples, as_of)
    model = replace(
        learn(question, examples, as_of, facts),
        evaluation=evaluation(held_out, question.model, question.horizon_days, as_of),
        calibration=calibration(held_out, question.model, question.horizon_days, as_of),
    )
    return model, held_out


def judge(question: Question, examples: pl.DataFrame, as_of: date) -> pl.DataFrame:
    """What would have been said at the latest cuts whose outcome is known by now, and what came.

    At each cut everything is learned anew from what was known by then, so that no example reaches into the outcome that
    is judged.

    Args:
        question: what is asked, and at how many cuts it is judged.
        examples: as `Question` describes, in any order.
        as_of: first day not read.

    Returns:
        keys, cut, happened, then one probability per model: base_rate, the rules, the rivals, and the question's own.
        No rows of a cut before which there was not enough to learn from.
    """
    known = _known_by(question, examples, as_of)
    cuts = known["cut"].unique().sort(descending=True).head(question.judged_cuts)
    held_out = [said_of(question, examples, known.filter(pl.col("cut") == cut), cut) for cut in cuts]
    return pl.concat([said_of(question, examples.clear(), known.clear(), as_of), *held_out])


def said_of(question: Question, examples: pl.DataFrame, rows: pl.DataFrame, as_of: date) -> pl.DataFrame:
    """What is said of some rows by what was learned from examples known by a day; columns as of `judge`.

    Args:
        question: what is asked.
        examples: as `Question` describes, in any order; those whose outcome was not known before `as_of` are left out.
        rows: further examples, whose outcome is to be foreseen.
        as_of: first day not read of the examples.
    """
    past = _known_by(question, examples, as_of)
    model = learn(question, past, as_of)
    if model.blend is None:
        rows = rows.clear()
    said = {
        "base_rate": np.full(rows.height, model.base_rate or 0.0),
        **{rule: _by_rule(past, rows, rule) for rule in question.rules},
        **{rival: rows[rival].to_numpy().astype(np.float64) for rival in question.rivals},
        question.model: model.probability(rows),
    }
    return rows.select(
        *question.keys,
        "cut",
        "happened",
        **{name: pl.Series(values, dtype=pl.Float64) for name, values in said.items()},
    )


def _by_rule(past: pl.DataFrame, rows: pl.DataFrame, rule: str) -> NDArray[np.float64]:
    if rows.is_empty():
        return np.empty(0)
    curve = LogisticCurves.fit(matrix(past, [rule]), past["happened"].to_numpy())
    return curve.probability(matrix(rows, [rule]))


def matrix(rows: pl.DataFrame, columns: Sequence[str]) -> NDArray[np.float64]:
    """Features as an array (n x f), nan for not known."""
    return rows.select(pl.col(columns).cast(pl.Float64).fill_null(np.nan)).to_numpy()


def _known_by(question: Question, examples: pl.DataFrame, as_of: date) -> pl.DataFrame:
    return examples.filter(pl.col("known_on") <= as_of).sort("cut", *question.keys)


def _too_thin(question: Question, rows: pl.DataFrame) -> str | None:
    n, happened = rows.height, int(rows["happened"].sum())
    if n < question.min_examples:
        return f"not enough data: {n} past examples, {question.min_examples} needed"
    if min(happened, n - happened) < question.min_outcomes:
        return (
            f"not enough data: it happened in {happened} of {n} past examples, {question.min_outcomes} needed of each"
        )
    return None


def _earlier_and_later(question: Question, rows: pl.DataFrame) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Rows to calibrate on, and those whose outcome was known before the first of them; none where there are too few.

    The latest cuts that hold enough of either outcome are the later ones.
    """
    for cut in rows["cut"].unique().sort(descending=True):
        earlier, later = (rows["known_on"] <= cut).to_numpy(), (rows["cut"] >= cut).to_numpy()
        if later.mean() >= LATER and _enough(question, rows, later) and _enough(question, rows, earlier):
            return earlier, later
    nothing = np.zeros(rows.height, dtype=np.bool_)
    return nothing, nothing


def _enough(question: Question, rows: pl.DataFrame, mask: NDArray[np.bool_]) -> bool:
    happened = rows["happened"].to_numpy()[mask]
    return min(int(happened.sum()), int((~happened).sum())) >= question.min_outcomes


def _nothing_judged(question: Question, as_of: date) -> Predictor:
    nothing = pl.DataFrame(schema={"customer_id": pl.String, "cut": pl.Date, "happened": pl.Boolean})
    figures, bins = (f(nothing, question.model, question.horizon_days, as_of) for f in (evaluation, calibration))
    return Predictor(question, as_of, None, None, 0, None, None, {}, figures, bins)


def name_of(question: Question) -> str:
    """What the model is called, its horizon with it."""
    return question.model if question.horizon_days is None else f"{question.model}_{question.horizon_days}d"
