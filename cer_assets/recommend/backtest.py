"""Rolling origins: every recommender fitted before a cut and judged after it, the challenger beside the champion."""

import logging
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, timedelta
from functools import reduce
from time import perf_counter
from typing import Any

import numpy as np
import polars as pl
from pydantic import BaseModel, ConfigDict, Field

from cer_assets.recommend.champion import Champion, Ensemble, HybridEnsemble, Learned
from cer_assets.recommend.evaluate import (
    EVALUATION,
    Judged,
    Targets,
    figures,
    judge,
    judge_lists,
    of_some,
    targets,
)
from cer_assets.recommend.families import all_families
from cer_assets.recommend.interactions import Interactions, interactions
from cer_assets.recommend.leakage import FOUND, leaks
from cer_assets.recommend.model import Recommender
from cer_assets.recommend.promotion import BASELINES, Verdict, best_of, verdict
from cer_assets.recommend.rank import UNKNOWN, rank
from cer_assets.recommend.rhythm import Rhythm, learn_rhythm
from cer_assets.recommend.topk import all_at_once

logger = logging.getLogger(__name__)

CHAMPION = "champion"
"""The name under which the recommender in use is judged."""
SECONDS = {"cut": pl.Date, "model": pl.String, "fit": pl.Float64, "judge": pl.Float64}
"""How long each model took, by the clock."""
SHOWN = "shown"
"""The name of the best ranking's lists under the policy: of the ranking over all families where it has learned, else of
the champion, else of the plain ranking. Customers are shown the champion's; what could be bought on a past day is not
known, so that nothing is left out for being unavailable."""
Families = Callable[[], Mapping[str, Recommender]]


class BacktestSettings(BaseModel):
    """Which past is judged, and on how much of it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    days: int = Field(default=28, ge=1)
    """Length of a window, and from one cut to the next."""
    origins: int = Field(default=1, ge=1)
    """Cuts that are judged; the newest lies `days` before the end."""
    training_windows: int = Field(default=3, ge=0)
    """Windows before each that the ranking over all families learns from."""
    min_customers: int = Field(default=10, ge=1)
    """A product is a candidate once this many customers have bought it."""
    most_customers: int = Field(default=20_000, ge=1)
    """Customers judged at an origin; of more than that a sample is drawn."""
    compared_customers: int = Field(default=1_000, ge=1)
    """The same at a cut that only teaches, where families are compared for which of them may challenge."""
    k: int = Field(default=10, ge=1)
    """Length of a list."""
    shown: bool = True
    """Whether the best ranking's lists are judged under the policy, too."""
    resamples: int = Field(default=200, ge=1)
    """Bootstrap resamples of the customers behind an interval of the table."""
    seed: int = 0
    """Of the sample and of the resamples."""


@dataclass(frozen=True)
class Sources:
    """What recommenders are made from, with all that is known of it by now: what a past day knew is cut out of it."""

    order_lines: pl.DataFrame
    """basket_id, line, customer_id, product_id, quantity, amount, discount, ordered_at, ordered_on, merchandise."""
    traits: Callable[[date], pl.DataFrame] | None = None
    """customer_id, bucket and the like of each customer as they would have been known before a cut."""
    products: pl.DataFrame = field(default_factory=pl.DataFrame)
    """The catalogue as it is now."""
    events: pl.DataFrame | None = None
    """customer_id, product_id, kind, occurred_at."""
    weather: pl.DataFrame | None = None
    """day, temperature, rain."""
    withdrawn: pl.Series | None = None
    """customer_ids that must not be used."""

    def before(self, cut: date, min_customers: int = 10) -> Interactions:
        """What was known before a cut."""
        return interactions(
            self.order_lines,
            cut,
            min_customers,
            self.withdrawn,
            events=self.events,
            traits=self.traits(cut) if self.traits is not None else None,
            weather=self.weather,
        )


@dataclass(frozen=True)
class Origin:
    """What came of one cut."""

    cut: date
    judged: Judged
    """Where the cut is not to be judged, only what the families are worth under protocol A."""
    learned: Learned | None
    """What the ranking over all families had learned on the windows before the cut."""
    seconds: pl.DataFrame
    """SECONDS."""
    leaks: pl.DataFrame
    """Rows of `leaks`."""


@dataclass(frozen=True)
class Backtest:
    """What every recommender would have been worth."""

    evaluation: pl.DataFrame
    """Rows of `recommend.evaluation`."""
    judged: tuple[Judged, ...]
    """The origins, oldest first, customer by customer."""
    seconds: pl.DataFrame
    """SECONDS; not the same in every run, so for people only."""
    leaks: pl.DataFrame
    """cut, leak, rows: how much of the test days was known before. None may be more than nothing."""


