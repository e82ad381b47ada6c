"""Which tasks are measured, and on what."""

from dataclasses import dataclass

from isoenergy.errors import InputError
from isoenergy.evaluation.tasks.task_columns import BUNDLED, LABEL_COLUMNS, ColumnClasses
from isoenergy.tasks.prompts import TEMPLATES

_EMOJI_GROUPS = (
    "activities|animals & nature|flags|food & drink|objects|people & body|smileys & emotion|symbols|travel & places"
)

_PLACES = ("imagenet", "imagenet_names", "coco", "coco_images", "fashioniq")


@dataclass(frozen=True)
class TasksConfig:
    """What closing the gap is good for: tasks on the measured pairs and their columns, and on the data of others.

    A column's classes are all its values, or those that are named: `COLUMN=VALUE|VALUE|…`. Tasks with prompts, and
    those on other data, need the store's encoder.
    """

    zero_shot: tuple[str, ...] = ()
    """Columns of the store whose values images are classified into, by prompts."""
    templates: str = "photo"
    """name, photo, clip (the 80 for ImageNet), icon, or a text file with a template a line, {} for the class."""
    probe: tuple[str, ...] = ()
    """Columns that a linear probe reads out of images: trained on the train split, tested on the measured one."""
    relevance: str = ""
    """Column for retrieval from a gallery of both modalities: pairs with equal values are right for each other."""
    composed: str = ""
    """Composed retrieval, image and change to image: `bundled`, from the bundled pairs' labels, or a .parquet or .jsonl
    file with source and target (keys of pairs), added and, if need be, removed (a text or a list) and group."""
    imagenet: str = ""
    """Folder with a folder of images a class, or with such in val/ and, for the probe, in train/."""
    imagenet_names: str = ""
    """File with the classes' names by folder: .json, or text with `folder name` a line. Default: the folders' names."""
    images_per_class: int = 50
    """Most images of a class in each of val/ and train/."""
    coco: str = ""
    """COCO captions file: retrieval both ways, and from a gallery of both modalities."""
    coco_images: str = ""
    """Folder or zip of its images."""
    fashioniq: str = ""
    """Folder with FashionIQ's images/, captions/ and image_splits/: composed retrieval on its validation split."""
    pairs: int = 20_000
    """Most pairs of a split, and most images of the COCO file, that tasks take: they hold them in memory."""
    queries: int = 2000
    """Most queries of a modality, drawn at random, for a gallery of both."""
    part_images: int = 4096
    """Images of other data in a part, one task."""

    def __post_init__(self) -> None:
        for name in ("images_per_class", "pairs", "queries", "part_images"):
            if getattr(self, name) < 1:
                raise InputError(f"tasks.{name} must be at least 1, got {getattr(self, name)}")
        for option, needed in (("coco_images", "coco"), ("imagenet_names", "imagenet")):
            if getattr(self, option) and not getattr(self, needed):
                raise InputError(f"tasks.{option} is given, but no tasks.{needed}")
        if self.coco and not self.coco_images:
            raise InputError(f"{self.coco} names image files: say where they lie with --tasks.coco-images")
        for name in ("zero_shot", "probe"):
            columns = [classes.column for classes in self.classes(name)]
            if len(set(columns)) < len(columns):
                raise InputError(f"tasks.{name} names a column twice: {', '.join(columns)}")

    def classes(self, name: str) -> list[ColumnClasses]:
        """Return the columns of `zero_shot` or `probe`, and the values that count."""
        found = []
        for given in getattr(self, name):
            column, _, values = given.partition("=")
            found.append(ColumnClasses(column, tuple(filter(None, values.split("|")))))
        return found

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of the store that are needed."""
        both = [classes.column for name in ("zero_shot", "probe") for classes in self.classes(name)]
        labels = LABEL_COLUMNS if self.composed == BUNDLED else ()
        return tuple(dict.fromkeys([*both, *filter(None, [self.relevance]), *labels]))

    @property
    def places(self) -> dict[str, str]:
        """The files and folders that are named, by option."""
        named = {name: getattr(self, name) for name in _PLACES}
        named |= {"composed": self.composed} if self.composed != BUNDLED else {}
        named |= {"templates": self.templates} if self.templates not in TEMPLATES else {}
        return {f"tasks.{name}": uri for name, uri in named.items() if uri}

    @property
    def with_pairs(self) -> bool:
        """Whether any task takes pairs of the store."""
        return bool(self.zero_shot or self.probe or self.relevance or self.composed)


BUNDLED_TASKS = TasksConfig(
    zero_shot=("base", f"group={_EMOJI_GROUPS}"),
    templates="icon",
    probe=("source", f"group={_EMOJI_GROUPS}"),
    relevance="concept",
    composed=BUNDLED,
)
"""Those that the bundled pairs' columns allow."""
