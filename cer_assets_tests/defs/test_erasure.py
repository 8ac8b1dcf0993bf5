"""Who asked to be forgotten is, wherever they stood; and they stay out."""

import datetime as dt
import gzip
import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import dagster as dg
import duckdb
import polars as pl
import pytest

from cer_assets.defs.resources import Home, feeds, timezone
from cer_assets.defs.wiring import resources
from cer_assets.erasure.receipts import NOT_READ, SNAPSHOTS
from cer_assets.feeds import Feed, list_drops, read_drops
from cer_assets.lake import Lake, read_snapshot
from cer_assets_tests.defs.conftest import evaluate

KEY = "a key that nobody else knows, of 40 signs"
NAME, MAIL, PHONE = "Quixenbaumer", "zeb@planted-mail.example", "+1 937 555 0187"
PERSON = ("crm:Z1", "web:u1")
PLANTED = (NAME.lower(), MAIL, "9375550187", "937 555 0187", "z1;", "crm:z1", "web:u1", '"u1"', "00000000000000a1")
ZEB, ANN, FORMER, SHARED = "00000000000000a1", "00000000000000b2", "00000000000000c3", "00000000000000d4"
DAYS = (dt.date(2017, 1, 1), dt.date(2017, 1, 2))

CRM = "CUSTNO;LASTNAME;FIRSTNAME;DOB;EMAIL;PHONE;STREET;CITY;STATE;ZIP;CHANGED"
OTHERS = [f"C{n};Müller;Ann{n};;a{n}@x.de;;;;;;02.01.2016 10:0{n % 10}" for n in range(2, 32)]
FUTURE = "C99;;;;;;;;;;02.01.2099 10:00"
OWN = f"Z1;{NAME};Zeb;;{MAIL};{PHONE};;;;;02.01.2016 10:00"


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CER_SUPPRESSION_KEY", KEY)


