"""Tests of laws need no thousand trees: fewer hold as well, in a tenth of the time."""

from cer_assets.value import learned

learned.TREES, learned.BAGS = 12, 1
