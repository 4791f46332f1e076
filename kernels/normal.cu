// The gradient by the normal equations of each task's block, N x − c with N = A^T A and c = A^T y: one pass over N.
#include "rows.h"

// N is symmetric, so its rows are summed, each times its pixel of the task's own front slot: neighbouring items read
// neighbouring bytes. matrices (blocks, size, size), constants (blocks, size).
// gradients (batch, parts, size): part p sums its share of the rows, part 0 less c.
KERNEL normal(const Image *image, const Block *blocks, const float *memory, const Task *tasks, const signed char *slots,
              int batch, int parts, const float *matrices, const float *constants, float *gradients) {
    const int size = image->block_rows * image->block_cols, pieces = size % WIDE == 0 ? size / WIDE : size;
    EACH(item, (long long)batch * parts * pieces) {
        long long rest = item;
        const int place = split_off(rest, pieces), part = split_off(rest, parts), t = (int)rest;
        const int own = tasks[t].block;
        if (own < 0) continue;
        const Share share = share_of(size, parts, part);
        const float *matrix = matrices + (long long)own * size * size;
        const float *x = memory + front_slot(*image, blocks, slots, t, own);
        const float *minus = part == 0 ? constants + (long long)own * size : nullptr;
        float *to = gradients + ((long long)t * parts + part) * size;
        if (size % WIDE == 0)
            sum_rows<WIDE>(matrix, nullptr, share.first, share.last, x, minus, size, place, to);
        else
            sum_rows<1>(matrix, nullptr, share.first, share.last, x, minus, size, place, to);
    }
}
