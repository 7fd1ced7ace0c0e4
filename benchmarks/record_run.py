"""Keeps what a run measured as a small JSON under benchmarks/results/, from which the README's table is made.

python benchmarks/record_run.py --run=runs/demo --name=demo
"""

import argparse
import json
import pathlib

RESULTS = pathlib.Path(__file__).resolve().parent / "results"
HEADLINE = ("n", "accuracy", "accuracy_interval", "f1", "roc_auc", "pr_auc", "log_loss", "ece")


def headline(report: dict) -> dict:
    """Returns the figures of one part and one model that a table shows."""
    return {key: report[key] for key in HEADLINE if key in report}


def summary(run: pathlib.Path) -> dict:
    """Returns what the run folder says, without paths."""
    metrics = json.loads((run / "metrics.json").read_text())
    record = json.loads((run / "run.json").read_text())
    shown = json.loads((run / "report.json").read_text())
    process = record["processes"][-1]
    return {
        "recipe": json.loads((run / "recipe.json").read_text()),
        "machine": process["machine"] | {"versions": process["versions"], "strategy": process["strategy"]},
        "data": record["data"],
        "training": record["training"],
        "seconds": record["seconds"],
        "validation": {
            name: headline(report) for name, report in metrics["validation"].items() if name != "difference"
        },
        "test": {name: headline(report) for name, report in metrics["test"].items() if name != "difference"}
        | {"difference": metrics["test"].get("difference")},
        "temperature": metrics.get("temperature"),
        "faithfulness": shown.get("faithfulness"),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=pathlib.Path, required=True, help="a finished run folder")
    parser.add_argument("--name", required=True, help="name of the result file, without .json")
    options = parser.parse_args()
    result = summary(options.run)
    path = RESULTS / f"{options.name}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(result, indent=1) + "\n")
    test = result["test"]
    print(f"{path.name}: accuracy {test['model']['accuracy']:.4f}, baseline {test['baseline']['accuracy']:.4f}")


if __name__ == "__main__":
    main()
