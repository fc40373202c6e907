"""Settings with which a recipe learns in a moment."""

FAST = {
    "filters.n_filters": "12",
    "filters.n_images": "60",
    "filters.patches_per_image": "4",
    "filters.iterations": "2",
    "head.kind": "ridge",
    "head.strengths": "0.1",
}
FAST_SETTINGS = [
    *("--recipe", "kmeans-1"),
    *[part for name, value in FAST.items() for part in ("--set", f"{name}={value}")],
]

# recipe -> settings with which it is trained in seconds
SMALL = {
    "labels": {
        "network.widths": "4,6",
        "training.batch_size": "10",
        "training.least_steps": "0",
        "training.checkpoint_minutes": "1e-9",
    },
    "consistency": {
        "training.least_steps": "0",
        "network.widths": "4,6",
        "training.batch_size": "10",
        "training.checkpoint_minutes": "1e-9",
        "rounds.batch_size": "10",
        "rounds.epochs": "2",
        "rounds.least_steps": "0",
        "rounds.checkpoint_minutes": "1e-9",
        "steps.batch_size": "8",
        "steps.epochs": "2",
        "steps.checkpoint_minutes": "1e-9",
        "consistency.schedule": "steps",
        "consistency.steps_per_epoch": "3",
        "consistency.least_weight": "0",
    },
    "report-2": {
        "filters.n_filters": "6",
        "filters.patch_size": "5",
        "filters.n_images": "30",
        "filters.iterations": "2",
        "network.width": "6",
        "training.batch_size": "10",
        "training.least_steps": "0",
    },
    "surrogate": {
        "surrogates.n_classes": "10",
        "surrogates.n_each": "6",
        "surrogates.size": "8",
        "surrogates.patch_size": "8",
        "training.batch_size": "10",
        "head.kind": "ridge",
        "head.strengths": "0.1",
    },
}
SMALL["committee"] = SMALL["labels"] | FAST
SMALL["consistency-committee"] = SMALL["consistency"] | FAST
SMALL["selfsupervised"] = {
    "network.widths": "4,6",
    "selfsupervised.projector": "8,6",
    "training.batch_size": "20",
    "head.kind": "ridge",
    "head.strengths": "0.1",
}
SMALL["report-3"] = SMALL["report-2"]

# settings with which all figures are drawn in seconds
SMALL_FIGURES = {
    "surrogates.n_classes": "20",
    "surrogates.size": "8",
    "surrogates.patch_size": "8",
    "filters.n_filters": "12",
    "filters.patch_size": "5",
    "filters.stride": "1",
    "filters.iterations": "2",
    "deeper.n_filters": "10,3",
    "deeper.patch_size": "4,2",
    "deeper.n_groups": "1,2",
    "deeper.channels_per_group": "0,4",
    "deeper.iterations": "2",
    "first.n_filters": "6",
    "first.patch_size": "5",
    "first.iterations": "2",
    "network.width": "6",
    "training.batch_size": "10",
    "training.epochs": "2",
    "map.perplexity": "4",
    "gallery.deeper_filters": "4",
}
