"""A model that dedupe trained, replayed in sets: the groups of its `partition`, without its loops and without a pickle.

Covered is what dedupe 3.0 learns for records of texts and numbers: the variables in `VARIABLES` with interactions and
missing values; predicates that are functions of one value, exist-predicates, index predicates and compounds of these;
logistic regression. A comparator of one's own, a Text variable with a corpus, Set and LatLong variables and other
classifiers are refused. Nothing is learned here.
"""

import heapq
import itertools
import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
from scipy.cluster.hierarchy import fcluster, linkage

from cer_assets.identity.cluster import Ints, connected

logger = logging.getLogger(__name__)

FILE = "dedupe.json"

VARIABLES = ("String", "ShortString", "Text", "Exact", "Categorical", "Price", "Exists")
"""The types of dedupe's variables that can be replayed."""

SYMMETRIC = ("String", "ShortString", "Exact")
"""The types whose comparator says of two values, in either order, the same to the last bit."""

LARGEST_COMPONENT = 30_000
"""dedupe takes a component of more records apart before it clusters it."""

LITERAL_RECORDS = 10_000
"""Up to so many records a component's full matrix of distances is made, as dedupe makes it: .4 GB, and scipy's copy."""

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Variable:
    """What dedupe compares of a pair: a field, by the comparator of a type of variable."""

    type: str
    field: str
    options: Mapping[str, Any]

    def comparator(self) -> tuple[Callable[[Any, Any], Any], int]:
        """The comparator of dedupe's own, and how many columns it fills."""
        from dedupe import variables

        made = getattr(variables, self.type)(self.field, **self.options)
        return made.comparator, len(made)


@dataclass(frozen=True)
class Predicate:
    """What dedupe blocks on: a function of a field, by its name; or a threshold in an index of a field's values."""

    type: str
    field: str
    function: str | None = None
    threshold: float | None = None

    def made(self) -> Any:
        """The predicate of dedupe's own."""
        from dedupe import predicates

        kind = getattr(predicates, self.type)
        if self.threshold is not None:
            return kind(self.threshold, self.field)
        return kind(self.field) if self.function is None else kind(getattr(predicates, self.function), self.field)


@dataclass(frozen=True)
class DedupeModel:
    """What dedupe learned, as plain values."""

    variables: tuple[Variable, ...]
    interactions: tuple[tuple[int, ...], ...]
    """Columns of distances that are multiplied into a further one."""
    missing: tuple[int, ...]
    """Columns of distances beside which a further one says whether they were there."""
    predicates: tuple[tuple[Predicate, ...], ...]
    """Two records are compared where they share a key of all predicates of one of these."""
    coefficients: tuple[float, ...]
    intercept: float
    precision: str
    """The numpy type in which the regression was fitted."""

    @classmethod
    def of(cls, deduper: Any) -> "DedupeModel":
        """Take over a trained `dedupe.Dedupe`, or a `dedupe.StaticDedupe`.

        Raises:
            ValueError: it is not trained, or holds something that is not covered.
        """
        if not hasattr(deduper, "predicates"):
            raise ValueError("deduper: has learned no predicates; call its train() first")
        data_model = deduper.data_model
        return cls(
            variables=tuple(_variable(v) for v in data_model.field_variables),
            interactions=tuple(tuple(map(int, columns)) for columns in data_model._interaction_indices),
            missing=tuple(map(int, data_model._missing_field_indices)),
            predicates=tuple(tuple(_predicate(part) for part in whole) for whole in deduper.predicates),
            **_regression(deduper.classifier),
        )

    def chance(self, distances: Floats) -> Floats:
        """The chance of pairs by their distances, as dedupe holds it: in 32 bits."""
        from sklearn.linear_model import LogisticRegression

        regression: Any = LogisticRegression()
        regression.classes_ = np.array([0, 1])
        regression.coef_ = np.array([self.coefficients], dtype=self.precision)
        regression.intercept_ = np.array([self.intercept], dtype=self.precision)
        chance: Any = regression.predict_proba(distances)
        return chance[:, -1].astype(np.float32)

    def files(self) -> dict[str, bytes]:
        """The model as one JSON file; equal models give equal bytes."""
        content = {**vars(self), "variables": [vars(v) for v in self.variables]}
        content["predicates"] = [[vars(part) for part in whole] for whole in self.predicates]
        return {FILE: json.dumps(content, indent=1, ensure_ascii=False).encode()}

    @classmethod
    def from_files(cls, files: Mapping[str, bytes]) -> "DedupeModel":
        """Read what `files` wrote."""
        content = json.loads(files[FILE])
        content["variables"] = tuple(Variable(**v) for v in content["variables"])
        content["predicates"] = tuple(tuple(Predicate(**part) for part in whole) for whole in content["predicates"])
        content["interactions"] = tuple(tuple(columns) for columns in content["interactions"])
        return cls(**content | {name: tuple(content[name]) for name in ("missing", "coefficients")})


