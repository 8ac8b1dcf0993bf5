import duckdb
import polars as pl
import pytest

from cer_assets.identity import CUSTOMER_FIELDS, MatchField, evaluate_links, resolve, train, training, truth_labeller
from cer_assets.identity.labels import Pair
from cer_assets.identity.questions import QuestionsFailedError, questions
from cer_assets_tests.identity.conftest import Trained
from cer_assets_tests.identity.people import population


@pytest.fixture
def without_dedupe(monkeypatch: pytest.MonkeyPatch) -> None:
    """All questions from the candidate pool, for tests of what does not depend on who proposes."""
    monkeypatch.setattr(training, "SHARE_OF_DEDUPE", 0.0)


def test_forty_answers_are_enough_for_a_small_population(trained: Trained) -> None:
    figures = evaluate_links(resolve(trained.records, trained.model), trained.truth)
    assert figures["pairwise_f1"] >= 0.95


def test_answers_come_back_as_labels_with_who_gave_them(trained: Trained) -> None:
    labels, person = trained.model.labels, dict(trained.truth.iter_rows())
    assert len(labels) == 40
    assert labels.select("record_a", "record_b").is_duplicated().sum() == 0
    assert (labels["record_a"] < labels["record_b"]).all()
    assert set(labels["by"]) == {"truth"}
    assert all((person[a] == person[b]) == (answer == "match") for a, b, answer, _ in labels.iter_rows())
    assert set(labels["answer"]) == {"match", "distinct"}


def test_the_same_input_in_another_order_on_other_threads_gives_the_same_bytes(trained: Trained) -> None:
    with duckdb.connect(config={"threads": 1}) as connection:
        again = train(
            trained.records.sample(fraction=1, shuffle=True, seed=5),
            labeller=truth_labeller(trained.truth),
            budget=40,
            by="truth",
            connection=connection,
        )
    assert again.files() == trained.model.files()
    assert again.labels.equals(trained.model.labels)


@pytest.mark.parametrize("answer", [True, False, None])
def test_training_survives_whatever_the_answers_are(answer: bool | None) -> None:
    records, _ = population(40)
    asked: list[Pair] = []

    def labeller(pairs: list[Pair]) -> list[bool | None]:
        asked.extend(pairs)
        return [answer] * len(pairs)

    model = train(records, labeller=labeller, budget=12)
    assert len(asked) <= 12
    assert len(resolve(records, model)) == len(records)


def test_known_labels_teach_without_being_asked_again(trained: Trained, without_dedupe: None) -> None:
    asked: list[Pair] = []
    answer = truth_labeller(trained.truth)

    def labeller(pairs: list[Pair]) -> list[bool | None]:
        asked.extend(pairs)
        return list(answer(pairs))

    known = trained.model.labels
    model = train(trained.records, labeller=labeller, budget=10, known_labels=known)
    assert not {tuple(sorted(p)) for p in asked} & set(known.select("record_a", "record_b").iter_rows())
    assert sum(model.facts["labels"][a] for a in ("match", "distinct")) == len(known) + len(asked)


def test_a_persons_answer_stands_above_a_rules() -> None:
    records, _ = population(20)
    a, b = sorted(records["record_id"].head(2))
    said = pl.DataFrame(
        {"record_a": a, "record_b": b, "answer": ["match", "distinct"], "by": ["ann", "rule: at random"]}
    )
    for labels in (said, said.reverse()):
        counted = train(records, known_labels=labels).facts["labels"]
        assert (counted["match"], counted["distinct"]) == (1, 0)


def test_labels_of_records_that_are_gone_are_passed_over(believing: Trained) -> None:
    labels = pl.DataFrame({"record_a": ["x"], "record_b": ["y"], "answer": ["match"]})
    assert train(believing.records, known_labels=labels).files() == believing.model.files()


@pytest.mark.parametrize("size", [0, 1, 2])
def test_hardly_any_record_is_enough_to_train_on(size: int) -> None:
    records = population(3)[0].head(size)
    assert len(resolve(records, train(records))) == size


def test_a_field_that_is_always_empty_or_always_the_same_does_no_harm(trained: Trained) -> None:
    records = trained.records.with_columns(email=pl.lit(None, pl.String), country=pl.lit("us"))
    fields = [*CUSTOMER_FIELDS, MatchField("country", "category")]
    model = train(records, fields, known_labels=trained.model.labels)
    assert evaluate_links(resolve(records, model), trained.truth)["pairwise_f1"] > 0.9


def test_a_labeller_that_answers_too_few_is_told_so(without_dedupe: None) -> None:
    with pytest.raises(ValueError, match="0 answers"):
        train(population(20)[0], labeller=lambda _pairs: [], budget=3)


def test_where_dedupe_has_nothing_to_propose_it_says_so() -> None:
    with questions() as dedupe:
        assert dedupe is not None
        with pytest.raises(QuestionsFailedError):
            dedupe.start([{"surname": None}] * 3, [MatchField("surname", "name")], 0)
            dedupe.propose()
