"""The sample: real purchases, simulated people, written as drops in the layouts of three made-up systems.

People are drawn in `people`, what systems hold of them in `records`, and how badly in `errors`; `purchases`,
`activity` and `catalogue` turn the real data of `journey` into feeds; `drops` writes them. Reading drops is not
done here.
"""

from cer_assets.sample.drops import broken_drop, is_complete, next_day_drop, write_sample

__all__ = ["broken_drop", "is_complete", "next_day_drop", "write_sample"]