def _variable(variable: Any) -> Variable:
    """A dedupe variable as plain values."""
    from dedupe import variables

    kind, field = variable.type, getattr(variable, "field", None)
    if kind not in VARIABLES or type(variable) is not getattr(variables, kind):
        raise ValueError(
            f"deduper: variable {variable.name} is a {type(variable).__name__}; only {VARIABLES} are covered"
        )
    options: dict[str, Any] = {}
    if kind in ("String", "ShortString"):
        options["crf"] = type(variable.comparator).__name__ == "CRFEditDistance"
    if kind == "Categorical":
        options["categories"] = [one for one, other in variable.comparator.categories if one == other]
    if kind == "Text" and variable.comparator.doc_freq:
        raise ValueError(f"deduper: variable {variable.name} weighs words by a corpus, which is not covered")
    return Variable(kind, str(field), options)


def _predicate(predicate: Any) -> Predicate:
    """A dedupe predicate as plain values."""
    from dedupe import predicates

    kind, field = predicate.type, predicate.field
    if getattr(predicates, type(predicate).__name__, None) is not type(predicate):
        raise ValueError(f"deduper: predicate {predicate} is not one of dedupe's own, which is not covered")
    if isinstance(predicate, predicates.IndexPredicate):
        return Predicate(kind, field, threshold=predicate.threshold)
    if isinstance(predicate, predicates.ExistsPredicate):
        return Predicate(kind, field)
    name = predicate.func.__name__
    if getattr(predicates, name, None) is not predicate.func:
        raise ValueError(f"deduper: predicate {predicate} calls a function of its own, which is not covered")
    return Predicate(type(predicate).__name__, field, function=name)


def _regression(classifier: Any) -> dict[str, Any]:
    """What is learned in a logistic regression, alone or the best of a grid."""
    from sklearn.linear_model import LogisticRegression

    best = getattr(classifier, "best_estimator_", classifier)
    if type(best) is not LogisticRegression or len(getattr(best, "classes_", ())) != 2:
        raise ValueError(f"deduper: classifier {type(best).__name__} is not a logistic regression of two answers")
    return {
        "coefficients": tuple(best.coef_[0].tolist()),
        "intercept": np.asarray(best.intercept_).item(),
        "precision": best.coef_.dtype.name,
    }


def _refuse_unusable(records: pl.DataFrame, fields: Sequence[str]) -> None:
    missing = [column for column in ("record_id", *fields) if column not in records.columns]
    if missing:
        raise ValueError(f"records: column(s) {', '.join(missing)} missing; have {records.columns}")
    ids = records["record_id"]
    if not (ids.dtype == pl.String or ids.dtype.is_integer()):
        raise ValueError(f"records: record_id is {ids.dtype}; dedupe takes text or whole numbers")
    if ids.null_count() or ids.n_unique() != len(ids):
        raise ValueError("records: record_id must be there and differ on every row")


