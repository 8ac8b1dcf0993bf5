"""One sentence a recommendation, for the customer to read: what stands behind it, in true words; no ranking here."""

from dataclasses import dataclass
from datetime import date

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy import sparse

from cer_assets.recommend.context import DAYPARTS, Context, ContextLift
from cer_assets.recommend.families.popularity import buyers
from cer_assets.recommend.interactions import EPOCH, EVENT_KINDS, Interactions, days_since_epoch
from cer_assets.recommend.model import Explanation, Indices, Voice

OFTEN = 3
"""Days on which a product was bought for a reason to say `often`, or how far apart."""
DUE = 0.8, 2.0
"""Times its usual gap after which a product is due, and after which it may as well have been given up."""
LATELY = 56
"""Days before the cut that `lately` means, as long as a fallback looks back."""
DROVE = 0.1
"""Log ratio from which a product is said to be bought more often in the moment of the list."""
WEEKDAYS = ("Mondays", "Tuesdays", "Wednesdays", "Thursdays", "Fridays", "Saturdays", "Sundays")
LOOKING = ("view", "search", "cart", "email_click")
"""Kinds of events in which a customer looked at the product, as only those that name one are known; whoever opened an
email may have seen none of the products in it."""
NAMED_BY = ("title", "type", "category")
"""Catalogue columns a product is called by, the first that is known."""


@dataclass(frozen=True)
class Sold:
    """How many customers bought each product (products)."""

    ever: NDArray[np.int64]
    lately: NDArray[np.int64]
    """In the last LATELY days before the cut."""

    @classmethod
    def of(cls, interactions: Interactions, as_of: date) -> "Sold":
        """Counted from purchases before `as_of`."""
        since = days_since_epoch(as_of) - LATELY
        return cls(buyers(interactions), buyers(interactions, interactions.days >= since))


@dataclass(frozen=True)
class Evidence:
    """What is known of customers and products when a list is explained, as of a cut."""

    interactions: Interactions
    cut: int
    """In days since 1970-01-01."""
    titles: pl.Series
    """What each product is called."""
    codes: NDArray[np.int64]
    """The same for products of one title."""
    times: sparse.csr_matrix
    """On how many days each row bought each product."""
    first_day: sparse.csr_matrix
    """The first of them, in days since 1970-01-01."""
    last_day: sparse.csr_matrix
    """The last of them."""
    looked: sparse.csr_matrix
    """The last day with an event of LOOKING of each row and product, whether or not it was bought, in days since
    1970-01-01."""
    sold: Sold
    moments: pl.Series
    """In which part of the list's moment each product is bought more often than otherwise; null where in none."""

    def sentences(self, rows: Indices, columns: Indices, explanation: Explanation) -> pl.Series:
        """A sentence for each product (n x k) recommended to each row (n); one after another, row by row.

        A voice that has nothing to show for itself gives way to one that has: what was bought before says so, and what
        nothing of the customer's own speaks for is said to be bought by others.
        """
        place = columns.ravel()
        row = np.repeat(rows, columns.shape[1])
        own = np.maximum(explanation.behind.ravel(), 0)
        behind_times, looked = _at(self.times, row, own), _at(self.looked, row, own)
        stands = (explanation.behind.ravel() >= 0) & (behind_times + looked > 0)
        times, first, last = (_at(matrix, row, place) for matrix in (self.times, self.first_day, self.last_day))
        gap = (last - first) / np.maximum(times - 1, 1)
        age = (self.cut - last) / np.maximum(gap, 1)
        known = pl.DataFrame(
            {
                "voice": explanation.voice.ravel().astype(str),
                "times": times,
                "last_on": _dates(last),
                "gap": np.rint(gap).astype(np.int64),
                "due": (age >= DUE[0]) & (age <= DUE[1]),
                "looked_on": _dates(_at(self.looked, row, place)),
                "behind": self.titles.gather(own).set(pl.Series(~stands), None),
                "behind_times": behind_times,
                "behind_on": _dates(_at(self.last_day, row, own)),
                "buyers": self.sold.ever[place],
                "buyers_lately": self.sold.lately[place],
                "moment": self.moments.gather(place),
                "has_bought": np.diff(self.times.indptr)[row] > 0,
            }
        )
        return known.select(reason=_reason())["reason"]


