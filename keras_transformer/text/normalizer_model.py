"""Builds the model of `tensorflow_text`'s FastBertNormalize op from a table of what each code point becomes.

The op looks up each UTF-8 character in a double-array trie (darts-clone) whose values point into a pool of strings.
The library's own builder knows two fixed tables; this one takes any table, also for the byte sequences that are not
valid UTF-8. Equal parts of the trie are stored once.
"""

import flatbuffers
import numpy as np

# A trie value: a flag (the character is replaced), 24 bits of offset into the pool, 6 bits of length.
_REPLACED = 1 << 30
_LENGTH_BITS = 6
# The trie is made of blocks of 256 units. A block holds the children of two nodes (64 UTF-8 continuation bytes each,
# at 0x80 and 0xC0) with the value of each node itself at 0x00 and 0x40; the other places hold values of characters.
_BLOCK = 256
_MOST_UNITS = 1 << 21  # a unit has 21 bits for a distance
_FREE = np.array([*range(0x01, 0x40), *range(0x41, 0x80)])


def build(table: dict[str, np.ndarray], default: str | None) -> bytes:
    """Builds a normalizer model.

    Args:
        table: dict of replacement string to the code points (int array) that it replaces. Later entries win.
        default: str or None. The replacement of every code point that is in no entry; None keeps them.

    Returns:
        The flatbuffer. Bytes that are not valid UTF-8 are removed.
    """
    pool = bytearray()
    values = np.zeros(0x110000, np.int64)
    if default is not None:
        values[:] = _add_to_pool(pool, default)
    for text, code_points in table.items():
        values[code_points] = _add_to_pool(pool, text)
    return _flatbuffer(_build_trie(values, invalid=_REPLACED), int(values[0]), bytes(pool))


def _add_to_pool(pool: bytearray, text: str) -> int:
    data = text.encode()
    if len(data) >= 1 << _LENGTH_BITS:
        raise ValueError(f"A character may become at most {(1 << _LENGTH_BITS) - 1} bytes. Received: {len(data)}.")
    offset = len(pool)
    pool += data
    return _REPLACED | offset << _LENGTH_BITS | len(data)


class _Nodes:
    """The inner nodes of the trie, equal ones once. A child is a value, ~node, or 0 where there is none."""

    def __init__(self):
        self.children: list[tuple[int, ...]] = []
        self._known: dict[tuple[int, ...], int] = {}

    def add(self, children: list[int]) -> int:
        """Returns the child entry of a node with these 64 children."""
        key = tuple(children)
        if key not in self._known:
            self._known[key] = len(self.children)
            self.children.append(key)
        return ~self._known[key]


def _build_trie(values: np.ndarray, invalid: int) -> np.ndarray:
    nodes = _Nodes()
    root = [0] * _BLOCK
    root[1:0x80] = values[1:0x80].tolist()
    root[0x80:] = [invalid] * 0x80  # a continuation byte, or a byte that never occurs in UTF-8
    rows: dict[bytes, int] = {}
    leaves = []
    for row in values.reshape(-1, 64):
        key = row.tobytes()
        if key not in rows:
            rows[key] = nodes.add(row.tolist())
        leaves.append(rows[key])
    for lead in range(0xC2, 0xE0):
        root[lead] = leaves[lead - 0xC0]
    # The op asks for valid UTF-8 only: what surrogates, and too long sequences, would lead to makes no difference.
    planes = [nodes.add(leaves[i : i + 64]) for i in range(0, len(leaves), 64)]
    root[0xE0:0xF0] = planes[:16]
    planes += [0] * 48
    for lead in range(0xF0, 0xF5):
        root[lead] = nodes.add(planes[(lead - 0xF0) * 64 : (lead - 0xEF) * 64])
    return _layout(root, nodes.children, invalid)


def _layout(root: list[int], children: list[tuple[int, ...]], invalid: int) -> np.ndarray:
    """Places root, nodes and values in one array of units."""
    node_children = np.array(children, np.int64)
    leaf_values = np.unique(np.concatenate([node_children.ravel(), root]))
    leaf_values = leaf_values[leaf_values > 0]
    num_blocks = 1 + max(-(-len(children) // 2), -(-len(leaf_values) // len(_FREE)))
    if num_blocks * _BLOCK > _MOST_UNITS:
        raise ValueError(f"The table has too little in common to fit the trie. Received: {len(children)} nodes.")
    units = np.zeros(num_blocks * _BLOCK, np.uint32)
    bases = _BLOCK * (1 + np.arange(len(children)) // 2) + 64 * (np.arange(len(children)) % 2)
    free = (_BLOCK * np.arange(1, num_blocks)[:, None] + _FREE).ravel()[: len(leaf_values)]
    units[free] = leaf_values | 1 << 31
    units[bases] = invalid | 1 << 31

    def write(places: np.ndarray, labels: np.ndarray, entries: np.ndarray) -> None:
        present = entries != 0
        places, labels, entries = places[present], labels[present], entries[present]
        targets = np.where(entries < 0, bases[~np.minimum(entries, -1)], 0)
        leaf = entries > 0
        targets[leaf] = free[np.searchsorted(leaf_values, entries[leaf])]
        # A unit: the distance (exclusive or) to its children and value, "has a value", and the byte that leads to it.
        units[places] = (places ^ targets) << 10 | 1 << 8 | labels

    labels = np.arange(0x80, 0xC0)
    write((bases[:, None] ^ labels).ravel(), np.tile(labels, len(children)), node_children.ravel())
    write(np.arange(_BLOCK), np.arange(_BLOCK), np.array(root))
    return units


def _flatbuffer(trie: np.ndarray, value_of_zero: int, pool: bytes) -> bytes:
    builder = flatbuffers.Builder(trie.nbytes + len(pool) + 256)
    trie_vector = builder.CreateNumpyVector(trie)
    pool_vector = builder.CreateByteVector(pool)
    builder.StartObject(4)
    builder.PrependUOffsetTRelativeSlot(1, trie_vector, 0)
    builder.PrependInt32Slot(2, value_of_zero, 0)
    builder.PrependUOffsetTRelativeSlot(3, pool_vector, 0)
    builder.Finish(builder.EndObject())
    return bytes(builder.Output())
