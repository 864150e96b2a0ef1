"""Verdicts per second and core, in killable processes against the same scorers in a plain loop, per task family; and gRPC calls.

Every family gets a batch of distinct answers to the rows below: a quarter right, the rest wrong in various ways, so that nothing is
remembered and nothing is scored twice. The two ways take turns, pool and loop on one core each; the best round of each counts, because
other programs only ever make a round slower. The caller of the pool needs a little of a second core, which the table shows.

JSON (--json FILE): isolation_ratio (the lowest family's), grpc_calls_per_s and grpc (benchmarks/reward_service.py has their meaning),
families: {family: {plain_per_s, isolated_per_s, ratio, cpu_ratio, caller_share}}. cpu_ratio compares the processor time of the loop with
that of the worker (of the caller, where that is more): what the ratio would be on a machine without other work.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from pathlib import Path
from typing import Any

from rdkit import Chem
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from reward_service import measure as measure_service

from rewards.isolation import ScorerPool
from rewards.job import ScoreJob
from rewards.scoring import score_here

MOLECULES = [
    "CC(=O)Oc1ccccc1C(=O)O",
    "CN1C=NC2=C1C(=O)N(C)C(=O)N2C",
    "CC(C)Cc1ccc(cc1)C(C)C(=O)O",
    "CC(=O)Nc1ccc(O)cc1",
    "CCN(CC)CCNC(=O)c1ccc(N)cc1",
    "CC(N)Cc1ccccc1",
    "CN1CCC(CC1)OC(c1ccccc1)c1ccccc1",
    "OC(=O)CCCc1ccc(cc1)N(CCCl)CCCl",
    "Cc1ccc(cc1)S(=O)(=O)NC(=O)NN1CCCCCC1",
    "COc1ccc2cc(ccc2c1)C(C)C(=O)O",
    "O=C(NC1CCCCC1)c1cc(F)c(F)cc1Cl",
    "CCOC(=O)c1ccc(OC)cc1",
    "N#Cc1ccc(cc1)C(O)CN1CCOCC1",
    "CC1(C)OCC(O1)CO",
    "Clc1ccc(cc1)C1CCNCC1",
    "CCCCNC(=O)Nc1ccccc1",
]
"""Drug-like molecules of 10 to 25 heavy atoms, about what the benchmarks ask about."""

MIN_SECONDS = 1.5

FAMILIES: dict[str, tuple[str, ...]] = {
    "name prediction": ("iupac2smiles", "smiles2iupac", "smiles2formula", "iupac2formula"),
    "property, yield": ("property_bace", "property_bbbp", "property_hiv", "property_tox21", "property_clintox", "yield_bh", "yield_suzuki"),
    "captioning": ("mol2text",),
    "design": ("text2mol",),
    "open generation": (
        *("molcustom_atomnum", "molcustom_bondnum", "molcustom_functionalgroup", "moledit_add", "moledit_del", "moledit_sub"),
        *("molopt_logp", "molopt_mr", "molopt_qed"),
    ),
    "reactions": ("forward", "retro"),
    "selection": ("reactant_selection", "solvent_selection", "ligand_selection"),
}

WORDS = [
    *("the", "molecule", "is", "a", "primary", "aromatic", "amide", "ester", "that", "has"),
    *("role", "as", "an", "inhibitor", "of", "human", "enzyme", "and", "derives", "from", "hydride", "acid"),
]


def spellings(smiles: str, number: int, rng: random.Random) -> list[str]:
    """Random spellings of a molecule."""
    return list(Chem.MolToRandomSmilesVect(Chem.MolFromSmiles(smiles), number, randomSeed=rng.randrange(1, 1 << 30)))


def row(task: str, smiles: str, other: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Inputs and reference of one question about a molecule."""
    if task.startswith(("property", "yield")):
        return {"smiles": smiles, "reaction": f"{other}>>{smiles}"}, {"answer": "No"}
    if task.endswith("formula"):
        return {"smiles": smiles}, {"answer": "C15H12N2O2"}
    if task == "smiles2iupac":
        return {"smiles": smiles}, {"answer": "2-[4-(2-methylpropyl)phenyl]propanoic acid"}
    if task == "mol2text":
        return {"smiles": smiles}, {"answer": " ".join(WORDS * 2)}
    counts = {"molcustom_atomnum": {"C": 12, "O": 3}, "molcustom_bondnum": {"single": 9}, "molcustom_functionalgroup": {"hydroxyl": 1}}
    inputs = {"smiles": smiles, "add": "hydroxyl", "remove": "halo", "direction": "increase", "by": 1, "reactants": other, "product": other}
    inputs |= {"counts": counts.get(task, {}), "candidates": [smiles, other, "CO"]}
    return {name: value for name, value in inputs.items() if value}, {} if task.startswith("molopt") else {"answer": smiles}


