// Each task's share of the sinogram, s_i = A_i x_i, into its back slot.
#include "joseph.h"
#include "layout.h"

// fans (blocks, angles); pixels (batch, block_rows, block_cols); turned (batch, block_cols, block_rows): the same with
// rows and columns exchanged, so that neighbouring rays along columns too read neighbouring pixels.
KERNEL forward(const Image *image, const Block *blocks, const RayFan *fans, float *memory, const Task *tasks,
               const signed char *slots, int batch, int width, const float *pixels, const float *turned) {
    const int angles = image->angles;
    EACH(item, (long long)batch * angles * width) {
        long long rest = item;
        const int k = split_off(rest, width), angle = split_off(rest, angles), t = (int)rest;
        const int own = tasks[t].block;
        if (own < 0 || k >= blocks[own].width) continue;
        const Block &block = blocks[own];
        const RayFan &fan = fans[(long long)own * angles + angle];
        const long long window = padded(*image, t, 0, 0);
        const float origin = ray_origin(fan, (float)k);
        const float sum =
            fan.along_rows
                ? ray_sum(pixels + window, block.rows, block.cols, image->block_cols, 1, origin, fan.per_line)
                : ray_sum(turned + window, block.cols, block.rows, image->block_rows, 1, origin, fan.per_line);
        float *share = memory + back_slot(*image, blocks, slots, t, own) + block.share;
        share[(long long)angle * block.width + k] = fan.length * sum;
    }
}
