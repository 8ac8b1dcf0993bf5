"""A trained model of who is who: fields, blocking rules, weights and cut, as files and as rows; nothing learns here."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl

from cer_assets.identity.block import BlockKey, Rule, block_keys
from cer_assets.identity.compare import Comparison, comparisons, levels_sql
from cer_assets.identity.fields import KINDS, PLAIN, MatchField
from cer_assets.identity.learn import Weights

FILE = "identity.json"

LABELS_SCHEMA = {
    "record_a": pl.String,
    "record_b": pl.String,
    "answer": pl.String,
    "by": pl.String,
    "drawn": pl.String,
    "weight": pl.Float64,
}


@dataclass(frozen=True)
class Model:
    """What `train` learned and `resolve` applies.

    Labels are data of their own and no part of the model's files: `labels` holds those asked for in training, and is
    empty in a model read from files.
    """

    fields: tuple[MatchField, ...]
    rules: tuple[tuple[tuple[str, str], ...], ...]
    """Blocking rules, each a few keys, each key a column and the name of a key of its kind."""
    weights: Weights
    uniqueness: tuple[float, ...]
    """What is a usual rarity per field, by the training records."""
    cut: float
    """Groups of records are joined while their mean pair score is at least this."""
    facts: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """How training went: labels by answer, agreement with them, sizes."""
    labels: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=LABELS_SCHEMA))

    @property
    def comparisons(self) -> tuple[Comparison, ...]:
        """The questions put to a pair."""
        return comparisons(self.fields)

    @property
    def digest(self) -> str:
        """Sixteen hexadecimal digits that move with whatever `resolve` makes of records: not with how training went."""
        content = json.loads(self.files()[FILE])
        del content["facts"]
        # A comparison that is written otherwise than when the model was trained scores otherwise.
        kinds = [KINDS[f.kind] for f in self.fields]
        read = [(kind.standard, kind.junk, dict(kind.facets)) for kind in kinds]
        content["code"] = [levels_sql(self.fields, "pairs"), PLAIN, read]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]

    def block_rules(self) -> tuple[tuple[BlockKey, ...], list[Rule]]:
        """The keys that the rules use, and the rules as places among those keys."""
        every = {(key.column, key.name): key for key in block_keys(self.fields)}
        used = list(dict.fromkeys(key for rule in self.rules for key in rule))
        return tuple(every[key] for key in used), [tuple(used.index(key) for key in rule) for rule in self.rules]

    def files(self) -> dict[str, bytes]:
        """The model as one JSON file; equal models give equal bytes."""
        content = {
            "fields": [[f.column, f.kind] for f in self.fields],
            "rules": self.rules,
            "bias": self.weights.bias,
            "comparisons": {
                c.name: dict(zip(c.labels, w.tolist(), strict=True))
                for c, w in zip(self.comparisons, self.weights.levels, strict=True)
            },
            "rarities": self.weights.rarities.tolist(),
            "uniqueness": self.uniqueness,
            "cut": self.cut,
            "facts": self.facts,
        }
        return {FILE: json.dumps(content, indent=1, ensure_ascii=False).encode()}

    @classmethod
    def from_files(cls, files: Mapping[str, bytes]) -> "Model":
        """Read what `files` wrote.

        Raises:
            ValueError: the file names keys, comparisons or levels that this version does not have.
        """
        content = json.loads(files[FILE])
        fields = tuple(MatchField(column, kind) for column, kind in content["fields"])
        weights = Weights(
            content["bias"],
            tuple(_weights_of(c, content["comparisons"]) for c in comparisons(fields)),
            np.array(content["rarities"]),
        )
        rules = tuple(tuple((column, key) for column, key in rule) for rule in content["rules"])
        _refuse_unknown_keys(rules, fields)
        uniqueness = tuple(content["uniqueness"])
        return cls(fields, rules, weights, uniqueness, content["cut"], content["facts"])

    def card(self) -> dict[str, Any]:
        """What a person asks of a model: fields, labels, agreement, cut, strongest weights. No record's id or value."""
        return {
            "fields": {f.column: f.kind for f in self.fields},
            "rules": [" & ".join(f"{column} {key}" for column, key in r) for r in self.rules],
            "cut": self.cut,
            **self.facts,
        }


def match_weights(model: Model) -> pl.DataFrame:
    """What each level of each comparison adds to a pair's log-odds, for a chart.

    Returns:
        comparison, level, weight (natural log-odds), order (as the level is tried); the bias comes first. For equal
        values the weight is that of a value of usual rarity.
    """
    rows = [("prior", "any two records that share a block key", model.weights.bias, 0)]
    for comparison, weights in zip(model.comparisons, model.weights.levels, strict=True):
        rows += [
            (comparison.name, label, float(weight), order)
            for order, (label, weight) in enumerate(zip(comparison.labels, weights, strict=True))
        ]
    return pl.DataFrame(rows, schema=["comparison", "level", "weight", "order"], orient="row")


def _weights_of(comparison: Comparison, saved: Mapping[str, Mapping[str, float]]) -> Any:
    levels = saved.get(comparison.name, {})
    if tuple(levels) != comparison.labels:
        raise ValueError(
            f"model file: levels of comparison {comparison.name!r} are {list(levels)}, this version "
            f"compares {list(comparison.labels)}; train again"
        )
    return np.array(list(levels.values()))


def _refuse_unknown_keys(rules: Sequence[Sequence[tuple[str, str]]], fields: Sequence[MatchField]) -> None:
    known = {(key.column, key.name) for key in block_keys(fields)}
    unknown = sorted({key for rule in rules for key in rule} - known)
    if unknown:
        raise ValueError(f"model file: no such blocking key {unknown}; train again")
