"""`python -m cer_assets.sample`: write the sample from the command line."""

import argparse
import sys
from pathlib import Path

from cer_assets.sample.drops import write_sample


def main() -> None:
    """Write the sample that the arguments describe and say what is in it."""
    parser = argparse.ArgumentParser(
        prog="python -m cer_assets.sample",
        description="Write a year of drops: real purchases (completejourney, 2017), simulated people.",
    )
    parser.add_argument("--home", type=Path, required=True, help="root folder; drops go to HOME/landing")
    parser.add_argument("--customers", type=int, help="households (default: the 2,469 real ones)")
    parser.add_argument("--days", type=int, help="only so many last days of purchases and events")
    parser.add_argument("--seed", type=int, default=0, help="another seed, other people")
    chosen = parser.parse_args()
    counts = write_sample(chosen.home, chosen.customers, chosen.days, chosen.seed)
    for name, count in counts.items():
        sys.stdout.write(f"{name:32}{count:>12,}\n")


if __name__ == "__main__":
    main()
