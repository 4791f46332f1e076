// Joseph's pair on a CPU, over vectors of rays and of pixels, and the gather of a residual: built by the machine's C++
// compiler, called through ctypes.
//
// The arithmetic is joseph.h's: the same positions and weights, bit for bit, in forward and adjoint. What neighbouring
// lanes read lies close together, since rays are about a pixel apart: then two loads and a permutation look it up
// (CloseTable); with detectors far wider or narrower than a pixel it is gathered (WideTable).
//
// pixels: (rows, cols); sinogram: (angles, width); rays: (angles, SEGMENTS); scratch: as many floats as the pair asks for.
// Row-major.
#include "joseph.h"
#include "lanes.h"

// Zeros around a line of pixels. A group of close rays that touches it reaches at most 2·LANES − 3 beyond, and 2 more on
// the lines taken for safety; from there a table is loaded.
constexpr int MARGIN = 2 * LANES + 4;

static int whole_vectors(int count) { return (count + LANES - 1) / LANES * LANES; }

static long table_size(int width, int pad) { return whole_vectors(width + 2 * pad) + 3 * LANES; }

// Floats that the forward projection needs: the padded image in both orientations, and a row of the sinogram.
extern "C" long joseph_forward_scratch(int rows, int cols, int width) {
    return (long)rows * (cols + 2 * MARGIN) + (long)cols * (rows + 2 * MARGIN) + whole_vectors(width);
}

static void pad_lines(const float *pixels, int lines, int size, long line_stride, long stride, float *padded) {
    for (int n = 0; n < lines; ++n, padded += size + 2 * MARGIN) {
        for (int i = 0; i < MARGIN; ++i) padded[i] = padded[MARGIN + size + i] = 0.0f;
        for (int i = 0; i < size; ++i) padded[MARGIN + i] = pixels[n * line_stride + i * stride];
    }
}

// The positions of a group of neighbouring rays, and of its outermost two, which stay outermost on every line.
struct Group {
    Floats origin, slope;
    RayLine lowest, highest;
};

// As far apart as a table's two registers allow, wherever the group crosses the window.
static bool are_close(const Group &rays, int lines) {
    const float first = rays.highest.origin - rays.lowest.origin;
    const float last = first + (float)(lines - 1) * (rays.highest.slope - rays.lowest.slope);
    return (first > last ? first : last) <= 2 * LANES - 3.5f;
}

// Narrow the lines [first, last) to those on which the position is below `bound`, and at most one more.
static void keep_below(RayLine ray, double bound, int lines, int &first, int &last) {
    if (fabsf(ray.slope) * (float)lines < 0.01f) {
        if (ray.origin > bound + 0.5) last = first;
        return;
    }
    const double crossing = (bound - ray.origin) / ray.slope;
    const double clipped = crossing < -1.0 ? -1.0 : (crossing < lines ? crossing : lines);
    const int until = (int)ceil(clipped) + 1, from = (int)floor(clipped);
    if (ray.slope > 0.0f)
        last = until < last ? until : last;
    else
        first = from > first ? from : first;
}

// The lines [first, last) on which a position of the group lies in (−1, size), and at most one more on each side.
static void lines_crossed(const Group &rays, int lines, int size, int &first, int &last) {
    first = 0, last = lines;
    keep_below(rays.lowest, size, lines, first, last);
    keep_below({-rays.highest.origin, -rays.highest.slope}, 1.0, lines, first, last);
}

// The pixels of line n at the group's positions, interpolated.
template <class Table>
static inline Floats interpolated(const float *line, int size, const Group &rays, int n);

template <>
inline Floats interpolated<CloseTable>(const float *line, int, const Group &rays, int n) {
    // A little before the lowest: a fan's rays are in order but for their rounding.
    const float base = floorf(ray_position(rays.lowest.origin, rays.lowest.slope, (float)n) - 0.25f);
    const CloseTable table(line + (int)base);
    const Floats position = multiply_add(all((float)n), rays.slope, rays.origin), below = round_down(position);
    const Ints index = to_ints(subtract(below, all(base)));
    const Floats left = table.at(index), right = table.at(add(index, all(1)));
    return multiply_add(subtract(position, below), subtract(right, left), left);
}

