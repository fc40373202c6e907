"""Settings with which a recipe learns in a moment."""

FAST = {
    "filters.n_filters": "12",
    "filters.n_images": "60",
    "filters.patches_per_image": "4",
    "filters.iterations": "2",
    "head.kind": "ridge",
    "head.strengths": "0.1",
}
FAST_SETTINGS = [part for name, value in FAST.items() for part in ("--set", f"{name}={value}")]
