// The data term's gradient before its scale, A_i^T r: every pixel gathers the rays that passed it.
#include "joseph.h"
#include "layout.h"

// fans (blocks, angles); residuals (batch, count, width) of the angles in subset (batch, count), or of all.
// gradients (batch, parts, block_rows, block_cols): part p sums its share of the angles, and 0 beyond the block's own
// pixels. More parts are more threads.
KERNEL adjoint(const Image *image, const Block *blocks, const RayFan *fans, const Task *tasks,
               const int *subset /*or null*/, int batch, int count, int width, int parts, const float *residuals,
               float *gradients) {
    const int rows = image->block_rows, cols = image->block_cols;
    EACH(item, (long long)batch * parts * rows * cols) {
        long long rest = item;
        const int c = split_off(rest, cols), r = split_off(rest, rows), part = split_off(rest, parts), t = (int)rest;
        const int own = tasks[t].block;
        if (own < 0) continue;
        float sum = 0.0f;
        if (r < blocks[own].rows && c < blocks[own].cols) {
            const RayFan *fan = fans + (long long)own * image->angles;
            const int last = (int)((part + 1LL) * count / parts), own_width = blocks[own].width;
            for (int n = (int)((long long)part * count / parts); n < last; ++n) {
                const long long row = (long long)t * count + n;
                sum += gathered(fan[subset ? subset[row] : n], residuals + row * width, own_width, r, c);
            }
        }
        gradients[item] = sum;
    }
}
