// Each task's pixels, momentum and center into its back slot; forward.cu adds the share.
#include "layout.h"

// pixels, momentum, centers (batch, block_rows, block_cols).
KERNEL publish(const Image *image, const Block *blocks, float *memory, const Task *tasks, const signed char *slots,
               int batch, const float *pixels, const float *momentum, const float *centers /*or null*/) {
    EACH(item, (long long)batch * image->block_rows * image->block_cols) {
        const Pixel at = pixel_of(*image, blocks, tasks, item);
        if (at.block < 0) continue;
        const Block &block = blocks[at.block];
        float *back = memory + back_slot(*image, blocks, slots, at.task, at.block) + at.place;
        back[0] = pixels[item];
        back[block.momentum] = momentum[item];
        if (centers) back[block.center] = centers[item];
    }
}
