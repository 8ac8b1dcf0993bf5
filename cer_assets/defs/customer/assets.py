"""The tables of `sql/customer/`."""

import dagster as dg

from cer_assets.defs.io import sql_assets_of


@dg.definitions
def customer() -> dg.Definitions:
    """One asset a file."""
    return dg.Definitions(assets=sql_assets_of("customer"))