@dataclass(frozen=True)
class Challenge:
    """What became of a challenger."""

    champion: Champion
    """Whose lists are shown from now on: the challenger where it was promoted, else the one before."""
    changed: bool
    """Whether that is another than before."""
    why: str
    """A sentence for people."""
    challenger: Champion | None
    """The ranking over all families that was learned for it, promoted or not; None where nothing could be learned."""
    verdicts: tuple[Verdict, ...]
    """One for each that challenged, in that order; none after the one that was promoted."""
    backtest: Backtest
    """Of the newest window: the challenger, the champion as `champion`, every family and baseline."""


def rolling_backtest(
    sources: Sources,
    as_of: date,
    settings: BacktestSettings | None = None,
    champion: Champion | None = None,
    *,
    ensemble: Ensemble | None = None,
    families: Families = all_families,
) -> Backtest:
    """Judge every family and the ranking over all of them on windows that none of them saw.

    One pass over the cuts, oldest first. At each all families are fitted once and let go before the next; what a window
    teaches is kept, and the ranking over all families is judged with what the windows before that cut taught.

    Args:
        sources: purchases and what else is known.
        as_of: first day not known.
        settings: which past.
        champion: the recommender in use, judged beside where it has not seen the window.
        ensemble: ranks over all families; the hybrid unless given.
        families: makes the families.

    Returns:
        No rows where nobody bought a candidate in any window.
    """
    settings, ensemble = settings or BacktestSettings(), ensemble or HybridEnsemble()
    judged_cuts = set(_cuts(as_of, settings.days, settings.origins))
    origins = [
        one for one in _origins(sources, as_of, ensemble, settings, champion, families) if one.cut in judged_cuts
    ]
    return _backtest(origins, as_of, settings)


def challenge(
    sources: Sources,
    as_of: date,
    settings: BacktestSettings | None = None,
    champion: Champion | None = None,
    *,
    ensemble: Ensemble | None = None,
    families: Families = all_families,
    resamples: int = 1000,
) -> Challenge:
    """Train a challenger on the windows before the newest, and let it take the champion's place if it earns it there.

    What was judged is what is shown: the trees that go live are those of the verdict, learned before the newest window;
    the families under them are fitted anew each day. Challengers, in this order: the ranking over all families, learned
    and plain; the single family and the baseline that were best on the windows before the newest, so that they were not
    chosen by the days they are judged on. Where there is no champion and none of them is promoted, the best baseline is
    shown. No one is promoted where something leaked.

    Args:
        sources: purchases and what else is known.
        as_of: first day not known.
        settings: which past; one origin is judged whatever they say.
        champion: the recommender in use, None before the first.
        ensemble: ranks over all families; the hybrid unless given.
        families: makes the families.
        resamples: bootstrap resamples behind the verdict.
    """
    ensemble, members = ensemble or HybridEnsemble(), families()
    settings = (settings or BacktestSettings()).model_copy(update={"origins": 1})
    try:
        member = champion.member(members) if champion is not None else None
    except LookupError as error:
        logger.warning("there is no champion: %s", error)
        champion = member = None
    origins = list(_origins(sources, as_of, ensemble, settings, champion, families))
    cut = as_of - timedelta(days=settings.days)
    newest = next((one for one in origins if one.cut == cut), None)
    before = [one.judged for one in origins if one.cut < cut]
    unchanged = member is None or member.settings == members[member.name].settings
    shown = champion.name if champion is not None and champion.learned is None and unchanged else None
    verdicts, why = _verdicts(ensemble, newest, before, champion, shown, resamples, settings.seed)
    backtest = _backtest([newest] if newest is not None else [], as_of, settings)
    learned = newest.learned if newest is not None else None

    def named(name: str) -> Champion:
        return Champion(
            name,
            as_of,
            learned_from=cut - timedelta(days=settings.days * max(settings.training_windows, 1)),
            learned_before=cut,
            settings=members[name].settings.model_dump(mode="json") if name in members else None,
            learned=learned if name == ensemble.name else None,
        )

    challenger = named(ensemble.name) if learned is not None else None
    changed = bool(verdicts and verdicts[-1].promoted)
    if changed:
        champion = named(verdicts[-1].challenger)
    elif champion is None:
        values = newest.judged.per_customer() if newest is not None else pl.DataFrame()
        champion, changed = named(best_of(values, BASELINES) or BASELINES[-1]), True
    return Challenge(champion, changed, why, challenger, tuple(verdicts), backtest)


