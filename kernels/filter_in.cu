// What the preconditioner filters: G where pixels may move, 0 where one is held at zero and beyond a smaller block.
#include "layout.h"

// gradients (batch, parts, block_rows, block_cols): G in part 0; pixels (batch, block_rows, block_cols): where the block
// is, null: where its slot says; free (batch, block_rows, block_cols).
KERNEL filter_in(const Image *image, const Block *blocks, const float *memory, const Task *tasks,
                 const signed char *slots, int batch, int parts, const float *gradients,
                 const float *pixels /*or null*/, float *free) {
    EACH(item, (long long)batch * image->block_rows * image->block_cols) {
        long long rest = item;
        const int c = split_off(rest, image->block_cols), r = split_off(rest, image->block_rows), t = (int)rest;
        const Task task = tasks[t];
        float value = 0.0f;
        if (task.block >= 0 && r < blocks[task.block].rows && c < blocks[task.block].cols) {
            const Block &block = blocks[task.block];
            value = gradients[padded(*image, t * parts, r, c)];
            if (task.nonnegative && value > 0.0f) {
                const float *front = memory + front_slot(*image, blocks, slots, t, task.block);
                if ((pixels ? pixels[item] : front[(long long)r * block.cols + c]) <= 0.0f) value = 0.0f;
            }
        }
        free[item] = value;
    }
}
