// The crops the denoiser reads: each task's block with a halo around it, from the slots the task reads.
#include "layout.h"

// Index i mirrored into [0, length) about the border pixels, as often as needed; `reflected` of blocks.py.
PORTABLE int reflected(int i, int length) {
    if (i >= 0 && i < length) return i;
    if (length == 1) return 0;
    const int period = 2 * (length - 1);
    const int folded = (i % period + period) % period;
    return folded < length ? folded : period - folded;
}

// crops (batch, block_rows + 2 halo, block_cols + 2 halo): denoiser_input, and 0 where a task's block has no pixel, or
// doesn't ask the denoiser.
KERNEL crop(const Image *image, const Block *blocks, const float *memory, const Task *tasks, const signed char *slots,
            int batch, int dual, float scale, float *crops) {
    const int halo = image->halo, height = image->block_rows + 2 * halo, width = image->block_cols + 2 * halo;
    EACH(item, (long long)batch * height * width) {
        long long rest = item;
        const int c = split_off(rest, width), r = split_off(rest, height), t = (int)rest;
        const int own = tasks[t].block;
        float value = 0.0f;
        if (own >= 0 && tasks[t].strength > 0.0f && r < blocks[own].rows + 2 * halo && c < blocks[own].cols + 2 * halo) {
            const int row = reflected(blocks[own].top - halo + r, image->rows);
            const int col = reflected(blocks[own].left - halo + c, image->cols);
            value = denoiser_input(*image, blocks, memory, tasks[t], slots, t, dual, scale, row, col);
        }
        crops[item] = value;
    }
}
