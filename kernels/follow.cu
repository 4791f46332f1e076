// A block goes along with its center: z+ = D(x) + beta m where the denoiser is asked, else z; m+ = z+ - z; x <- x + z+ - z;
// then the gradient of g + tau/2 |x - z+|^2 there, for step.cu; `follow` of red.py. With dual the denoiser was asked for
// s = x + m, and m+ = s - D(s), z+ = D(s) - m+.
#include "layout.h"

// noise (batch, block_rows, block_cols); totals (batch, 2): |G|^2 and <G, m>; mask (rows, cols). gradients (batch, parts,
// block_rows, block_cols): the data term's in part 0, overwritten. pixels, momentum, centers (batch, block_rows,
// block_cols): x, m+ and z+.
KERNEL follow(const Image *image, const Block *blocks, const float *memory, const Task *tasks, const signed char *slots,
              int batch, int parts, int dual, float tau, float scale, const float *mask /*or null*/,
              const float *noise, const float *totals, float *gradients, float *pixels, float *momentum,
              float *centers) {
    EACH(item, (long long)batch * image->block_rows * image->block_cols) {
        const Pixel at = pixel_of(*image, blocks, tasks, item);
        if (at.block < 0) continue;
        const Task task = tasks[at.task];
        const Block &block = blocks[at.block];
        const long long p = at.place;
        const float *front = memory + front_slot(*image, blocks, slots, at.task, at.block);
        const float x = front[p], m = front[block.momentum + p], z = front[block.center + p];
        const float view = inside(*image, block, mask, at.row, at.col);
        float *gradient = gradients + padded(*image, at.task * parts, at.row, at.col);
        float moved = x, inertia = m, ahead = z;
        if (task.strength > 0.0f) {
            const bool restarted = task.momentum > 0.0f && totals[2LL * at.task + 1] > 0.0f;  // it points uphill
            const float residual = scale * task.strength * noise[item];
            ahead = dual ? x + m - 2.0f * residual : x - residual + (restarted ? 0.0f : task.momentum) * m;
            inertia = dual ? view * residual : ahead - z;
            float shift = ahead - z;
            if (task.nonnegative) {
                const bool held = x <= 0.0f && gradient[0] + tau * (x - ahead) > 0.0f;
                shift = held ? 0.0f : (ahead < 0.0f ? 0.0f : ahead) - (z < 0.0f ? 0.0f : z);  // NaN stays
            }
            moved = x + view * shift;
        }
        pixels[item] = moved;
        momentum[item] = inertia;
        centers[item] = ahead;
        gradient[0] = view * (gradient[0] + tau * (moved - ahead));
    }
}