def answer(task: str, smiles: str, reference: dict[str, Any], rng: random.Random) -> str:
    """An answer that no other job has."""
    if task.startswith(("property", "yield")):
        return rng.choice(("Yes", "No", f"No{rng.random()}"))
    if task.endswith("formula"):
        return f"C{rng.randrange(1, 40)}H{rng.randrange(1, 80)}N{rng.randrange(1, 9)}O{rng.randrange(1, 9)}"
    if task == "smiles2iupac":
        return f"{rng.randrange(1, 9999)}-" + str(reference["answer"])
    if task == "mol2text":
        return " ".join(rng.choices(WORDS, k=40))
    right = rng.random() < 0.25
    return spellings(smiles if right else rng.choice(MOLECULES), 1, rng)[0]


def batch_of(family: str, size: int, rng: random.Random) -> list[ScoreJob]:
    """Distinct jobs, the tasks of the family in turn; eight answers to a row, as in a group."""
    jobs: list[ScoreJob] = []
    while len(jobs) < size:
        task = FAMILIES[family][len(jobs) // 8 % len(FAMILIES[family])]
        smiles, other = rng.sample(MOLECULES, 2)
        inputs, reference = row(task, smiles, other)
        for _ in range(8):
            text = f"<think>{'1. **Step**: so it is. ' * 4}</think><answer>{answer(task, smiles, reference, rng)}</answer>"
            jobs.append(ScoreJob(task, text, inputs, reference))
    return jobs[:size]


def worker_cpu_seconds(pool: ScorerPool) -> float:
    """Processor time of the pool's workers so far."""
    return sum(int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) for pid in pool.pids()) / 1e9


def measure(family: str, size: int, rounds: int, pool: ScorerPool) -> dict[str, float]:
    """Best of the rounds, loop and pool in turn."""
    rng = random.Random(20261123)
    plain = isolated = caller = plain_cpu = isolated_cpu = float("inf")
    begun, done = time.perf_counter(), 0
    while done < rounds or time.perf_counter() - begun < MIN_SECONDS:  # a family of quick scorers is over before a busy machine is quiet
        done += 1
        jobs = batch_of(family, size, rng)
        started, used = time.perf_counter(), time.process_time()
        expected = [score_here(job) for job in jobs]
        plain = min(plain, time.perf_counter() - started)
        plain_cpu = min(plain_cpu, time.process_time() - used)
        started, used, before = time.perf_counter(), time.process_time(), worker_cpu_seconds(pool)
        found = pool.score(jobs)
        seconds, used, worker = time.perf_counter() - started, time.process_time() - used, worker_cpu_seconds(pool) - before
        isolated_cpu, caller = min(isolated_cpu, max(worker, used)), min(caller, used)
        isolated = min(isolated, seconds)
        if [v.value for v in found] != [v.value for v in expected]:
            raise SystemExit(f"{family}: the pool and the loop do not agree; the figures would compare different work")
    return {
        "plain_per_s": size / plain,
        "isolated_per_s": size / isolated,
        "ratio": plain / isolated,
        "cpu_ratio": plain_cpu / isolated_cpu,
        "caller_share": caller / isolated_cpu,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--batch", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()

    # One worker, nothing remembered, and names judged as text on both sides: OPSIN would take the same time for both.
    with ScorerPool(workers=1, cache_size=0, opsin="never") as pool:
        families = {family: measure(family, options.batch, options.rounds, pool) for family in FAMILIES}
        manifest = pool.manifest()
    ratio = min(figures["ratio"] for figures in families.values())
    service = measure_service(batch=options.batch, rounds=options.rounds)

    table = Table(title=f"verdicts per second and core, batches of {options.batch} distinct answers")
    for column in ("family", "plain loop", "isolated", "ratio", "by CPU time", "caller's core"):
        table.add_column(column, justify="left" if column == "family" else "right")
    for family, f in families.items():
        table.add_row(
            family,
            f"{f['plain_per_s']:,.0f}",
            f"{f['isolated_per_s']:,.0f}",
            f"{f['ratio']:.2f}",
            f"{f['cpu_ratio']:.2f}",
            f"{f['caller_share']:.0%}",
        )
    Console().print(table)
    busy = min(figures["cpu_ratio"] for figures in families.values())
    print(f"by processor time, which other programs do not slow down: {busy:.3f}")
    print(
        f"gRPC, one worker: {service['calls_per_s']:,.0f} calls/s of one job (p99 {service['p99_ms']:.1f} ms), "
        f"{service['service_verdicts_per_s']:,.0f} verdicts/s in batches"
    )
    print(f"isolation_ratio {ratio:.3f} (the bar is 0.85)")
    if options.json:
        figures = {"isolation_ratio": ratio, "cpu_ratio": busy, "families": families, "batch": options.batch, "manifest": manifest}
        figures |= {"grpc_calls_per_s": service["calls_per_s"], "grpc": service}
        options.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
