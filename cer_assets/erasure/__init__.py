"""Erasure: a person is forgotten wherever they stand, a receipt says what was touched, and they stay out.

What an operator does
    A row `source,source_id,at` dropped into `landing/erasure_requests/<day>.csv` asks that the person be forgotten
    whom that record belongs to: every record under the same customer in `identity.links` when the erasure begins. Who
    that is can be looked up there before; an answer `D` (cannot link) about two records, given before, keeps them
    apart. The environment must hold `CER_SUPPRESSION_KEY`, at least 32 characters that nobody else knows and that
    never change: without it requests wait, the run fails and says so, and a check is red. Keep it where passwords are
    kept; whoever has it can tell who was erased by trying ids, and whoever loses it can no longer keep anybody out.

What happens
    The list of keyed hashes is written first, so that from then on no drop brings the person back. Then their rows
    leave the landing files (text files keep blank lines in their place, so that every other row keeps its line), the
    raw tables, rejects and answers about pairs, and every table that holds an id of theirs, past days too. Everything
    that stands on the raw tables is computed anew, and every model but the one that links records is trained anew.
    When all of it stands, a new snapshot is taken and older ones, older versions of tables and of models are removed.
    A read of the last snapshot made before, or a rollback to a model from before, is no longer possible then.

What stays, and why
    `erasure.suppressed`: keyed hashes (HMAC-SHA256) of the person's record ids, of the customer ids they had, and of
    visitor ids that nobody else used: what keeps them out. `erasure.receipts`: what was touched, in counts, under the
    hash of the request. Aggregates of past days (sizes of segments, backtests, migration): they name nobody. A past
    day under a customer id that was the person's and somebody else's at once stays that other customer's; the job
    `restate` computes it anew. Totals of past sales lose what the person bought: what the law wants kept for longer
    is kept outside of this. Customer ids may stand in the instance's events, where a guard named an offender: ids
    that lead nowhere any more. They stay: by the events of its runs the instance knows what was computed from what.

What it cannot do
    A record of the same person under another source_id, delivered later, is a new customer: nothing is kept by which
    they could be recognised. What source systems hold is theirs to erase; until they do, their full deliveries go on
    bringing the rows, which are kept out of tables and taken out of the files again; snapshots and versions, which
    never held those, stay. A file that is neither text nor readable cannot be looked into, and one that was left
    unfinished for a day (hidden, .tmp, .part) is not: the receipt names the one, and of the other the folder; a check
    warns, and somebody must delete it.
"""

from cer_assets.erasure.landing import (
    CannotLookInto,
    Cleaned,
    lines_without_suppressed,
    too_large_to_look_into,
    without_suppressed,
)
from cer_assets.erasure.loading import kept_out, names_people
from cer_assets.erasure.people import asked, listed, persons
from cer_assets.erasure.suppression import KEY_VARIABLE, SUPPRESSED, Keyed, NoKey, Suppression, key_mark, values_of

__all__ = [
    "KEY_VARIABLE",
    "SUPPRESSED",
    "CannotLookInto",
    "Cleaned",
    "Keyed",
    "NoKey",
    "Suppression",
    "asked",
    "kept_out",
    "key_mark",
    "lines_without_suppressed",
    "listed",
    "names_people",
    "persons",
    "too_large_to_look_into",
    "values_of",
    "without_suppressed",
]
