"""What the recipe `auto` knows of the images, the time and the machine before it chooses."""

from dataclasses import dataclass

# A training on labels alone: 40 epochs of 4,000 labels gave 0.77 on CIFAR-10, and fewer images
# still take some 300 steps of 256 to learn anything.
LABELS_EPOCHS, LABELS_LEAST = 40, 300 * 256
# Unlabelled images brought a point in five minutes, in which some 600,000 are seen, where there
# were 1,000 labels of CIFAR-10 or fewer, and took two away where there were 4,000; there half an
# hour with them is 1.4 points before 20 minutes of the labels alone ("Label efficiency" in
# docs/accuracy.md). In between: not measured.
UNLABELLED_LOOKS, UNLABELLED_LEAST = 500, 400_000


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What is known before anything is learned.

    n_labelled, n_unlabelled : images of a fold, the one with the fewest labels
    least_per_class : labels of the class that has the fewest
    image_size : (height, width) in pixels
    seconds : for learning one model, if one narrow network answers
    images_per_second, answers_per_second : that a network of `auto.NARROW` widths learns from,
        and that it answers, measured here
    kmeans_seconds : that `kmeans-1` takes in all, estimated; None where images are too small for it
    cores, bf16, gpu, memory_gib : the machine; bf16 says whether it is faster here, gpu is a name
    """

    n_labelled: int
    n_unlabelled: int
    n_classes: int
    least_per_class: int
    image_size: tuple[int, int]
    seconds: float
    images_per_second: float
    answers_per_second: float
    kmeans_seconds: float | None
    cores: int
    bf16: bool
    gpu: str | None
    memory_gib: float

    @property
    def n_seen(self) -> int:
        """Images that a narrow network learns from in the time, as often as each is seen."""
        return int(self.seconds * self.images_per_second)

    def has_time_for_kmeans(self, part: float) -> bool:
        """Whether `kmeans-1` is done in that part of the time."""
        return self.kmeans_seconds is not None and self.kmeans_seconds <= part * self.seconds

    @property
    def labels_need(self) -> int:
        """Images that a training on labels alone should see."""
        return max(LABELS_EPOCHS * self.n_labelled, LABELS_LEAST)

    @property
    def unlabelled_need(self) -> int:
        """Images that are to be seen in all before unlabelled ones pay."""
        return max(UNLABELLED_LOOKS * self.n_labelled, UNLABELLED_LEAST)

    @property
    def machine(self) -> str:
        """In words."""
        if self.gpu is not None:
            return self.gpu
        cores = "1 core" if self.cores == 1 else f"{self.cores} cores"
        return f"{cores} {'with' if self.bf16 else 'without'} bf16"

    @property
    def seen(self) -> str:
        """How many images a network learns from, in words."""
        seen = f"{rounded(self.n_seen):,} images in the time"
        return f"{self.machine} can show a narrow network about {seen}"


def rounded(count: int) -> int:
    """To two digits, as an estimate is told: 1,368,000 -> 1,400,000."""
    return round(count, 2 - len(str(count)))