def evidence(
    interactions: Interactions,
    products: pl.DataFrame,
    as_of: date,
    context: Context | None = None,
    lift: ContextLift | None = None,
    sold: Sold | None = None,
) -> Evidence:
    """Gather what sentences need, from purchases and events before `as_of`.

    Args:
        interactions: what the lists are made from.
        products: the catalogue: product_id and title, type, category where they are known; it may be empty.
        as_of: first day that is not read.
        context: the moment the lists are shown in.
        lift: how much more often products are bought in it; fitted on the same products.
        sold: how many bought each product, where `interactions` are not all there are.
    """
    titles = named(products, interactions.products)
    cut = days_since_epoch(as_of)
    return Evidence(
        interactions=interactions,
        cut=cut,
        titles=titles,
        codes=titles.rank("dense").to_numpy().astype(np.int64),
        times=interactions.counts(),
        first_day=_first_day(interactions),
        last_day=interactions.last_day(),
        looked=_last_look(interactions),
        sold=sold or Sold.of(interactions, as_of),
        moments=_moments(len(titles), context, lift),
    )


def named(products: pl.DataFrame, candidates: pl.Series) -> pl.Series:
    """What each candidate is called: title, else type, category, id; capitals throughout are lowered."""
    described = [name for name in NAMED_BY if name in products.columns]
    own = "product " + pl.col("product_id")
    if not described:
        return candidates.alias("product_id").to_frame().select(title=own)["title"]
    spoken = [pl.col(name).cast(pl.String).str.strip_chars().replace("", None) for name in described]
    titles = products.select("product_id", title=pl.coalesce(spoken)).unique("product_id", keep="first")
    quiet = pl.when(pl.col("title") == pl.col("title").str.to_uppercase()).then(pl.col("title").str.to_lowercase())
    joined = candidates.alias("product_id").to_frame().join(titles, "product_id", "left", maintain_order="left")
    return joined.select(title=pl.coalesce(quiet, "title", own))["title"]


def _reason() -> pl.Expr:
    bought = pl.col("times") > 0
    voice = pl.col("voice")
    own = pl.col("behind").is_not_null()
    on = pl.col("behind_on").dt.to_string("%Y-%m-%d")
    bought_it = pl.col("behind_times") > 0
    which = (
        pl.when(pl.col("behind_times") >= OFTEN)
        .then(pl.lit("which you buy often"))
        .when(bought_it)
        .then(pl.format("which you bought on {}", on))
        .otherwise(pl.lit("which you looked at"))
    )
    return (
        pl.when(bought)
        .then(_repeat())
        .when(pl.col("looked_on") > EPOCH)
        .then(pl.format("You looked at it on {}", pl.col("looked_on").dt.to_string("%Y-%m-%d")))
        .when(own & (voice == Voice.CONTENT))
        .then(pl.format("Like {}, {}", "behind", which))
        .when(own & (voice == Voice.TOGETHER))
        .then(pl.format("Often in one basket with {}, {}", "behind", which))
        .when(own)
        .then(pl.format("Goes with {}, {}", "behind", which))
        .when(pl.col("has_bought") & voice.is_in([Voice.LIKENESS.value, Voice.CUSTOMERS.value]))
        .then(pl.lit("Bought by customers whose baskets are like yours"))
        .otherwise(_trend())
    )


