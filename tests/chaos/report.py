"""A campaign's report: the same facts as JSON and as lines for people."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.chaos.campaign import Campaign
from tests.chaos.comparison import Finding, FuzzedVerdict, Verdict
from tests.chaos.system import DATA_SEED, SCALE, SETTINGS


@dataclass(frozen=True)
class Run:
    """What was asked for, and how long it took."""

    seed: int
    kills: int
    without: tuple[str, ...]
    schedule: tuple[str, ...]
    seconds: float


def is_clean(campaign: Campaign, verdict: Verdict) -> bool:
    """Return whether L = D = O = S = 0 and every fault did what it was to do."""
    return verdict.is_clean() and not campaign.violations


def build_report(run: Run, campaign: Campaign, verdict: Verdict) -> dict[str, Any]:
    """Return what goes into the JSON file."""
    ledger = campaign.ledger
    return {
        "clean": is_clean(campaign, verdict),
        "seed": run.seed,
        "events": {outcome: ledger.count(outcome) for outcome in ("acknowledged", "rejected", "unknown")},
        "kills": campaign.kills,
        "faults": dict(sorted(campaign.faults.items())),
        "skipped": campaign.skipped,
        "L": {"acknowledged": verdict.acknowledged, "missing": verdict.lost.count, **_examples(verdict.lost)},
        "D": {"count": verdict.doubled.count, **_examples(verdict.doubled)},
        "O": {"count": verdict.out_of_order.count, **_examples(verdict.out_of_order)},
        "S": {"count": verdict.stuck.count, **_examples(verdict.stuck)},
        "fuzzed": _fuzzed(verdict.fuzzed),
        "violations": campaign.violations,
        "failpoints": campaign.system.failpoints.reached(),
        "recovery_seconds": {kind: summarise(values) for kind, values in _recoveries(campaign).items()},
        "notes": campaign.notes,
        "guards_taken_out": list(run.without),
        "schedule": list(run.schedule),
        "settings": {**SETTINGS, "data_scale": SCALE, "data_seed": DATA_SEED},
        "seconds": round(run.seconds, 1),
    }


def summarise(values: Sequence[float]) -> dict[str, float]:
    """Return count, p50, p95 (nearest rank) and max."""
    ordered = sorted(values)

    def percentile(share: float) -> float:
        return ordered[max(0, math.ceil(share * len(ordered)) - 1)]

    return {"count": len(ordered), "p50": percentile(0.5), "p95": percentile(0.95), "max": ordered[-1]}


def lines(report: Mapping[str, Any]) -> list[str]:
    """Return the report for people."""
    events, recovery = report["events"], report["recovery_seconds"]
    shown = [
        f"seed {report['seed']}, {sum(events.values())} calls: {events['acknowledged']} acknowledged,"
        f" {events['rejected']} rejected, {events['unknown']} unknown;"
        f" {sum(report['faults'].values())} faults, {report['kills']} kills; {report['seconds']:.0f} s",
        *(f"  skipped {name}: {reason}" for name, reason in report["skipped"].items()),
        "time to recover (s)                p50    p95    max  count",
        *(
            f"  {kind:30} {of['p50']:6.1f} {of['p95']:6.1f} {of['max']:6.1f} {of['count']:6.0f}"
            for kind, of in recovery.items()
        ),
        *(f"violation: {violation}" for violation in report["violations"]),
    ]
    fuzzed = report["fuzzed"]
    if fuzzed["messages"]:
        shown.append(
            f"{fuzzed['messages']} fuzzed messages: {fuzzed['accepted']} accepted, {fuzzed['repetitions']} of them"
            f" repetitions, {fuzzed['refused']} refused, {fuzzed['either']} either;"
            f" dead letters: {fuzzed['dead_letters']}"
        )
    for name in FuzzedVerdict().findings():
        shown += [f"fuzzed, {name}: {example}" for example in fuzzed[name]["first"][:5]]
    shown += [f"{letter}: {example}" for letter in "LDOS" for example in report[letter]["first"][:5]]
    return [
        *shown,
        f"L = {report['L']['missing']}  D = {report['D']['count']}  O = {report['O']['count']}"
        f"  S = {report['S']['count']}  of {report['L']['acknowledged']} acknowledged:"
        f" {'clean' if report['clean'] else 'RED'}",
    ]


def _recoveries(campaign: Campaign) -> dict[str, list[float]]:
    everything = [seconds for values in campaign.recoveries.values() for seconds in values]
    return {**dict(sorted(campaign.recoveries.items())), **({"all": everything} if everything else {})}


def _fuzzed(verdict: FuzzedVerdict) -> dict[str, Any]:
    """Return how many messages were fuzzed, what they became, and every finding; all findings are 0 when clean."""
    return {
        "messages": sum(verdict.messages.values()),
        **{name: verdict.messages.get(name, 0) for name in ("accepted", "refused", "either")},
        "repetitions": verdict.repetitions,
        "dead_letters": dict(sorted(verdict.dead_letters.items())),
        **{name: {"count": found.count, **_examples(found)} for name, found in verdict.findings().items()},
    }


def _examples(finding: Finding) -> dict[str, list[str]]:
    return {"first": list(finding.examples)}
