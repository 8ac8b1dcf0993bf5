"""What is learned and kept: ALS by audience, and the model of the lists, only ever replaced by a better one."""

import datetime as dt
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import dagster as dg
import polars as pl
from pydantic import Field

from cer_assets.defs.io import (
    REPLACES,
    Challenger,
    model,
    model_spec,
    picture,
    reads_itself,
    table,
    table_spec,
)
from cer_assets.defs.partitions import EVERYONE, audiences
from cer_assets.defs.provenance import CODE_VERSION, latest, tag
from cer_assets.defs.purposes import PERSONALISATION, withdrawn_on
from cer_assets.defs.recommend.inputs import DAY, READS, TABLES, Shop, morning_after
from cer_assets.defs.resources import Home
from cer_assets.recommend import EVALUATION, Als, Recommender, trained_families
from cer_assets.recommend.backtest import CHAMPION, Backtest, BacktestSettings, challenge, rolling_backtest
from cer_assets.recommend.champion import Champion, HybridEnsemble
from cer_assets.recommend.charts import (
    bucket_chart,
    champion_chart,
    coverage_chart,
    evaluation_chart,
    evaluation_table,
    loss_chart,
)
from cer_assets.recommend.hybrid import RankerSettings
from cer_assets.recommend.leakage import FOUND
from cer_assets.recommend.promotion import Kind, Retraining, Verdict, retrain_reason
from cer_assets.value.past import buckets_as_of

LEAKS = {"as_of": pl.Date, **FOUND}
DECISIONS = {
    "as_of": pl.Date,
    "kind": pl.String,
    "challenger": pl.String,
    "promoted": pl.Boolean,
    "champion": pl.String,
    "why": pl.String,
    "ndcg": pl.Float64,
    "low": pl.Float64,
    "high": pl.Float64,
}
"""Columns of `recommend.decisions`."""
ROLLBACK = "rollback"

logger = logging.getLogger(__name__)
COMPONENTS = "components.json"
"""The file of a champion that names the stored ALS models its lists are made with, and the champion it was judged
against: the same champion makes the same lists whatever was trained since."""
MODEL = "recommend_model"


class AlsTraining(dg.Config):
    """When ALS is trained anew, and on what."""

    min_customers: int = Field(default=10, ge=1, description="Customers who must have bought a product.")
    every_days: int = Field(default=28, ge=0, description="Age in days at which a model is trained anew; 0 now.")


@model(
    "recommend/als",
    ins=READS | {"value_buckets": reads_itself("value/buckets")},
    kinds=["implicit"],
    partitions_def=audiences,
)
def als(context: dg.AssetExecutionContext, config: AlsTraining, home: Home) -> dg.Output[dict[str, Als]]:
    """What goes with what, learned from the purchases of everyone and of each value bucket.

    A model is kept from day to day until it is four weeks old, its code has changed, or someone has withdrawn a consent
    since: customers are placed by their own purchases of today each time lists are made. Who withdrew their consent to
    personalisation is not in it. A champion goes on with the models it was promoted with; a challenger takes these.
    """
    newest = _newest_day(home, "value.buckets")
    cut = morning_after(newest["as_of"].max())
    since = withdrawn_on(home, PERSONALISATION)
    due = [
        name for name in context.partition_keys if not _als_stands(context, home, name, cut, config.every_days, since)
    ]
    kept = {
        name: Als.from_files(home.models.load(_als_name(name))) for name in context.partition_keys if name not in due
    }
    trained: dict[str, Als] = {}
    customers: dict[str, int] = {}
    if due:
        shop = Shop.read(home)
        history = shop.before(cut, config.min_customers, newest.select("customer_id", "bucket"))
        bucket = history.trait("bucket")[:-1]
        for name in due:
            own = history if name == EVERYONE else history.of(history.customers.filter(bucket == name))
            if not len(own.rows):
                continue
            context.log.info(f"{name}: {len(own.customers):,} customers, {len(own.rows):,} purchases")
            trained[name], customers[name] = Als().fit(own, shop.products, cut), len(own.customers)
    sizes = pl.DataFrame({"audience": list(customers), "customers": list(customers.values())})
    metadata = {"trained": ", ".join(trained) or "none", "kept": ", ".join(kept) or "none", "trained on": table(sizes)}
    losses = {name: one.losses_ for name, one in (kept | trained).items()}
    return dg.Output(kept | trained, metadata=metadata | ({"loss": picture(loss_chart(losses))} if losses else {}))


