// The data term's gradient before its scale, A_i^T r, of each task's block, of a parallel beam: projections.h.
#include "projections.h"

KERNEL adjoint(const Image *image, const Block *blocks, const ParallelRays *rays, const Task *tasks,
               const int *subset /*or null*/, int batch, int count, int width, int parts, const float *residuals,
               float *gradients) {
    backproject_blocks(image, blocks, rays, tasks, subset, batch, count, width, parts, residuals, gradients);
}
