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

// What an item of a buffer padded to the largest block is: pixel (row, col) of a task's block, `place` in the block's own
// arrays. block -1: the task has none, or it ends before that pixel.
struct Pixel {
    int task, row, col, block;
    long long place;
};

PORTABLE Pixel pixel_of(const Image &image, const Block *blocks, const Task *tasks, long long item) {
    Pixel pixel;
    pixel.col = split_off(item, image.block_cols), pixel.row = split_off(item, image.block_rows);
    pixel.task = (int)item, pixel.block = tasks[pixel.task].block, pixel.place = 0;
    if (pixel.block < 0) return pixel;
    const Block &block = blocks[pixel.block];
    pixel.place = (long long)pixel.row * block.cols + pixel.col;
    if (pixel.row >= block.rows || pixel.col >= block.cols) pixel.block = -1;
    return pixel;
}

// At the block's pixel (r, c): 1 inside the field of view, or without a mask (rows, cols).
PORTABLE float inside(const Image &image, const Block &block, const float *mask /*or null*/, int r, int c) {
    return mask ? mask[(long long)(block.top + r) * image.cols + block.left + c] : 1.0f;
}

// What the denoiser is given of the image's pixel (row, col) as task t reads it: x / (scale · strength), with dual x + u,
// whose u lies in the momentum's place.
PORTABLE float denoiser_input(const Image &image, const Block *blocks, const float *memory, const Task &task,
                              const signed char *slots, int t, int dual, float scale, int row, int col) {
    const int giver = row / image.block_rows * image.across + col / image.block_cols;
    const Block &block = blocks[giver];
    const float *pixels = memory + front_slot(image, blocks, slots, t, giver);
    const long long p = (long long)(row - block.top) * block.cols + (col - block.left);
    return (dual ? pixels[p] + pixels[block.momentum + p] : pixels[p]) / (scale * task.strength);
}
