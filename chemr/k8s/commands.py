"""``chemr k8s render`` and ``chemr k8s check`` from the command line."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chemr.command_parsers import add_command, add_config_dir, add_overrides, add_verbs
from chemr.completion.words import conf_names, run_schema, several
from chemr.exit_status import EXIT_FAILED, EXIT_OK, EXIT_USAGE

if TYPE_CHECKING:
    from chemr.k8s.kustomize import Built
    from chemr.k8s.schemas import Schemas

RENDER_EXAMPLES = (
    "chemr k8s render experiment=starter overlay=cpu-smoke --out manifests      # manifests/surroundings (once), manifests/run",
    "chemr k8s render overlay=cpu-smoke run.name=second                            # another run in the same surroundings",
    "chemr k8s render overlay=node-8gpu components=kueue,monitoring cluster.image=registry/chemr:1 policy.path=/runs/models/llama",
    "chemr k8s render --tree k8s                                                # rewrite the checked-in base, overlays and components",
)
CHECK_EXAMPLES = (
    "chemr k8s check manifests --schemas crds        # crds: CustomResourceDefinitions of KubeRay and Kueue (docs/kubernetes.md)",
    "chemr k8s check --all                           # every overlay of k8s/ with every set of components",
)
EXAMPLES = (RENDER_EXAMPLES[0], CHECK_EXAMPLES[1])


def add_k8s(commands: Any) -> None:
    """Registers the commands. ``commands`` is what ``add_subparsers`` returned."""
    help = "manifests for Kubernetes: make them from a configuration, or check them (docs/kubernetes.md)"
    verbs = add_verbs(add_command(commands, "k8s", help, examples=EXAMPLES), "render|check")
    render = add_command(
        verbs,
        "render",
        "write the manifests of a run",
        description="Write the manifests of a run: worker groups, sizes and the command follow from its configuration.",
        examples=RENDER_EXAMPLES,
        run=run_k8s,
    )
    add_overrides(
        render,
        "overlay=NAME, components=A,B, cluster.FIELD=VALUE (chemr/k8s/cluster_config.py), and overrides of chemr train",
        schemas={"cluster.": _cluster_schema, "": run_schema},
        own={"overlay": conf_names("k8s"), "components": several(_components)},
    )
    render.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="write DIR/surroundings (a namespace's, once) and DIR/run, each with a kustomization.yaml; else the run to standard output",
    )
    render.add_argument("--surroundings", action="store_true", help="the surroundings to standard output, instead of the run")
    render.add_argument("--tree", type=Path, metavar="DIR", help="write base, overlays and components of k8s/ instead")
    add_config_dir(render, "experiment/*.yaml and k8s/*.yaml")
    check = add_command(
        verbs,
        "check",
        "what a cluster, KubeRay's operator or the run itself would refuse in manifests",
        examples=CHECK_EXAMPLES,
        run=run_k8s,
    )
    check.add_argument(
        "paths",
        nargs="*",
        type=Path,
        metavar="PATH",
        help="YAML files, folders of them, kustomize folders, or folders of such; each may name what another holds",
    )
    check.add_argument("--all", action="store_true", help="every overlay and set of components of PATH (k8s)")
    check.add_argument(
        "--schemas",
        type=Path,
        metavar="DIR",
        help="CustomResourceDefinitions, or a folder for each of several releases (kuberay-v1.7.0, kueue); else $CHEMR_K8S_SCHEMAS",
    )
    check.add_argument("--json", type=Path, metavar="FILE", help="write the findings to this file")


def _cluster_schema() -> type[Any]:
    from chemr.k8s.cluster_config import ClusterConfig

    return ClusterConfig


def _components(prefix: str, **_: object) -> Iterable[str]:
    from chemr.k8s.request import COMPONENTS

    return COMPONENTS


def run_k8s(options: argparse.Namespace) -> int:
    """Returns the exit status: 0 done, 1 when something is wrong with the manifests, 2 for wrong arguments or configuration."""
    from chemr.config import ConfigError
    from chemr.k8s.errors import K8sError

    try:
        if options.verb == "render":
            return _render(options.overrides, options)
        return _check(options)
    except (K8sError, ConfigError, OSError) as error:
        print(f"chemr k8s {options.verb}: {error}", file=sys.stderr)
        return EXIT_USAGE


def _render(arguments: list[str], options: argparse.Namespace) -> int:
    from chemr.k8s.errors import K8sError
    from chemr.k8s.render import PARTS, render, to_yaml, write_folder
    from chemr.k8s.request import read_request
    from chemr.k8s.tree import write_tree

    if unknown := [argument for argument in arguments if argument.startswith("-") or "=" not in argument]:
        raise K8sError(f"not a flag and not an override of the form field=value: {' '.join(unknown)}")
    if options.tree is not None:
        if arguments or options.out is not None or options.surroundings:
            raise K8sError("--tree takes neither overrides nor --out nor --surroundings: it writes what conf/k8s says")
        print(f"{len(write_tree(options.tree))} files written below {options.tree}")
        return EXIT_OK
    if options.surroundings and options.out is not None:
        raise K8sError("--out writes the surroundings as well as the run; leave --surroundings out")
    request = read_request(arguments, options.config_dir)
    if options.out is None:
        print(to_yaml(*render(request, "surroundings" if options.surroundings else "run")), end="")
        return EXIT_OK
    for part, use in zip(PARTS, ("once for the namespace", "the run, which `kubectl delete -k` ends without a loss"), strict=True):
        written = render(request, part)
        write_folder(written, options.out / part)
        print(f"{len(written)} objects in {options.out / part}: kubectl apply -k {options.out / part}    ({use})")
    return EXIT_OK


def _check(options: argparse.Namespace) -> int:
    from chemr.k8s.check import check

    releases = _releases(options.schemas)
    findings: list[dict[str, str]] = []
    notes: list[str] = []
    sets = 0
    for title, built, beside in _inputs(options):
        sets += 1
        said: set[str] = set()
        for release, schemas in releases.items():
            report = check(built, schemas, beside)
            notes += report.notes
            for finding in report.findings:
                if (line := str(finding)) not in said:
                    print(f"{title}: {line}" if options.all else line, file=sys.stderr)
                    findings.append({"set": title, "release": release, "file": finding.source, "object": finding.owner}
                                    | {"field": finding.path, "message": finding.message})  # fmt: skip
                said.add(line)
    for note in dict.fromkeys(notes):
        print(f"note: {note}")
    if options.json is not None:
        options.json.write_text(json.dumps({"findings": findings, "notes": list(dict.fromkeys(notes))}, indent=2) + "\n", encoding="utf-8")
    against = f" against {', '.join(releases)}" if any(releases.values()) else ""
    print(f"{sets} {'combinations' if options.all else 'sets of objects'} checked{against}: {len(findings)} wrong")
    return EXIT_FAILED if findings else EXIT_OK


def _inputs(options: argparse.Namespace) -> Iterator[tuple[str, Built, list[dict[str, Any]]]]:
    """Title, objects that are applied together, and those beside which they are."""
    from chemr.k8s.check import combinations, folders_in, read
    from chemr.k8s.errors import K8sError
    from chemr.k8s.kustomize import Built

    if not options.paths and not options.all:
        raise K8sError("name the files or folders to check, or use --all")
    if not options.all:
        files = Built()
        sets: list[tuple[str, Built]] = []
        for path in options.paths:
            if path.is_dir():
                sets += [(str(folder), read(folder)) for folder in folders_in(path)]
            else:
                files.objects += read(path).objects
        if files.objects:
            sets.append(("files", files))
        for title, built in sets:
            yield title, built, [document for _, other in sets if other is not built for _, document in other.objects]
        return
    for folder in options.paths or [Path("k8s")]:
        if not (folder / "overlays").is_dir():
            raise K8sError(f"{folder}: no overlays/ in it, which --all needs")
        yield from combinations(folder)


def _releases(folder: Path | None) -> dict[str, Schemas | None]:
    from chemr.k8s.schemas import Schemas, release_folders

    named = folder or (Path(os.environ["CHEMR_K8S_SCHEMAS"]) if os.environ.get("CHEMR_K8S_SCHEMAS") else None)
    if named is None:
        return {"": None}
    if not named.is_dir():
        from chemr.k8s.errors import K8sError

        raise K8sError(f"--schemas: {named} is not a folder")
    return {release: Schemas(*folders) for release, folders in release_folders(named).items()}
