// What the preconditioner filters: G where pixels may move, 0 where one is held at zero and beyond a smaller block.
#include "layout.h"

// gradients (batch, parts, block_rows, block_cols): G in part 0; pixels (batch, block_rows, block_cols): where the block
// is, null: where its slot says; free (batch, block_rows, block_cols).
KERNEL filter_in(const Image *image, const Block *blocks, const float *memory, const Task *tasks,
                 const signed char *slots, int batch, int parts, const float *gradients,
                 const float *pixels /*or null*/, float *free) {
    EACH(item, (long long)batch * image->block_rows * image->block_cols) {
        const Pixel at = pixel_of(*image, blocks, tasks, item);
        float value = 0.0f;
        if (at.block >= 0) {
            value = gradients[padded(*image, at.task * parts, at.row, at.col)];
            if (tasks[at.task].nonnegative && value > 0.0f) {
                const float *front = memory + front_slot(*image, blocks, slots, at.task, at.block);
                if ((pixels ? pixels[item] : front[at.place]) <= 0.0f) value = 0.0f;
            }
        }
        free[item] = value;
    }
}
