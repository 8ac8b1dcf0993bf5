"""The lists that customers and strangers are shown, and what stands beside them: pairs of products, rhythms."""

import datetime as dt
from typing import Any, cast

import dagster as dg
import polars as pl
from pydantic import Field

from cer_assets.defs.io import python_table, reads_itself, same_day, sql_assets_of, table
from cer_assets.defs.partitions import as_days, refuse_hindsight
from cer_assets.defs.provenance import latest
from cer_assets.defs.recommend.inputs import DAY, READS, Shop, morning_after
from cer_assets.defs.recommend.learning import MODEL, Live, live
from cer_assets.defs.resources import Engine, Home
from cer_assets.recommend import (
    UNKNOWN,
    Context,
    CrowdSettings,
    Interactions,
    Policy,
    Recommender,
    Rhythm,
    Trending,
    everyone,
    learn_rhythm,
    rank,
    rank_everyone,
    short_lists,
)
from cer_assets.recommend.champion import HybridEnsemble
from cer_assets.recommend.context import DAYPARTS
from cer_assets.recommend.families.together import pairs
from cer_assets.recommend.reasons import Sold, named

_LISTED = {
    "rank": "Place in the list, from 1.",
    "product_id": "What to show.",
    "score": "Comparable within one list only.",
    "source": "The family of recommenders it comes from.",
    "reason": "Why, naming what stands behind it.",
}
_BOUGHT = [("customer/order_lines", name) for name in ("customer_id", "product_id", "ordered_on")]
_PACE = [*_BOUGHT, ("customer/products", "type")]
_LISTED_FROM = {
    "product_id": [("customer/order_lines", "product_id"), ("customer/products", "available")],
    "score": _BOUGHT,
    "source": _BOUGHT,
    "reason": [("customer/products", "title"), ("customer/order_lines", "ordered_on")],
}


HISTORY = {
    "customer.order_lines": ("product_id", "quantity", "amount", "discount", "ordered_at", "ordered_on", "merchandise"),
    "customer.events": ("product_id", "kind", "occurred_at"),
}
"""What lists are made from of each customer: tables and their columns."""
MADE_WITH = "made with"
"""Materialization metadata: the champion, the settings and the code behind lists."""
MADE_FROM = "made from"
"""Materialization metadata: the versions of the tables that lists were made from."""
_USUAL = Policy()


class Lists(dg.Config):
    """What is on a list."""

    products: int = Field(default=10, ge=1, description="Longest list.")
    min_customers: int = Field(default=10, ge=1, description="Customers who must have bought a product.")
    category_share: float = Field(
        default=_USUAL.category_share, gt=0, le=1, description="Most that one category may have of a list."
    )
    lasting_days: float = Field(
        default=_USUAL.lasting_days,
        ge=0,
        description="A purchase that lasts at least so long holds its type back until it wears out.",
    )

    def policy(self) -> Policy:
        """The policy of every list."""
        return Policy(category_share=self.category_share, lasting_days=self.lasting_days)