template <>
inline Floats interpolated<WideTable>(const float *line, int size, const Group &rays, int n) {
    const WideTable table(line);
    const Floats exact = multiply_add(all((float)n), rays.slope, rays.origin);
    const Floats position = smaller(larger(exact, all(-2.0f)), all((float)size + 1.0f)), below = round_down(position);
    const Ints index = to_ints(below);
    const Floats left = table.at(index), right = table.at(add(index, all(1)));
    return multiply_add(subtract(position, below), subtract(right, left), left);
}

// A group's sums over the lines.
template <class Table>
static Floats ray_sums(const float *image, int lines, int size, const Group &rays) {
    const long stride = size + 2 * MARGIN;
    int n, last;
    lines_crossed(rays, lines, size, n, last);
    Floats even = all(0.0f), odd = all(0.0f);  // two chains of additions: one would wait for itself
    for (; n + 2 <= last; n += 2) {
        even = add(even, interpolated<Table>(image + n * stride, size, rays, n));
        odd = add(odd, interpolated<Table>(image + (n + 1) * stride, size, rays, n + 1));
    }
    if (n < last) even = add(even, interpolated<Table>(image + n * stride, size, rays, n));
    return add(even, odd);
}

// The rays k, k + 1, …; those after `last` stand where that one does.
template <class Rays>
static Group group_of(const Rays &rays, int k, int last, int lines) {
    float origins[LANES], slopes[LANES];
    for (int i = 0; i < LANES; ++i) {
        const RayLine ray = ray_line(rays, (float)(k + i < last ? k + i : last));
        origins[i] = ray.origin, slopes[i] = ray.slope;
    }
    const RayLine one = {origins[0], slopes[0]}, other = {origins[LANES - 1], slopes[LANES - 1]};
    const float middle = 0.5f * (float)(lines - 1);
    const bool rising = ray_position(one.origin, one.slope, middle) < ray_position(other.origin, other.slope, middle);
    return {load(origins), load(slopes), rising ? one : other, rising ? other : one};
}

// What the rays of one angle's segment measure, into its row of the sinogram.
template <class Rays>
static void project_rays(const float *image, int lines, int size, const Rays &rays, int width, float *sums,
                         float *measured) {
    const Span span = span_of(rays, width);
    for (int k = span.from; k < span.to; k += LANES) {
        const Group group = group_of(rays, k, span.to - 1, lines);
        store(sums + k - span.from, are_close(group, lines) ? ray_sums<CloseTable>(image, lines, size, group)
                                                            : ray_sums<WideTable>(image, lines, size, group));
    }
    for (int k = span.from; k < span.to; ++k)
        measured[k] = length_of_all(rays) * own_length(rays, ray_line(rays, (float)k).slope) * sums[k - span.from];
}

template <class Rays>
static void forward(const float *pixels, int rows, int cols, const Rays *rays, int angles, int width, float *sinogram,
                    float *scratch) {
    float *upright = scratch, *turned = upright + (long)rows * (cols + 2 * MARGIN);
    float *sums = turned + (long)cols * (rows + 2 * MARGIN);
    pad_lines(pixels, rows, cols, cols, 1, upright);
    pad_lines(pixels, cols, rows, 1, cols, turned);  // rows and columns exchanged: rays along columns read it in order
    for (int n = 0; n < angles * Rays::SEGMENTS; ++n) {
        float *measured = sinogram + (long)(n / Rays::SEGMENTS) * width;
        if (rays[n].along_rows)
            project_rays(upright + MARGIN, rows, cols, rays[n], width, sums, measured);
        else
            project_rays(turned + MARGIN, cols, rows, rays[n], width, sums, measured);
    }
}

extern "C" void joseph_forward(const float *pixels, int rows, int cols, const ParallelRays *rays, int angles, int width,
                               float *sinogram, float *scratch) {
    forward(pixels, rows, cols, rays, angles, width, sinogram, scratch);
}

extern "C" void joseph_forward_fan(const float *pixels, int rows, int cols, const FanRays *rays, int angles, int width,
                                   float *sinogram, float *scratch) {
    forward(pixels, rows, cols, rays, angles, width, sinogram, scratch);
}

// What the rays of one segment measured, times their lengths, from `pad` before the first to `pad` after the last, with
// the value 0 where there is none; and where they cross, which takes a division each: a parallel beam's is computed.
struct RayValues {
    float *value, *origin, *slope;
    int pad, last;
};

static void fill_lines(const ParallelRays &, const Span &, const RayValues &) {}

static void fill_lines(const FanRays &rays, const Span &span, const RayValues &values) {
    for (int k = span.from; k < span.to; ++k) {
        const RayLine ray = ray_line(rays, (float)k);
        values.origin[k - span.from + values.pad] = ray.origin, values.slope[k - span.from + values.pad] = ray.slope;
    }
}

