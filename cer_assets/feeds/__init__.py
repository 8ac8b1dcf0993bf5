"""Feeds: what a drop must look like, how each source writes it, and reading it without loss."""

from cer_assets.feeds.catalogue import Feed, InvalidFeed, Layout, catalogue, read_feed
from cer_assets.feeds.contracts import (
    CONTRACTS,
    Reject,
    column_descriptions,
    contract_columns,
    key_columns,
    personal_columns,
    polars_schema,
    required_columns,
)
from cer_assets.feeds.landing import (
    Drop,
    fingerprint,
    landing_zone,
    list_drops,
    unknown_names,
    unreadable_names,
    write,
)
from cer_assets.feeds.parcel import UnreadableDrop
from cer_assets.feeds.read import FILES, MOST_BYTES, Delivery, newest, read_drops

__all__ = [
    "CONTRACTS",
    "FILES",
    "MOST_BYTES",
    "Delivery",
    "Drop",
    "Feed",
    "InvalidFeed",
    "Layout",
    "Reject",
    "UnreadableDrop",
    "catalogue",
    "column_descriptions",
    "contract_columns",
    "fingerprint",
    "key_columns",
    "landing_zone",
    "list_drops",
    "newest",
    "personal_columns",
    "polars_schema",
    "read_drops",
    "read_feed",
    "required_columns",
    "unknown_names",
    "unreadable_names",
    "write",
]
