"""The catalogue: the products feed, and which product may stand in for which; who buys them lives in `purchases`."""

import numpy as np
import polars as pl

from cer_assets.sample.draws import Draws

_NEVER_BOUGHT = 0.01
_SOLD_OUT = 0.01
_NEIGHBOURS = 0.3  # how far along its type a product may be exchanged
_BRANDS = {"Private": "store brand", "National": "national brand"}


def catalogue(products: pl.DataFrame, draws: Draws) -> pl.DataFrame:
    """Every product that was ever bought, and a few that never were.

    Args:
        products: as `journey.Journey.products`.
        draws: decides which unsold products are kept and which are sold out.

    Returns:
        product_id, title, department, category, type, brand, size, price (median unit price of the year, null
        where never bought), available, merchandise; sorted by product_id as a number.
    """
    number = products["product"]
    kept = draws.happens("never bought but listed", _NEVER_BOUGHT, number)
    available = ~draws.happens("sold out", _SOLD_OUT, number)
    return (
        products.with_columns(available=pl.Series(available), kept=pl.Series(kept))
        .filter((pl.col("lines") > 0) | pl.col("kept"))
        .select(
            pl.col("product").cast(pl.String).alias("product_id"),
            _title().alias("title"),
            "department",
            category="product_category",
            type="product_type",
            brand="brand",
            size="package_size",
            price="price",
            available="available",
            merchandise="merchandise",
        )
    )


def _title() -> pl.Expr:
    name = (
        pl.coalesce("product_type", "product_category", "department")
        .str.replace_all(r"[:/]+", ", ")
        .str.replace_all(r"\s+", " ")
        .str.strip_chars(" ,")
        .str.to_lowercase()
    )
    name = name.str.head(1).str.to_uppercase() + name.str.slice(1)
    brand = pl.col("brand").replace_strict(_BRANDS, default=None, return_dtype=pl.String)
    size = pl.col("package_size").str.strip_chars().str.to_lowercase()
    return pl.concat_str(name, brand, size, separator=", ", ignore_nulls=True)


class Shelves:
    """What another household would buy in place of a product: one of the same type at about its price.

    The products of a type stand in order of price on a stretch of length one, each as wide as its part in the type's
    sales; the types follow each other. A household always makes the same exchange.
    """

    def __init__(self, products: pl.DataFrame) -> None:
        """Args: products as `journey.Journey.products`."""
        kind = ["department", "product_type", "merchandise"]
        self._shelf = (
            products.filter(pl.col("lines") > 0)
            .sort(*kind, "price", "product", nulls_last=True)
            .with_columns(stretch=pl.struct(kind).rle_id().cast(pl.Float64))
            .with_columns(width=pl.col("lines") / pl.col("lines").sum().over("stretch"))
            .select(
                "product",
                "stretch",
                "width",
                ends=pl.col("stretch") + pl.col("lines").cum_sum().over("stretch")
                / pl.col("lines").sum().over("stretch"),
            )
        )  # fmt: skip

    def replaced(self, lines: pl.DataFrame, draws: Draws) -> pl.Series:
        """The products of some lines, exchanged where the household is a copy.

        Args:
            lines: household, copy, product.
            draws: where chance comes from.

        Returns:
            One product number a line; a product that the catalogue does not know stays.
        """
        if not (lines["copy"] > 0).any():
            return lines["product"]
        at = lines.select("product").join(self._shelf, on="product", how="left", maintain_order="left")
        aside = _NEIGHBOURS * (draws.uniform("exchanged product", lines["household"], lines["product"]) - 0.5)
        stretch = at["stretch"].fill_null(0).to_numpy()
        middle = (at["ends"] - at["width"] / 2).fill_null(0).to_numpy()
        place = np.clip(middle + aside, stretch, np.nextafter(stretch + 1, 0))
        found = np.searchsorted(self._shelf["ends"].to_numpy(), place, side="right")
        exchanged = self._shelf["product"][np.minimum(found, self._shelf.height - 1)]
        moved = (lines["copy"] > 0) & at["ends"].is_not_null()
        return pl.select(pl.when(moved).then(exchanged).otherwise(lines["product"])).to_series()
