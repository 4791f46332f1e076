"""The block grid and the halo crop, against numpy's own padding."""

import numpy as np
import pytest

from asyncred_gpu.blocks import BlockGrid, choose_block_shape, halo_crop, reflected, whole_crop

SHAPES = [((37, 50), (10, 13)), ((3, 2), (2, 1)), ((1, 5), (1, 5)), ((20, 20), (20, 20)), ((16, 30), (5, 7))]


def gather(grid, blocks, index, halo):
    return gathered(halo_crop(grid, index, halo), blocks)


def gathered(crop, blocks):
    inside, out = np.empty(crop.inside_shape, np.float32), np.empty(crop.shape, np.float32)
    for piece in crop.pieces:
        inside[piece.target] = blocks[piece.block][piece.source]
    crop.mirror(inside, out)
    return out


@pytest.mark.parametrize(("image_shape", "block_shape"), SHAPES)
def test_split_and_join_are_inverse_and_cover_every_pixel_once(image_shape, block_shape):
    grid = BlockGrid(image_shape, block_shape)
    image = np.random.default_rng(0).random(image_shape, np.float32)
    assert np.array_equal(grid.join(grid.split(image)), image)
    assert sum(block.size for block in grid.split(image)) == image.size


@pytest.mark.parametrize("mode", ["reflect", "symmetric"])
@pytest.mark.parametrize("halo", [0, 1, 7])
@pytest.mark.parametrize(("image_shape", "block_shape"), SHAPES)
def test_halo_crop_is_the_mirrored_image(image_shape, block_shape, halo, mode):
    grid = BlockGrid(image_shape, block_shape)
    image = np.random.default_rng(0).random(image_shape, np.float32)
    padded = np.pad(image, halo, mode=mode)
    same = True
    for index, _ in enumerate(blocks := grid.split(image)):
        window = grid.window(index)
        rows, cols = slice(window.top, window.bottom + 2 * halo), slice(window.left, window.right + 2 * halo)
        same &= np.array_equal(gather(grid, blocks, index, halo), padded[rows, cols])
    assert same == (mode == "reflect" or halo == 0)


@pytest.mark.parametrize("exchanged", [False, True])
@pytest.mark.parametrize(("image_shape", "block_shape"), SHAPES)
def test_a_whole_crop_is_the_image(image_shape, block_shape, exchanged):
    grid = BlockGrid(image_shape, block_shape)
    image = np.random.default_rng(0).random(image_shape, np.float32)
    blocks = grid.split(image)
    if exchanged:
        blocks[0] = blocks[0][::-1, ::-1] + np.float32(1)
    assert np.array_equal(gathered(whole_crop(grid), blocks), image) == (not exchanged)
    assert np.array_equal(whole_crop(grid).of(image), image)


def test_reflected_matches_numpy_for_any_length():
    for length in (1, 2, 3, 9):
        padded = np.pad(np.arange(length), 11, mode="reflect")
        assert np.array_equal(reflected(-11, length + 11, length), padded)


def test_blocks_are_ragged_at_the_end():
    grid = BlockGrid((10, 7), (4, 4))
    assert grid.layout == (3, 2) and len(grid) == 6
    assert grid.window(5).shape == (2, 3)


def test_chosen_blocks():
    assert choose_block_shape((800, 800)) == (200, 200)
    assert choose_block_shape((64, 64)) == (32, 32)
    assert choose_block_shape((5, 5)) == (5, 5)
    for cores in (1, 3, 16, 64):
        shape = choose_block_shape((800, 640), cores)
        assert len(BlockGrid((800, 640), shape)) >= cores


@pytest.mark.parametrize(
    ("image_shape", "block_shape", "message"),
    [
        ((0, 5), (1, 1), r"image_shape=\(0, 5\) holds no pixel"),
        ((5, 5), (0, 2), r"block_shape=\(0, 2\) holds no pixel"),
        ((5, 5), (6, 2), r"block_shape=\(6, 2\) is larger than the image \(5, 5\)"),
    ],
)
def test_impossible_grids_are_refused(image_shape, block_shape, message):
    with pytest.raises(ValueError, match=message):
        BlockGrid(image_shape, block_shape)
