"""A small shop that drops its files day by day: into a folder or onto s3://, whole files only, purchases last."""

import datetime as dt
import shutil
from pathlib import Path

from upath import UPath

from cer_assets.sample import broken_drop, next_day_drop, write_sample


class Shop:
    """Writes its drops aside, and delivers those that are new or have changed."""

    def __init__(self, aside: Path, landing: UPath, households: int, days: int) -> None:
        """`days` of purchases before the first delivery, of so many `households`."""
        self.aside, self.landing = aside, landing
        self.delivered: dict[Path, int] = {}
        write_sample(aside, customers=households, days=days)

    def opens(self) -> None:
        """Deliver all there is: records, catalogue, campaigns, and the first days' purchases."""
        self._deliver()

    def day(self, day: dt.date, broken: float = 0) -> None:
        """Deliver a further day, a share of whose purchases is broken."""
        next_day_drop(self.aside, day)
        broken_drop(self.aside, day, broken)
        self._deliver()

    def bad_day(self, day: dt.date) -> None:
        """Deliver a further day on which half the rows of purchases are broken and the file of events is none."""
        next_day_drop(self.aside, day)
        broken_drop(self.aside, day, 0.5)
        events = self._file("events", day)
        events.unlink()
        events.with_suffix(".parquet").write_bytes(b"PAR1 and nothing else of what its name says")
        self._deliver()

    def mend(self, day: dt.date) -> None:
        """Deliver the files of a bad day as they should have been, and take away the one that was none."""
        self._file("events", day).unlink()
        next_day_drop(self.aside, day)
        broken_drop(self.aside, day, 0)
        self._deliver()

    def _file(self, feed: str, day: dt.date) -> Path:
        (file,) = (self.aside / "landing" / feed).glob(f"{day}.*")
        return file

    def _deliver(self) -> None:
        files = sorted(self.aside.glob("landing/*/*"), key=lambda file: (file.parent.name == "transactions", file))
        for gone in self.delivered.keys() - set(files):
            self._there(gone).unlink()
            del self.delivered[gone]
        for file in files:
            if (moved := file.stat().st_mtime_ns) != self.delivered.get(file):
                self._put(file)
                self.delivered[file] = moved

    def _put(self, file: Path) -> None:
        there = self._there(file)
        if there.protocol in ("", "file"):
            # A file is seen whole or not at all.
            Path(there.parent).mkdir(parents=True, exist_ok=True)
            beside = Path(there.parent, f".{file.name}.part")
            shutil.copy(file, beside)
            beside.replace(Path(there))
        else:
            there.write_bytes(file.read_bytes())

    def _there(self, file: Path) -> UPath:
        return self.landing / file.parent.name / file.name
