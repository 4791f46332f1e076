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
            const int own_width = blocks[own].width, own_fans = own * image->angles;
            const int share = (count + parts - 1) / parts;
            const int first = part * share, last = first + share < count ? first + share : count;
            const long long row = (long long)t * count;
            const float *values = residuals + (row + first) * width;
            for (int n = first; n < last; ++n, values += width) {
                const RayFan fan = fans[own_fans + (subset ? subset[row + n] : n)];
                sum += gathered(fan, values, own_width, (float)r, (float)c);
            }
        }
        gradients[item] = sum;
    }
}