template <class Rays>
static void fill(const Rays &rays, const Span &span, const float *measured, RayValues &values) {
    const int count = span.to - span.from;
    for (int i = 0; i < values.pad; ++i) values.value[i] = values.value[values.pad + count + i] = 0.0f;
    for (int k = span.from; k < span.to; ++k)
        values.value[k - span.from + values.pad] =
            length_of_all(rays) * own_length(rays, ray_line(rays, (float)k).slope) * measured[k];
    fill_lines(rays, span, values);
    values.last = count + values.pad - 1;
}

static int clipped(float place, const RayValues &values) {
    return (int)(place < 0.0f ? 0.0f : (place > (float)values.last ? (float)values.last : place));
}

// Add to a row of pixels what a parallel beam's rays give it. NEAR: the rays near a pixel, 0: as many as `rays` says.
template <class Table, bool along_rows, int NEAR>
static void add_rays(float *__restrict row, int r, int cols, const ParallelRays rays, const RayValues values) {
    // The ray through pixel c is start + c·slope, and those near it begin `reach` before: as in `rays_near`.
    const double start = along_rows ? -rays.first - (double)r * rays.per_line : r - (double)rays.first;
    const float begin = (float)(start * rays.rays_a_pixel - rays.reach + values.pad);
    const float slope = (along_rows ? 1.0f : -rays.per_line) * rays.rays_a_pixel;
    const Floats slopes = all(slope), begins = all(begin), farthest = all((float)values.last);
    const Floats zero = all(0.0f), unit = all(1.0f);
    const Floats first = all(rays.first), first_rest = all(rays.first_rest), per_line = all(rays.per_line);
    const Floats per_ray = all(rays.per_ray), per_ray_rest = all(rays.per_ray_rest), this_row = all((float)r);
    const int near = NEAR ? NEAR : rays.rays_near;
    Floats column = ramp();
    for (int c = 0; c < cols; c += LANES, column = add(column, all((float)LANES))) {
        const float one = fmaf((float)c, slope, begin), other = fmaf((float)(c + LANES - 1), slope, begin);
        const int base = clipped(one < other ? one : other, values);
        const Floats line = along_rows ? this_row : column, place = along_rows ? column : this_row;
        const Floats below = round_down(smaller(larger(multiply_add(column, slopes, begins), zero), farthest));
        const Ints index = to_ints(subtract(below, all((float)base)));
        Floats sum = load(row + c);
        for (int q = 1; q <= near; ++q) {
            const Floats k = add(below, all((float)(q - values.pad)));
            const Floats origin = add(multiply_add(k, per_ray, first), multiply_add(k, per_ray_rest, first_rest));
            const Floats weight = subtract(unit, absolute(subtract(multiply_add(line, per_line, origin), place)));
            sum = multiply_add(larger(weight, zero), Table(values.value + base + q).at(index), sum);
        }
        store(row + c, sum);
    }
}

template <class Table, bool along_rows>
static void add_all_rows(float *image, long stride, int rows, int cols, const ParallelRays &rays,
                         const RayValues &values) {
    for (int r = 0; r < rows; ++r, image += stride)
        if (rays.rays_near == 2)
            add_rays<Table, along_rows, 2>(image, r, cols, rays, values);
        else
            add_rays<Table, along_rows, 0>(image, r, cols, rays, values);
}

static void add_segment(float *image, long stride, int rows, int cols, const ParallelRays &rays,
                        const RayValues &values) {
    const bool close = fabsf(rays.rays_a_pixel) * (LANES - 1) + (float)rays.rays_near + 2.0f <= 2 * LANES - 1.0f;
    auto *add_it = rays.along_rows ? (close ? add_all_rows<CloseTable, true> : add_all_rows<WideTable, true>)
                                   : (close ? add_all_rows<CloseTable, false> : add_all_rows<WideTable, false>);
    add_it(image, stride, rows, cols, rays, values);
}

// A register's pixels, whose rays begin at `index` after `base` in the table.
struct Pixels {
    Floats line, place;
    int base, near;
    Ints index;
};

