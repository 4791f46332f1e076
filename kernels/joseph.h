// Joseph's projector for one window of the image and one footprint: the arithmetic of a ray and of a pixel.
//
// A ray takes the two pixels around its position on every line it crosses by linear interpolation, times its length in a
// row or column of pixels: 1/max(|cos|, |sin|) of its direction. Joseph, IEEE TMI 1982, eq. 4; rays.h for the positions.
#pragma once

#include "rays.h"

#ifdef __CUDACC__
#define NOT_UNROLLED _Pragma("unroll 1")
#else
#define NOT_UNROLLED
#endif

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
PORTABLE int first_line_at(float origin, float slope, float bound, int lines) {
    const float line = ceilf((bound - origin) / slope);
    return line <= 0.0f ? 0 : (line < (float)lines ? (int)line : lines);
}

// Sum over the lines that ray `origin` crosses within the window: lines × size pixels, strides in pixels.
PORTABLE float ray_sum(const float *pixels, int lines, int size, long line_stride, long stride, float origin,
                       float slope) {
    // The lines on which the position lies surely inside, [first, last): a little less than all of them, by far more
    // than first_line_at and ray_position round, which is 2^-24·(2·lines + size).
    const float margin = 1e-2f + 1e-6f * (float)(lines + size), low = margin, high = (float)(size - 1) - margin;
    int first = 0, last = lines;
    if (fabsf(slope) * (float)lines < 0.005f) {  // parallel to the axis, to within the margin
        if (!(origin > low && origin < high)) last = 0;
    } else if (slope > 0.0f) {
        first = first_line_at(origin, slope, low, lines);
        last = first_line_at(origin, slope, high, lines);
    } else {
        first = first_line_at(-origin, -slope, -high, lines);
        last = first_line_at(-origin, -slope, -low, lines);
    }
    if (first > last) first = last = 0;
    float sums[4] = {0.0f, 0.0f, 0.0f, 0.0f};  // four chains of additions: one would wait for itself
    const float *row = pixels + first * line_stride;
    int n = first;
    for (; n + 4 <= last; n += 4)
        for (int part = 0; part < 4; ++part, row += line_stride)
            sums[part] += interpolate_inside(row, stride, ray_position(origin, slope, (float)(n + part)));
    for (; n < last; ++n, row += line_stride)
        sums[0] += interpolate_inside(row, stride, ray_position(origin, slope, (float)n));
    // Going outwards from there until the ray has left the window for good.
    for (n = last; n < lines; ++n) {
        const float position = ray_position(origin, slope, (float)n);
        if ((slope > 0.0f && position >= (float)size) || (slope < 0.0f && position <= -1.0f)) break;
        sums[1] += interpolate_checked(pixels + n * line_stride, stride, size, position);
    }
    for (n = first - 1; n >= 0; --n) {
        const float position = ray_position(origin, slope, (float)n);
        if ((slope < 0.0f && position >= (float)size) || (slope > 0.0f && position <= -1.0f)) break;
        sums[2] += interpolate_checked(pixels + n * line_stride, stride, size, position);
    }
    return (sums[0] + sums[1]) + (sums[2] + sums[3]);
}

// What a ray with this position gives to the pixel at `place`: the weight ray_sum gave that pixel.
PORTABLE float pixel_weight(float position, float place) {
    const float weight = 1.0f - fabsf(position - place);
    return weight > 0.0f ? weight : 0.0f;
}

// What ray k gives to the pixel at `place` of `line`; a ray that isn't one of these gives nothing.
template <class Rays>
PORTABLE float weighted(const Rays &rays, const float *values, int width, float line, float place, int k) {
    const Span span = span_of(rays, width);
    const float value = (unsigned)(k - span.from) < (unsigned)(span.to - span.from) ? values[k] : 0.0f;
    const RayLine ray = ray_line(rays, (float)k);
    return pixel_weight(ray_position(ray.origin, ray.slope, line), place) * own_length(rays, ray.slope) * value;
}

// What the rays of one angle's segment give to pixel (r, c) of the window: the transpose of ray_sum, ray by ray the same
// weights. The search for them rounds too, and allows for it, so no double is needed here.
template <class Rays>
PORTABLE float gathered_from(const Rays &rays, const float *values, int width, float r, float c) {
    const float line = rays.along_rows ? r : c, place = rays.along_rows ? c : r;
    const Near near = rays_near(rays, line, place);
    float sum = 0.0f;
    // Mostly they are two: no loop then. Where there is but one, the other's weight is 0.
    for (int k = near.first; k < near.first + 2; ++k) sum += weighted(rays, values, width, line, place, k);
    NOT_UNROLLED
    for (int k = near.first + 2; k < near.first + near.count; ++k) sum += weighted(rays, values, width, line, place, k);
    return length_of_all(rays) * sum;
}

// What all rays of one angle give to it. angle (SEGMENTS): its rays.
template <class Rays>
PORTABLE float gathered(const Rays *angle, const float *values, int width, float r, float c) {
    float sum = gathered_from(angle[0], values, width, r, c);
    for (int segment = 1; segment < Rays::SEGMENTS; ++segment)
        if (span_of(angle[segment], width).from < width) sum += gathered_from(angle[segment], values, width, r, c);
    return sum;
}

// Where the lines of a window lie in memory: rows of pixels, or columns.
struct Lines {
    const float *pixels;
    long line_stride, stride;
};

// What ray k measures of a window of rows × cols pixels.
template <class Rays>
PORTABLE float projected(const Rays &rays, int k, int rows, int cols, Lines along_rows, Lines along_cols) {
    const Lines read = rays.along_rows ? along_rows : along_cols;
    const int lines = rays.along_rows ? rows : cols, size = rays.along_rows ? cols : rows;
    const RayLine ray = ray_line(rays, (float)k);
    const float sum = ray_sum(read.pixels, lines, size, read.line_stride, read.stride, ray.origin, ray.slope);
    return length_of_all(rays) * own_length(rays, ray.slope) * sum;
}
