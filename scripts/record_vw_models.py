"""Text models of Vowpal Wabbit itself, and its predictions, for tests/ftrl_core/recorded.

    python -m venv vw && vw/bin/pip install 'vowpalwabbit==9.11.*'
    vw/bin/python scripts/record_vw_models.py > tests/ftrl_core/recorded/vw_models.json

The log is generated here: categories, numbers, names of digits, features of the default namespace.
Every learner and hash that the importer reads is recorded, with both of its texts, and what VW
predicts for examples that it has not learned; each with the same features as POST /learn has them.
"""

import json
import random
import sys
import tempfile
from pathlib import Path
from typing import Any

import vowpalwabbit

MODELS = {
    "default": "",
    "ftrl": "--ftrl --ftrl_alpha 0.1 --ftrl_beta 1 --l1 0.01 --l2 0.1",
    "l1": "--l1 0.001 --l2 0.001",
    "sgd": "--sgd",
    "adaptive": "--adaptive",
    "coin": "--coin",
    "hash_all": "--hash all",
    "hash_seed": "--hash_seed 5",
    "noconstant": "--noconstant",
    "bits": "-b 10",
    "no_state": "--predict_only_model",
    "interactions": "-q sn",
}


def example(rng: random.Random, with_numbers: bool) -> tuple[str, dict[str, Any]]:
    """One example in VW's words and in ours."""
    site, user, price = rng.choice("abcd"), rng.randint(0, 4), round(rng.random() * 3, 3)
    line, features = f"|site {site} id={user}", {site: True, "id": str(user)}
    if with_numbers:
        line += f" |num price:{price} 13 007:2"
        features |= {"price": price, "13": True, "007": 2}
    return f"{line} | plain k=v 42", {**features, "plain": True, "k": "v", "42": True}


def main() -> None:
    """Print the recording as JSON."""
    rng = random.Random(1)
    log = []
    for _ in range(200):
        line, features = example(rng, True)
        click = rng.random() < (0.8 if "a" in features or "b" in features else 0.3)
        log.append(f"{1 if click else -1} {line}")
    asked = [example(rng, i % 2 == 0) for i in range(20)]
    models = {}
    with tempfile.TemporaryDirectory() as directory:
        folder = Path(directory)
        (folder / "log").write_text("\n".join(log) + "\n")
        for name, options in MODELS.items():
            models[name] = record(folder, options, [line for line, _ in asked])
    recording = {
        "version": vowpalwabbit.__version__,
        "examples": [{"line": line, "features": features} for line, features in asked],
        "models": models,
    }
    json.dump(recording, sys.stdout, indent=1)
    sys.stdout.write("\n")


def record(folder: Path, options: str, lines: list[str]) -> dict[str, Any]:
    """Train with these options; the texts of the model, and its predictions."""
    files = f"-f {folder}/m --readable_model {folder}/r --invert_hash {folder}/i"
    loss = "--loss_function logistic --link logistic --quiet"
    vowpalwabbit.Workspace(f"{loss} -d {folder}/log {files} {options}").finish()
    served = vowpalwabbit.Workspace(f"--quiet -t -i {folder}/m")
    predictions = [served.predict(line) for line in lines]
    served.finish()
    return {
        "options": options,
        "invert_hash": (folder / "i").read_text(),
        "readable_model": (folder / "r").read_text(),
        "predictions": predictions,
    }


if __name__ == "__main__":
    main()
