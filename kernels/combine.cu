// G = the data term's gradient + tau times the denoiser's residual, and the sums a step needs of it; `_judged` of red.py.
#include "layout.h"

// gradients (batch, parts, block_rows, block_cols): the adjoint's parts; G replaces part 0, or, where blocks go along
// with their centers, the data term's gradient does, which follow.cu goes on from. noise (batch, block_rows, block_cols),
// x - center in its place where the denoiser isn't asked; mask (rows, cols). sums (batch, 2, lanes): |G|^2 and <G, m>;
// lane l takes pixels l, l + lanes, …
KERNEL combine(const Image *image, const Block *blocks, const float *memory, const Task *tasks,
               const signed char *slots, int batch, int parts, int centered, float tau, float scale,
               const float *mask /*or null*/, const float *noise, float *gradients, int lanes, float *sums) {
    EACH(item, (long long)batch * lanes) {
        long long rest = item;
        const int lane = split_off(rest, lanes), t = (int)rest;
        const Task task = tasks[t];
        const bool keeps = centered && task.strength == 0.0f;
        const float noise_scale = scale * task.strength;
        float squared = 0.0f, along = 0.0f;
        if (task.block >= 0) {
            const Block &block = blocks[task.block];
            const float *pixels = memory + front_slot(*image, blocks, slots, t, task.block);
            const float *momentum = pixels + block.momentum, *center = pixels + block.center;
            const long long part_size = padded(*image, 1, 0, 0);
            for (int p = lane; p < block.rows * block.cols; p += lanes) {
                const int r = p / block.cols, c = p - r * block.cols;
                float *gradient = gradients + padded(*image, t * parts, r, c);
                float data = 0.0f;
                for (int part = 0; part < parts; ++part) data += gradient[part * part_size];
                data *= task.gradient_scale;
                const float residual =
                    keeps ? pixels[p] - center[p] : noise_scale * noise[padded(*image, t, r, c)];
                const float value = inside(*image, block, mask, r, c) * (data + tau * residual);
                gradient[0] = centered ? data : value;
                // A pixel held at 0 is where it should be: the projected gradient's norm.
                if (!(task.nonnegative && pixels[p] <= 0.0f && value > 0.0f)) squared += value * value;
                along += value * momentum[p];
            }
        }
        sums[2LL * t * lanes + lane] = squared;
        sums[(2LL * t + 1) * lanes + lane] = along;
    }
}
