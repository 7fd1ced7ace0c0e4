"""One case for every public Layer and Model, and for everything else that a file may hold."""

from tests.cases.blocks import BLOCKS
from tests.cases.models import MODELS
from tests.cases.objects import OBJECTS
from tests.cases.parts import PARTS
from tests.cases.positions import POSITIONS
from tests.cases.pretraining import PRETRAINING

CASES = [*PARTS, *POSITIONS, *BLOCKS, *MODELS, *PRETRAINING]

__all__ = ["CASES", "OBJECTS"]
