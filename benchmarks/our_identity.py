"""The project's side of every identity benchmark: a model from labels, groups from a model, and what they are worth."""

from typing import Any

import polars as pl
from identity_sets import IdentitySet

from cer_assets.identity import MatchField, Model, evaluate_links, resolve, train
from cer_assets.identity.labels import Labeller
from cer_assets.identity.link import link

LABELS = 100
"""Most answers that a training may ask for."""


def trained(given: IdentitySet, labeller: Labeller | None, seed: int, known: pl.DataFrame | None = None) -> Model:
    """What `train` learns of a set; of two sources, it asks about pairs between them."""
    fields = [MatchField(column, kind) for column, kind in given.fields.items()]
    between = "source" if given.linked else None
    return train(given.records, fields, labeller, LABELS, seed, known, between=between)


def grouped(given: IdentitySet, model: Model) -> pl.DataFrame:
    """record_id, customer_id by `resolve`; between two sources by `link`, who is not linked being alone."""
    if not given.linked:
        return resolve(given.records, model)
    linked = link(given.records, model, "source").select(record_id="record_b", customer_id="record_a")
    return (
        given.records.select("record_id")
        .join(linked, on="record_id", how="left", maintain_order="left")
        .select("record_id", pl.col("customer_id").fill_null(pl.col("record_id")))
    )


def quality(links: pl.DataFrame, truth: pl.DataFrame) -> dict[str, Any]:
    """Pairwise and B-cubed figures, and how many persons there are beside how many were found."""
    figures = evaluate_links(links, truth)
    return {k: v for k, v in figures.items() if k.startswith(("pairwise", "bcubed")) or k in ("persons", "customers")}
