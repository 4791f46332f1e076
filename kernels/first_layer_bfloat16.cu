// The network's first layer, its features rounded to bfloat16: first_layer.h.
#include "first_layer.h"

KERNEL first_layer_bfloat16(const float *crops, const float *weights, const float *bias, int batch, int rows, int cols,
                            int channels, Bfloat16 *features) {
    first_layer(crops, weights, bias, batch, rows, cols, channels, features);
}
