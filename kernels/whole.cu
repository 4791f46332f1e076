// The whole image as each task reads it, for a denoiser that isn't local: from the slots the task reads, no halo.
#include "layout.h"

// images (batch, rows, cols): pixels / (scale · strength), with dual pixels and dual variable (crop.cu), and 0 for a
// task that has no block or doesn't ask the denoiser.
KERNEL whole(const Image *image, const Block *blocks, const float *memory, const Task *tasks, const signed char *slots,
             int batch, int dual, float scale, float *images) {
    const int rows = image->rows, cols = image->cols;
    EACH(item, (long long)batch * rows * cols) {
        long long rest = item;
        const int col = split_off(rest, cols), row = split_off(rest, rows), t = (int)rest;
        float value = 0.0f;
        if (tasks[t].block >= 0 && tasks[t].strength > 0.0f) {
            const int giver = row / image->block_rows * image->across + col / image->block_cols;
            const Block &block = blocks[giver];
            const float *pixels = memory + front_slot(*image, blocks, slots, t, giver);
            const long long p = (long long)(row - block.top) * block.cols + (col - block.left);
            value = (dual ? pixels[p] + pixels[block.momentum + p] : pixels[p]) / (scale * tasks[t].strength);
        }
        images[item] = value;
    }
}
