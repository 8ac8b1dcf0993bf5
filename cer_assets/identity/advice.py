"""How steady people's answers are, whether to ask on, and when to train anew; no pair is chosen, nothing is learned."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from cer_assets.feeds.contracts import AUDIT, MATCH, UNSURE
from cer_assets.identity.cluster import MILLION
from cer_assets.identity.curve import wilson
from cer_assets.identity.labels import PAIR, RULE, TEACHES, agreement, standing
from cer_assets.identity.queue import SURE, Board, HasCut, decisions, on_positions, said_by_people

UNCERTAIN_FROM = 0.1
"""A decision is uncertain while its chance of being wrong is at least this."""

RECENT = 50
"""Answers that tell whether the model is still surprised."""

QUALITY = pl.Schema(
    {
        "compared": pl.String,
        "pairs": pl.Int64,
        "agreed": pl.Int64,
        "unsure": pl.Int64,
        "agreement": pl.Float64,
        "low": pl.Float64,
        "high": pl.Float64,
        "wrong": pl.Float64,
    }
)


def label_quality(labels: pl.DataFrame) -> pl.DataFrame:
    """How far people's answers can be relied on.

    Args:
        labels: record_a, record_b, answer, by, at, drawn; every event, also those that newer ones replaced.

    Returns:
        Two rows. compared: `repeats` (an answer asked again, beside the answer before it: `labels.agreement`) and
        `labellers` (the first answers of two people about one pair); pairs compared, of these agreed; unsure
        (comparisons left out because one of the two was); agreement with its 95% interval low, high (Wilson 1927);
        wrong: the share of wrong answers that this agreement means if both answers err alike and apart, e where
        2 e (1 - e) = 1 - agreement. Null without pairs.
    """
    repeated = agreement(labels).select("repeats", "agree", "unsure").sum().row(0)
    first = _of_people(labels).unique([*PAIR, "by"], keep="first", maintain_order=True)
    said = first.select(*PAIR, "by", said=pl.col("answer").replace(TEACHES))
    two = said.join(said, on=PAIR, suffix="_b").filter(pl.col("by") < pl.col("by_b"))
    sure = two.filter(pl.all_horizontal(pl.col("said", "said_b") != UNSURE))
    agreed = sure.filter(pl.col("said") == pl.col("said_b"))
    return pl.DataFrame(
        [
            _agreement("repeats", *repeated),
            _agreement("labellers", len(sure), len(agreed), len(two) - len(sure)),
        ],
        schema=QUALITY,
        orient="row",
    )


def _of_people(labels: pl.DataFrame) -> pl.DataFrame:
    """What people said and did not take back, oldest first."""
    return standing(labels).filter(~pl.col("by").str.starts_with(RULE))


def _agreement(compared: str, pairs: int, agreed: int, unsure: int) -> tuple[Any, ...]:
    if not pairs:
        return compared, 0, 0, unsure, None, None, None, None
    share = agreed / pairs
    low, high = wilson(share, pairs)
    wrong = (1 - math.sqrt(max(0.0, 1 - 2 * (1 - share)))) / 2
    return compared, pairs, agreed, unsure, share, low, high, wrong


@dataclass(frozen=True)
class Advice:
    """Whether to ask on."""

    stop: bool
    sentence: str
    """The advice in words, with the figures it rests on."""
    figures: dict[str, float | int | None]
    """open_decisions (uncertain ones), expected_wrong (of these), gain (records that the next answers are expected to
    set right, each), answers, surprises and expected_surprises (among the last answers), audited, audit_right,
    audit_low, audit_high."""


def stop_advice(
    edges: pl.DataFrame,
    links: pl.DataFrame,
    labels: pl.DataFrame,
    model: HasCut,
    learned_from: pl.DataFrame | None = None,
    batch: int = 50,
    worth: float = 0.05,
    width: float = 0.1,
) -> Advice:
    """Whether asking more is worth it.

    Stop when the next questions' mean value of perfect information falls under what an answer costs (Howard 1966),
    and the audit is precise enough to trust that. The value rests on the model's own chances; if its last answers
    surprised it more often than these say, the value is raised in that proportion, (surprises + 1) / (expected + 1).
    The audit's share of right decisions is weighted, its interval Wilson's with Kish's effective number of
    answers, (sum of weights)^2 / sum of squared weights (Kish, "Survey Sampling", 1965).

    Args:
        edges: record_a, record_b, score.
        links: record_id, customer_id.
        labels: the answers so far, as `questions` takes them.
        model: whose cut made the links.
        learned_from: the labels that the model was trained on; those surprise it no more and are left out.
        batch: how many questions would be asked next.
        worth: records set right that make one answer worth its while.
        width: how wide the audit's interval may be.
    """
    board = Board.of(edges, links, labels)
    found = decisions(board, model.cut).filter("open")
    uncertain = found.filter(pl.col("wrong") >= UNCERTAIN_FROM)
    surprise = _surprises(board, labels, model.cut, learned_from)
    next_ones = found.head(batch)["information"]
    trust = (surprise["surprises"] + 1) / (surprise["expected_surprises"] + 1)
    gain = float(next_ones.sum()) / max(len(next_ones), 1) * max(trust, 1.0)
    audit = _audited(board, labels)
    precise = audit["audit_low"] is not None and audit["audit_high"] - audit["audit_low"] <= width
    figures: dict[str, float | int | None] = {
        "open_decisions": len(uncertain),
        "expected_wrong": round(float(uncertain.sort("a", "b")["wrong"].sum()), 3),
        "gain": round(gain, 4),
        **{name: round(figure, 4) for name, figure in surprise.items()},
        **audit,
    }
    return Advice(gain < worth and precise, _advice(figures, gain < worth, precise, worth, width), figures)


def _surprises(board: Board, labels: pl.DataFrame, cut: float, learned_from: pl.DataFrame | None) -> dict[str, float]:
    """Among people's last answers: how many the model would have got wrong, and how many it should by its chances."""
    newest = _of_people(labels).group_by(PAIR).agg(pl.col("at").max())
    given = said_by_people(labels).drop_nulls("said").join(newest, on=PAIR, how="left").sort("at", *PAIR)
    if learned_from is not None:
        given = given.join(said_by_people(learned_from), on=[*PAIR, "said"], how="anti", maintain_order="left")
    last = on_positions(given.tail(RECENT), board.members).join(
        board.pairs.select("a", "b", "score"), on=["a", "b"], how="left"
    )
    # A pair too unlike to be scored is held to be two people.
    chance = last["score"].fill_null(0).to_numpy() / MILLION
    joined = chance >= cut
    return {
        "answers": len(last),
        "surprises": int((joined != (last["said"] == MATCH).to_numpy()).sum()),
        "expected_surprises": math.fsum(np.where(joined, 1 - chance, chance)),
    }