def write(home: Home, feed: str, name: str, content: str | bytes) -> Path:
    path = Path(home.root, "landing", feed, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    content = content.encode("cp1252" if feed == "crm_customers" else "utf-8") if isinstance(content, str) else content
    path.write_bytes(gzip.compress(content, mtime=0) if name.endswith(".gz") else content)
    return path


def lines(*rows: str) -> str:
    return "".join(f"{row}\n" for row in rows)


def ndjson(*rows: dict[str, object]) -> str:
    return lines(*map(json.dumps, rows))


def account(user: str, name: str, mail: str) -> dict[str, object]:
    return {"user_id": user, "name": name, "mail": mail, "updated_at": "2016-01-01T10:00:00Z"}


def answer(record_a: str, record_b: str) -> dict[str, object]:
    pair = {"record_a": record_a, "record_b": record_b, "answer": "match", "by": "jo"}
    return pair | {"at": "2017-01-01T10:00:00+00:00", "drawn": None, "weight": None}


def bought(*payers: tuple[int, str | None]) -> bytes:
    """Lines of baskets, one each."""
    rows = pl.DataFrame(
        [(f"b{who}{n}", n, None if who is None else "crm", who, "p1", 1.0, 2.5, 0.0) for n, who in payers],
        schema=["basket_id", "line", "source", "source_id", "product_id", "quantity", "amount", "discount"],
        orient="row",
    ).with_columns(ordered_at=pl.lit(dt.datetime(2017, 1, 2, 15)), source_id=pl.col("source_id").cast(pl.String))
    buffer = io.BytesIO()
    rows.write_parquet(buffer)
    return buffer.getvalue()


def dropped(home: Home, *, with_person: bool = True) -> None:
    """Two days of drops of everybody, or of everybody else."""
    own = [OWN] if with_person else []
    torn = [f"Z1;{NAME}"] if with_person else []
    nameless = [f";{NAME};Zeb;;{MAIL};;;;;;02.01.2016 10:00"] if with_person else []
    write(home, "crm_customers", "2017-01-01.csv", lines(CRM, *OTHERS[:5], *own, *OTHERS[5:], *torn))
    write(
        home, "crm_customers", "2017-01-02.csv", lines(CRM, *own, *OTHERS, *nameless, "C99;;;;;;;;;;02.01.2099 10:00")
    )
    web = [account(f"u{n}", f"Bob {n}", f"b{n}@x.de") for n in range(2, 9)]
    mine = [account("u1", f"Zeb {NAME}", MAIL)] if with_person else []
    write(home, "web_accounts", "2017-01-01.ndjson", ndjson(*web[:3], *mine, *web[3:]))
    given = ["crm,C2,email,true,2016-12-01T10:00:00"]
    said = ["web,u1,personalisation,true,2016-12-01T10:00:00"] if with_person else []
    write(home, "consents", "2017-01-01.csv", lines("source,source_id,purpose,granted,at", *said, *given))
    paid = [(1, "Z1"), (2, "Z1")] if with_person else []
    write(home, "transactions", "2017-01-02.parquet", bought(*paid[:1], (1, "C2"), (1, None), *paid[1:], (1, "C3")))
    asked = [answer("crm:Z1", "web:u1")] if with_person else []
    write(home, "pair_labels", "2017-01-01.jo.ndjson", ndjson(*asked, answer("crm:C2", "web:u2")))
    if with_person:
        write(home, "crm_customers", "call back.txt", lines(f"Z1 {NAME}, today", "and Ann"))


def loaded(home: Home, *names: str) -> None:
    """What lies in the landing zone, as a load leaves it."""
    from cer_assets.defs.erasure.listed import suppression
    from cer_assets.defs.raw.component import enter
    from cer_assets.erasure import kept_out

    for name in names or sorted(path.name for path in Path(home.root, "landing").iterdir()):
        feed: Feed = feeds()[name]
        delivery = kept_out(feed, read_drops(feed, list_drops(home.landing, name), timezone()), suppression(home))
        tables = {f"raw.{name}": delivery.accepted, f"raw.{name}_rejects": delivery.rejects}
        for table, frame in tables.items():
            home.lake.publish(table, frame, partition_by="delivered_on")
        enter(home, feed, delivery.files, sorted(set(delivery.files["delivered_on"])))


def computed(home: Home) -> None:
    """Tables as the graph would leave them: of links and former ids, days past and present, and sentences."""
    records = [f"crm:C{n}" for n in range(2, 32)] + [f"web:u{n}" for n in range(2, 9)]
    everybody = pl.DataFrame({"record_id": [*PERSON, *records], "customer_id": [ZEB, ZEB, *[ANN] * len(records)]})
    publish = home.lake.publish
    publish("identity.links", everybody.with_columns(confidence=pl.lit(0.9)))
    former = {"old_id": [ZEB, FORMER, SHARED, SHARED, ANN], "customer_id": [ZEB, ZEB, ZEB, ANN, ANN]}
    publish("identity.survivors", pl.DataFrame(former))
    publish("identity.history", pl.DataFrame({"from": [None, FORMER], "to": [ZEB, ZEB], "event": ["birth", "merge"]}))
    past = pl.DataFrame({"as_of": [DAYS[0]] * 3 + [DAYS[1]] * 2, "customer_id": [FORMER, ANN, SHARED, ZEB, ANN]})
    publish("value.rfm", past.with_columns(frequency=pl.lit(1, pl.Int64)), partition_by="as_of")
    told = pl.DataFrame(
        {"sentence": [f"{ZEB} and {ANN} would be one", f"{ANN} stays"], "customers": [f"{ZEB},{ANN}", ANN]}
    )
    publish("insight.impact", told)
    publish("identity.labels", pl.DataFrame({"record_a": ["crm:Z1", "crm:C2"], "record_b": ["web:u9", "web:u2"]}))
    publish(
        "customer.orders", pl.DataFrame({"basket_id": ["b0", "b1"], "source": ["crm"] * 2, "source_id": ["Z1", "C2"]})
    )
    home.caches.mkdir(parents=True)
    (home.caches / "identity-index-1.arrow").write_text(NAME)
    home.models.promote("value_clv_model", home.models.save("value_clv_model", {"a": b"1"}, {}))
    home.models.promote("identity_model", home.models.save("identity_model", {"a": b"1"}, {}))


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with the person in every table and kind of file, who has asked to be forgotten."""
    root = tmp_path_factory.mktemp("asked")
    home = Home(root=str(root))
    dropped(home)
    write(home, "erasure_requests", "2017-01-02.csv", lines("source,source_id,at", "web,u1,2017-01-02T09:00:00"))
    loaded(home)
    computed(home)
    return root


@pytest.fixture
def home(template: Path, tmp_path: Path) -> Home:
    return Home(root=str(shutil.copytree(template, tmp_path / "home")))


def forget(home: Home) -> None:
    from cer_assets.defs.erasure.removal import begin, carry_out

    begin(home)
    carry_out(home)


def bare(home: Home, table: str) -> list[tuple[object, ...]]:
    """A raw table's rows without their line numbers."""
    rows = home.lake.scan(table).drop("file_line").collect()
    return sorted(rows.rows(), key=str)


def test_raw_tables_and_ledger_are_those_of_a_home_that_never_had_the_person(home: Home, tmp_path: Path) -> None:
    other = Home(root=str(tmp_path / "other"))
    dropped(other, with_person=False)
    loaded(other)
    forget(home)

    for name in ("crm_customers", "web_accounts", "consents", "transactions", "pair_labels"):
        assert bare(home, f"raw.{name}") == bare(other, f"raw.{name}"), name
        assert bare(home, f"raw.{name}_rejects") == bare(other, f"raw.{name}_rejects"), name
        counts = ["file", "delivered", "accepted", "rejected", "suppressed"]
        assert home.ledger(name).select(counts).sort("file").equals(other.ledger(name).select(counts).sort("file"))
    for path in sorted(Path(other.root, "landing").rglob("*.csv")):
        left = (Path(home.root) / path.relative_to(other.root)).read_text("cp1252").splitlines()
        assert [line for line in left if line] == path.read_text("cp1252").splitlines()


def test_every_other_row_keeps_its_line(home: Home) -> None:
    before = home.read("raw.crm_customers").filter(pl.col("source_id") != "Z1")
    forget(home)
    assert (
        home.read("raw.crm_customers")
        .sort("delivered_on", "file_line")
        .equals(before.sort("delivered_on", "file_line"))
    )


def test_whatever_names_them_goes_and_what_names_others_stays(home: Home) -> None:
    forget(home)
    assert home.read("identity.links")["customer_id"].unique().to_list() == [ANN]
    assert home.read("identity.history").is_empty()
    assert home.read("insight.impact")["sentence"].to_list() == [f"{ANN} stays"]
    assert home.read("identity.labels")["record_a"].to_list() == ["crm:C2"]
    assert home.read("customer.orders")["source_id"].to_list() == ["C2"]
    # A past day under an id that was somebody else's too is that customer's.
    assert home.read("value.rfm").sort("as_of", "customer_id")["customer_id"].to_list() == [ANN, SHARED, ANN]
    assert (Path(home.root) / "landing/crm_customers/call back.txt").read_text() == "\nand Ann\n"
    assert home.models.champion("value_clv_model") is None
    assert home.models.champion("identity_model") is not None


def test_a_rewritten_file_is_not_due_again(home: Home) -> None:
    from cer_assets.defs.plan import due_loads

    assert due_loads(home) == []
    forget(home)
    assert due_loads(home) == []


def test_a_later_drop_of_the_person_is_kept_out_and_its_file_is_cleaned(project: dg.Definitions, home: Home) -> None:
    from cer_assets.defs.erasure.listed import kept_out_of
    from cer_assets.defs.plan import due_loads

    forget(home)
    path = write(
        home, "crm_customers", "2017-01-02.csv", lines(CRM, OWN, *OTHERS, "Z1;x", "C99;;;;;;;;;;02.01.2099 10:00")
    )
    definitions = dg.Definitions(
        assets=project.assets, asset_checks=project.asset_checks, jobs=project.jobs, resources=resources(home)
    )
    (step,) = due_loads(home)
    with dg.DagsterInstance.ephemeral() as instance:
        done = definitions.resolve_job_def("load").execute_in_process(
            instance=instance, asset_selection=list(step.assets), tags=step.tags, raise_on_error=False
        )
    checks = {check.check_name: check.passed for check in done.get_asset_check_evaluations()}
    assert checks["nothing_lost"]
    assert "Z1" not in home.read("raw.crm_customers")["source_id"].to_list()
    files = home.ledger("crm_customers").filter(pl.col("file") == "2017-01-02.csv")
    assert files.select("delivered", "accepted", "rejected", "suppressed").row(0) == (33, 30, 1, 2)
    assert kept_out_of(home).height == 1

    kept = home.lake.version("raw.crm_customers")
    forget(home)
    assert b"Z1;" not in path.read_bytes() and b"C2;" in path.read_bytes()
    assert home.lake.version("raw.crm_customers") == kept, "nothing downstream is due"
    assert kept_out_of(home).is_empty() and due_loads(home) == []
    assert evaluate(project, home, "raw/crm_customers", "nothing_lost").passed


def test_without_a_key_nothing_is_removed_and_it_is_said(
    project: dg.Definitions, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CER_SUPPRESSION_KEY")
    with pytest.raises(dg.Failure, match="CER_SUPPRESSION_KEY is not set"):
        forget(home)
    assert "crm:Z1" in home.read("identity.links")["record_id"].to_list()
    assert not evaluate(project, home, "raw/erasure_requests", "can_be_carried_out").passed


def test_another_key_than_the_lists_lets_no_drop_in(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    forget(home)
    monkeypatch.setenv("CER_SUPPRESSION_KEY", KEY[::-1])
    with pytest.raises(dg.Failure, match="not the key"):
        loaded(home, "crm_customers")


def test_in_the_end_no_byte_of_the_home_names_them_and_the_receipt_says_what_was_touched(
    project: dg.Definitions, home: Home
) -> None:
    from cer_assets.defs.erasure.ending import end
    from cer_assets.defs.erasure.listed import receipts

    assert found_in(home, PLANTED), "what is looked for is there before"
    forget(home)
    end(home, dt.datetime(2017, 1, 3, 9))

    assert found_in(home, PLANTED) == {}
    held = receipts(home)
    assert held["done_at"].null_count() == 0 and held["request"].n_unique() == 1
    rows = dict(held.filter(pl.col("kind") == "table").select("name", "rows").iter_rows())
    assert rows["raw.crm_customers"] == 2 and rows["raw.crm_customers_rejects"] == 2
    assert rows["raw.transactions"] == 2 and rows["value.rfm"] == 2 and rows["identity.links"] == 2
    files = dict(held.filter(pl.col("kind") == "landing file").select("name", "rows").iter_rows())
    assert files["crm_customers/2017-01-01.csv"] == 2 and files["transactions/2017-01-02.parquet"] == 2
    assert files["crm_customers/call back.txt"] == 1
    for check in ("nobody_erased_is_left", "receipts_add_up", "every_file_was_looked_into"):
        assert evaluate(project, home, "erasure/receipts", check).passed, check
    assert evaluate(project, home, "erasure/suppressed", "no_request_waits").passed
    named = read_snapshot(home.snapshots).versions
    assert all(home.lake.holds(table, version) for table, version in named.items()), "a reader finds what is named"
    with duckdb.connect(home.warehouse, read_only=True) as con:
        assert con.execute("select count(*) from erasure.receipts where done_at is null").fetchall() == [(0,)]


def older(home: Home) -> dict[str, set[object]]:
    """What is kept beside what stands: snapshots, versions of tables, models that are no champions."""
    versions = {(table, n) for table in home.lake.tables() for n in range(home.lake.version(table) or 0)}
    return {
        "snapshots": {path.name for path in home.snapshots.glob("*.json")},
        "versions": {(table, n) for table, n in versions if home.lake.holds(table, n)},
        "models": {path.name for path in home.models.root.glob("*/*") if path.is_dir()},
    }


def test_a_later_delivery_leaves_snapshots_versions_and_models_as_they_are(home: Home) -> None:
    from cer_assets.defs.erasure.ending import end

    forget(home)
    end(home, dt.datetime(2017, 1, 3, 9))
    home.models.promote("identity_model", home.models.save("identity_model", {"a": b"2"}, {}))
    home.lake.publish("insight.impact", home.read("insight.impact").with_columns(sentence=pl.lit("another")))
    before = older(home)
    assert all(before.values())
    write(home, "crm_customers", "2017-01-02.csv", lines(CRM, OWN, *OTHERS))
    loaded(home, "crm_customers")
    forget(home)
    held = end(home, dt.datetime(2017, 1, 4, 9))
    newest = held.filter(pl.col("done_at") == dt.datetime(2017, 1, 4, 9))
    assert newest.select("kind", "name", "rows").rows() == [("landing file", "crm_customers/2017-01-02.csv", 1)]
    assert held["done_at"].null_count() == 0
    assert all(kept <= older(home)[what] for what, kept in before.items())
    served = home.served("erasure.receipts")
    assert served is not None and served.equals(held)


def test_whoever_stands_in_a_table_again_is_told_and_what_is_older_goes(home: Home) -> None:
    from cer_assets.defs.erasure.ending import end

    forget(home)
    end(home, dt.datetime(2017, 1, 3, 9))
    links = home.read("identity.links")
    home.lake.publish("identity.links", pl.concat([links, links.head(1).with_columns(record_id=pl.lit(PERSON[0]))]))
    forget(home)
    held = end(home, dt.datetime(2017, 1, 4, 9)).filter(pl.col("done_at") == dt.datetime(2017, 1, 4, 9))
    assert ("table", "identity.links", 1) in held.select("kind", "name", "rows").rows()
    assert found_in(home, PLANTED) == {}


def test_an_end_that_is_killed_signs_nothing_and_the_next_does_all_of_it(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cer_assets.defs.erasure import ending
    from cer_assets.defs.erasure.listed import KEPT, PASSING, receipts

    forget(home)
    last = len(home.lake.tables()) - 1
    steps = [(name, 0) for name in ("take_snapshot", "build_warehouse", "forget_snapshots", "forget_versions")]
    former = sum(path.stem != "current" for path in home.snapshots.glob("*.json"))
    for name, point in [*steps, ("vacuum", 0), ("vacuum", last - 1), ("vacuum", last)]:
        left = iter(range(point))
        step: Callable[..., object] = getattr(ending, name)

        def mortal(*arguments: object, step: Callable[..., object] = step, left: object = left) -> object:
            if next(left, None) is None:  # pyright: ignore
                raise Killed
            return step(*arguments)

        with monkeypatch.context() as patched:
            patched.setattr(ending, name, mortal)
            with pytest.raises(Killed):
                ending.end(home, dt.datetime(2017, 1, 3, 9))
        assert receipts(home)["done_at"].null_count() == receipts(home).height, f"{name} {point}"
    signed = ending.end(home, dt.datetime(2017, 1, 3, 9))
    assert signed["done_at"].null_count() == 0
    assert set(signed.filter(kind=SNAPSHOTS)["rows"]) == {former}
    assert found_in(home, PLANTED) == {}
    kept = [n for n in range(home.lake.version(KEPT) or 0) if home.lake.holds(KEPT, n)]
    assert not any(home.lake.scan(KEPT, n).collect()["kind"].is_in(PASSING).any() for n in kept)


def test_what_an_erasure_left_behind_or_did_not_count_is_found(project: dg.Definitions, home: Home) -> None:
    from cer_assets.defs.erasure.ending import end
    from cer_assets.defs.erasure.listed import KEPT, receipts

    assert not evaluate(project, home, "erasure/suppressed", "no_request_waits").passed
    forget(home)
    end(home, dt.datetime(2017, 1, 3, 9))
    links, held = home.read("identity.links"), receipts(home)
    home.lake.publish("identity.links", pl.concat([links, links.head(1).with_columns(record_id=pl.lit(PERSON[0]))]))
    assert not evaluate(project, home, "erasure/receipts", "nobody_erased_is_left").passed
    home.lake.publish(KEPT, held.filter(pl.col("kind") != "landing file"))
    assert not evaluate(project, home, "erasure/receipts", "receipts_add_up").passed
    unread = held.head(1).with_columns(kind=pl.lit(NOT_READ), name=pl.lit(f"crm_customers/{DAYS[0]}.csv"))
    home.lake.publish(KEPT, pl.concat([held, unread]))
    assert not evaluate(project, home, "erasure/receipts", "every_file_was_looked_into").passed


def found_in(home: Home, planted: tuple[str, ...]) -> dict[str, list[str]]:
    """Files that hold any of these texts, packed or not, in whatever column; the texts are in lower case."""
    hits: dict[str, list[str]] = {}
    for path in sorted(Path(home.root).rglob("*")):
        if path.is_file():
            content = path.read_bytes()
            texts = [content.lower().decode("latin-1")]
            texts += [gzip.decompress(content).lower().decode("latin-1")] if path.suffix == ".gz" else []
            texts += [repr(pl.read_parquet(path).to_dicts()).lower()] if path.suffix == ".parquet" else []
            if told := [value for value in planted if any(value in text for text in texts)]:
                hits[str(path.relative_to(home.root))] = told
    return hits


class Killed(BaseException):
    """The process ends here."""


@pytest.mark.endurance
def test_killed_at_any_point_and_run_again_it_ends_alike(
    template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before every third write, and after it; the receipt counts what the first run would have counted."""
    from cer_assets.defs.erasure import removal

    undisturbed = Home(root=str(shutil.copytree(template, tmp_path / "undisturbed")))
    forget(undisturbed)
    wanted, point = state(undisturbed), 0
    while True:
        home = Home(root=str(shutil.copytree(template, tmp_path / "killed")))
        left = iter(range(point))

        def mortal(write: Callable[..., object], left: object = left) -> Callable[..., object]:
            def writing(*arguments: object, **options: object) -> object:
                if next(left, None) is None:  # pyright: ignore
                    raise Killed
                return write(*arguments, **options)

            return writing

        with monkeypatch.context() as patched:
            patched.setattr(Lake, "publish", mortal(Lake.publish))
            patched.setattr(Lake, "publish_query", mortal(Lake.publish_query))
            patched.setattr(removal, "write", mortal(removal.write))
            try:
                forget(home)
                return
            except Killed:
                pass
        forget(home)
        assert state(home) == wanted, f"killed before write {point}"
        shutil.rmtree(tmp_path / "killed")
        point += 3


def state(home: Home) -> dict[str, object]:
    """Every table's rows, and every file of the landing zone."""
    tables = {table: sorted(home.read(table).rows(), key=str) for table in home.lake.tables()}
    landing = Path(home.root, "landing")
    files = {str(path.relative_to(landing)): path.read_bytes() for path in landing.rglob("*") if path.is_file()}
    return {**tables, **files}
