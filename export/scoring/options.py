"""What decides the scores of a run besides the model and the files."""

import dataclasses

FORMATS = ("jsonl", "csv", "tsv", "txt")
QUOTES = ("rfc4180", "none")
SUFFIXES = {".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv", ".tsv": "tsv", ".txt": "txt"}


@dataclasses.dataclass(frozen=True)
class ScoringOptions:
    """How lines are read and what is written of them; a run that goes on must have the same.

    Args:
        text_field: str, field (.jsonl) or column (.csv, .tsv) of the texts. Default "text".
        id_field: str, field or column that is copied to the scores where there is one. Default "id".
        keep_text: bool, whether the scores repeat the text. Default False.
        format: str or None, "jsonl", "csv", "tsv" or "txt". Default None: what the name of each file ends with.
        quotes: str, of .csv and .tsv: "rfc4180" (default), fields may stand in quotes, and then hold line ends; or
            "none", quotes are plain characters.
        block_bytes: int, a file is cut into blocks of so many bytes, and whole lines; a block is written at once, and
            scored again if a run is killed before that. Default 1 MiB.
        max_line_bytes: int, longer lines are not read. Default 1 MiB.

    Raises:
        ValueError: If a value cannot be used.

    Example:
        ```python
        from keras_transformer.export.scoring import ScoringOptions

        assert ScoringOptions(text_field="review").format_of("reviews-0.csv.gz") == "csv"
        ```
    """

    text_field: str = "text"
    id_field: str = "id"
    keep_text: bool = False
    format: str | None = None
    quotes: str = "rfc4180"
    block_bytes: int = 1 << 20
    max_line_bytes: int = 1 << 20

    def __post_init__(self) -> None:
        if not self.text_field:
            raise ValueError(f"text_field must name a field or column. Received: {self.text_field!r}")
        if self.format is not None and self.format not in FORMATS:
            raise ValueError(f"format must be one of {', '.join(FORMATS)}. Received: {self.format!r}")
        if self.quotes not in QUOTES:
            raise ValueError(f"quotes must be one of {', '.join(QUOTES)}. Received: {self.quotes!r}")
        for name in ("block_bytes", "max_line_bytes"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1. Received: {getattr(self, name)}")

    def format_of(self, path: str) -> str:
        """Returns the format of a file.

        Args:
            path: str, its name; ".gz" at the end is left out.

        Raises:
            ValueError: If neither `format` nor the name says it.
        """
        if self.format is not None:
            return self.format
        name = path.removesuffix(".gz")
        for suffix, name_of_format in SUFFIXES.items():
            if name.endswith(suffix):
                return name_of_format
        raise ValueError(
            f"The name of an input must end with {', '.join(SUFFIXES)} (and .gz after it), or --format must say what "
            f"it holds. Received: {path}"
        )


@dataclasses.dataclass(frozen=True)
class Layout:
    """How the records of one file are read.

    Args:
        format: str, one of `FORMATS`.
        quoted: bool, whether records may hold line ends between quotes.
        text_field: str.
        id_field: str.
        columns: tuple of str, of a table; empty for the others.
    """

    format: str
    quoted: bool
    text_field: str
    id_field: str
    columns: tuple[str, ...] = ()

    @property
    def table(self) -> bool:
        """Whether the file has columns, and their names in its first record."""
        return self.format in ("csv", "tsv")

    @property
    def delimiter(self) -> str:
        """Character between the columns."""
        return "\t" if self.format == "tsv" else ","

    @classmethod
    def of(cls, path: str, options: ScoringOptions) -> "Layout":
        """Returns the layout of a file, its columns not yet known."""
        name = options.format_of(path)
        quoted = name in ("csv", "tsv") and options.quotes == "rfc4180"
        return cls(name, quoted, options.text_field, options.id_field)
