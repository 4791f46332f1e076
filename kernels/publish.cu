// Each task's pixels, momentum and center into its back slot; forward.cu adds the share.
#include "layout.h"

// pixels, momentum, centers (batch, block_rows, block_cols).
KERNEL publish(const Image *image, const Block *blocks, float *memory, const Task *tasks, const signed char *slots,
               int batch, const float *pixels, const float *momentum, const float *centers /*or null*/) {
    EACH(item, (long long)batch * image->block_rows * image->block_cols) {
        long long rest = item;
        const int c = split_off(rest, image->block_cols), r = split_off(rest, image->block_rows), t = (int)rest;
        const int own = tasks[t].block;
        if (own < 0 || r >= blocks[own].rows || c >= blocks[own].cols) continue;
        float *back = memory + back_slot(*image, blocks, slots, t, own) + (long long)r * blocks[own].cols + c;
        back[0] = pixels[item];
        back[blocks[own].momentum] = momentum[item];
        if (centers) back[blocks[own].center] = centers[item];
    }
}