def replay(
    deduper: Any, records: pl.DataFrame, threshold: float = 0.5, literal_records: int = LITERAL_RECORDS
) -> pl.DataFrame:
    """Group records as `deduper.partition(data, threshold)` does.

    Each predicate is asked once per distinct value and each comparator once per distinct pair of values; blocks are not
    capped, as dedupe's are not, so that memory grows with the pairs that its predicates bring. The groups are the same
    to the record, but where clusters are exactly equally near in a component of more than `literal_records` records:
    there scipy's order cannot be had without the full matrix of distances.

    Args:
        deduper: a trained `dedupe.Dedupe` or `dedupe.StaticDedupe`, or a `DedupeModel`.
        records: `record_id` (text or whole numbers) and a column per field, null where dedupe is given None. The order
            of rows matters to index predicates alone, as it does to dedupe's.
        threshold: as of `partition`.
        literal_records: most records of a component whose full matrix of distances is made; time and memory grow with
            its square, and without it with the pairs.

    Returns:
        record_id and cluster (the smallest record_id of the group), by record_id.

    Raises:
        ValueError: the model holds something that is not covered, or a column is missing, or ids are not fit.
    """
    model = deduper if isinstance(deduper, DedupeModel) else DedupeModel.of(deduper)
    columns = _Columns(records, model)
    first, second = _blocked_pairs(model, columns)
    logger.info("%d pairs of %d records are to be scored", len(first), columns.size)
    score = _scores(model, columns, first, second)
    cluster = _clusters(_Pairs(first, second, score).take(score > 0), columns.size, threshold, literal_records)
    ids = columns.record_ids
    return pl.DataFrame({"record_id": ids, "cluster": ids.gather(cluster)})


class _Columns:
    """The records' fields as numbers of distinct values, records ordered by id."""

    def __init__(self, records: pl.DataFrame, model: DedupeModel) -> None:
        fields = dict.fromkeys(
            [*(v.field for v in model.variables), *(part.field for whole in model.predicates for part in whole)]
        )
        _refuse_unusable(records, list(fields))
        order = records["record_id"].arg_sort()
        self.record_ids = records["record_id"].gather(order)
        self.values: dict[str, list[Any]] = {}
        """Per field its distinct values as they first come, None among them."""
        self.codes: dict[str, Ints] = {}
        """Per field the place of each record's value."""
        for field in fields:
            distinct = records.select(value=pl.col(field).unique(maintain_order=True)).with_row_index("code")
            coded = records.select(value=field).join(
                distinct, on="value", how="left", nulls_equal=True, maintain_order="left"
            )
            self.values[field] = distinct["value"].to_list()
            self.codes[field] = coded["code"].gather(order).to_numpy().astype(np.int64)

    @property
    def size(self) -> int:
        """Number of records."""
        return len(self.record_ids)


def _blocked_pairs(model: DedupeModel, columns: _Columns) -> tuple[Ints, Ints]:
    """Places of the records of each pair that shares a key, smaller first, each pair once."""
    keys = _Keys(model, columns)
    found = [_pairs_within(keys.of_all(whole)) for whole in model.predicates]
    # One number per pair.
    pairs = pl.concat([pl.Series(first * columns.size + second) for first, second in found]).unique().sort()
    return np.divmod(pairs.to_numpy(), max(columns.size, 1))


