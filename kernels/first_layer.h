// The network's first layer, from the crops on: 3 × 3 taps in float32, bias, ReLU; rounded once.
#pragma once

#include "half.h"

// An item is 8 channels of this many pixels side by side, so a weight is read once for all of them. Four, or a loop over
// the rows that the compiler unrolls, would take more than 64 registers a thread.
#define PIXELS 3

// crops (batch, rows, cols) float32; bias (channels,) float32, channels a multiple of 8.
// weights (9, 2, channels / 8, 4) float32: the taps row by row, then the lower and the upper four of every 8 channels, so
// that neighbouring threads read neighbouring memory.
// features (batch, rows - 2, cols - 2, channels). All but the crops begin at a multiple of 16 bytes.
template <class Half>
PORTABLE void first_layer(const float *crops, const float *weights, const float *bias, int batch, int rows, int cols,
                          int channels, Half *features) {
    const int groups = channels / 8, height = rows - 2, width = cols - 2, across = (width + PIXELS - 1) / PIXELS;
    EACH(item, (long long)batch * height * across * groups) {
        long long rest = item;
        const int g = split_off(rest, groups), c = PIXELS * split_off(rest, across), r = split_off(rest, height);
        const int left = width - c;  // pixels from here to the end of the row
        const float *line = crops + (rest * rows + r) * cols + c;
        const Four *weight = reinterpret_cast<const Four *>(weights) + g;
        Eight *to = reinterpret_cast<Eight *>(features) + ((rest * height + r) * width + c) * groups + g;
        float sum[PIXELS][8];
        for (int half = 0; half < 2; ++half) {
            const Four start = reinterpret_cast<const Four *>(bias)[2 * g + half];
            for (int p = 0; p < PIXELS; ++p)
                for (int k = 0; k < 4; ++k) sum[p][4 * half + k] = start.value[k];
        }
#pragma unroll 1
        for (int i = 0; i < 3; ++i, line += cols) {
            float seen[PIXELS + 2];
            for (int k = 0; k < PIXELS + 2; ++k) seen[k] = k < left + 2 ? line[k] : 0.0f;
            for (int j = 0; j < 3; ++j)
                for (int half = 0; half < 2; ++half, weight += groups) {
                    const Four factor = *weight;
                    for (int p = 0; p < PIXELS; ++p)
                        for (int k = 0; k < 4; ++k) sum[p][4 * half + k] += seen[p + j] * factor.value[k];
                }
        }
        for (int p = 0; p < PIXELS && p < left; ++p, to += groups) {
            Eight found;
            for (int k = 0; k < 8; k += 2) found.pair[k / 2] = rounded_relu(sum[p][k], sum[p][k + 1], Half());
            *to = found;
        }
    }
}