def _verdicts(
    ensemble: Ensemble,
    newest: Origin | None,
    before: Sequence[Judged],
    champion: Champion | None,
    shown: str | None,
    resamples: int,
    seed: int,
) -> tuple[list[Verdict], str]:
    """One challenger after the other until one is promoted, and what came of it in a sentence.

    Args:
        ensemble: ranks over all families.
        newest: the window that decides.
        before: the windows before it.
        champion: the recommender in use.
        shown: which of the models, with the settings they compete with, that is; None where it is none of them.
        resamples: bootstrap resamples behind a verdict.
        seed: of those.
    """
    if newest is None:
        return [], "nobody bought a candidate in the newest window: nothing could be judged"
    if champion is not None and champion.learned_before > newest.cut:
        return [], "the champion has seen days of the window: it cannot be judged there"
    leaked = int(newest.leaks["rows"].sum())
    if leaked:
        return [], f"{leaked:,} rows of the test days were known before: nothing is promoted on such figures"
    values = newest.judged.per_customer()
    verdicts: list[Verdict] = []
    for name in _challengers(ensemble, newest, before, shown):
        incumbent = CHAMPION if champion is not None else None
        verdicts.append(verdict(values, name, incumbent, BASELINES, resamples, seed))
        logger.info("challenger %s: %s", name, verdicts[-1].why)
        if verdicts[-1].promoted:
            break
    said = verdicts[-1] if verdicts[-1].promoted else verdicts[0]
    return verdicts, f"{said.challenger} {'promoted' if said.promoted else 'refused'}: {said.why}"


def _challengers(ensemble: Ensemble, newest: Origin, before: Sequence[Judged], shown: str | None) -> list[str]:
    """The rankings over all families, then the family and the baseline that were best before the newest window."""
    learned = [*([ensemble.name] if newest.learned is not None else []), ensemble.plain]
    if not before:
        return learned
    earlier = pl.concat([one.per_customer() for one in before], how="diagonal")
    single = [name for name in newest.judged.values if all(name in one.values for one in before)]
    best = [best_of(earlier, single), best_of(earlier, [name for name in BASELINES if name in single])]
    return [name for name in dict.fromkeys([*learned, *best]) if name is not None and name != shown]


def _origins(
    sources: Sources,
    as_of: date,
    ensemble: Ensemble,
    settings: BacktestSettings,
    champion: Champion | None,
    families: Families,
) -> Iterator[Origin]:
    """Every cut with customers to ask, oldest first: those judged, and before them those that only teach."""
    cuts = _cuts(as_of, settings.days, settings.origins + settings.training_windows)
    windows: dict[date, Any] = {}
    for cut in cuts:
        first = cut - timedelta(days=settings.days * settings.training_windows)
        taught = [windows[at] for at in sorted(windows) if at >= first] if cut in cuts[-settings.origins :] else None
        teaches = cut != cuts[-1] and settings.training_windows > 0
        found = _origin(sources, cut, ensemble, settings, champion, families(), taught, teaches)
        if found is not None:
            origin, window = found
            windows |= {cut: window} if window is not None else {}
            yield origin


def _origin(
    sources: Sources,
    cut: date,
    ensemble: Ensemble,
    settings: BacktestSettings,
    champion: Champion | None,
    families: Mapping[str, Recommender],
    taught: Sequence[Any] | None,
    teaches: bool,
) -> tuple[Origin, Any] | None:
    """One cut and what its window teaches; None where there is nobody to ask. All models are let go on the way out.

    Args:
        sources: purchases and what else is known.
        cut: first day not known.
        ensemble: ranks over all families.
        settings: of the backtest.
        champion: the recommender in use.
        families: not yet fitted.
        taught: what earlier windows taught, where the cut is to be judged; None where it is not.
        teaches: whether a later cut learns from this window.
    """
    history = sources.before(cut, settings.min_customers)
    wanted = targets(sources.order_lines, history, cut, settings.days, settings.k)
    wanted = of_some(wanted, settings.most_customers, settings.seed)
    if not len(wanted["A"].rows):
        return None
    logger.info("cut %s: %s customers, %s products", cut, len(history.customers), len(history.products))
    one = _AtCut(cut, history, sources.products, settings.k)
    models = fitted = all_at_once(one.fit, families)
    learned = ensemble.learn(taught) if taught else None
    if taught is None:
        some = of_some({"A": wanted["A"]}, settings.compared_customers, settings.seed)
        judged = one.judge(fitted, some)
    else:
        models = fitted | one.over(fitted, ensemble, learned, champion)
        judged = one.judge(models, wanted)
        if settings.shown:
            best = next(name for name in (ensemble.name, CHAMPION, ensemble.plain) if name in models)
            rhythm = learn_rhythm(sources.before(cut, min_customers=1), sources.products, cut)
            judged = judged.beside(one.judge_shown(models[best], wanted, rhythm))
    found = leaks(models, sources.order_lines, cut, settings.days, sources.withdrawn)
    window = ensemble.window(fitted, sources.products, cut, wanted) if teaches else None
    return Origin(cut, judged, learned, one.seconds(), found), window