class _Keys:
    """Each record's block keys, a predicate's value being asked for once per distinct value."""

    def __init__(self, model: DedupeModel, columns: _Columns) -> None:
        from dedupe.blocking import Fingerprinter

        self._columns = columns
        parts = dict.fromkeys(part for whole in model.predicates for part in whole)
        made = {part: part.made() for part in parts}
        indexed = Fingerprinter(list(made.values()))
        for field in indexed.index_fields:
            indexed.index([value for value in columns.values[field] if value], field)
        self._keys = {part: self._of_values(part.field, predicate) for part, predicate in made.items()}
        indexed.reset_indices()

    def _of_values(self, field: str, predicate: Any) -> pl.DataFrame:
        """`position` of a record and `key`."""
        found = [
            (code, key) for code, value in enumerate(self._columns.values[field]) for key in predicate({field: value})
        ]
        keys = pl.DataFrame(found, schema={"code": pl.Int64, "key": pl.String}, orient="row")
        coded = pl.DataFrame({"code": self._columns.codes[field]}).with_row_index("position")
        return coded.join(keys, on="code").select("position", "key")

    def of_all(self, parts: Sequence[Predicate]) -> pl.DataFrame:
        """`position` and `key` of records, a key being one of each predicate, put together as dedupe puts them."""
        keys, *others = (self._keys[part] for part in parts)
        if not others:
            return keys
        escaped = pl.col("key").str.replace_all(":", r"\:", literal=True)
        whole = keys.with_columns(escaped)
        for further in others:
            both = whole.join(further.with_columns(escaped), on="position", suffix="_further")
            whole = both.select("position", key=pl.concat_str("key", "key_further", separator=":"))
        return whole.unique()


def _pairs_within(keys: pl.DataFrame) -> tuple[Ints, Ints]:
    """Both positions, the smaller first, of all pairs of records that share a key."""
    blocked = keys.filter(pl.len().over("key") > 1).sort("key", "position")
    position, place = blocked["position"].to_numpy().astype(np.int64), np.arange(len(blocked))
    starts = np.flatnonzero(blocked["key"].ne_missing(blocked["key"].shift()).to_numpy())
    sizes = np.diff(starts, append=len(blocked))
    # Each record is paired with those behind it in its block.
    behind = np.repeat(starts + sizes, sizes) - place - 1
    first = np.repeat(place, behind)
    second = first + 1 + np.arange(len(first)) - np.repeat(np.cumsum(behind) - behind, behind)
    return position[first], position[second]


def _scores(model: DedupeModel, columns: _Columns, first: Ints, second: Ints) -> Floats:
    """The chance of each pair, by dedupe's comparators and the regression."""
    parts = [_distances(variable, columns, first, second) for variable in model.variables]
    return model.chance(_with_derived(model, np.concatenate(parts, axis=1)))


def _distances(variable: Variable, columns: _Columns, first: Ints, second: Ints) -> Floats:
    """The columns that a variable's comparator fills, nan where a value is missing."""
    comparator, width = variable.comparator()
    values, codes = columns.values[variable.field], columns.codes[variable.field]
    one, other = codes[first], codes[second]
    if variable.type in SYMMETRIC:
        one, other = np.minimum(one, other), np.maximum(one, other)
    pairs = pl.DataFrame({"pair": one * len(values) + other})
    distinct = pairs.unique().with_row_index("place")
    texts = np.empty(len(values), dtype=object)
    texts[:] = values
    left, right = np.divmod(distinct["pair"].to_numpy(), len(values))
    filled = np.array([value is not None for value in values]) | hasattr(comparator, "missing")
    there = filled[left] & filled[right]
    distance = np.full((len(distinct), width), np.nan, dtype=np.float32)
    found = list(map(comparator, texts[left[there]].tolist(), texts[right[there]].tolist()))
    distance[there] = np.array(found, dtype=np.float64).reshape(-1, width)
    place = pairs.join(distinct, on="pair", how="left", maintain_order="left")["place"].to_numpy()
    return distance[place]


def _with_derived(model: DedupeModel, distances: Floats) -> Floats:
    """Interactions beside the distances, nothing for what is missing, and beside all of it what was there."""
    compared, plain = distances.shape
    columns = plain + len(model.interactions)
    derived = np.empty((compared, columns + len(model.missing)), dtype=np.float32)
    derived[:, :plain] = distances
    for column, factors in enumerate(model.interactions, start=plain):
        derived[:, column] = np.prod(derived[:, list(factors)], axis=1)
    missing = np.isnan(derived[:, :columns])
    derived[:, :columns][missing] = 0
    derived[:, columns:] = ~missing[:, list(model.missing)]
    return derived