@python_table(
    "recommend/recommendations",
    columns={
        "as_of": "The last day of purchases that is known.",
        "customer_id": "The person; `unknown` is whom the till does not recognise.",
    }
    | _LISTED,
    origins={"customer_id": [("identity/customers", "customer_id")]} | _LISTED_FROM,
    ins=READS
    | {
        "customers": reads_itself("identity/customers"),
        "withdrawn": reads_itself("recommend/withdrawn"),
        "value_buckets": same_day("value/buckets"),
        "model": reads_itself("recommend/model"),
    },
    daily=True,
    kinds=("scikitlearn", "implicit"),
    code=("value",),
)
def recommendations(
    context: dg.AssetExecutionContext, config: Lists, home: Home, engine: Engine, value_buckets: pl.DataFrame
) -> dg.Output[pl.DataFrame]:
    """Ten products a customer by the champion, under the policy of the house; for strangers what is trending.

    What a customer bought that lasts is held back as long as its rhythm says, what is about to run out comes forward.
    Of more customers than models learn from, those who spend most have the champion's lists and the others those of one
    family; who did not move keeps a list for some days (`CrowdSettings`).
    """
    made_from = {name: home.lake.version(name) for name in HISTORY}
    shop, champion = Shop.read(home), live(home)
    if champion is None:
        raise dg.Failure(
            "recommend/model has no champion that this code can read: materialize it first", allow_retries=False
        )
    customers = home.lake.scan("identity.customers").select("customer_id").collect()["customer_id"]
    lists: list[pl.DataFrame] = []
    made: dict[str, Any] = {}
    made_with = _made_with(context, config, home)
    for day in as_days(context.partition_keys):
        refuse_hindsight(day, champion.champion.as_of - DAY)
        traits = value_buckets.filter(pl.col("as_of") == day).select("customer_id", "bucket")
        model, rhythm = _fitted(home, shop, champion, morning_after(day), config.min_customers, traits)
        context.log.info(f"{day}: {champion.champion.name} fitted, {len(customers):,} customers")
        if not shop.sampled:
            lists.append(
                rank(
                    model,
                    customers,
                    shop.products,
                    day,
                    shop.withdrawn,
                    policy=config.policy(),
                    rhythm=rhythm,
                    k=config.products,
                )
            )
            continue
        with engine.over(list(HISTORY)) as con:
            crowd = everyone(con, morning_after(day), shop.withdrawn, traits)
        before, moved = (lists[-1], None) if lists else _lists_before(context, home, day, made_with)
        found = rank_everyone(
            model,
            crowd,
            customers.filter(~customers.is_in(shop.withdrawn.implode())),
            shop.products,
            day,
            rhythm,
            policy=config.policy(),
            k=config.products,
            before=before,
            moved=moved,
        )
        lists.append(found.rows)
        made |= {"made by the champion": found.by_model, "made by one family": found.by_plain, "carried": found.carried}
    newest, asked = lists[-1], customers.filter(~customers.is_in(shop.withdrawn.implode()))
    known = newest.filter(pl.col("customer_id") != UNKNOWN)
    sources = known.group_by("source").agg(pl.len().alias("rows"), pl.col("customer_id").n_unique().alias("customers"))
    different = newest.sort("rank", "customer_id").unique(["source", "product_id"], keep="first", maintain_order=True)
    examples = different.sort("source", "rank", "customer_id").group_by("source", maintain_order=True).head(3)
    examples = examples.with_columns(title=named(shop.products, examples["product_id"]))
    return dg.Output(
        pl.concat(lists),
        metadata={
            "champion": champion.champion.name,
            "day": str(newest["as_of"].max()),
            "by source": table(sources.sort("rows", "source", descending=[True, False])),
            "examples": table(examples.select("source", "rank", "title", "reason")),
            "different products": newest["product_id"].n_unique(),
            "short lists": short_lists(newest, config.products, asked).height,
            "left out for want of consent": len(shop.withdrawn),
            MADE_WITH: made_with,
            MADE_FROM: dg.MetadataValue.json(made_from),
        }
        | (made | {"what each is worth": table(_worth(home, champion.champion.name))} if made else {}),
    )


def _made_with(context: dg.AssetExecutionContext, config: Lists, home: Home) -> str:
    """The champion, the settings and the code: lists that were made with others are not carried on."""
    code = context.assets_def.code_versions_by_key[context.asset_key]
    return f"{home.models.champion(MODEL)} {code} {config.model_dump_json()}"


def _lists_before(
    context: dg.AssetExecutionContext, home: Home, day: dt.date, made_with: str
) -> tuple[pl.DataFrame | None, pl.Series | None]:
    """The newest lists before a day, and of whom other purchases are known by now than they were made from.

    No lists where they were made with something else than today's are, or what they were made from is gone.
    """
    if not home.lake.exists("recommend.recommendations"):
        return None, None
    earlier = home.lake.scan("recommend.recommendations").filter(pl.col("as_of") < day)
    newest = earlier.select(pl.col("as_of").max()).collect().item()
    entry = latest(context.instance, context.asset_key, newest.isoformat()) if newest else None
    told = entry.asset_materialization.metadata if entry and entry.asset_materialization else {}
    if MADE_FROM not in told or MADE_WITH not in told or told[MADE_WITH].value != made_with:
        return None, None
    made_from = cast("dict[str, int]", told[MADE_FROM].value)
    if not all(home.lake.holds(name, version) for name, version in made_from.items()):
        return None, None
    moved = [home.lake.moved(name, made_from[name], "customer_id", columns) for name, columns in HISTORY.items()]
    return earlier.filter(pl.col("as_of") == newest).collect(), pl.concat(moved).unique()


def _worth(home: Home, champion: str) -> pl.DataFrame:
    """What the champion's lists and those of one family were worth to the customers who teach, when last judged."""
    names = {"champion", champion, CrowdSettings().plain}
    if not home.lake.exists("recommend.evaluation"):
        return pl.DataFrame(schema={"model": pl.String, "value": pl.Float64, "low": pl.Float64, "high": pl.Float64})
    judged = home.lake.scan("recommend.evaluation").filter(
        pl.col("as_of") == pl.col("as_of").max(), pl.col("cut").is_null(), pl.col("model").is_in(list(names))
    )
    figures = judged.filter(bucket="all", protocol="A", metric="ndcg@10").collect()
    return figures.select("model", "value", "low", "high").sort("value", descending=True)


def _fitted(
    home: Home, shop: Shop, champion: Live, cut: dt.date, min_customers: int, traits: pl.DataFrame
) -> tuple[Recommender, Rhythm]:
    """The champion as of a day, and how long purchases last; of what lasts few are sold, so all products tell that."""
    history = shop.before(cut, min_customers, traits)
    chosen, families = champion.champion, champion.families(home, shop.withdrawn_on)
    model = chosen.fit(history, shop.products, cut, HybridEnsemble(), lambda: families)
    return model, learn_rhythm(shop.before(cut, 1), shop.products, cut)


