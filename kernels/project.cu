// The sinogram of the whole image as one window, of a parallel beam: projections.h.
#include "projections.h"

KERNEL project(const ParallelRays *rays, const float *image, int angles, int detectors, int rows, int cols,
               float *sinogram) {
    project_whole(rays, image, angles, detectors, rows, cols, sinogram);
}
