// Bias and ReLU after a convolution in bfloat16: activate.h.
#include "activate.h"

KERNEL activate_bfloat16(Bfloat16 *features, const Bfloat16 *bias, int pixels, int channels) {
    activate(features, bias, pixels, channels);
}
