"""One file a family of recommenders; a file that is here is in the backtest, in the ensemble and in the UI.

A family's module has a function `members()`: its unfitted recommenders under the settings that they compete with.
"""

from collections.abc import Sequence
from importlib import import_module
from pkgutil import iter_modules
from typing import Protocol, cast

from cer_assets.recommend.model import Recommender


class _Family(Protocol):
    def members(self) -> Sequence[Recommender]: ...


def all_families() -> dict[str, Recommender]:
    """A fresh, unfitted recommender for every member of every family, by name, in the order of the names.

    Raises:
        ValueError: two members share a name.
    """
    modules = [import_module(f"{__name__}.{found.name}") for found in iter_modules(__path__)]
    found = [member for module in modules for member in cast("_Family", module).members()]
    named = {member.name: member for member in sorted(found, key=lambda member: member.name)}
    if len(named) != len(found):
        raise ValueError(f"two recommenders share a name: {sorted(member.name for member in found)}")
    return named