def _newest(home: Home) -> tuple[Shop, dt.date]:
    shop = Shop.read(home)
    return shop, morning_after(shop.last)


def _counted_among(shop: Shop, history: Interactions) -> dict[str, Any]:
    """What a count is of, where it is not of everyone: more customers and baskets there are, never fewer."""
    return {"counted among customers": len(history.customers)} if shop.sampled else {}


@python_table(
    "recommend/moments",
    columns={
        "as_of": "The last day of purchases that is known.",
        "daypart": "Part of the day, by the retailer's clock.",
        "weekday": "1 is Monday.",
    }
    | _LISTED,
    origins=_LISTED_FROM | {"daypart": [("customer/order_lines", "ordered_at")], "weekday": _BOUGHT[2:]},
    ins=READS,
    kinds=("numpy",),
)
def moments(config: Lists, home: Home) -> dg.Output[pl.DataFrame]:
    """What to show a stranger in the morning or the evening, on a Tuesday or a Saturday: what is trending in it."""
    shop, cut = _newest(home)
    history = shop.before(cut, config.min_customers)
    sold, nobody = Sold.of(history, cut), history.between(0, 0)
    # A stranger has bought nothing: what customers bought is counted once, and is not looked through for every moment.
    trending = Trending().fit(history, shop.products, cut).of_others(nobody, cut)
    rhythm = learn_rhythm(history, shop.products, cut).of_others(nobody, cut)
    lists = [
        rank(
            trending,
            nobody.customers,
            shop.products,
            cut - DAY,
            policy=config.policy(),
            context=Context(hour=begins, weekday=weekday),
            rhythm=rhythm,
            fallbacks=[trending],
            k=config.products,
            sold=sold,
        ).select("as_of", pl.lit(part).alias("daypart"), pl.lit(weekday).alias("weekday"), *_LISTED)
        for part, begins in DAYPARTS.items()
        for weekday in range(1, 8)
    ]
    frame = pl.concat(lists)
    shown = frame.filter(pl.col("weekday").is_in([2, 6]), pl.col("rank") <= 3)
    told = {"Tuesday and Saturday": table(shown.drop("as_of", "score"))}
    return dg.Output(frame, metadata=told | _counted_among(shop, history))


@python_table(
    "recommend/bought_together",
    columns={
        "product_id": "The product.",
        "with_product_id": "What is bought with it.",
        "baskets": "Day-baskets that hold both; of very many customers those of the ones that models learn from.",
        "lift": "How many times as often as if they met by chance.",
    },
    origins=dict.fromkeys(("product_id", "with_product_id", "baskets", "lift"), _BOUGHT),
    ins=READS,
    kinds=("numpy",),
)
def bought_together(config: Lists, home: Home) -> dg.Output[pl.DataFrame]:
    """Of each product the ones that meet it in baskets more often than chance would have it."""
    shop, cut = _newest(home)
    history = shop.before(cut, config.min_customers)
    found = pairs(history)
    shown = found.sort("baskets", "product_id", "with_product_id", descending=[True, False, False]).head(20)
    titles = {"title": "product_id", "with": "with_product_id"}
    shown = shown.with_columns(**{name: named(shop.products, shown[of]) for name, of in titles.items()})
    told = {"most baskets": table(shown.select("title", "with", "baskets", "lift"))}
    return dg.Output(found, metadata=told | _counted_among(shop, history))


@python_table(
    "recommend/rhythms",
    columns={
        "product_id": "The product.",
        "typical_days": "Days after which half of the purchases of its type have been followed by another.",
        "held_days": "Days for which a purchase of its type is held back, for a customer of the type's own pace.",
    },
    origins=dict.fromkeys(("product_id", "typical_days", "held_days"), _PACE),
    ins=READS,
    kinds=("numpy",),
)
def rhythms(home: Home) -> dg.Output[pl.DataFrame]:
    """How long a purchase lasts, learned by product type; what nobody has bought twice is taken to last a year."""
    shop, cut = _newest(home)
    rhythm = learn_rhythm(shop.before(cut, 1), shop.products, cut)
    days = pl.DataFrame({"typical_days": rhythm.typical_days(), "held_days": rhythm.held_days()})
    kinds = rhythm.types.kinds
    frame = pl.concat([kinds.select("product_id"), days[kinds["kind"].to_list()]], how="horizontal")
    spread = frame.select(pl.col("typical_days").quantile(q).alias(f"{q:.0%}") for q in (0.05, 0.25, 0.5, 0.75, 0.95))
    return dg.Output(frame, metadata={"typical days, over products": table(spread)})


@dg.definitions
def recommend() -> dg.Definitions:
    """The stage's assets, beside what is learned."""
    return dg.Definitions(assets=[*sql_assets_of("recommend"), recommendations, moments, bought_together, rhythms])