template <class Table>
static inline Floats added_rays(Floats sum, const Pixels &pixels, const RayValues &values) {
    for (int q = pixels.base + 1; q <= pixels.base + pixels.near; ++q) {
        const Floats origin = Table(values.origin + q).at(pixels.index), slope = Table(values.slope + q).at(pixels.index);
        const Floats position = multiply_add(pixels.line, slope, origin);
        const Floats weight = subtract(all(1.0f), absolute(subtract(position, pixels.place)));
        sum = multiply_add(larger(weight, all(0.0f)), Table(values.value + q).at(pixels.index), sum);
    }
    return sum;
}

// c of rays.h along a row of pixels, and how far the rays of the pixels at its ends lie apart and reach.
struct RowOfFan {
    float above, above_col, below, below_col, spread, spread_col;
};

template <bool along_rows>
static RowOfFan row_of(const FanRays &rays, int r) {
    const float line = (float)r;
    if (along_rows)
        return {-fmaf(line, rays.per_line, rays.first), 1.0f, fmaf(line, rays.per_line_ray, rays.per_ray), -rays.bend,
                fmaf(line, rays.spread_line, rays.spread), 0.0f};
    return {line - rays.first, -rays.per_line, fmaf(-line, rays.bend, rays.per_ray), rays.per_line_ray, rays.spread,
            rays.spread_line};
}

// Add to a row of pixels what one segment of a fan gives it.
template <bool along_rows>
static void add_fan(float *__restrict row, int r, int cols, const FanRays &rays, const RayValues &values) {
    const RowOfFan at = row_of<along_rows>(rays, r);
    const float begin = rays.middle - (float)rays.from + (float)values.pad;
    const Floats farthest = all((float)values.last);
    Floats column = ramp();
    for (int c = 0; c < cols; c += LANES, column = add(column, all((float)LANES))) {
        const float from = (float)c, to = (float)(c + LANES < cols ? c + LANES - 1 : cols - 1);
        const float nearer = 1.0f / fmaf(from, at.below_col, at.below), other = 1.0f / fmaf(to, at.below_col, at.below);
        const float nearest = fabsf(nearer) > fabsf(other) ? fabsf(nearer) : fabsf(other);
        const float one_spread = fabsf(fmaf(from, at.spread_col, at.spread));
        const float other_spread = fabsf(fmaf(to, at.spread_col, at.spread));
        const float reach = (one_spread > other_spread ? one_spread : other_spread) * nearest * nearest + rays.rounding;
        const float first = fmaf(from, at.above_col, at.above) * nearer, last = fmaf(to, at.above_col, at.above) * other;
        const float least = begin - reach + (first < last ? first : last);
        Pixels pixels;
        pixels.line = along_rows ? all((float)r) : column, pixels.place = along_rows ? column : all((float)r);
        pixels.near = (int)(2.0f * reach) + 1;
        pixels.base = clipped(least - 1.0f, values);  // a division's rounding may put a lane before the first
        const Floats above = multiply_add(column, all(at.above_col), all(at.above));
        const Floats through = divide(above, multiply_add(column, all(at.below_col), all(at.below)));
        const Floats from_first = add(through, all(begin - reach));
        const Floats below = round_down(smaller(larger(from_first, all(0.0f)), farthest));
        pixels.index = to_ints(subtract(below, all((float)pixels.base)));
        const bool close = fabsf(last - first) + 3.0f <= 2 * LANES - 1.0f;
        const Floats sum = load(row + c);
        store(row + c, close ? added_rays<CloseTable>(sum, pixels, values) : added_rays<WideTable>(sum, pixels, values));
    }
}

static void add_segment(float *image, long stride, int rows, int cols, const FanRays &rays, const RayValues &values) {
    for (int r = 0; r < rows; ++r, image += stride)
        if (rays.along_rows)
            add_fan<true>(image, r, cols, rays, values);
        else
            add_fan<false>(image, r, cols, rays, values);
}

// At least as many as are near any pixel; 0 for a segment without rays.
static int most_near(const ParallelRays &rays, int, int) { return rays.rays_near; }

static int most_near(const FanRays &rays, int rows, int cols) {
    if (rays.from == rays.to) return 0;
    float spread = 0.0f, nearer = 0.0f;
    for (int corner = 0; corner < 4; ++corner) {
        const float r = corner & 1 ? (float)(rows - 1) : 0.0f, c = corner & 2 ? (float)(cols - 1) : 0.0f;
        const float line = rays.along_rows ? r : c, place = rays.along_rows ? c : r;
        const float here = fabsf(fmaf(line, rays.spread_line, rays.spread));
        const float near = 1.0f / fabsf(fmaf(line, rays.per_line_ray, fmaf(-place, rays.bend, rays.per_ray)));
        spread = here > spread ? here : spread, nearer = near > nearer ? near : nearer;
    }
    return (int)(2.0f * (spread * nearer * nearer + rays.rounding)) + 2;
}