@dataclass(frozen=True)
class _Pairs:
    """Scored pairs by the positions of their records."""

    first: Ints
    second: Ints
    score: Floats

    def take(self, rows: npt.NDArray[Any]) -> "_Pairs":
        return _Pairs(self.first[rows], self.second[rows], self.score[rows])

    def of(self, places: Ints) -> "_Pairs":
        """The same pairs where positions are places in this list."""
        return _Pairs(places[self.first], places[self.second], self.score)

    def without_weakest(self) -> "_Pairs":
        """All but those with less than e times the odds of the weakest, and but two at least: dedupe's remedy."""
        rising = self.take(np.lexsort((self.second, self.first, self.score)))
        with np.errstate(divide="ignore"):
            odds = np.log(rising.score[0]) - np.log(1 - rising.score[0])
        cut = int(np.searchsorted(rising.score, 1 / (1 + np.exp(-odds - 1))))
        return rising.take(np.arange(max(cut, 2), len(rising.score)))


def _clusters(pairs: _Pairs, size: int, threshold: float, literal_records: int) -> Ints:
    """Per record the smallest position in its cluster."""
    cluster = np.arange(size)
    undivided = [pairs]
    while undivided:
        alone, several = _components(undivided.pop(), size)
        joined = alone.take(alone.score > threshold)
        cluster[joined.second] = joined.first
        for places, local in several:
            if len(places) > LARGEST_COMPONENT:
                logger.warning("a component of %d records is taken apart at higher scores", len(places))
                undivided.append(local.without_weakest().of(places))
                continue
            cut = _literally if len(places) <= literal_records else _in_order
            label = cut(local, len(places), 1 - threshold)
            _, start, inverse = np.unique(label, return_index=True, return_inverse=True)
            cluster[places] = places[start[inverse]]
    return cluster


def _components(pairs: _Pairs, size: int) -> tuple[_Pairs, Iterator[tuple[Ints, _Pairs]]]:
    """The pairs that are a component each, and of every larger component its records and its pairs by places there."""
    label = connected(pairs.first, pairs.second, size)
    of_pair = label[pairs.first]
    pairs_of = np.bincount(of_pair, minlength=size)
    members = np.argsort(label, kind="stable")
    records_of = np.bincount(label, minlength=size)
    starts = np.cumsum(records_of) - records_of
    place = np.empty(size, dtype=np.int64)
    place[members] = np.arange(size) - starts[label[members]]
    local = _Pairs(place[pairs.first], place[pairs.second], pairs.score).take(np.argsort(of_pair, kind="stable"))
    ends = np.cumsum(pairs_of)

    def several() -> Iterator[tuple[Ints, _Pairs]]:
        for component in np.flatnonzero(pairs_of > 1):
            rows = np.arange(ends[component] - pairs_of[component], ends[component])
            yield members[starts[component] : starts[component] + records_of[component]], local.take(rows)

    return pairs.take(pairs_of[of_pair] == 1), several()


