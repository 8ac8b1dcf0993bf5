from dataclasses import dataclass

import polars as pl
import pytest

from cer_assets.identity import Model, train, truth_labeller
from cer_assets_tests.identity.people import population


@dataclass(frozen=True)
class Trained:
    records: pl.DataFrame
    truth: pl.DataFrame
    model: Model


@pytest.fixture(scope="session")
def trained() -> Trained:
    """Two hundred people, and a model trained on forty answers about them."""
    records, truth = population(200)
    return Trained(records, truth, train(records, labeller=truth_labeller(truth), budget=40, by="truth"))


@pytest.fixture(scope="session")
def believing() -> Trained:
    """The same people, and a model that never saw a label."""
    records, truth = population(200)
    return Trained(records, truth, train(records))
