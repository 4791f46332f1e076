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
        long long rest = item;
        const int c = split_off(rest, image->block_cols), r = split_off(rest, image->block_rows), t = (int)rest;
        const Task task = tasks[t];
        if (task.block < 0 || r >= blocks[task.block].rows || c >= blocks[task.block].cols) continue;
        const Block &block = blocks[task.block];
        float *gradient = gradients + padded(*image, t * parts, r, c);
        float direction = filtered[((long long)t * filtered_rows + r) * filtered_cols + c];
        if (mask) direction *= mask[(long long)(block.top + r) * image->cols + block.left + c];
        if (task.nonnegative && gradient[0] > 0.0f) {
            const float *front = memory + front_slot(*image, blocks, slots, t, task.block);
            if ((pixels ? pixels[item] : front[(long long)r * block.cols + c]) <= 0.0f) direction = least * gradient[0];
        }
        gradient[0] = direction;
    }
}
