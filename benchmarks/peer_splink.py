"""Splink on the identity sets, with the settings that its documentation gives for each; nothing of ours is in it.

The settings are those of Splink's examples ("Evaluation from ground truth column" for fake_1000, "Deduplicate 50k rows
historical persons", "febrl3", "febrl4" with the detailed model). For the generated people, which no example knows, they
follow the same advice: conjunctive blocking rules, term frequencies, a first guess from deterministic rules.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import duckdb
import polars as pl
import splink.comparison_library as cl
from identity_sets import IdentitySet
from splink import DuckDBAPI, Linker, SettingsCreator, block_on

BY_DEFAULT = 0.95
"""The match probability at which its example of this kind clusters."""
THRESHOLDS = (0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999, 0.9999, 0.99999, 0.999999)
LEAST = 0.01
"""Pairs below are not kept; the examples keep those from .2 or .1, or all."""


@dataclass(frozen=True)
class Specification:
    """What an example of the documentation sets."""

    blocking: Sequence[Any]
    comparisons: Sequence[Any]
    certain: Sequence[Any]
    """Rules that only matches satisfy, from which the share of matches among all pairs is guessed."""
    recall: float
    """The share of matches that satisfy `certain`, guessed."""
    pairs: float
    """Most random pairs for the u probabilities."""
    rounds: Sequence[Any]
    """A blocking rule for each round of expectation maximisation."""
    without_frequencies: bool = True
    """Whether the rounds leave term frequencies aside."""


def specification(name: str) -> Specification:
    """What is documented for a set."""
    match name:
        case "fake_1000":
            return _fake_1000()
        case "febrl3":
            return _febrl3()
        case "febrl4":
            return _febrl4()
        case "historical_50k":
            return _historical_50k()
        case _:
            return _people()


@dataclass(frozen=True)
class Clustered:
    """A finished run: groups at the default threshold, and the means to have them at another one."""

    linker: Linker
    predictions: Any
    sources: Sequence[str]
    links: pl.DataFrame

    def links_at(self, threshold: float) -> pl.DataFrame:
        """record_id, customer_id at a match probability."""
        return _clustered(self.linker, self.predictions, self.sources, threshold)


def link_by_splink(given: IdentitySet, seed: int) -> Clustered:
    """Splink from the records to groups: settings, training, prediction, clustering at the default threshold."""
    # It warns on stderr of levels that no pair reaches, set after set.
    logging.getLogger("splink").setLevel(logging.ERROR)
    wanted = specification(given.name)
    connection = duckdb.connect()
    api = DuckDBAPI(connection=connection)
    sources = ["a", "b"] if given.linked else ["every"]
    tables: list[Any] = []
    for source in sources:
        frame = given.records.filter(pl.col("source") == source).drop("source") if given.linked else given.records
        connection.register("frame", _for_splink(frame))
        connection.execute(f"create table records_{source} as from frame")
        connection.unregister("frame")
        tables.append(api.register(connection.table(f"records_{source}"), dataset_display_name=source))
    settings = SettingsCreator(
        link_type="link_only" if given.linked else "dedupe_only",
        blocking_rules_to_generate_predictions=list(wanted.blocking),
        comparisons=list(wanted.comparisons),
    )
    linker = Linker(tables, settings, log_level=None)
    linker.training.estimate_probability_two_random_records_match(list(wanted.certain), recall=wanted.recall)
    linker.training.estimate_u_using_random_sampling(max_pairs=wanted.pairs, seed=seed + 1)
    for rule in wanted.rounds:
        linker.training.estimate_parameters_using_expectation_maximisation(
            rule, estimate_without_term_frequencies=wanted.without_frequencies
        )
    predictions = linker.inference.predict(threshold_match_probability=LEAST)
    return Clustered(linker, predictions, sources, _clustered(linker, predictions, sources, BY_DEFAULT))


def _clustered(linker: Linker, predictions: Any, sources: Sequence[str], threshold: float) -> pl.DataFrame:
    """Connected records; between two sources, each record with its single best partner."""
    if len(sources) > 1:
        found = linker.clustering.cluster_using_single_best_links(
            predictions, duplicate_free_datasets=list(sources), threshold_match_probability=threshold
        )
    else:
        found = linker.clustering.cluster_pairwise_predictions_at_threshold(
            predictions, threshold_match_probability=threshold
        )
    return found.as_duckdbpyrelation().select("unique_id as record_id, cluster_id as customer_id").pl()


def _for_splink(records: pl.DataFrame) -> pl.DataFrame:
    """The id by its expected name, and both names in one column where the example compares them so."""
    frame = records.rename({"record_id": "unique_id"})
    for first in ("first_name", "given_name"):
        if first in frame.columns:
            frame = frame.with_columns(full_name=pl.concat_str(first, pl.lit(" "), "surname"))
    return frame


def _fake_1000() -> Specification:
    return Specification(
        blocking=[block_on("first_name"), block_on("surname"), block_on("dob"), block_on("email")],
        comparisons=[
            cl.ForenameSurnameComparison("first_name", "surname"),
            cl.DateOfBirthComparison("dob", input_is_string=True),
            cl.ExactMatch("city").configure(term_frequency_adjustments=True),
            cl.EmailComparison("email"),
        ],
        certain=[
            "l.first_name = r.first_name and levenshtein(r.dob, l.dob) <= 1",
            "l.surname = r.surname and levenshtein(r.dob, l.dob) <= 1",
            "l.first_name = r.first_name and levenshtein(r.surname, l.surname) <= 2",
            "l.email = r.email",
        ],
        recall=0.7,
        pairs=1e6,
        rounds=[block_on("dob"), block_on("email"), block_on("first_name", "surname")],
    )


def _febrl3() -> Specification:
    columns = ("soc_sec_id", "given_name", "surname", "date_of_birth", "postcode")
    return Specification(
        blocking=[block_on(column) for column in columns],
        comparisons=[
            cl.NameComparison("given_name"),
            cl.NameComparison("surname"),
            cl.DateOfBirthComparison("date_of_birth", input_is_string=True, datetime_format="%Y%m%d"),
            cl.DamerauLevenshteinAtThresholds("soc_sec_id", [2]),
            cl.ExactMatch("street_number").configure(term_frequency_adjustments=True),
            cl.ExactMatch("postcode").configure(term_frequency_adjustments=True),
        ],
        certain=[
            block_on("soc_sec_id"),
            block_on("given_name", "surname", "date_of_birth"),
            "l.given_name = r.surname and l.surname = r.given_name and l.date_of_birth = r.date_of_birth",
        ],
        recall=0.9,
        pairs=1e6,
        rounds=[block_on("date_of_birth"), block_on("postcode")],
        without_frequencies=False,
    )


def _febrl4() -> Specification:
    return Specification(
        blocking=[
            block_on("given_name", "surname"),
            "l.given_name = r.surname and l.surname = r.given_name",
            block_on("date_of_birth"),
            block_on("soc_sec_id"),
            block_on("state", "address_1"),
            block_on("street_number", "address_1"),
            block_on("postcode"),
        ],
        comparisons=[
            cl.NameComparison("given_name").configure(term_frequency_adjustments=True),
            cl.NameComparison("surname").configure(term_frequency_adjustments=True),
            cl.DateOfBirthComparison(
                "date_of_birth", input_is_string=True, datetime_format="%Y%m%d", invalid_dates_as_null=True
            ),
            cl.DamerauLevenshteinAtThresholds("soc_sec_id", [1, 2]),
            cl.ExactMatch("street_number").configure(term_frequency_adjustments=True),
            cl.DamerauLevenshteinAtThresholds("postcode", [1, 2]).configure(term_frequency_adjustments=True),
        ],
        certain=[block_on("soc_sec_id"), block_on("given_name", "surname", "date_of_birth")],
        recall=0.8,
        pairs=1e6,
        rounds=[block_on("date_of_birth"), block_on("postcode")],
    )


def _historical_50k() -> Specification:
    return Specification(
        blocking=[
            block_on("substr(first_name,1,3)", "substr(surname,1,4)"),
            block_on("surname", "dob"),
            block_on("first_name", "dob"),
            block_on("postcode_fake", "first_name"),
            block_on("postcode_fake", "surname"),
            block_on("dob", "birth_place"),
            block_on("substr(postcode_fake,1,3)", "dob"),
            block_on("substr(postcode_fake,1,3)", "first_name"),
            block_on("substr(postcode_fake,1,3)", "surname"),
            block_on("substr(first_name,1,2)", "substr(surname,1,2)", "substr(dob,1,4)"),
        ],
        comparisons=[
            cl.ForenameSurnameComparison("first_name", "surname", forename_surname_concat_col_name="full_name"),
            cl.DateOfBirthComparison("dob", input_is_string=True),
            cl.PostcodeComparison("postcode_fake"),
            cl.ExactMatch("birth_place").configure(term_frequency_adjustments=True),
            cl.ExactMatch("occupation").configure(term_frequency_adjustments=True),
        ],
        certain=[
            block_on("first_name", "surname", "dob"),
            block_on("substr(first_name,1,2)", "surname", "substr(postcode_fake,1,2)"),
            block_on("dob", "postcode_fake"),
        ],
        recall=0.6,
        pairs=1e7,
        rounds=[block_on("first_name", "surname"), block_on("dob")],
    )


def _people() -> Specification:
    return Specification(
        blocking=[
            block_on("given_name", "surname"),
            block_on("date_of_birth", "surname"),
            block_on("date_of_birth", "given_name"),
            block_on("email"),
            block_on("phone"),
            block_on("postcode", "surname"),
            block_on("postcode", "given_name", "street_number"),
        ],
        comparisons=[
            cl.ForenameSurnameComparison("given_name", "surname", forename_surname_concat_col_name="full_name"),
            cl.DateOfBirthComparison("date_of_birth", input_is_string=True, datetime_format="%Y%m%d"),
            cl.EmailComparison("email"),
            cl.DamerauLevenshteinAtThresholds("phone", [1, 2]),
            cl.ExactMatch("postcode").configure(term_frequency_adjustments=True),
            cl.ExactMatch("street_number").configure(term_frequency_adjustments=True),
        ],
        certain=[block_on("email"), block_on("given_name", "surname", "date_of_birth")],
        recall=0.7,
        pairs=1e6,
        rounds=[block_on("date_of_birth"), block_on("given_name", "surname")],
    )
