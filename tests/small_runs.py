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
        "steps.batch_size": "8",
        "steps.epochs": "2",
        "steps.checkpoint_minutes": "1e-9",
        "consistency.steps_per_epoch": "3",
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
SMALL["report-3"] = SMALL["report-2"]