def _repeat() -> pl.Expr:
    last = pl.col("last_on").dt.to_string("%Y-%m-%d")
    every = pl.when(pl.col("gap") > 1).then(pl.format("about every {} days", "gap")).otherwise(pl.lit("day after day"))
    often = pl.format("Bought {} times, {}, last on {}", "times", every, last)
    due = pl.when(pl.col("due")).then(pl.lit(": due now")).otherwise(pl.lit(""))
    return (
        pl.when(pl.col("times") >= OFTEN)
        .then(pl.concat_str(often, due))
        .when(pl.col("times") > 1)
        .then(pl.format("Bought twice, last on {}", last))
        .otherwise(pl.format("Bought once, on {}", last))
    )


def _trend() -> pl.Expr:
    lately, ever = pl.col("buyers_lately"), pl.col("buyers")
    said = (
        pl.when(lately > 1)
        .then(pl.format("Bought by {} customers in the last {} weeks", lately, pl.lit(LATELY // 7)))
        .when(lately == 1)
        .then(pl.format("Bought by a customer in the last {} weeks", pl.lit(LATELY // 7)))
        .when(ever != 1)
        .then(pl.format("Bought by {} customers", ever))
        .otherwise(pl.lit("Bought by a customer"))
    )
    moment = pl.col("moment")
    return pl.when(moment.is_null()).then(said).otherwise(pl.format("{}, more often {}", said, moment.fill_null("")))


def _moments(width: int, context: Context | None, lift: ContextLift | None) -> pl.Series:
    """The part of the moment that speaks most for each product, in words; null where none does."""
    words: list[str | None] = [None]
    strength = [np.full(width, DROVE, np.float32)]
    if context is not None and lift is not None:
        for part, said in _parts(context):
            words.append(said)
            strength.append(lift.lift(part))
    strongest = np.argmax(strength, axis=0)
    return pl.Series(words, dtype=pl.String).gather(strongest)


def _parts(context: Context) -> list[tuple[Context, str]]:
    parts: list[tuple[Context, str]] = []
    if context.hour is not None:
        begun = {name: start for name, start in DAYPARTS.items() if start <= context.hour}
        part = max(begun or DAYPARTS, key=lambda name: DAYPARTS[name])
        parts.append((Context(hour=context.hour), "at night" if part == "night" else f"in the {part}"))
    if context.weekday is not None:
        parts.append((Context(weekday=context.weekday), f"on {WEEKDAYS[context.weekday - 1]}"))
    if context.temperature is not None:
        parts.append((Context(temperature=context.temperature), "in such temperatures"))
    if context.rain is not None:
        parts.append((Context(rain=context.rain), "in such weather"))
    return parts


def _first_day(interactions: Interactions) -> sparse.csr_matrix:
    rows, columns = interactions.rows, interactions.columns
    first = np.append(True, (rows[1:] != rows[:-1]) | (columns[1:] != columns[:-1]))[: len(rows)]
    days = interactions.days[first].astype(np.float32)
    return sparse.csr_matrix((days, (rows[first], columns[first])), shape=interactions.shape)


def _last_look(interactions: Interactions) -> sparse.csr_matrix:
    seen = interactions.events
    looking = np.isin(seen.kinds, [EVENT_KINDS.index(kind) for kind in LOOKING])
    rows, columns, days = seen.rows[looking], seen.columns[looking], seen.days[looking]
    last = np.append((rows[1:] != rows[:-1]) | (columns[1:] != columns[:-1]), True)[: len(rows)]
    return sparse.csr_matrix((days[last].astype(np.float32), (rows[last], columns[last])), shape=interactions.shape)


def _at(matrix: sparse.csr_matrix, rows: Indices, columns: Indices) -> NDArray[np.int64]:
    """The entries of a matrix at some places."""
    if not len(rows):
        return np.empty(0, np.int64)
    return np.asarray(matrix[rows, columns]).ravel().astype(np.int64)


def _dates(days: NDArray[np.int64]) -> pl.Series:
    return pl.Series(days.astype(np.int32)).cast(pl.Date)
