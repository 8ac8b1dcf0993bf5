import json
from dataclasses import replace

import numpy as np
import pytest

from cer_assets.identity import Model, match_weights, resolve
from cer_assets.identity.fields import KINDS
from cer_assets.identity.model import FILE
from cer_assets_tests.identity.conftest import Trained


def test_a_model_read_from_its_files_is_the_same_model(trained: Trained) -> None:
    files = trained.model.files()
    again = Model.from_files(files)
    assert again.files() == files
    assert resolve(trained.records, again).equals(resolve(trained.records, trained.model))


def test_files_and_card_hold_no_record(trained: Trained) -> None:
    told = trained.model.files()[FILE].decode() + json.dumps(trained.model.card())
    emails = trained.records["email"].drop_nulls().to_list()
    surnames = trained.records["surname"].drop_nulls().to_list()
    assert not any(value in told for value in [*trained.records["record_id"], *emails, *surnames])


def test_a_file_of_other_levels_is_refused(believing: Trained) -> None:
    content = json.loads(believing.model.files()[FILE])
    content["comparisons"]["surname"] = {"exact": 1.0}
    with pytest.raises(ValueError, match="levels of comparison 'surname'"):
        Model.from_files({FILE: json.dumps(content).encode()})


def test_a_file_of_unknown_blocking_keys_is_refused(believing: Trained) -> None:
    content = json.loads(believing.model.files()[FILE])
    content["rules"] = [[["surname", "soundex"]]]
    with pytest.raises(ValueError, match="no such blocking key"):
        Model.from_files({FILE: json.dumps(content).encode()})


@pytest.mark.parametrize("part", ["standard", "junk"])
def test_a_value_that_is_read_otherwise_moves_the_digest(
    trained: Trained, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    before = trained.model.digest
    spec = KINDS["name"]
    monkeypatch.setitem(KINDS, "name", replace(spec, **{part: f"coalesce({getattr(spec, part)})"}))
    assert trained.model.digest != before


def test_match_weights_list_every_level_with_its_weight(trained: Trained) -> None:
    weights = match_weights(trained.model)
    assert len(weights) == 1 + sum(len(w) for w in trained.model.weights.levels)
    told = {(c, level): w for c, level, w, _ in weights.iter_rows()}
    assert told["email", "exact"] > 0 > told["given_name", "different"]
    assert np.isclose(told["prior", "any two records that share a block key"], trained.model.weights.bias)
