// The direction of a preconditioned step, in the place of G: P G where pixels may move, a multiple of G where one is held.
#include "layout.h"

// filtered (batch, filtered_rows, filtered_cols): the block in its top left part; mask (rows, cols). pixels (batch,
// block_rows, block_cols): where the block is, null: where its slot says. gradients (batch, parts, block_rows,
// block_cols): G in part 0, overwritten; `preconditioned` of red.py.
KERNEL filter_out(const Image *image, const Block *blocks, const float *memory, const Task *tasks,
                  const signed char *slots, int batch, int parts, float least, const float *mask /*or null*/,
                  const float *filtered, int filtered_rows, int filtered_cols, const float *pixels /*or null*/,
                  float *gradients) {
    EACH(item, (long long)batch * image->block_rows * image->block_cols) {
        const Pixel at = pixel_of(*image, blocks, tasks, item);
        if (at.block < 0) continue;
        const Task task = tasks[at.task];
        const Block &block = blocks[at.block];
        float *gradient = gradients + padded(*image, at.task * parts, at.row, at.col);
        float direction = filtered[((long long)at.task * filtered_rows + at.row) * filtered_cols + at.col];
        direction *= inside(*image, block, mask, at.row, at.col);
        if (task.nonnegative && gradient[0] > 0.0f) {
            const float *front = memory + front_slot(*image, blocks, slots, at.task, at.block);
            if ((pixels ? pixels[item] : front[at.place]) <= 0.0f) direction = least * gradient[0];
        }
        gradient[0] = direction;
    }
}
