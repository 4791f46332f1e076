// Joseph's projection of the whole image as one window: its sinogram.
#include "joseph.h"

// fans (angles) of the whole image and detector; image (rows, cols); sinogram (angles, detectors).
KERNEL project(const RayFan *fans, const float *image, int angles, int detectors, int rows, int cols,
               float *sinogram) {
    EACH(item, (long long)angles * detectors) {
        long long rest = item;
        const int k = split_off(rest, detectors);
        const RayFan &fan = fans[rest];
        const float origin = ray_origin(fan, (float)k);
        const float sum = fan.along_rows ? ray_sum(image, rows, cols, cols, 1, origin, fan.per_line)
                                         : ray_sum(image, cols, rows, 1, cols, origin, fan.per_line);
        sinogram[item] = fan.length * sum;
    }
}
