"""How good links are against the truth; where there is none, `curve` tells it from audited pairs."""

from typing import Any

import polars as pl


def evaluate_links(links: pl.DataFrame, truth: pl.DataFrame) -> dict[str, Any]:
    """Judge links on the records that the truth knows.

    Args:
        links: `record_id`, `customer_id`.
        truth: `record_id`, `person_id`.

    Returns:
        records, persons (by the truth), customers (by the links), and `pairwise_` and `bcubed_` precision, recall, f1.

    Raises:
        ValueError: the two have no record in common.
    """
    both = links.select("record_id", "customer_id").join(truth.select("record_id", "person_id"), on="record_id")
    if both.is_empty():
        raise ValueError("truth: knows none of the linked records; compare the record_id of both")
    found, true = both["customer_id"], both["person_id"]
    return {
        "records": len(both),
        "persons": true.n_unique(),
        "customers": found.n_unique(),
        **{f"pairwise_{name}": value for name, value in pairwise(found, true).items()},
        **{f"bcubed_{name}": value for name, value in bcubed(found, true).items()},
    }


def pairwise(found: pl.Series, true: pl.Series) -> dict[str, float]:
    """Precision, recall and F1 over pairs of records put together.

    No pair to find is a recall of 1, none found a precision of 1.

    Args:
        found: a group per record.
        true: a person per record, in the same order.
    """
    cells = _cells(found, true)
    both = _pairs(cells["records"])
    by_found = _pairs(cells.group_by("found").agg(pl.col("records").sum())["records"])
    by_true = _pairs(cells.group_by("true").agg(pl.col("records").sum())["records"])
    return _figures(both / by_found if by_found else 1.0, both / by_true if by_true else 1.0)


def bcubed(found: pl.Series, true: pl.Series) -> dict[str, float]:
    """Precision, recall and F1 averaged over records.

    Bagga and Baldwin, "Entity-based cross-document coreferencing using the vector space model" (1998).

    Args:
        found: a group per record.
        true: a person per record, in the same order.
    """
    cells = _cells(found, true).sort("found", "true")
    n = pl.col("records")
    precision, recall = cells.select(
        precision=(n * n / n.sum().over("found")).sum() / n.sum(),
        recall=(n * n / n.sum().over("true")).sum() / n.sum(),
    ).row(0)
    return _figures(precision, recall)


def _cells(found: pl.Series, true: pl.Series) -> pl.DataFrame:
    """Records per group and person."""
    frame = pl.DataFrame({"found": found, "true": true})
    return frame.group_by("found", "true").agg(pl.len().cast(pl.Int64).alias("records"))


def _pairs(sizes: pl.Series) -> int:
    return int((sizes * (sizes - 1) // 2).sum())


def _figures(precision: float, recall: float) -> dict[str, float]:
    total = precision + recall
    f1 = 2 * precision * recall / total if total else 0.0
    return {"precision": round(precision, 6), "recall": round(recall, 6), "f1": round(f1, 6)}
