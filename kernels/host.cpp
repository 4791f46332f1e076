// The host's loops over the kernels' arithmetic: built by the C++ compiler of the machine, called through ctypes.
//
// pixels: (rows, cols); sinogram: (angles, width); fans: one an angle. All float32, row-major.
#include <vector>

#include "joseph.h"

extern "C" void joseph_forward(const float *pixels, int rows, int cols, const RayFan *fans, int angles, int width,
                               float *sinogram) {
    std::vector<float> turned((long)rows * cols);  // rows and columns exchanged: rays along columns read it in order
    for (long r = 0; r < rows; ++r)
        for (long c = 0; c < cols; ++c) turned[c * rows + r] = pixels[r * cols + c];
    for (int angle = 0; angle < angles; ++angle) {
        const RayFan fan = fans[angle];
        const float *image = fan.along_rows ? pixels : turned.data();
        const int lines = fan.along_rows ? rows : cols, size = fan.along_rows ? cols : rows;
        for (int k = 0; k < width; ++k)
            sinogram[(long)angle * width + k] =
                fan.length * ray_sum(image, lines, size, size, 1, ray_origin(fan, (float)k), fan.per_line);
    }
}

// Add to a row of pixels the ray that is `q` behind each pixel's first one. A template, so that it vectorizes.
template <bool along_rows>
static void add_rays(float *__restrict row, const int *__restrict first, int q, const float *__restrict value,
                     const float *__restrict origin, float step, int r, int cols) {
    for (int c = 0; c < cols; ++c) {
        const int k = first[c] + q;
        const float position = ray_position(origin[k], step, (float)(along_rows ? r : c));
        row[c] += pixel_weight(position, (float)(along_rows ? c : r)) * value[k];
    }
}

// Gather form: every pixel collects the rays that passed it, angle by angle, a row of pixels at a time.
extern "C" void joseph_adjoint(const float *sinogram, int rows, int cols, const RayFan *fans, int angles, int width,
                               float *pixels) {
    for (long i = 0; i < (long)rows * cols; ++i) pixels[i] = 0.0f;
    std::vector<float> padded_value, padded_origin;
    std::vector<int> nearest(cols);
    for (int angle = 0; angle < angles; ++angle) {
        const RayFan fan = fans[angle];
        const int near = fan.rays_near, pad = near + 1, last = width + near;
        padded_value.assign(width + 2 * pad, 0.0f);  // a ray beyond the footprint brings nothing
        padded_origin.resize(padded_value.size());
        for (int k = 0; k < width; ++k) padded_value[k + pad] = fan.length * sinogram[(long)angle * width + k];
        for (int k = 0; k < (int)padded_origin.size(); ++k) padded_origin[k] = ray_origin(fan, (float)(k - pad));
        const float *value = padded_value.data(), *origin = padded_origin.data();
        const float step = fan.per_line;
        for (int r = 0; r < rows; ++r) {
            float *row = pixels + (long)r * cols;
            int *__restrict first = nearest.data();
            // The ray through pixel c is start + c·slope, and those near it begin `reach` before: as in `gathered`.
            const double start = fan.along_rows ? -fan.first - (double)r * step : r - (double)fan.first;
            const float origin_of_row = (float)(start * fan.rays_a_pixel - fan.reach + pad);
            const float slope = (fan.along_rows ? 1.0f : -step) * fan.rays_a_pixel;
            for (int c = 0; c < cols; ++c) {
                const float ray = origin_of_row + (float)c * slope;
                const float inside = ray < 0.0f ? 0.0f : (ray > (float)last ? (float)last : ray);
                first[c] = (int)inside + 1 - (inside == 0.0f);
            }
            for (int q = 0; q < near; ++q)
                if (fan.along_rows)
                    add_rays<true>(row, first, q, value, origin, step, r, cols);
                else
                    add_rays<false>(row, first, q, value, origin, step, r, cols);
        }
    }
}