def _audited(board: Board, labels: pl.DataFrame) -> dict[str, Any]:
    """The weighted share of audited scored pairs that are decided as the answer says."""
    given = said_by_people(labels).filter(pl.col("drawn") == AUDIT, pl.col("weight") > 0).drop_nulls("said")
    # Of pairs drawn elsewhere, those that scored too little to be kept are of another population.
    audited = on_positions(given, board.members).join(board.pairs, on=["a", "b"], how="semi").sort("a", "b")
    if audited.is_empty():
        return {"audited": 0, "audit_right": None, "audit_low": None, "audit_high": None}
    right = ((audited["u"] == audited["v"]) == (audited["said"] == MATCH)).to_numpy()
    weight = audited["weight"].to_numpy()
    share = min(math.fsum(weight[right]) / math.fsum(weight), 1.0)
    low, high = wilson(share, math.fsum(weight) ** 2 / math.fsum(weight**2))
    return {
        "audited": len(audited),
        "audit_right": round(share, 4),
        "audit_low": round(low, 4),
        "audit_high": round(high, 4),
    }


def _advice(figures: dict[str, Any], cheap: bool, precise: bool, worth: float, width: float) -> str:
    """The sentence that a person reads."""
    verdict = "Stop" if cheap and precise else "Ask on, for the audit's sake" if cheap else "Ask on"
    than = "less" if cheap else "no less"
    audit = "nothing was audited yet"
    if figures["audited"]:
        audit = (
            f"{figures['audited']} audited answers put the share of scored pairs decided right between "
            f"{figures['audit_low']:.3f} and {figures['audit_high']:.3f}"
        )
    if not precise:
        audit += f" (an interval no wider than {width:g} is wanted)"
    return (
        f"{verdict}: an answer is expected to set {figures['gain']:.3f} records right, {than} than the {worth:g} that "
        f"make one worth its while; {figures['expected_wrong']:.1f} of {figures['open_decisions']} uncertain decisions "
        f"are expected to be wrong; {figures['surprises']} of the last {figures['answers']} answers surprised the "
        f"model, where {figures['expected_surprises']:.1f} were to be expected; {audit}."
    )


def retrain_due(labels: pl.DataFrame, learned_from: pl.DataFrame, at_least: int = 20) -> str | None:
    """Why a model is to be trained anew, or None: enough pairs are answered otherwise than what it learned from.

    A pair counts once, when people now say match or distinct of it and said nothing or something else before. Unsure
    and taken back answers teach nothing and do not count, nor do those of rules.

    Args:
        labels: every event so far.
        learned_from: the events that the model was trained on.
        at_least: so many pairs make training due.
    """
    now, then = (said_by_people(frame).drop_nulls("said") for frame in (labels, learned_from))
    new = now.join(then, on=[*PAIR, "said"], how="anti")
    if len(new) < at_least:
        return None
    counts = ", ".join(f"{len(new.filter(said=said))} {said}" for said in SURE)
    return f"{len(new)} pairs were answered since the model learned ({counts}); {at_least} make training due"
