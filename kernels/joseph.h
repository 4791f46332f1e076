// Joseph's projector for one window of the image and one footprint: the arithmetic of a ray and of a pixel.
//
// At each angle, rays cross the lines of the minor axis once each (rows where |cos| > |sin|, columns elsewhere); ray k
// crosses line n at position(k, n) = first + k·per_ray + n·per_line, in pixels, and takes the two pixels around it by
// linear interpolation, times length = 1/max(|cos|, |sin|). Positions come from the indices, never from a running sum.
// Joseph, IEEE TMI 1982, eq. 4. Plain C++ and CUDA C++; no vendor's types.
#pragma once

#include "grid.h"

#ifdef __CUDACC__
#define NOT_UNROLLED _Pragma("unroll 1")
#else
#define NOT_UNROLLED
#endif

// One angle's rays; joseph.py makes them. along_rows: lines are rows and positions are columns; otherwise the other way
// round. first and per_ray are sums of two floats, 48 bits of the double: k·per_ray may be large and cancel first, and
// a GPU computes doubles slowly or hardly at all. rays_a_pixel is 1/per_ray; a pixel's search for its rays begins
// `reach` rays before it and ends after `rays_near`. 16 bytes at a time, as a GPU loads them.
struct alignas(16) RayFan {
    float first, first_rest;
    float per_ray, per_ray_rest;
    float per_line;
    float rays_a_pixel;
    float reach;
    float length;
    int rays_near;
    int along_rows;
    int unused[2];
};

// Where ray k crosses line 0: within 1 ulp of a float, since each product is exact inside its fma, the first fma's
// rounding and the sum's are half an ulp each, and the rest's is 2^-48 of `first`. Forward and adjoint both call this,
// so that their weights are the same. k < 2^24.
PORTABLE float ray_origin(const RayFan &fan, float k) {
    return fmaf(k, fan.per_ray, fan.first) + fmaf(k, fan.per_ray_rest, fan.first_rest);
}

// Adds half an ulp of the position, and per_line's own rounding: lines·2^-25. In a window of at most `size` lines and
// places, all within 1.5 ulp of a float at 2·size.
PORTABLE float ray_position(float origin, float per_line, float line) { return fmaf(line, per_line, origin); }

// The two pixels around a position on one line, interpolated; pixels beyond the window count as zero.
PORTABLE float interpolate_checked(const float *line, long stride, int size, float position) {
    const float below = floorf(position);
    const int i = (int)below;
    const float weight = position - below;
    const float left = i >= 0 && i < size ? line[i * stride] : 0.0f;
    const float right = i + 1 >= 0 && i + 1 < size ? line[(i + 1) * stride] : 0.0f;
    return left + weight * (right - left);
}

PORTABLE float interpolate_inside(const float *line, long stride, float position) {
    const int i = (int)position;  // position >= 0
    const float weight = position - (float)i;
    const float left = line[i * stride];
    return left + weight * (line[(i + 1) * stride] - left);
}

// The first line >= 0 at which a rising position reaches `bound`; `lines` if none does.
PORTABLE int first_line_at(float origin, float per_line, float bound, int lines) {
    const float line = ceilf((bound - origin) / per_line);
    return line <= 0.0f ? 0 : (line < (float)lines ? (int)line : lines);
}

// Sum over the lines that ray `origin` crosses within the window: lines × size pixels, strides in pixels.
PORTABLE float ray_sum(const float *pixels, int lines, int size, long line_stride, long stride, float origin,
                       float per_line) {
    // The lines on which the position lies surely inside, [first, last): a little less than all of them, by far more
    // than first_line_at and ray_position round, which is 2^-24·(2·lines + size).
    const float margin = 1e-2f + 1e-6f * (float)(lines + size), low = margin, high = (float)(size - 1) - margin;
    int first = 0, last = lines;
    if (fabsf(per_line) * (float)lines < 0.005f) {  // parallel to the axis, to within the margin
        if (!(origin > low && origin < high)) last = 0;
    } else if (per_line > 0.0f) {
        first = first_line_at(origin, per_line, low, lines);
        last = first_line_at(origin, per_line, high, lines);
    } else {
        first = first_line_at(-origin, -per_line, -high, lines);
        last = first_line_at(-origin, -per_line, -low, lines);
    }
    if (first > last) first = last = 0;
    float sums[4] = {0.0f, 0.0f, 0.0f, 0.0f};  // four chains of additions: one would wait for itself
    const float *row = pixels + first * line_stride;
    int n = first;
    for (; n + 4 <= last; n += 4)
        for (int part = 0; part < 4; ++part, row += line_stride)
            sums[part] += interpolate_inside(row, stride, ray_position(origin, per_line, (float)(n + part)));
    for (; n < last; ++n, row += line_stride)
        sums[0] += interpolate_inside(row, stride, ray_position(origin, per_line, (float)n));
    // Going outwards from there until the ray has left the window for good.
    for (n = last; n < lines; ++n) {
        const float position = ray_position(origin, per_line, (float)n);
        if ((per_line > 0.0f && position >= (float)size) || (per_line < 0.0f && position <= -1.0f)) break;
        sums[1] += interpolate_checked(pixels + n * line_stride, stride, size, position);
    }
    for (n = first - 1; n >= 0; --n) {
        const float position = ray_position(origin, per_line, (float)n);
        if ((per_line < 0.0f && position >= (float)size) || (per_line > 0.0f && position <= -1.0f)) break;
        sums[2] += interpolate_checked(pixels + n * line_stride, stride, size, position);
    }
    return (sums[0] + sums[1]) + (sums[2] + sums[3]);
}

// What a ray with this position gives to the pixel at `place`: the weight ray_sum gave that pixel.
PORTABLE float pixel_weight(float position, float place) {
    const float weight = 1.0f - fabsf(position - place);
    return weight > 0.0f ? weight : 0.0f;
}

// What ray k gives to the pixel at `place` of `line`; a ray beyond the footprint gives nothing.
PORTABLE float weighted(const RayFan &fan, const float *values, int width, float line, float place, int k) {
    const float value = (unsigned)k < (unsigned)width ? values[k] : 0.0f;
    return pixel_weight(ray_position(ray_origin(fan, (float)k), fan.per_line, line), place) * value;
}

// What the rays of one angle give to pixel (r, c) of the window: the transpose of ray_sum, ray by ray the same weights.
// The search for the first of them rounds too; `reach` allows for it, so no division and no double is needed here.
PORTABLE float gathered(const RayFan &fan, const float *values, int width, float r, float c) {
    const float line = fan.along_rows ? r : c, place = fan.along_rows ? c : r;
    const float ray = (place - ray_position(fan.first, fan.per_line, line)) * fan.rays_a_pixel;
    const int from = (int)ceilf(ray - fan.reach);
    float sum = 0.0f;
    // Mostly they are two: no loop then. Where there is but one, the other's weight is 0.
    for (int k = from; k < from + 2; ++k) sum += weighted(fan, values, width, line, place, k);
    NOT_UNROLLED
    for (int k = from + 2; k < from + fan.rays_near; ++k) sum += weighted(fan, values, width, line, place, k);
    return fan.length * sum;
}
