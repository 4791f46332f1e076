// The whole image as each task reads it, for a denoiser that isn't local: from the slots the task reads, no halo.
#include "layout.h"

// images (batch, rows, cols): denoiser_input, and 0 for a task that has no block or doesn't ask the denoiser.
KERNEL whole(const Image *image, const Block *blocks, const float *memory, const Task *tasks, const signed char *slots,
             int batch, int dual, float scale, float *images) {
    const int rows = image->rows, cols = image->cols;
    EACH(item, (long long)batch * rows * cols) {
        long long rest = item;
        const int col = split_off(rest, cols), row = split_off(rest, rows), t = (int)rest;
        float value = 0.0f;
        if (tasks[t].block >= 0 && tasks[t].strength > 0.0f) {
            value = denoiser_input(*image, blocks, memory, tasks[t], slots, t, dual, scale, row, col);
        }
        images[item] = value;
    }
}
