// One angle's rays through one window of the image: of a parallel beam, and of a fan beam.
//
// At each angle, rays cross the lines of the minor axis once each (rows where a ray is nearer to the columns' direction
// than to the rows', else columns); ray k crosses line n at the position origin(k) + n·slope(k), in pixels. Positions
// come from the indices, never from a running sum; forward and adjoint call the same functions, so that their weights
// are the same. Plain C++ and CUDA C++; no vendor's types.
#pragma once

#include "grid.h"

// Where a ray crosses line 0, and how far it moves from line to line: at most 1, and its rounding's size.
struct RayLine {
    float origin, slope;
};

// Rays of a parallel beam; joseph.py makes them. along_rows: lines are rows and positions are columns; otherwise the
// other way round. first and per_ray are sums of two floats, 48 bits of the double: k·per_ray may be large and cancel
// first, and a GPU computes doubles slowly or hardly at all. rays_a_pixel is 1/per_ray; a pixel's search for its rays
// begins `reach` rays before it and ends after `rays_near`. length is a ray's in a pixel's row or column, of all rays.
// 16 bytes at a time, as a GPU loads them.
struct alignas(16) ParallelRays {
    static constexpr int SEGMENTS = 1;
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

// Rays of a fan beam, those from `from` to before `to`: an angle's rays may cross rows first and columns then, so it has
// two such segments, the second of them often empty. All pass the source, so with k' = k − middle a ray crosses line n at
// (first + k'·per_ray + n·(per_line + k'·per_line_ray))/(1 + k'·bend). The ray through place p of it is
// k' = (p − first − n·per_line)/c, c = per_ray + n·per_line_ray − p·bend, and until the next place on either side there
// are at most |spread + n·spread_line|/c² + rounding rays.
struct alignas(16) FanRays {
    static constexpr int SEGMENTS = 2;
    float middle;
    float first, per_ray;
    float per_line, per_line_ray;
    float bend;
    float spread, spread_line;
    float rounding;
    int from, to;
    int along_rows;
};

// Within 1 ulp of a float, since each product is exact inside its fma, the first fma's rounding and the sum's are half an
// ulp each, and the rest's is 2^-48 of `first`. k < 2^24.
PORTABLE RayLine ray_line(const ParallelRays &rays, float k) {
    const float origin = fmaf(k, rays.per_ray, rays.first) + fmaf(k, rays.per_ray_rest, rays.first_rest);
    return {origin, rays.per_line};
}

// Within 4 ulp: six roundings, of `first` and `per_ray` too. `middle` lies among the segment's rays, so that nothing
// large cancels.
PORTABLE RayLine ray_line(const FanRays &rays, float k) {
    const float from_middle = k - rays.middle, nearer = 1.0f / fmaf(from_middle, rays.bend, 1.0f);
    return {fmaf(from_middle, rays.per_ray, rays.first) * nearer,
            fmaf(from_middle, rays.per_line_ray, rays.per_line) * nearer};
}

// A ray's length in a pixel's row or column: `length_of_all` times its own.
PORTABLE float length_of_all(const ParallelRays &rays) { return rays.length; }
PORTABLE float length_of_all(const FanRays &) { return 1.0f; }
PORTABLE float own_length(const ParallelRays &, float) { return 1.0f; }
PORTABLE float own_length(const FanRays &, float slope) { return sqrtf(fmaf(slope, slope, 1.0f)); }

// Which rays of a footprint of `width` these are: from … to − 1.
struct Span {
    int from, to;
};

PORTABLE Span span_of(const ParallelRays &, int width) { return {0, width}; }
PORTABLE Span span_of(const FanRays &rays, int) { return {rays.from, rays.to}; }

// An angle's segment that ray k belongs to.
PORTABLE const ParallelRays &segment_of(const ParallelRays *angle, int) { return angle[0]; }
PORTABLE const FanRays &segment_of(const FanRays *angle, int k) { return angle[k < angle[0].to ? 0 : 1]; }

// Adds half an ulp of the position, and the slope's own rounding: lines·2^-25, of a fan beam four times that. In a window
// of at most `size` lines and places, a parallel beam's are all within 1.5 ulp of a float at 2·size.
PORTABLE float ray_position(float origin, float slope, float line) { return fmaf(line, slope, origin); }

// The rays that may give something to the pixel at `place` of `line`: those less than a place away from it on the line.
struct Near {
    int first, count;
};

PORTABLE Near rays_near(const ParallelRays &rays, float line, float place) {
    const float through = (place - ray_position(rays.first, rays.per_line, line)) * rays.rays_a_pixel;
    return {(int)ceilf(through - rays.reach), rays.rays_near};
}

PORTABLE Near rays_near(const FanRays &rays, float line, float place) {
    const float nearer = 1.0f / fmaf(line, rays.per_line_ray, fmaf(-place, rays.bend, rays.per_ray));
    const float through = rays.middle + (place - fmaf(line, rays.per_line, rays.first)) * nearer;
    const float reach = fabsf(fmaf(line, rays.spread_line, rays.spread)) * nearer * nearer + rays.rounding;
    return {(int)ceilf(through - reach), (int)(2.0f * reach) + 1};
}
