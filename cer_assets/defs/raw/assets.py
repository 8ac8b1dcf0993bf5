"""The ledger of deliveries; the feeds' own assets are built by `component.py` from each folder's `defs.yaml`."""

import dagster as dg

from cer_assets.defs.resources import feeds

deliveries = dg.AssetSpec(
    ["raw", "deliveries"],
    deps=[["raw", name] for name in sorted(feeds())],
    group_name="raw",
    owners=["team:data"],
    kinds={"deltalake"},
    tags={"stage": "raw"},
    description=(
        "The ledger: one row for each file that was loaded, with its fingerprint and its rows delivered, accepted,"
        " rejected and suppressed (of who asked to be forgotten); of a file that could not be read why it was refused."
        " Every load enters its files here, last of all; what is not in the ledger is due."
    ),
)
