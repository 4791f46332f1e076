// The adjoint for the whole image as one window, of a parallel beam: projections.h.
#include "projections.h"

KERNEL backproject(const ParallelRays *rays, const float *sinogram, int angles, int detectors, int rows, int cols,
                   float *image) {
    backproject_whole(rays, sinogram, angles, detectors, rows, cols, image);
}
