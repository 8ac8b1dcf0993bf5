"""What is said of an environment variable that cannot be read."""

from collections.abc import Callable

import pytest

from cer_assets.defs import resources
from cer_assets.defs.resources import memory_limit
from cer_assets.lake import Memory


@pytest.mark.parametrize(
    ("name", "text", "read"),
    [
        ("CER_FIRST_DAY", "01.02.2017", resources.first_day),
        ("CER_LAST_DAY", "today", resources.last_day),
        ("CER_DAILY_AT", "5 am", resources.daily_at),
        ("CER_TIMEZONE", "Europe/Bonn", resources.timezone),
        ("CER_DROP_MB", "400 MB", resources.drop_bytes),
        ("CER_DROP_MB", "-4", resources.drop_bytes),
        ("CER_SENSOR_SECONDS", "-5", resources.sensor_seconds),
    ],
)
def test_a_setting_that_cannot_be_read_is_named_with_what_it_must_be_and_not_repeated(
    monkeypatch: pytest.MonkeyPatch, name: str, text: str, read: Callable[[], object]
) -> None:
    monkeypatch.setenv(name, text)
    with pytest.raises(resources.InvalidSetting, match=f"^{name} must be a .*mend it") as caught:
        read()
    assert text not in str(caught.value)
    monkeypatch.setenv(name, "")
    read()  # as if it were unset


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("CER_HOME", resources.home_from_environment),
        ("CER_TIMEZONE", resources.timezone),
        ("CER_COUNTRY", resources.country),
        ("CER_MEMORY", memory_limit),
    ],
)
def test_a_setting_that_is_empty_is_as_if_it_were_unset(
    monkeypatch: pytest.MonkeyPatch, name: str, read: Callable[[], str]
) -> None:
    monkeypatch.delenv(name, raising=False)
    unset = read()
    monkeypatch.setenv(name, "")
    assert read() == unset


def test_what_the_lake_itself_does_is_bound_by_the_same_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CER_MEMORY", "2GB")
    assert resources.Home(root="/srv/shop").lake.memory == Memory("2GB", "/srv/shop/spill")
