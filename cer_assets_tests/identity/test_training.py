import duckdb
import polars as pl
import pytest

from cer_assets.identity import CUSTOMER_FIELDS, MatchField, evaluate_links, resolve, train, training, truth_labeller
from cer_assets.identity.curve import Costs
from cer_assets.identity.dedupe_questions import QuestionsFailedError, questions
from cer_assets.identity.labels import Labeller, Pair
from cer_assets_tests.identity.conftest import Trained
from cer_assets_tests.identity.people import population


@pytest.fixture
def without_dedupe(monkeypatch: pytest.MonkeyPatch) -> None:
    """All questions from the candidate pool, for tests of what does not depend on who proposes."""
    monkeypatch.setattr(training, "SHARE_OF_DEDUPE", 0.0)


@pytest.fixture(scope="module")
def sparse() -> pl.DataFrame:
    """Few people, of whom hardly anyone has a phone, and none an e-mail address."""
    phone = pl.when(pl.int_range(pl.len()) % 20 == 0).then("phone")
    return population(25)[0].sort("record_id").with_columns(email=pl.lit(None, pl.String), phone=phone)


def test_forty_answers_are_enough_for_a_small_population(trained: Trained) -> None:
    figures = evaluate_links(resolve(trained.records, trained.model), trained.truth)
    assert figures["pairwise_f1"] >= 0.95


def test_answers_come_back_as_labels_with_who_gave_them(trained: Trained) -> None:
    labels, person = trained.model.labels, dict(trained.truth.iter_rows())
    assert len(labels) == 40
    assert (labels["record_a"] < labels["record_b"]).all()
    assert set(labels["by"]) == {"truth"}
    told = labels.select("record_a", "record_b", "answer").iter_rows()
    assert all((person[a] == person[b]) == (answer == "match") for a, b, answer in told)
    assert set(labels["answer"]) == {"match", "distinct"}


def test_the_budget_goes_to_dedupe_to_uncertain_pairs_to_an_audit_and_to_repeats(trained: Trained) -> None:
    labels = trained.model.labels
    assert dict(labels["drawn"].value_counts().iter_rows()) == {"dedupe": 22, "uncertain": 12, "audit": 5, "repeat": 1}
    new = labels.filter(pl.col("drawn") != "repeat").select("record_a", "record_b")
    repeated = labels.filter(drawn="repeat").select("record_a", "record_b")
    assert not new.is_duplicated().any()
    assert len(repeated.join(new, on=["record_a", "record_b"], how="semi")) == len(repeated)
    assert trained.model.facts["label_agreement"]["repeats"] == trained.model.facts["label_agreement"]["agree"] == 1


def test_audit_labels_stand_for_all_candidate_pairs_that_were_not_asked_about(trained: Trained) -> None:
    audits = trained.model.labels.filter(drawn="audit")
    others = trained.model.labels.filter(pl.col("drawn") != "audit")
    assert others["weight"].null_count() == len(others)
    assert audits["weight"].sum() == pytest.approx(trained.model.facts["pool_pairs"], rel=0.2)
    facts = trained.model.facts
    assert facts["audit_labels"] == 5
    assert facts["precision"]["low"] < facts["precision"]["value"] <= facts["precision"]["high"]


def test_dearer_wrong_merges_raise_the_cut_and_dearer_missed_matches_lower_it(trained: Trained) -> None:
    def cut(costs: Costs) -> float:
        return train(trained.records, known_labels=trained.model.labels, costs=costs).cut

    assert cut(Costs(wrong_merge=10)) > trained.model.cut > cut(Costs(missed_match=10))


def test_labels_that_training_asked_for_teach_the_same_cut_again(trained: Trained) -> None:
    again = train(trained.records, known_labels=trained.model.labels)
    assert again.cut == pytest.approx(trained.model.cut, abs=0.03)
    assert again.facts["audit_labels"] == trained.model.facts["audit_labels"]
    assert again.facts["label_agreement"] == trained.model.facts["label_agreement"]


def test_without_labels_there_is_a_cut_and_no_word_on_quality(believing: Trained) -> None:
    assert believing.model.cut == pytest.approx(0.45)
    assert believing.model.facts["precision"] is None
    assert believing.model.facts["label_agreement"]["repeats"] == 0


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


def _always(answer: bool | None) -> Labeller:
    def say(pairs: list[Pair]) -> list[bool | None]:
        return [answer] * len(pairs)

    return say


def _by_turns(pairs: list[Pair]) -> list[bool | None]:
    return [number % 2 == 0 for number in range(len(pairs))]


def _mostly_unsure(pairs: list[Pair]) -> list[bool | None]:
    return [True if pair[0].endswith("3") else None for pair in pairs]


class _Contrary:
    """Says the opposite whenever a pair comes back."""

    def __init__(self) -> None:
        self.seen: dict[Pair, bool] = {}

    def __call__(self, pairs: list[Pair]) -> list[bool | None]:
        return [self.seen.setdefault(pair, pair[0] > "s1") != (pair in self.seen) for pair in pairs]


@pytest.mark.parametrize(
    "labeller",
    [_always(True), _always(False), _always(None), _by_turns, _mostly_unsure, _Contrary()],
    ids=["all match", "all distinct", "all unsure", "by turns", "mostly unsure", "contrary"],
)
@pytest.mark.parametrize("budget", [1, 34])
def test_training_survives_whatever_the_answers_are(
    labeller: Labeller, budget: int, sparse: pl.DataFrame, without_dedupe: None
) -> None:
    asked: list[Pair] = []

    def counting(pairs: list[Pair]) -> list[bool | None]:
        asked.extend(pairs)
        return list(labeller(pairs))

    model = train(sparse, labeller=counting, budget=budget)
    assert len(asked) == len(model.labels) <= budget
    assert 0 < model.cut < 1
    assert len(resolve(sparse, model)) == len(sparse)


def test_between_two_sources_only_their_pairs_are_asked_about_even_if_all_are_distinct() -> None:
    records, _ = population(40)
    records = records.with_columns(source=pl.col("record_id").str.head(2))
    labels = train(records, labeller=_always(False), budget=12, between="source").labels
    assert set(labels["drawn"]) == {"dedupe", "uncertain", "audit"}
    assert (labels["record_a"].str.head(2) != labels["record_b"].str.head(2)).all()


def test_a_column_to_match_between_that_is_not_there_is_refused() -> None:
    with pytest.raises(ValueError, match="between: column 'shop'"):
        train(population(5)[0], between="shop")


def test_known_labels_teach_without_being_asked_again(trained: Trained, without_dedupe: None) -> None:
    asked: list[Pair] = []
    answer = truth_labeller(trained.truth)

    def labeller(pairs: list[Pair]) -> list[bool | None]:
        asked.extend(pairs)
        return list(answer(pairs))

    known = trained.model.labels
    model = train(trained.records, labeller=labeller, budget=10, known_labels=known)
    assert not {tuple(sorted(p)) for p in asked} & set(known.select("record_a", "record_b").iter_rows())
    pairs = known.select("record_a", "record_b").unique()
    assert sum(model.facts["labels"][a] for a in ("match", "distinct")) == len(pairs) + len(asked)


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
            nothing: dict[str, str | None] = {"surname": None}
            dedupe.start([nothing] * 3, [MatchField("surname", "name")], 0)
            dedupe.propose()
