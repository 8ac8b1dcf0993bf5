"""SQL files: what is read from the query, and what is refused with the file's name."""

from pathlib import Path

import pytest
import sqlglot

from cer_assets.lake import SqlFile, column_lineage, read_sql_file, sql_files

PROJECT_SQL = Path(__file__).parents[2] / "sql"
FRONT = '/* ---\ndescription: d\nowners: ["team:data"]\ncolumns: {customer_id: who, spend: money}\n--- */\n'
QUERY = """
with spend_of_day as (select customer_id, amount as spend from customer.orders)
select s.customer_id, sum(s.spend) as spend
from spend_of_day as s
inner join identity.customers as c on s.customer_id = c.customer_id
cross join run.days
group by s.customer_id
"""


def written(folder: Path, text: str) -> SqlFile:
    (folder / "value").mkdir(exist_ok=True)
    (folder / "value" / "spend.sql").write_text(text)
    return read_sql_file(folder / "value" / "spend.sql", folder)


def test_the_path_is_the_name_and_the_query_says_what_is_read(tmp_path: Path) -> None:
    file = written(tmp_path, FRONT + QUERY)
    assert (file.name, file.reads) == ("value.spend", ("customer.orders", "identity.customers"))


def test_a_columns_origin_is_found_through_ctes(tmp_path: Path) -> None:
    schemas = {
        "customer.orders": {"customer_id": "varchar", "amount": "decimal(18,2)"},
        "identity.customers": {"customer_id": "varchar"},
        "run.days": {"day": "date"},
    }
    origins = column_lineage(written(tmp_path, FRONT + QUERY), ["customer_id", "spend"], schemas)
    assert origins == {"customer_id": [("customer.orders", "customer_id")], "spend": [("customer.orders", "amount")]}


def test_a_comment_does_not_change_the_code_version(tmp_path: Path) -> None:
    first = written(tmp_path, FRONT + QUERY).code
    assert written(tmp_path, FRONT + "-- why\n" + QUERY).code == first
    assert written(tmp_path, FRONT + QUERY.replace("sum", "max")).code != first


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (QUERY, "front matter"),
        (FRONT + QUERY + ";" + QUERY, "exactly one select"),
        (FRONT + "drop table customer.orders", "exactly one select"),
        (FRONT + "select * from orders", "name the schema"),
        (FRONT.replace("description: d\n", "") + QUERY, "description"),
        (FRONT + "select from where", "value/spend.sql"),
    ],
)
def test_a_file_that_is_not_one_described_select_is_refused_by_name(tmp_path: Path, text: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint) as raised:
        written(tmp_path, text)
    assert "sql/value/spend.sql" in str(raised.value)


@pytest.mark.parametrize("file", sql_files(PROJECT_SQL), ids=lambda file: file.name)
def test_every_file_of_the_project_transpiles_to_spark(file: SqlFile) -> None:
    assert sqlglot.transpile(file.body, read="duckdb", write="spark", unsupported_level=sqlglot.ErrorLevel.RAISE)
