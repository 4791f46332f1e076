// float16 and bfloat16: eight channels in 16 bytes, two in 32 bits, a bias with its ReLU, and rounding to nearest even.
//
// NVRTC has no cuda_fp16.h. PTX ISA 7.0 does it from compute capability 8.0 on, two at a time; older devices and the host
// do it in float32, whose 24 bits are enough for the sum of two to be as if rounded once. NaN stays NaN in both.
#pragma once

#include "grid.h"

#ifdef __CUDACC__
PORTABLE unsigned bits_of(float value) { return __float_as_uint(value); }
PORTABLE float float_of(unsigned bits) { return __uint_as_float(bits); }
#else
#include <cstring>
PORTABLE unsigned bits_of(float value) {
    unsigned bits;
    std::memcpy(&bits, &value, sizeof bits);
    return bits;
}
PORTABLE float float_of(unsigned bits) {
    float value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}
#endif

struct Float16 {
    unsigned short bits;
};

struct Bfloat16 {
    unsigned short bits;
};

// One access to memory. A pair has the lower channel in its lower 16 bits.
struct alignas(16) Eight {
    unsigned pair[4];
};

struct alignas(16) Four {
    float value[4];
};

PORTABLE float widened(Float16 half) {
    const unsigned magnitude = half.bits & 0x7fffu, sign = (unsigned)(half.bits & 0x8000) << 16;
    if (magnitude < 0x400u) return float_of(bits_of((float)magnitude * 0x1p-24f) | sign);  // subnormal
    const unsigned bias = magnitude < 0x7c00u ? 112u : 224u;  // of the exponent; infinity and NaN keep theirs
    return float_of(((magnitude << 13) + (bias << 23)) | sign);
}

PORTABLE float widened(Bfloat16 half) { return float_of((unsigned)half.bits << 16); }

PORTABLE Float16 rounded(float value, Float16) {
    const unsigned magnitude = bits_of(value) & 0x7fffffffu, sign = bits_of(value) >> 16 & 0x8000u;
    unsigned found;
    if (magnitude > 0x7f800000u)
        found = 0x7fffu;  // NaN
    else if (magnitude >= 0x47800000u)
        found = 0x7c00u;  // from 2^16 on infinity; from 65520 on the sum below carries into it
    else if (magnitude < 0x38800000u)
        found = bits_of(float_of(magnitude) + 0.5f) - 0x3f000000u;  // subnormal: rounded by the sum, whose ulp is 2^-24
    else
        found = (magnitude - (112u << 23) + 0xfffu + (magnitude >> 13 & 1u)) >> 13;
    return {(unsigned short)(found | sign)};
}

PORTABLE Bfloat16 rounded(float value, Bfloat16) {
    const unsigned bits = bits_of(value);
    if ((bits & 0x7fffffffu) > 0x7f800000u) return {0x7fff};
    return {(unsigned short)((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16)};
}

PORTABLE float relu(float value) { return value <= 0.0f ? 0.0f : value; }

#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800

// max(a + b, 0) of two at once: a · 1 + b is rounded once.
PORTABLE unsigned biased_relu(unsigned a, unsigned b, Float16) {
    asm("fma.rn.relu.f16x2 %0, %0, %1, %2;" : "+r"(a) : "r"(0x3c003c00u), "r"(b));
    return a;
}

PORTABLE unsigned biased_relu(unsigned a, unsigned b, Bfloat16) {
    asm("fma.rn.relu.bf16x2 %0, %0, %1, %2;" : "+r"(a) : "r"(0x3f803f80u), "r"(b));
    return a;
}

// max(low, 0) and max(high, 0), rounded. PTX names the upper one first.
PORTABLE unsigned rounded_relu(float low, float high, Float16) {
    unsigned pair;
    asm("cvt.rn.relu.f16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
    return pair;
}

PORTABLE unsigned rounded_relu(float low, float high, Bfloat16) {
    unsigned pair;
    asm("cvt.rn.relu.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
    return pair;
}

#else

template <class Half>
PORTABLE unsigned rounded_relu(float low, float high, Half kind) {
    return rounded(relu(low), kind).bits | (unsigned)rounded(relu(high), kind).bits << 16;
}

template <class Half>
PORTABLE unsigned biased_relu(unsigned a, unsigned b, Half kind) {
    const Half low[2] = {{(unsigned short)a}, {(unsigned short)b}};
    const Half high[2] = {{(unsigned short)(a >> 16)}, {(unsigned short)(b >> 16)}};
    return rounded_relu(widened(low[0]) + widened(low[1]), widened(high[0]) + widened(high[1]), kind);
}

#endif
