"""`scripts/fuzz TARGET`: fuzz it for some time, then tell executions and coverage as JSON.

A child process fuzzes, since libFuzzer ends its process; what it found is in the folder. What is
covered is measured afterwards, by running all that the corpus then holds once more under coverage.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from pathlib import Path

from scripts.fuzz_run import interpreted

LONGEST = {"entry": 1024, "json": 400, "msgpack": 400, "snapshot": 3000, "vw": 300}


def main() -> int:
    """Fuzz or be the child that fuzzes; the exit status."""
    parser = argparse.ArgumentParser(prog="scripts/fuzz", description="see docs/attacks.md")
    parser.add_argument("target", choices=sorted(LONGEST))
    parser.add_argument("--seconds", type=int, default=1200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", type=Path, default=Path(".venv-fuzz/found"))
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    folder: Path = given.folder / given.target
    if given.child:
        return _fuzz(given.target, folder, given.seconds, given.seed)
    (folder / "corpus").mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "scripts.fuzz_run", *sys.argv[1:], "--child"]
    log = folder / "log"
    with log.open("w") as out:
        status = subprocess.run(command, stdout=out, stderr=subprocess.STDOUT).returncode
    report = {"target": given.target, "seed": given.seed, "seconds": given.seconds}
    report |= _figures(log.read_text(errors="replace"))
    found = [path.name for path in folder.glob("crash-*")] + [p.name for p in folder.glob("slow-*")]
    report |= {"found": found, **_coverage(given.target, folder / "corpus")}
    report["passed"] = status == 0 and not found
    print(json.dumps(report, indent=1))
    return 0 if report["passed"] else 1


def _fuzz(target: str, folder: Path, seconds: int, seed: int) -> int:
    import atheris

    interpreted.install()
    with atheris.instrument_imports(include=["app", "ftrl_core"], enable_loader_override=False):
        from scripts.fuzz_run.seeds import dictionary, seeds_of
        from scripts.fuzz_run.targets import TARGETS
    (folder / "words").write_text(dictionary(target))
    for number, content in enumerate(seeds_of(target)):
        (folder / "corpus" / f"seed-{number}").write_bytes(content)
    arguments = [
        sys.argv[0], f"-max_total_time={seconds}", f"-seed={seed}", f"-max_len={LONGEST[target]}",
        f"-dict={folder / 'words'}", f"-artifact_prefix={folder}/", "-timeout=30",
        "-rss_limit_mb=4096", "-print_final_stats=1", str(folder / "corpus"),
    ]  # fmt: skip
    atheris.Setup(arguments, TARGETS[target])
    atheris.Fuzz()
    return 0


def _figures(log: str) -> dict[str, int]:
    """Executions and the edges that libFuzzer has seen."""
    executed = re.findall(r"stat::number_of_executed_units: *(\d+)", log)
    edges = re.findall(r"cov: (\d+)", log)
    return {
        "executions": int(executed[-1]) if executed else 0,
        "edges": int(edges[-1]) if edges else 0,
    }


def _coverage(target: str, corpus: Path) -> dict[str, object]:
    """Lines and branches of the target's files that its corpus runs through, in percent."""
    import coverage

    interpreted.install()
    root = Path(__file__).parent.parent.parent
    from scripts.fuzz_run.files import FILES

    measured = coverage.Coverage(
        branch=True, data_file=None, include=[str(root / name) for name in FILES[target]]
    )
    measured.start()
    from scripts.fuzz_run.targets import TARGETS, Wrong

    for path in sorted(corpus.iterdir()):
        try:
            TARGETS[target](path.read_bytes())
        except (Wrong, ArithmeticError, LookupError, TypeError, ValueError):
            continue  # a finding, which has been told
    measured.stop()
    percent = {}
    for name in FILES[target]:
        _, statements, _, missing, _ = measured.analysis2(str(root / name))
        percent[name] = round(100 * (1 - len(missing) / max(1, len(statements))), 1)
    with (corpus.parent / "coverage").open("w") as out:
        total = measured.report(file=out, show_missing=True)
    return {"lines_percent": percent, "with_branches_percent": round(total, 1)}


if __name__ == "__main__":
    sys.exit(main())
