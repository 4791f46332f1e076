// Bias and ReLU after a convolution in float16: activate.h.
#include "activate.h"

KERNEL activate_float16(Float16 *features, const Float16 *bias, int pixels, int channels) {
    activate(features, bias, pixels, channels);
}
