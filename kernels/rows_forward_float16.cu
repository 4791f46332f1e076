// A x − y of matrices in float16, in partial sums: rows.h.
#include "rows.h"

KERNEL rows_forward_float16(const Image *image, const Block *blocks, const float *memory, const Task *tasks,
                            const signed char *slots, const int *subset /*or null*/, int batch, int count, int rows,
                            int lanes, const Float16 *matrices, const float *measurements, float *sums) {
    rows_forward(image, blocks, memory, tasks, slots, subset, batch, count, rows, lanes, matrices, measurements, sums);
}