def _als_name(audience: str) -> str:
    return f"recommend_als-{audience}"


def _als_stands(
    context: dg.AssetExecutionContext,
    home: Home,
    audience: str,
    cut: dt.date,
    every_days: int,
    withdrawn_on: dt.date | None,
) -> bool:
    """Whether the audience's model was trained by this code, of nobody who withdrew since, and is not too old yet."""
    if home.models.champion(_als_name(audience)) is None or not _by_this_code(context, context.asset_key, audience):
        return False
    as_of = dt.date.fromisoformat(home.models.card(_als_name(audience))["as_of"])
    return 0 <= (cut - as_of).days < every_days and (withdrawn_on is None or withdrawn_on < as_of)


def _by_this_code(context: dg.AssetExecutionContext, key: dg.AssetKey, partition: str | None) -> bool:
    trained = tag(latest(context.instance, key, partition), CODE_VERSION)
    return trained == context.assets_def.code_versions_by_key[key]


@dataclass(frozen=True)
class Live:
    """A champion as it is stored: with the ALS models its lists are made with, and whom it was judged against."""

    champion: Champion
    als: Mapping[str, str]
    """Audience -> version."""
    against: str | None = None
    """Version of the champion before; none before the first."""

    def files(self) -> dict[str, bytes]:
        """The champion's, and the names of what goes with it."""
        known = {"als": dict(self.als), "against": self.against}
        return {**self.champion.files(), COMPONENTS: json.dumps(known, indent=2, sort_keys=True).encode()}

    @classmethod
    def from_files(cls, files: Mapping[str, bytes]) -> "Live":
        """The champion that `files` wrote."""
        known = json.loads(files[COMPONENTS])
        own = {name: data for name, data in files.items() if name != COMPONENTS}
        return cls(Champion.from_files(own, HybridEnsemble()), known["als"], known["against"])

    def card(self) -> dict[str, Any]:
        """The champion's, and what goes with it."""
        return {**self.champion.card(), "als": dict(self.als), "against": self.against}

    def families(self, home: Home, withdrawn_on: dt.date | None = None) -> dict[str, Recommender]:
        """All families, ALS with the factors that go with this champion.

        Factors learned before somebody withdrew a consent, or by code that stored them otherwise, are not used any
        more: these families learn anew.
        """
        stored = {audience: home.models.load(_als_name(audience), version) for audience, version in self.als.items()}
        models = {audience: _readable(files) for audience, files in stored.items()}
        known = {name: one for name, one in models.items() if one is not None}
        return trained_families(
            {name: one for name, one in known.items() if withdrawn_on is None or withdrawn_on < one.as_of_}
        )


def _readable(files: Mapping[str, bytes]) -> Als | None:
    try:
        return Als.from_files(files)
    except (ValueError, KeyError, TypeError):
        return None


def live(home: Home, version: str | None = None) -> Live | None:
    """The champion in use, or one of the past; None where there is none that this code can read."""
    if version is None and home.models.champion(MODEL) is None:
        return None
    files = home.models.load(MODEL, version)
    try:
        return Live.from_files(files)
    except (ValueError, KeyError, TypeError) as error:
        # Its settings are those of other code: it can be neither shown nor judged any more.
        logger.warning("the stored champion cannot be read by this code: %s", type(error).__name__)
        return None


class Judging(dg.Config):
    """When a challenger is trained, and how it is judged."""

    min_customers: int = Field(default=10, ge=1, description="Customers who must have bought a product.")
    every_days: int = Field(default=28, ge=0, description="Age in days at which a challenger is trained; 0 now.")
    days: int = Field(default=28, ge=1, description="Length of the window that nobody has seen.")
    training_windows: int = Field(default=2, ge=1, description="Windows before it that the ranker learns from.")
    trees: int = Field(default=0, ge=0, description="Trees of the challenger's ranker; 0: as many as it comes with.")

    def ranker(self) -> RankerSettings:
        """How the challenger learns to rank."""
        usual = RankerSettings()
        grown = usual.trees.model_copy(update={"trees": self.trees})
        return usual.model_copy(update={"trees": grown}) if self.trees else usual


_BOUGHT = [("customer/order_lines", name) for name in ("customer_id", "product_id", "ordered_on")]
_CODE, _DEPS = ("value", "predict"), (*TABLES, "value/purchases")


