// The adjoint for the whole image as one window: the last stage of filtered back-projection.
#include "joseph.h"

// fans (angles) of the whole image and detector; sinogram (angles, detectors); image (rows, cols).
KERNEL backproject(const RayFan *fans, const float *sinogram, int angles, int detectors, int rows, int cols,
                   float *image) {
    EACH(item, (long long)rows * cols) {
        long long rest = item;
        const int c = split_off(rest, cols), r = (int)rest;
        float sum = 0.0f;
        for (int angle = 0; angle < angles; ++angle)
            sum += gathered(fans[angle], sinogram + (long long)angle * detectors, detectors, (float)r, (float)c);
        image[item] = sum;
    }
}
