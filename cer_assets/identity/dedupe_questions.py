"""dedupe's active learning as a process of its own: it proposes pairs of records, hears answers, proposes better ones.

dedupe iterates over sets of strings, so its choices depend on PYTHONHASHSEED, which can only be set when an interpreter
starts. This file, run as a script, therefore speaks JSON lines: it reads one line with the records, then writes
`[a, b]` and reads `true`, `false` or `null` until its input ends. No labels and no model are kept here, and nothing
else of the package is loaded there: somebody waits for it.
"""

import itertools
import json
import os
import random
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from cer_assets.identity.fields import MatchField

MOST_RECORDS = 1_000
"""dedupe stores every pair that each of its predicates covers: time and memory grow with the square of the records."""

MOST_PAIRS = 2_000
"""dedupe applies its predicates to every candidate pair again after each answer."""

PAIRS_PER_RECORD = 25
"""A predicate of dedupe's that brings more pairs per record is left out: it separates nobody and fills the memory."""

_PLACE = "place in the list of records"


class QuestionsFailedError(RuntimeError):
    """dedupe could not propose a pair, as happens where the records give it nothing to tell apart."""


class Questions:
    """The asking end: `propose` a pair of places in the list of records, then `answer` it."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def start(
        self,
        records: Sequence[dict[str, str | None]],
        fields: "Sequence[MatchField]",
        seed: int,
        groups: Sequence[int] | None = None,
    ) -> None:
        """Hand over the records, each a value per column; pairs within one of the `groups` are not proposed."""
        kinds = [[field.column, field.kind] for field in fields]
        self._write({"records": list(records), "fields": kinds, "seed": seed, "groups": groups and list(groups)})

    def propose(self) -> tuple[int, int]:
        """The pair that dedupe would learn most from.

        Raises:
            QuestionsFailedError: there is none.
        """
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise QuestionsFailedError("dedupe has no further pair to propose")
        first, second = json.loads(line)
        return first, second

    def answer(self, answer: bool | None) -> None:
        """Tell what the pair proposed last is; null for unsure."""
        self._write(answer)

    def _write(self, message: object) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(message) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError as error:
            raise QuestionsFailedError("dedupe stopped listening") from error


@contextmanager
def questions(wanted: bool = True) -> Generator[Questions | None]:
    """Start dedupe beside this process, if it is wanted; it ends with the block."""
    if not wanted:
        yield None
        return
    process = subprocess.Popen(
        [sys.executable, "-P", __file__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        # What dedupe says when it fails may quote records.
        stderr=subprocess.DEVNULL,
        text=True,
        encoding="utf-8",
        env={**os.environ, "PYTHONHASHSEED": "0", "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
    )
    try:
        yield Questions(process)
    finally:
        process.kill()
        process.communicate()


def _converse() -> None:
    """The proposing end, run in the child process."""
    # scikit-learn, which dedupe loads, would load pandas, which nothing here needs and somebody would wait for.
    sys.modules["pandas"] = None  # pyright: ignore[reportArgumentType] - how Python says that a module is not there
    import_module("dedupe.labeler")
    del sys.modules["pandas"]
    told = json.loads(sys.stdin.readline())
    learner = _learner(told["records"], told["fields"], told["seed"], told["groups"])
    while len(learner):
        pair = learner.pop()
        sys.stdout.write(json.dumps([pair[0][_PLACE], pair[1][_PLACE]]) + "\n")
        sys.stdout.flush()
        line = sys.stdin.readline()
        if not line:
            break
        answer = json.loads(line)
        if answer is not None:
            learner.mark([pair], [int(answer)])


def _learner(records: list[dict[str, Any]], fields: list[list[str]], seed: int, groups: list[int] | None) -> Any:
    """The disagreement learner of dedupe with every source of chance seeded, over predicates it can afford."""
    from dedupe import labeler
    from dedupe.datamodel import DataModel

    rng = np.random.default_rng(seed)
    random.seed(seed)
    data = {place: {**record, _PLACE: place} for place, record in enumerate(records)}
    model = DataModel([_variable(column, kind) for column, kind in fields])
    predicates = _affordable(model.predicates, data)

    class SeededBlocks(labeler.DedupeBlockLearner):
        def _sample_indices(self, sample_size: int, max_cover: int) -> Any:
            """Weigh pairs by how few their predicates cover, as dedupe does, but draw from a seeded generator."""
            weights: defaultdict[Any, float] = defaultdict(float)
            for covered in self.block_learner.comparison_cover.values():
                if len(covered) < max_cover:
                    for pair in covered:
                        weights[pair] += 1 / len(covered)
            pairs = sorted((a, b) for a, b in weights if groups is None or groups[a] != groups[b])
            if len(pairs) <= MOST_PAIRS:
                return pairs
            chance = np.array([weights[pair] for pair in pairs])
            drawn = rng.choice(len(pairs), MOST_PAIRS, replace=False, p=chance / chance.sum())
            return [pairs[i] for i in drawn]

    class SeededLearner(labeler.DisagreementLearner):
        def __init__(self) -> None:
            super().__init__()
            self.rng = np.random.default_rng(seed)
            same: Any = (data[0], data[0])
            one, two = rng.choice(len(data), 2, replace=False).tolist()
            other: Any = (data[one], data[two])
            self.blocker = SeededBlocks(predicates, data, [same])
            self._candidates = self.blocker.candidates.copy()
            self.matcher = labeler.MatchLearner(model.distances, self.candidates)
            self.mark([same, same, same, same, other], [1, 1, 1, 1, 0])

    return SeededLearner()


def _variable(column: str, kind: str) -> Any:
    """A dedupe variable without its Exists predicate, which would cover nearly all pairs."""
    from dedupe.variables.exact import ExactType
    from dedupe.variables.string import ShortStringType

    variable = (ExactType if kind == "category" else ShortStringType)(column, has_missing=True)
    variable.predicates = [p for p in variable.predicates if p.type != "ExistsPredicate" and not hasattr(p, "index")]
    return variable


def _affordable(predicates: Any, data: dict[int, dict[str, Any]]) -> list[Any]:
    """The predicates, in order of name, that bring few enough pairs per record."""
    kept: list[Any] = []
    for predicate in sorted(predicates, key=repr):
        keys = itertools.chain.from_iterable(predicate(record) for record in data.values())
        pairs = sum(n * (n - 1) // 2 for n in Counter(keys).values())
        if 0 < pairs <= PAIRS_PER_RECORD * len(data):
            kept.append(predicate)
    return kept


if __name__ == "__main__":
    _converse()
