"""What report.html shows of a run, out of the files that its phases left."""

from keras_transformer import evaluation
from keras_transformer.training.files import read_json
from keras_transformer.training.recipe import Recipe
from keras_transformer.training.run_folder import RunFolder, format_seconds


def write(folder: RunFolder, recipe: Recipe) -> None:
    """Write report.html of a run that was trained, judged and explained.

    Args:
        folder: `RunFolder`, open.
        recipe: `Recipe` of the run, of one task or of many.
    """
    record, process = folder.run(), folder.run()["processes"][-1]
    data, training, versions = record["data"], record["training"], process["versions"]
    metrics, shown = read_json(folder.metrics), read_json(folder.scores)
    if recipe.data.tasks:
        names = [*recipe.of_tasks()]
        judged = {"tasks": {name: {"metrics": metrics["tasks"][name], **shown["tasks"][name]} for name in names}}
    else:
        names, judged = [recipe.data.source], {"metrics": metrics, **shown}
    history = folder.checkpoints.load_latest().state
    pretraining = folder.pretraining / "history.json"
    evaluation.write_report(
        folder.report,
        {
            "title": f"{recipe.model.init} on {', '.join(names)}",
            "summary": {
                "Data": data["description"],
                "Texts": ", ".join(f"{count} {name}" for name, count in data["sizes"].items()),
                "Start": recipe.model.init,
                "Steps": f"{training['steps']}, best after {training['best_step']}",
                "Training time": format_seconds(training["seconds"]),
                "Machine": f"{process['machine']['processor']}, {process['machine']['cores']} cores",
                "Versions": ", ".join(f"{name} {version}" for name, version in versions.items()),
            },
            "pretraining": read_json(pretraining) if pretraining.is_file() else None,
            "history": {"steps": history["steps"], "epochs": history["epochs"]},
            "recipe": recipe.to_dict(),
            **judged,
        },
    )
