// One source for CUDA and for the host: a kernel's work items are threads of a grid there, turns of a loop here.
//
// A kernel is one EACH loop over its items; an item never asks which thread runs it, so any grid gives the same result.
#pragma once

#ifdef __CUDACC__  // NVRTC has no standard headers, and needs none here
#define PORTABLE __device__ __forceinline__
#define KERNEL extern "C" __global__ void
#define EACH(index, count)                                                                            \
    for (long long index = (long long)blockIdx.x * blockDim.x + threadIdx.x, end_of_##index = (count); \
         index < end_of_##index; index += (long long)gridDim.x * blockDim.x)
#else
#include <cmath>
#define PORTABLE static inline
#define KERNEL extern "C" void
#define EACH(index, count) \
    for (long long index = 0, end_of_##index = (count); index < end_of_##index; ++index)
#endif

// rest % count, and rest becomes rest / count. In 32 bits where they suffice: a GPU divides 64 bits many times slower.
PORTABLE int split_off(long long &rest, int count) {
    const long long all = rest;
    rest = all >> 32 ? all / count : (unsigned)all / (unsigned)count;
    return (int)(all - rest * count);
}