def _judged(name: str, description: str, columns: dict[str, str], figure: str, kinds: Sequence[str]) -> dg.AssetSpec:
    """A table that a challenge writes a day of."""
    return table_spec(
        f"recommend/{name}",
        columns={"as_of": "The last day that was known.", **columns},
        origins={figure: _BOUGHT},
        laid_out_by="as_of",
        kinds=kinds,
        description=description,
        code=_CODE,
        deps=_DEPS,
    )


@dg.multi_asset(
    name="challenge_model",
    specs=[
        _judged(
            "evaluation",
            "Every recommender on 28 days that none of them saw, beside popularity and each customer's own "
            "favourites. Judged anew when a challenger is trained, or when what is bought has drifted.",
            {
                "cut": "First day that no model saw; null: all cuts together.",
                "model": "The recommender; `champion` is the one in use before this, `weighed` all families without "
                "trees, `shown` the best ranking's lists under the policy.",
                "bucket": "Value bucket of the customers, new (hardly any purchases yet), or all.",
                "protocol": "A: all bought in the window; B: the first day's basket; C: what was never bought before.",
                "metric": "ndcg@10, recall@10, map@10, precision@10, coverage@10, novelty@10 (bits) or repeats@10.",
                "value": "Mean over customers.",
                "low": "Lower end of the 95 % bootstrap interval.",
                "high": "Upper end.",
            },
            "value",
            ("implicit", "scikitlearn"),
        ),
        _judged(
            "leaks",
            "How much of the days that the models were judged on was known to them before.",
            {
                "cut": "First day that no model may have seen.",
                "leak": "What was looked for.",
                "rows": "How often it was found: never, unless something is wrong.",
            },
            "rows",
            ("implicit",),
        ),
        _judged(
            "decisions",
            "The champion's history: who challenged when, who was promoted, and why.",
            {
                "kind": "train: a challenger was judged; evaluate: only the champion; rollback: brought back by hand.",
                "challenger": "Who challenged; null where nobody did.",
                "promoted": "Whether the challenger's lists are shown from then on.",
                "champion": "Whose lists are shown from then on.",
                "why": "The verdict in a sentence.",
                "ndcg": "NDCG@10 of the model of the lists from then on, before any policy, on days nobody had seen.",
                "low": "Lower end of its 95 % interval.",
                "high": "Upper end.",
            },
            "promoted",
            ("scikitlearn",),
        ),
        model_spec(
            "recommend/model",
            kinds=("scikitlearn", "implicit"),
            code=_CODE,
            deps=_DEPS,
            description="Whose lists customers are shown: the ranking over all families, or one family where that is "
            "better. A challenger is trained every four weeks on the windows before the newest one, and promoted only "
            "if it is surely better there than the champion and every plain rule, and in no value bucket worse.",
        ).merge_attributes(deps=[dg.AssetDep(["recommend", "als"], partition_mapping=dg.AllPartitionMapping())]),
    ],
)
def challenge_model(
    context: dg.AssetExecutionContext, config: Judging, home: Home
) -> Iterator[dg.Output[pl.DataFrame] | dg.Output[Challenger]]:
    """One challenge, or none: what was judged, who is shown from now on, and why."""
    shop = Shop.read(home)
    last = home.lake.scan("value.purchases").select(pl.col("ordered_on").max()).collect().item()
    as_of = morning_after(last)
    version, champion = _champion_before(home, as_of)
    todo = _todo(context, config, home, shop, champion, as_of)
    context.log.info(f"{todo.kind}: {todo.why}")
    in_use = live(home)
    if todo.kind is Kind.NONE and in_use is not None:
        empty = {"evaluation": EVALUATION, "leaks": LEAKS, "decisions": DECISIONS}
        tables = {name: pl.DataFrame(schema=schema) for name, schema in empty.items()}
        newest = _newest_of(home, "recommend.evaluation", EVALUATION)
        yield from _outputs(tables, "", Challenger(in_use, passed=False), {"kept": todo.why} | _pictures(home, newest))
        return
    purchases = home.lake.scan("value.purchases").collect()
    sources = shop.sources(lambda cut: buckets_as_of(purchases, cut - DAY).select("customer_id", "bucket"))
    settings = BacktestSettings(
        days=config.days, training_windows=config.training_windows, min_customers=config.min_customers
    )
    verdicts: Sequence[Verdict] = ()
    if todo.kind is Kind.EVALUATE and champion is not None:
        alone = settings.model_copy(update={"training_windows": 0})
        judged = rolling_backtest(sources, as_of, alone, champion.champion)
        shown, challenger, why = champion, Challenger(champion, passed=False), todo.why
    else:
        outcome = challenge(
            sources, as_of, settings, champion.champion if champion else None, ensemble=HybridEnsemble(config.ranker())
        )
        judged, verdicts, stored, why = outcome.backtest, outcome.verdicts, _stored_als(home), outcome.why
        shown = Live(outcome.champion, stored, version) if outcome.changed or champion is None else champion
        refused = outcome.challenger if shown is champion else None
        challenger = Challenger(shown if refused is None else Live(refused, stored, version), passed=refused is None)
        if refused is not None and version is not None and in_use is not None and in_use.champion.as_of == as_of:
            # What was promoted on these very purchases before is refused now: its place is the former champion's.
            home.models.promote(MODEL, version)
    made = _decisions(last, todo.kind, why, verdicts, shown.champion.name, judged)
    tables = {
        "evaluation": judged.evaluation,
        "leaks": judged.leaks.select(pl.lit(last).alias("as_of"), pl.all()),
        "decisions": made,
    }
    metadata: dict[str, Any] = {"why": todo.why, "verdict": "; ".join(made["why"].to_list())}
    metadata |= {f"{one.challenger} against": table(one.intervals) for one in verdicts}
    metadata |= {"seconds by the clock, fitted beside others": table(judged.seconds.drop("cut"), most=60)}
    yield from _outputs(tables, str(last), challenger, metadata | _pictures(home, judged.evaluation))