def _literally(pairs: _Pairs, size: int, cut: float) -> Ints:
    """The flat clusters of scipy's centroid linkage, over all pairs; those not scored are 1 apart."""
    condensed = np.ones(size * (size - 1) // 2)
    condensed[pairs.first * (2 * size - pairs.first - 3) // 2 + pairs.second - 1] = 1 - pairs.score
    merged = linkage(condensed, method="centroid")
    return fcluster(merged, cut, criterion="distance").astype(np.int64)


def _in_order(pairs: _Pairs, size: int, cut: float) -> Ints:
    """What `_literally` gives, without the pairs that were not scored."""
    margin = min(cut**2, (1 - cut**2) / 2)
    while margin < 1 - cut**2:
        merging = _Merging(pairs, size, cut, margin)
        merging.run()
        if 2 * merging.widest <= margin:
            return merging.label()
        margin = 2 * merging.widest
    return _literally(pairs, size, cut)


class _Merging:
    """Centroid linkage up to a cut, nearest first, over clusters that hold a pair of records near each other.

    The squared distance of two clusters is the mean of that of their pairs less the spread of each, which is the mean
    squared distance to its centroid. Hence two clusters without a pair within cut^2 + `margin` cannot be merged while
    their spreads add up to less than `margin`.

    A merged cluster keeps the larger of its two places. Of equally near pairs of clusters that with the largest smaller
    place goes first: scipy takes what its heap happens to hold on top, which is nearly always the same.
    """

    def __init__(self, pairs: _Pairs, size: int, cut: float, margin: float) -> None:
        one, other, squared = pairs.first, pairs.second, (1 - pairs.score).astype(np.float64) ** 2
        self._square, self._size = cut**2, size
        self._members = [[record] for record in range(size)]
        self._spread = [0.0] * size
        self.widest = 0.0
        """The largest spread that any cluster had."""
        near = squared <= self._square + margin
        self._near: list[dict[int, float]] = [{} for _ in range(size)]
        """Per cluster those near it, with the sum over pairs of records of how much nearer than 1 they are."""
        for a, b, nearer in zip(one[near].tolist(), other[near].tolist(), (1 - squared[near]).tolist(), strict=True):
            self._near[a][b] = self._near[b][a] = nearer
        apart = (one[~near] * size + other[~near]).tolist()
        self._far = dict(zip(apart, (1 - squared[~near]).tolist(), strict=True))
        first = squared <= self._square
        none = [0] * int(first.sum())
        columns = (squared[first].tolist(), (-one[first]).tolist(), other[first].tolist(), none, none)
        self._queue = list(zip(*columns, strict=True))
        self._merges = [0] * size
        """How often a cluster was merged: what was found of it before no longer holds."""

    def run(self) -> None:
        """Merge the two nearest clusters while any are within the cut."""
        heapq.heapify(self._queue)
        merges = self._merges
        while self._queue:
            squared, minus_a, b, merges_a, merges_b = heapq.heappop(self._queue)
            if merges[-minus_a] == merges_a and merges[b] == merges_b:
                self._merge(squared, -minus_a, b)

    def label(self) -> Ints:
        """A number per record that its cluster's records share."""
        label = np.empty(self._size, dtype=np.int64)
        for cluster, members in enumerate(self._members):
            label[members] = cluster
        return label

    def _merge(self, squared: float, gone: int, kept: int) -> None:
        self._near[kept] = near = self._near_either(gone, kept)
        share = len(self._members[gone]) / (len(self._members[gone]) + len(self._members[kept]))
        spread = share * self._spread[gone] + (1 - share) * self._spread[kept] + share * (1 - share) * squared
        self._spread[kept] = spread
        self._members[kept] += self._members[gone]
        self._members[gone] = []
        self._merges[kept] += 1
        self._merges[gone] = -1
        self.widest = max(self.widest, spread)
        size = len(self._members[kept])
        for c, nearer in near.items():
            self._near[c][kept] = nearer
            apart = 1 - nearer / (size * len(self._members[c])) - spread - self._spread[c]
            if apart <= self._square:
                a, b = min(c, kept), max(c, kept)
                heapq.heappush(self._queue, (apart, -a, b, self._merges[a], self._merges[b]))

    def _near_either(self, gone: int, kept: int) -> dict[int, float]:
        """What is near one of two clusters, beside the sum over pairs with both; `gone` is near nothing any more."""
        of_gone, of_kept = self._near[gone], self._near[kept]
        del of_gone[kept], of_kept[gone]
        near = {c: nearer + (of_kept[c] if c in of_kept else self._between(kept, c)) for c, nearer in of_gone.items()}
        near |= {c: nearer + self._between(gone, c) for c, nearer in of_kept.items() if c not in of_gone}
        for c in of_gone:
            del self._near[c][gone]
        return near

    def _between(self, a: int, b: int) -> float:
        """The sum over pairs of records of two clusters that hold none near each other."""
        pairs = itertools.product(self._members[a], self._members[b])
        return sum(self._far.get(min(pair) * self._size + max(pair), 0.0) for pair in pairs)
