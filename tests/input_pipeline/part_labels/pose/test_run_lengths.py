"""Run lengths, against an encoder that walks over the mask pixel by pixel."""

import numpy as np
import pytest

from input_pipeline.part_labels.pose.run_lengths import read_run_lengths, unpack


def runs_of(mask: np.ndarray) -> list[int]:
    """Column by column: pixels of background, of the person, of background and so on."""
    runs, value = [0], 0
    for x in range(mask.shape[1]):
        for y in range(mask.shape[0]):
            if mask[y, x] != value:
                runs.append(0)
                value = 1 - value
            runs[-1] += 1
    return runs


def packed(runs: list[int]) -> str:
    """In two's complement: the fewest groups of five bits of which the last has the sign."""
    text = ""
    for i, run in enumerate(runs):
        number = run - runs[i - 2] if i > 2 else run
        groups = 1
        while not -(1 << 5 * groups - 1) <= number < 1 << 5 * groups - 1:
            groups += 1
        bits = f"{number % (1 << 5 * groups):0{5 * groups}b}"
        for group in range(groups):
            five = bits[len(bits) - 5 * (group + 1) : len(bits) - 5 * group]
            text += chr(48 + int(five, 2) + (32 if group < groups - 1 else 0))
    return text


def test_a_mask_by_hand():
    # 3 × 2, the middle of the first column and the whole second one: runs 1 1 1 3; the last is
    # written as 3 - 1 = 2.
    read = read_run_lengths({"size": [3, 2], "counts": "1112"})
    np.testing.assert_array_equal(read.mask(), [[0, 1], [1, 1], [0, 1]])
    # 100 = 0b00011_00100: the group 4, with more to come (4 + 32 + 48 = T), and 3.
    assert unpack("T3") == [100]
    # -1 is all ones in one group: 31 + 48 = O; the fourth run is 5 - 1.
    assert unpack("252O") == [2, 5, 2, 4]


@pytest.mark.parametrize("seed", range(40))
def test_masks_of_every_kind_come_back(seed):
    rng = np.random.default_rng(seed)
    height, width = rng.integers(1, 120, 2)
    mask = (rng.random((height, width)) < rng.choice([0, 0.02, 0.5, 0.98, 1])).astype(np.float32)
    if seed % 2:  # a block, with runs as long as columns
        mask[height // 4 : height // 2 + 1, width // 3 :] = 1
    runs = runs_of(mask)
    size = [int(height), int(width)]
    for counts in (runs, packed(runs)):
        np.testing.assert_array_equal(
            read_run_lengths({"size": size, "counts": counts}).mask(), mask
        )


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"size": [3, 2], "counts": "111"}, "come to 3 pixels, not to 3 × 2"),
        ({"size": [3, 2], "counts": [1, 1, 5]}, "come to 7 pixels"),
        ({"size": [3, 2], "counts": "T"}, "cut off"),
        ({"size": [3, 2], "counts": "1 1"}, "' ' is no character"),
        ({"size": [3, 2], "counts": "11é"}, "'é' is no character"),
        ({"size": [3, 2], "counts": "P" * 30 + "0"}, "never ends"),
        ({"size": [3, 2], "counts": [7, -1]}, "negative"),
        ({"size": [3, 2], "counts": "7O"}, "negative"),
        ({"size": [0, 0], "counts": []}, "0 × 0"),
        ({"size": [3], "counts": "6"}, "not enough values"),
        ({"counts": "6"}, "size"),
    ],
)
def test_others_are_refused(fields, message):
    with pytest.raises((ValueError, KeyError), match=message):
        read_run_lengths(fields)
