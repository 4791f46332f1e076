// What the kernels know of the image, its blocks and a launch's tasks; launch.py holds the same structs for numpy.
//
// memory: both slots of all blocks, float32. Slot s of block j begins at memory + blocks[j].slots[s]: pixels (rows ×
// cols, the block's own), from `momentum` and `center` on those (likewise), from `share` on its share (angles × width).
// slots[t][j]: the slot of block j that task t reads; its own back slot is the other one. Buffers of a batch are padded
// to the largest block, rows of `block_cols`; a smaller block uses the top left part.
#pragma once

#include "grid.h"

// Blocks lie in row-major order, `across` side by side, block_rows × block_cols pixels; the last ones may be smaller.
struct Image {
    int rows, cols, block_rows, block_cols, across, blocks, halo, angles, detectors;
};

struct Block {
    int top, left, rows, cols, width, unused;
    long long slots[2], momentum, center, share;
};

// One block's update; block -1: nothing to do. strength: what the intensity scale is multiplied with; 0: the denoiser
// isn't asked, and the block keeps its center.
struct Task {
    int block;
    float length, momentum, gradient_scale, strength;
    int nonnegative;
};

// Where the slot of block j that task t reads begins in the memory.
PORTABLE long long front_slot(const Image &image, const Block *blocks, const signed char *slots, int t, int j) {
    return blocks[j].slots[slots[(long long)t * image.blocks + j]];
}

// The slot that task t writes, of its own block j.
PORTABLE long long back_slot(const Image &image, const Block *blocks, const signed char *slots, int t, int j) {
    return blocks[j].slots[1 - slots[(long long)t * image.blocks + j]];
}

// Pixel (r, c) of task t in a buffer padded to the largest block.
PORTABLE long long padded(const Image &image, int t, int r, int c) {
    return ((long long)t * image.block_rows + r) * image.block_cols + c;
}