def _champion_before(home: Home, as_of: dt.date) -> tuple[str | None, Live | None]:
    """Whom a challenger of this day has to beat, and its version.

    A champion chosen on this very day is what a killed or repeated run chose: the one it was judged against counts.
    """
    version = home.models.champion(MODEL)
    found = live(home)
    if found is not None and found.champion.as_of == as_of:
        version = found.against
        found = live(home, version) if version is not None else None
    return version, found


def _todo(
    context: dg.AssetExecutionContext,
    config: Judging,
    home: Home,
    shop: Shop,
    champion: Live | None,
    as_of: dt.date,
) -> Retraining:
    """Whether the champion is kept, judged or challenged."""
    key = dg.AssetKey(["recommend", "model"])
    if not _by_this_code(context, key, None):
        return Retraining(Kind.TRAIN, "there was none that this code trained")
    if _newest_of(home, "recommend.leaks", LEAKS)["rows"].sum():
        return Retraining(Kind.TRAIN, "rows of the days it was judged on had been known before")
    judged = _days_decided(home)
    if live(home) is None:
        return Retraining(Kind.TRAIN, "there is no champion that this code can read")
    if as_of - DAY in judged["as_of"].to_list():
        if config.every_days:
            return Retraining(Kind.NONE, "it was judged on these very purchases")
    elif as_of - DAY in _newest_of(home, "recommend.evaluation", EVALUATION)["as_of"].to_list():
        return Retraining(Kind.TRAIN, "a challenge on these very purchases ended before its decision")
    history = shop.before(as_of, config.min_customers)
    newest = {name: judged.filter(pl.col("kind") == name)["as_of"].max() for name in (Kind.TRAIN, Kind.EVALUATE)}
    challenged, evaluated = (day + DAY if isinstance(day, dt.date) else None for day in newest.values())
    return retrain_reason(
        champion.card() if champion is not None else None,
        history,
        as_of,
        config.every_days,
        shop.products,
        challenged,
        max((day for day in (challenged, evaluated) if day is not None), default=None),
    )


def _days_decided(home: Home) -> pl.DataFrame:
    if not home.lake.exists("recommend.decisions"):
        return pl.DataFrame(schema=DECISIONS)
    return home.read("recommend.decisions")


def _newest_of(home: Home, name: str, schema: Mapping[str, Any]) -> pl.DataFrame:
    """The newest day of a table; no rows before it was first written."""
    if not home.lake.exists(name):
        return pl.DataFrame(schema=schema)
    return _newest_day(home, name)


def _newest_day(home: Home, name: str) -> pl.DataFrame:
    return home.lake.scan(name).filter(pl.col("as_of") == pl.col("as_of").max()).collect()


def _stored_als(home: Home) -> dict[str, str]:
    found = {part: home.models.champion(_als_name(part)) for part in audiences.get_partition_keys()}
    return {part: version for part, version in found.items() if version is not None}


