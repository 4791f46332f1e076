// What follows a convolution: a bias for each channel and the ReLU, in place.
#pragma once

#include "half.h"

// features (pixels, channels), bias (channels,): both begin at a multiple of 16 bytes, channels a multiple of 8. The sum
// is rounded as torch rounds it: features + bias, each already rounded.
template <class Half>
PORTABLE void activate(Half *features, const Half *bias, int pixels, int channels) {
    const int groups = channels / 8;
    Eight *all = reinterpret_cast<Eight *>(features);
    EACH(item, (long long)pixels * groups) {
        long long rest = item;
        const Eight added = reinterpret_cast<const Eight *>(bias)[split_off(rest, groups)];
        Eight found = all[item];
        for (int i = 0; i < 4; ++i) found.pair[i] = biased_relu(found.pair[i], added.pair[i], Half());
        all[item] = found;
    }
}
