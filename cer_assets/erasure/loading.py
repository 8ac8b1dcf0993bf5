"""What is delivered, without the rows of who is on the suppression list: they are counted, and not let in."""

from dataclasses import replace

import polars as pl

from cer_assets.erasure.landing import NAMING
from cer_assets.erasure.suppression import Suppression
from cer_assets.feeds import CONTRACTS, Delivery, Feed, contract_columns


def kept_out(feed: Feed, delivery: Delivery, suppression: Suppression) -> Delivery:
    """A delivery without rows of who is on the list, accepted or rejected; `files` counts them as suppressed.

    An accepted row goes by the columns that name a record; a rejected one by any word of what was delivered, for what
    is wrong with it may be the very column that names the record.
    """
    if not len(suppression) or not names_people(feed):
        return delivery
    accepted = suppression.of_rows(delivery.accepted).is_null()
    rejects = suppression.of_texts(delivery.rejects["content"]).is_null()
    lost = [
        frame.filter(~kept).group_by("delivered_on", "file").agg(pl.len().cast(pl.Int64).alias(count))
        for frame, kept, count in ((delivery.accepted, accepted, "let_in"), (delivery.rejects, rejects, "turned_away"))
    ]
    files = delivery.files
    for counts in lost:
        files = files.join(counts, on=["delivered_on", "file"], how="left", maintain_order="left")
    files = files.with_columns(pl.col("let_in", "turned_away").fill_null(0)).with_columns(
        accepted=pl.col("accepted") - pl.col("let_in"),
        rejected=pl.col("rejected") - pl.col("turned_away"),
        suppressed=pl.col("suppressed") + pl.col("let_in") + pl.col("turned_away"),
    )
    return replace(
        delivery,
        accepted=delivery.accepted.filter(accepted),
        rejects=delivery.rejects.filter(rejects),
        files=files.select(delivery.files.columns),
    )


def names_people(feed: Feed) -> bool:
    """Whether rows of a feed name records or visitors at all."""
    return any(column in contract_columns(CONTRACTS[feed.contract]) for column in NAMING)
