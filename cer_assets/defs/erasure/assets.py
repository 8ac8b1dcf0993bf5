"""The suppression list and the receipts: to materialize the one removes who asked, the other brings it to an end.

Both are due only when somebody asked, or was delivered again; `automation.py` of this folder says when.
"""

import dagster as dg
import polars as pl

from cer_assets.defs.erasure.ending import end, now
from cer_assets.defs.erasure.listed import LIST, kept_out_of, requests
from cer_assets.defs.erasure.removal import begin, carry_out
from cer_assets.defs.io import python_table, table
from cer_assets.defs.resources import Home
from cer_assets.erasure import SUPPRESSED


@python_table(
    "erasure/suppressed",
    columns={
        "request": "The request that the row goes back to: the keyed hash of the record it names.",
        "kind": "record, customer or visitor; key for the row by which the list knows its own key.",
        "source": "The system that a record is of.",
        "hash": "HMAC-SHA256 under CER_SUPPRESSION_KEY.",
    },
    origins={"hash": [("raw/erasure_requests", name) for name in ("source", "source_id")]},
    kinds=("duckdb",),
    code=("erasure",),
)
def suppressed(context: dg.AssetExecutionContext, home: Home) -> dg.Output[pl.DataFrame]:
    """Who may never be let in again, as keyed hashes; and with it, whoever is on the list is removed.

    From the landing files, the raw tables and their rejects, and from every table that holds an id of theirs. What
    stands on the raw tables is due from then on; `erasure/receipts` brings it to an end.
    """
    new = begin(home)
    if new:
        context.log.info(f"{new} requests are new: the list is written, the rows go now")
    figures = carry_out(home)
    listed = home.lake.scan(LIST).collect() if home.lake.exists(LIST) else SUPPRESSED.to_frame()
    kinds = listed.group_by("kind").len("hashes").sort("kind")
    return dg.Output(listed, metadata={"new requests": new, **figures, "on the list": table(kinds)})


@python_table(
    "erasure/receipts",
    columns={
        "request": "The keyed hash of the record that the request named.",
        "asked_at": "When it was asked, by the retailer's clock.",
        "kind": "What was touched: table, landing file, model, versions, snapshots, and so on.",
        "name": "Which.",
        "rows": "Rows removed; of a model how many versions were stored, of versions how many came before, of snapshots"
        " how many went.",
        "done_at": "When it was done, by the retailer's clock; null while it is under way.",
    },
    origins={"rows": [("erasure/suppressed", "hash")]},
    ins={"suppressed": dg.AssetIn(key=["erasure", "suppressed"], dagster_type=dg.Nothing)},
    code=("erasure",),
)
def signed(home: Home) -> dg.Output[pl.DataFrame]:
    """What each erasure touched, in counts; signed once a new snapshot stands and whatever is older is removed.

    It names nobody: a request stands under the keyed hash of the record it named.
    """
    if requests(home).height or kept_out_of(home).height:
        raise dg.Failure(
            "somebody who asked to be forgotten still stands in a table or a landing file: materialize"
            " erasure/suppressed, let what is due be computed, and come back",
            allow_retries=False,
        )
    kept = end(home, now())
    newest = kept.filter(pl.col("done_at") == pl.col("done_at").max())
    kinds = newest.group_by("kind").agg(pl.len().alias("lines"), pl.col("rows").sum()).sort("kind")
    return dg.Output(kept, metadata={"requests": kept["request"].n_unique(), "newest": table(kinds)})


@dg.definitions
def erasure() -> dg.Definitions:
    """The stage's assets."""
    return dg.Definitions(assets=[suppressed, signed])
