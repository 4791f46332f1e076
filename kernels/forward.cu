// Each task's share of the sinogram, s_i = A_i x_i, into its back slot, of a parallel beam: projections.h.
#include "projections.h"

KERNEL forward(const Image *image, const Block *blocks, const ParallelRays *rays, float *memory, const Task *tasks,
               const signed char *slots, int batch, int width, const float *pixels, const float *turned) {
    project_blocks(image, blocks, rays, memory, tasks, slots, batch, width, pixels, turned);
}
