"""How much memory reading takes."""

import threading

import psutil


class MemoryWatch:
    """The most memory that this process holds while the block runs, looked at every few milliseconds.

    Not `ru_maxrss`: a process begins with that of the one that started it, and the tests' own is large.
    """

    def __init__(self) -> None:
        self._process = psutil.Process()
        self.before = self.most = self._process.memory_info().rss
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "MemoryWatch":
        self._thread.start()
        return self

    def __exit__(self, *failure: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(0.003):
            self.most = max(self.most, self._process.memory_info().rss)

    @property
    def megabytes(self) -> int:
        """What was taken over what the process held before."""
        return round((self.most - self.before) / 1e6)
