// The network's first layer, its features rounded to float16: first_layer.h.
#include "first_layer.h"

KERNEL first_layer_float16(const float *crops, const float *weights, const float *bias, int batch, int rows, int cols,
                           int channels, Float16 *features) {
    first_layer(crops, weights, bias, batch, rows, cols, channels, features);
}
