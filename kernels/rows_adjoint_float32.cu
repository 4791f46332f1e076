// A^T r of matrices in float32, in parts: rows.h.
#include "rows.h"

KERNEL rows_adjoint_float32(const Image *image, const Task *tasks, const int *subset /*or null*/, int batch, int count,
                            int rows, int parts, const float *matrices, const float *residuals, float *gradients) {
    rows_adjoint(image, tasks, subset, batch, count, rows, parts, matrices, residuals, gradients);
}
