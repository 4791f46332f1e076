// One heavy-ball step: m <- beta m - gamma G; x <- x + m, into buffers that will be published; `move` of red.py. Where
// blocks go along with their centers, x <- x - gamma G, from where follow.cu has put x, and m is the center's.
#include "layout.h"

#define LARGEST_FLOAT 3.402823466e38f

// gradients (batch, parts, block_rows, block_cols): G in part 0; totals (batch, 2): |G|^2 and <G, m>; reference (rows,
// cols). pixels, momentum (batch, block_rows, block_cols); turned (batch, block_cols, block_rows): the pixels with rows
// and columns exchanged, for forward.cu. sums (batch, 2, lanes): |x - reference|^2, and how many x aren't finite.
KERNEL step(const Image *image, const Block *blocks, const float *memory, const Task *tasks, const signed char *slots,
            int batch, int parts, int centered, const float *gradients, const float *totals,
            const float *reference /*or null*/, float *pixels, float *turned, float *momentum, int lanes, float *sums) {
    EACH(item, (long long)batch * lanes) {
        long long rest = item;
        const int lane = split_off(rest, lanes), t = (int)rest;
        const Task task = tasks[t];
        float squared = 0.0f, infinite = 0.0f;
        if (task.block >= 0) {
            const Block &block = blocks[task.block];
            const float *old_pixels = memory + front_slot(*image, blocks, slots, t, task.block);
            const float *old_momentum = old_pixels + block.momentum;
            const bool restarted = task.momentum > 0.0f && totals[2LL * t + 1] > 0.0f;  // it points uphill
            const float kept = restarted ? 0.0f : task.momentum;
            for (int p = lane; p < block.rows * block.cols; p += lanes) {
                const int r = p / block.cols, c = p - r * block.cols;
                const long long place = padded(*image, t, r, c);
                const float x = centered ? pixels[place] : old_pixels[p];
                float moved_by = -task.length * gradients[padded(*image, t * parts, r, c)];
                if (!centered) moved_by += kept * old_momentum[p];
                float moved = x + moved_by;
                if (task.nonnegative) {
                    if (moved < 0.0f) moved = 0.0f;  // unlike fmaxf, this keeps NaN
                    moved_by = moved - x;
                }
                pixels[place] = moved;
                turned[padded(*image, t, 0, 0) + (long long)c * image->block_rows + r] = moved;
                if (!centered) momentum[place] = moved_by;
                if (!(fabsf(moved) <= LARGEST_FLOAT)) infinite += 1.0f;
                if (reference) {
                    const float error =
                        moved - reference[(long long)(block.top + r) * image->cols + block.left + c];
                    squared += error * error;
                }
            }
        }
        sums[2LL * t * lanes + lane] = squared;
        sums[(2LL * t + 1) * lanes + lane] = infinite;
    }
}
