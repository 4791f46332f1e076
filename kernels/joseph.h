// Joseph's projector for one window of the image and one footprint: the arithmetic of a ray and of a pixel.
//
// At each angle, rays cross the lines of the minor axis once each (rows where |cos| > |sin|, columns elsewhere); ray k
// crosses line n at position(k, n) = first + k·per_ray + n·per_line, in pixels, and takes the two pixels around it by
// linear interpolation, times length = 1/max(|cos|, |sin|). Positions come from the indices, never from a running sum.
// Joseph, IEEE TMI 1982, eq. 4. Plain C++ and CUDA C++; no vendor's types.
#pragma once

#include "grid.h"

// One angle's rays. along_rows: lines are rows and positions are columns; otherwise the other way round.
struct RayFan {
    double first;
    double per_ray;
    double per_line;
    float length;
    int along_rows;
};

// Where ray k crosses line 0. In double: first and k·per_ray may be large and cancel.
PORTABLE float ray_origin(const RayFan &fan, int k) { return (float)(fan.first + k * fan.per_ray); }

PORTABLE float ray_position(float origin, float per_line, int line) { return fmaf((float)line, per_line, origin); }

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
    // The lines on which the position lies surely inside, [first, last): a little less than all of them.
    int first = 0, last = lines;
    const float low = 0.01f, high = (float)(size - 1) - 0.01f;
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
    int n = first;
    for (; n + 4 <= last; n += 4)
        for (int part = 0; part < 4; ++part)
            sums[part] += interpolate_inside(pixels + (n + part) * line_stride, stride,
                                             ray_position(origin, per_line, n + part));
    for (; n < last; ++n)
        sums[0] += interpolate_inside(pixels + n * line_stride, stride, ray_position(origin, per_line, n));
    // Going outwards from there until the ray has left the window for good.
    for (n = last; n < lines; ++n) {
        const float position = ray_position(origin, per_line, n);
        if ((per_line > 0.0f && position >= (float)size) || (per_line < 0.0f && position <= -1.0f)) break;
        sums[1] += interpolate_checked(pixels + n * line_stride, stride, size, position);
    }
    for (n = first - 1; n >= 0; --n) {
        const float position = ray_position(origin, per_line, n);
        if ((per_line < 0.0f && position >= (float)size) || (per_line > 0.0f && position <= -1.0f)) break;
        sums[2] += interpolate_checked(pixels + n * line_stride, stride, size, position);
    }
    return (sums[0] + sums[1]) + (sums[2] + sums[3]);
}

// How much, in rays, a search for the rays near a pixel begins early: far above the rounding of a position.
#define NEAR_MARGIN 1e-2f

// At most this many rays pass within a pixel of a place, the margin included.
PORTABLE int rays_near(const RayFan &fan) {
    return (int)(2.0f / fabsf((float)fan.per_ray) + 2 * NEAR_MARGIN) + 1;
}

// What ray with this position gives to the pixel at `place`: the weight ray_sum gave that pixel.
PORTABLE float pixel_weight(float position, int place) {
    const float weight = 1.0f - fabsf(position - (float)place);
    return weight > 0.0f ? weight : 0.0f;
}

// What the rays of one angle give to pixel (r, c) of the window: the transpose of ray_sum, ray by ray the same weights.
PORTABLE float gathered(const RayFan &fan, const float *values, int width, int r, int c) {
    const int line = fan.along_rows ? r : c, place = fan.along_rows ? c : r;
    const float per_line = (float)fan.per_line, rays_a_pixel = 1.0f / (float)fan.per_ray;
    // The pixel lies at this ray; in float, which is well within the margin for a detector of up to 4e4 rays.
    const float ray = (float)(place - fan.first - line * fan.per_line) * rays_a_pixel;
    const int from = (int)ceilf(ray - fabsf(rays_a_pixel) - NEAR_MARGIN), to = from + rays_near(fan);
    float sum = 0.0f;
    for (int k = from > 0 ? from : 0; k < (to < width ? to : width); ++k)
        sum += pixel_weight(ray_position(ray_origin(fan, k), per_line, line), place) * values[k];
    return fan.length * sum;
}