class _AtCut:
    """The models of one cut, and how long each takes."""

    def __init__(self, cut: date, history: Interactions, products: pl.DataFrame, k: int):
        self.cut, self.history, self.products, self.k = cut, history, products, k
        self._seconds: dict[str, dict[str, float]] = {}

    def fit(self, name: str, model: Recommender) -> Recommender:
        """A model fitted on what was known before the cut; several at once, so that seconds are those beside others."""
        with self._timed(name, "fit"):
            return model.fit(self.history, self.products, self.cut)

    def over(
        self, fitted: Mapping[str, Recommender], ensemble: Ensemble, learned: Learned | None, champion: Champion | None
    ) -> dict[str, Recommender]:
        """What ranks over the families: the ensemble, also where it has learned, and the champion where it may."""
        found: dict[str, Recommender] = {}
        for name, of in ((ensemble.plain, None), (ensemble.name, learned)):
            if of is not None or name == ensemble.plain:
                with self._timed(name, "fit"):
                    found[name] = ensemble.over(fitted, self.products, self.cut, of)
        if champion is not None and champion.learned_before <= self.cut:
            with self._timed(CHAMPION, "fit"):
                found[CHAMPION] = champion.over(fitted, self.products, self.cut, ensemble)
        return found

    def judge(self, models: Mapping[str, Recommender], wanted: Mapping[str, Targets]) -> Judged:
        """All models on the same customers."""
        judged: list[Judged] = []
        for name, model in models.items():
            with self._timed(name, "judge"):
                judged.append(judge({name: model}, wanted, self.cut, self.k))
        return reduce(Judged.beside, judged)

    def judge_shown(self, model: Recommender, wanted: Mapping[str, Targets], rhythm: Rhythm) -> Judged:
        """A model's lists under the policy, with what follows where it is silent, of all that was sold by then."""
        rows = wanted["A"].rows
        with self._timed(SHOWN, "judge"):
            customers = self.history.customers.gather(rows)
            eve = self.cut - timedelta(days=1)
            products = _as_then(self.products, self.history.products)
            rows_of = rank(model, customers, products, eve, rhythm=rhythm, k=self.k, reasons=False)
            known = rows_of.filter(pl.col("customer_id") != UNKNOWN)
            place = np.searchsorted(rows, self.history.row_of(known["customer_id"]))
            columns = np.full((len(rows), self.k), -1, np.int32)
            columns[place, known["rank"].to_numpy() - 1] = self.history.column_of(known["product_id"])
            own = {protocol: columns for protocol in wanted if protocol != "C"}
            return judge_lists({SHOWN: own}, wanted, self.history, self.cut, self.k)

    def seconds(self) -> pl.DataFrame:
        """cut, model, fit, judge."""
        rows = [{"cut": self.cut, "model": name, **took} for name, took in sorted(self._seconds.items())]
        return pl.DataFrame(rows, schema=SECONDS)

    @contextmanager
    def _timed(self, name: str, what: str) -> Generator[None]:
        start = perf_counter()
        yield
        self._seconds.setdefault(name, {})[what] = perf_counter() - start


def _as_then(products: pl.DataFrame, sold: pl.Series) -> pl.DataFrame:
    """The catalogue without what only today knows: what is to be had now, and what is not in it any more."""
    if "product_id" not in products.columns:
        return products
    known = products.drop("available", strict=False)
    gone = sold.alias("product_id").to_frame().join(known, on="product_id", how="anti", maintain_order="left")
    return pl.concat([known, gone], how="diagonal")


def _cuts(as_of: date, days: int, number: int) -> list[date]:
    """Cuts `days` apart, oldest first; the window of the last ends before `as_of`."""
    return [as_of - timedelta(days=days * back) for back in range(number, 0, -1)]


def _backtest(origins: Sequence[Origin], as_of: date, settings: BacktestSettings) -> Backtest:
    judged = tuple(one.judged for one in origins)
    table = figures(judged, settings.k, settings.resamples, settings.seed)
    evaluation = table.select(pl.lit(as_of - timedelta(days=1)).alias("as_of"), pl.all()).select(*EVALUATION)
    return Backtest(
        evaluation.sort("cut", "model", "bucket", "protocol", "metric", nulls_last=False),
        judged,
        pl.concat([pl.DataFrame(schema=SECONDS), *(one.seconds for one in origins)]),
        pl.concat([pl.DataFrame(schema=FOUND), *(one.leaks for one in origins)]),
    )