def _decisions(
    last: dt.date, kind: Kind, why: str, verdicts: Sequence[Verdict], shown: str, judged: Backtest
) -> pl.DataFrame:
    """A row for each that challenged, one without a challenger where nobody did."""
    figures = judged.evaluation.filter(pl.col("cut").is_null(), bucket="all", protocol="A", metric="ndcg@10")
    of = {row["model"]: row for row in figures.to_dicts()}
    promoted = any(one.promoted for one in verdicts)
    found = of.get(shown if promoted or CHAMPION not in of else CHAMPION, {})
    common = {"as_of": last, "kind": kind.value, "champion": shown, "ndcg": found.get("value")}
    common |= {name: found.get(name) for name in ("low", "high")}
    rows = [{**common, "challenger": one.challenger, "promoted": one.promoted, "why": one.why} for one in verdicts]
    return pl.DataFrame(rows or [{**common, "promoted": False, "why": why}], schema=DECISIONS)


def _outputs(
    tables: Mapping[str, pl.DataFrame], replaces: str, challenger: Challenger, metadata: Mapping[str, Any]
) -> Iterator[dg.Output[pl.DataFrame] | dg.Output[Challenger]]:
    """The decision last: a day without one is judged again, whatever a killed run had done of it."""
    for name, frame in tables.items():
        if name == "decisions":
            yield dg.Output(challenger, "recommend__model", metadata=dict(metadata))
        yield dg.Output(frame, f"recommend__{name}", metadata={REPLACES: replaces, "why": metadata.get("why", "kept")})


def _pictures(home: Home, evaluation: pl.DataFrame) -> dict[str, Any]:
    """Every model in the newest backtest, and the champions of all of them."""
    if evaluation.is_empty():
        return {}
    before = home.read("recommend.evaluation") if home.lake.exists("recommend.evaluation") else evaluation.clear()
    known = pl.concat([before.join(evaluation, on="as_of", how="anti"), evaluation], how="diagonal")
    return {
        "backtest": table(evaluation_table(evaluation), most=60),
        "backtest plot": picture(evaluation_chart(evaluation)),
        "by bucket": picture(bucket_chart(evaluation)),
        "coverage": picture(coverage_chart(evaluation)),
        "champions": picture(champion_chart(known)),
    }


class Rollback(dg.Config):
    """Which champion is brought back."""

    version: str | None = Field(
        default=None, description="A stored version of recommend/model; none: the one that the champion replaced."
    )


@dg.op
def bring_back(context: dg.OpExecutionContext, config: Rollback, home: Home) -> None:
    """Make a former model of the lists the champion again.

    Nothing is computed here: the lists stand on the champion, so that they are due at once, and come out as they were
    with it on the same purchases.
    """
    replaced, card = home.models.champion(MODEL), home.models.card(MODEL)
    version = config.version or card["against"]
    if version is None:
        raise dg.Failure("the first champion replaced nobody: name the version to bring back", allow_retries=False)
    home.models.promote(MODEL, version)
    context.log.info(f"{version} makes the lists again, in the place of {replaced}")
    _record(home)
    said = {"champion": version, "in the place of": replaced, "card": dg.MetadataValue.json(home.models.card(MODEL))}
    context.log_event(dg.AssetObservation(["recommend", "model"], metadata=said))


def _record(home: Home) -> None:
    """Write the rollback beside the decisions of the newest day; what was decided that day needs no such row."""
    newest, back = _newest_of(home, "recommend.decisions", DECISIONS), live(home)
    if newest.is_empty() or back is None:
        return
    day = newest["as_of"][0]
    kept = newest.filter(pl.col("kind") != ROLLBACK)
    row = {"as_of": day, "kind": ROLLBACK, "promoted": False, "champion": back.champion.name, "why": "brought back"}
    rows = kept if back.champion.as_of == day + DAY else pl.concat([kept, pl.DataFrame([row], schema=DECISIONS)])
    home.lake.publish("recommend.decisions", rows.select(DECISIONS.keys()), partition_by="as_of", keys=[day])


@dg.job(description="Brings a former model of the lists back; the lists are made anew with it. Started by hand.")
def rollback() -> None:
    """One step: the pointer moves."""
    bring_back()


@dg.definitions
def learning() -> dg.Definitions:
    """The models of the stage, and how they did."""
    return dg.Definitions(assets=[als, challenge_model], jobs=[rollback])
