"""Figure 3.3 of the report: three layers of filters against two, accuracy over their trainings."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from fewlabels import curves, protocol, recipes, splits
from fewlabels.comparing import curves_of
from fewlabels.curves import Line
from fewlabels.devices import resolve
from fewlabels.figure_material import Drawn, Material, percent
from fewlabels.fitting import fit_folds
from fewlabels.graph import Graph
from fewlabels.images import Images
from fewlabels.progress import say, watching
from fewlabels.training import Measure


class _Notes:
    """A watcher that keeps what was measured in stages, as lines of `metrics.jsonl`."""

    def __init__(self) -> None:
        self.lines: list[dict[str, Any]] = []

    def started(self, stage: str, total: int | None, unit: str) -> None: ...
    def advanced(self, stage: str, count: int) -> None: ...
    def stands(self, stage: str, facts: Mapping[str, float]) -> None: ...
    def ended(self, stage: str, seconds: float) -> None: ...
    def said(self, message: str) -> None: ...

    def noted(self, stage: str, facts: Mapping[str, float]) -> None:
        self.lines.append({"stage": stage, **facts})


def draw_networks(material: Material) -> Drawn:
    """Figure 3.3: accuracy of the 3-layer and the 2-layer network over their trainings."""
    config, image_set = material.config, material.image_set
    test = (
        image_set.test if image_set.test is not None and image_set.test.labels is not None else None
    )
    lines, numbers = [], {}
    for n_layers, recipe in ((3, recipes.named("report-3")), (2, recipes.named("report-2"))):
        recipe = replace(
            recipe,
            filters=config.first,
            network=replace(config.network, n_layers=n_layers),
            training=config.training,
        )
        say(f"the network of {n_layers} layers")
        notes, plan = _Notes(), splits.plan(image_set, seed=material.seed)
        with watching(notes):
            models = fit_folds(
                image_set, recipe, plan, measure=_both(image_set.train, test), **material.how
            )
        final = None
        if test is not None:
            final = protocol.evaluate(models, test, device=resolve(material.device))[0].accuracy
        line = Line(label=f"{n_layers} layers", curves=curves_of(notes.lines), final=final)
        lines.append(line)
        training = line.last("training")
        numbers[f"{n_layers}-layer"] = {"training_accuracy": training, "test_accuracy": final}
    told = "; ".join(
        f"{name}: {percent(of['training_accuracy'])} training, {percent(of['test_accuracy'])} test"
        for name, of in numbers.items()
    )
    measured = min(protocol.N_CURVE, len(image_set.train))
    on_test = "There are no labelled test images, so no test accuracy."
    if test is not None:
        on_test = (
            f"The test curve is on {min(protocol.N_CURVE, len(test)):,} of {len(test):,} images, "
            "the numbers in brackets on all of them and their mirror images."
        )
    caption = (
        f"Accuracy of the network with 3 layers of filters and of the one with 2, trained on "
        f"{len(image_set.train):,} labelled images for {config.training.epochs} epochs (in the "
        f"end {told}). Training accuracy is on {measured:,} training images as they are. {on_test}"
    )
    return Drawn(
        picture=curves.accuracy_curves(lines),
        caption=caption,
        settings=material.part("first", "network", "training"),
        numbers=numbers,
    )


def _both(train: Images, test: Images | None) -> Measure:
    """Accuracy on some training images and, where there are labelled ones, some test images."""
    on_train, on_test = protocol.curve(train), protocol.curve(test)
    assert on_train is not None

    def measured(graph: Graph) -> dict[str, float]:
        facts = {"train_accuracy": on_train(graph)["test_accuracy"]}
        return facts if on_test is None else {**facts, **on_test(graph)}

    return measured