template <class Rays>
static int padding(const Rays *rays, int angles, int rows, int cols) {
    int most = 0;
    for (int n = 0; n < angles * Rays::SEGMENTS; ++n) {
        const int near = most_near(rays[n], rows, cols);
        most = near > most ? near : most;
    }
    return most + 1;
}

// Rows of a table: values; of a fan its lines too.
template <class Rays>
constexpr int tables = 1;
template <>
constexpr int tables<FanRays> = 3;

// Gather form: every pixel collects the rays that passed it, segment by segment, a row of pixels at a time.
template <class Rays>
static void adjoint(const float *sinogram, int rows, int cols, const Rays *rays, int angles, int width, float *pixels,
                    float *scratch) {
    const int stride = whole_vectors(cols), pad = padding(rays, angles, rows, cols);
    const long size = table_size(width, pad);
    float *image = scratch, *value = image + (long)rows * stride;
    RayValues values = {value, value + size, value + 2 * size, pad, 0};
    for (long i = 0; i < (long)rows * stride; ++i) image[i] = 0.0f;
    for (long k = 0; k < tables<Rays> * size; ++k) value[k] = 0.0f;
    for (int n = 0; n < angles * Rays::SEGMENTS; ++n) {
        const Span span = span_of(rays[n], width);
        if (span.from == span.to) continue;
        fill(rays[n], span, sinogram + (long)(n / Rays::SEGMENTS) * width, values);
        add_segment(image, stride, rows, cols, rays[n], values);
    }
    for (int r = 0; r < rows; ++r)
        for (int c = 0; c < cols; ++c) pixels[(long)r * cols + c] = image[(long)r * stride + c];
}

// Floats that the adjoint needs: the image in whole vectors, and the tables.
template <class Rays>
static long adjoint_scratch(int rows, int cols, const Rays *rays, int angles, int width) {
    const long size = table_size(width, padding(rays, angles, rows, cols));
    return (long)rows * whole_vectors(cols) + tables<Rays> * size;
}

extern "C" long joseph_adjoint_scratch(int rows, int cols, const ParallelRays *rays, int angles, int width) {
    return adjoint_scratch(rows, cols, rays, angles, width);
}

extern "C" long joseph_adjoint_scratch_fan(int rows, int cols, const FanRays *rays, int angles, int width) {
    return adjoint_scratch(rows, cols, rays, angles, width);
}

extern "C" void joseph_adjoint(const float *sinogram, int rows, int cols, const ParallelRays *rays, int angles,
                               int width, float *pixels, float *scratch) {
    adjoint(sinogram, rows, cols, rays, angles, width, pixels, scratch);
}

extern "C" void joseph_adjoint_fan(const float *sinogram, int rows, int cols, const FanRays *rays, int angles, int width,
                                   float *pixels, float *scratch) {
    adjoint(sinogram, rows, cols, rays, angles, width, pixels, scratch);
}

// The residual Σ_j s_j − y of one block's footprint, each share kept on a footprint of its own: out (count, width).
//
// angles: (count,) which, or null for all in order; start: (angles,) the footprint's first detectors; weights: as
// sinogram, or null. shares, starts, widths: (blocks,) of every block.
extern "C" void gather_residual(const float *sinogram, int detectors, const long long *angles, int count,
                                const long long *start, int width, int blocks, const float *const *shares,
                                const long long *const *starts, const int *widths, const float *weights, float *out) {
    for (int a = 0; a < count; ++a) {
        const long long angle = angles ? angles[a] : a, begin = start[angle];
        const float *measured = sinogram + angle * detectors + begin;
        float *__restrict row = out + (long long)a * width;
        for (int k = 0; k < width; ++k) row[k] = -measured[k];
        for (int j = 0; j < blocks; ++j) {
            const long long shift = begin - starts[j][angle];
            const int from = shift < 0 ? (int)-shift : 0;
            const int to = shift + width > widths[j] ? (int)(widths[j] - shift) : width;
            const float *share = shares[j] + angle * widths[j] + shift;
            for (int k = from; k < to; ++k) row[k] += share[k];
        }
        if (weights)
            for (int k = 0; k < width; ++k) row[k] *= weights[angle * detectors + begin + k];
    }
}
