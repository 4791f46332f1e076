// Joseph's pair on a CPU, over vectors of rays and of pixels, and the gather of a residual: built by the machine's C++
// compiler, called through ctypes.
//
// The arithmetic is joseph.h's: the same positions and weights, bit for bit, in forward and adjoint. What neighbouring
// lanes read lies close together, since rays are about a pixel apart: then two loads and a permutation look it up
// (CloseTable); with detectors far wider or narrower than a pixel it is gathered (WideTable).
//
// pixels: (rows, cols); sinogram: (angles, width); fans: one an angle; scratch: as many floats as the pair asks for.
// Row-major.
#include "joseph.h"
#include "lanes.h"

// Zeros around a line of pixels. A group of close rays that touches it reaches at most 2·LANES − 3 beyond, and 2 more on
// the lines taken for safety; from there a table is loaded.
constexpr int MARGIN = 2 * LANES + 4;

static int whole_vectors(int count) { return (count + LANES - 1) / LANES * LANES; }

static long table_size(int width, int pad) { return whole_vectors(width + 2 * pad) + 3 * LANES; }

// Floats that joseph_forward needs: the padded image in both orientations, and a row of the sinogram.
extern "C" long joseph_forward_scratch(int rows, int cols, int width) {
    return (long)rows * (cols + 2 * MARGIN) + (long)cols * (rows + 2 * MARGIN) + whole_vectors(width);
}

static void pad_lines(const float *pixels, int lines, int size, long line_stride, long stride, float *padded) {
    for (int n = 0; n < lines; ++n, padded += size + 2 * MARGIN) {
        for (int i = 0; i < MARGIN; ++i) padded[i] = padded[MARGIN + size + i] = 0.0f;
        for (int i = 0; i < size; ++i) padded[MARGIN + i] = pixels[n * line_stride + i * stride];
    }
}

// Positions of a group of rays on line 0, of its outermost two, and how they move from line to line.
struct Group {
    Floats origin;
    float lowest, highest, per_line;
};

// The lines [first, last) on which a position of the group lies in (−1, size), and at most one more on each side.
static void lines_crossed(const Group &rays, int lines, int size, int &first, int &last) {
    first = 0, last = lines;
    if (fabsf(rays.per_line) * (float)lines < 0.01f) {
        if (rays.highest < -1.5f || rays.lowest > (float)size + 0.5f) last = 0;
        return;
    }
    const double one = (-1.0 - rays.highest) / rays.per_line, other = ((double)size - rays.lowest) / rays.per_line;
    const double from = floor(one < other ? one : other), to = ceil(one < other ? other : one);
    first = from <= 0.0 ? 0 : (from < lines ? (int)from : lines);
    last = to < 0.0 ? 0 : (to < lines - 1.0 ? (int)to + 1 : lines);
}

// The pixels of line n at the group's positions, interpolated.
template <class Table>
static inline Floats interpolated(const float *line, int size, const Group &rays, int n);

template <>
inline Floats interpolated<CloseTable>(const float *line, int, const Group &rays, int n) {
    const float base = floorf(ray_position(rays.lowest, rays.per_line, (float)n));
    const CloseTable table(line + (int)base);
    const Floats position = multiply_add(all((float)n), all(rays.per_line), rays.origin), below = round_down(position);
    const Ints index = to_ints(subtract(below, all(base)));
    const Floats left = table.at(index), right = table.at(add(index, all(1)));
    return multiply_add(subtract(position, below), subtract(right, left), left);
}

template <>
inline Floats interpolated<WideTable>(const float *line, int size, const Group &rays, int n) {
    const WideTable table(line);
    const Floats exact = multiply_add(all((float)n), all(rays.per_line), rays.origin);
    const Floats position = smaller(larger(exact, all(-2.0f)), all((float)size + 1.0f)), below = round_down(position);
    const Ints index = to_ints(below);
    const Floats left = table.at(index), right = table.at(add(index, all(1)));
    return multiply_add(subtract(position, below), subtract(right, left), left);
}

// One angle's sums over the lines, `width` rounded up to whole vectors of them.
template <class Table>
static void ray_sums(const float *image, int lines, int size, const RayFan &fan, int width, float *sums) {
    const long stride = size + 2 * MARGIN;
    for (int k = 0; k < width; k += LANES) {
        float origins[LANES];
        for (int i = 0; i < LANES; ++i) origins[i] = ray_origin(fan, (float)(k + i));
        const float one = origins[0], other = origins[LANES - 1];
        const Group rays = {load(origins), one < other ? one : other, one < other ? other : one, fan.per_line};
        int n, last;
        lines_crossed(rays, lines, size, n, last);
        Floats even = all(0.0f), odd = all(0.0f);  // two chains of additions: one would wait for itself
        for (; n + 2 <= last; n += 2) {
            even = add(even, interpolated<Table>(image + n * stride, size, rays, n));
            odd = add(odd, interpolated<Table>(image + (n + 1) * stride, size, rays, n + 1));
        }
        if (n < last) even = add(even, interpolated<Table>(image + n * stride, size, rays, n));
        store(sums + k, add(even, odd));
    }
}

extern "C" void joseph_forward(const float *pixels, int rows, int cols, const RayFan *fans, int angles, int width,
                               float *sinogram, float *scratch) {
    float *upright = scratch, *turned = upright + (long)rows * (cols + 2 * MARGIN);
    float *sums = turned + (long)cols * (rows + 2 * MARGIN);
    pad_lines(pixels, rows, cols, cols, 1, upright);
    pad_lines(pixels, cols, rows, 1, cols, turned);  // rows and columns exchanged: rays along columns read it in order
    for (int angle = 0; angle < angles; ++angle) {
        const RayFan fan = fans[angle];
        const float *image = (fan.along_rows ? upright : turned) + MARGIN;
        const int lines = fan.along_rows ? rows : cols, size = fan.along_rows ? cols : rows;
        if (fabsf(fan.per_ray) * (LANES - 1) <= 2 * LANES - 3.5f)
            ray_sums<CloseTable>(image, lines, size, fan, width, sums);
        else
            ray_sums<WideTable>(image, lines, size, fan, width, sums);
        for (int k = 0; k < width; ++k) sinogram[(long)angle * width + k] = fan.length * sums[k];
    }
}

// One angle's rays for joseph_adjoint: the values of rays −pad, …, width + pad; those outside have the value 0.
struct Rays {
    const float *value;
    int pad, last;
};

// Add to a row of pixels what one angle gives it. NEAR: the rays near a pixel, 0: as many as `fan` says.
template <class Table, bool along_rows, int NEAR>
static void add_rays(float *__restrict row, int r, int cols, const RayFan fan, const Rays rays) {
    // The ray through pixel c is start + c·slope, and those near it begin `reach` before: as in `gathered`.
    const double start = along_rows ? -fan.first - (double)r * fan.per_line : r - (double)fan.first;
    const float begin = (float)(start * fan.rays_a_pixel - fan.reach + rays.pad);
    const float slope = (along_rows ? 1.0f : -fan.per_line) * fan.rays_a_pixel, last = (float)rays.last;
    const Floats slopes = all(slope), begins = all(begin), farthest = all(last), zero = all(0.0f), unit = all(1.0f);
    const Floats first = all(fan.first), first_rest = all(fan.first_rest), per_line = all(fan.per_line);
    const Floats per_ray = all(fan.per_ray), per_ray_rest = all(fan.per_ray_rest), this_row = all((float)r);
    const int near = NEAR ? NEAR : fan.rays_near;
    Floats column = ramp();
    for (int c = 0; c < cols; c += LANES, column = add(column, all((float)LANES))) {
        const float one = fmaf((float)c, slope, begin), other = fmaf((float)(c + LANES - 1), slope, begin);
        const float least = one < other ? one : other;
        const int base = (int)(least < 0.0f ? 0.0f : (least > last ? last : least));
        const Floats line = along_rows ? this_row : column, place = along_rows ? column : this_row;
        const Floats below = round_down(smaller(larger(multiply_add(column, slopes, begins), zero), farthest));
        const Ints index = to_ints(subtract(below, all((float)base)));
        Floats sum = load(row + c);
        for (int q = 1; q <= near; ++q) {
            const Floats k = add(below, all((float)(q - rays.pad)));
            const Floats origin = add(multiply_add(k, per_ray, first), multiply_add(k, per_ray_rest, first_rest));
            const Floats weight = subtract(unit, absolute(subtract(multiply_add(line, per_line, origin), place)));
            sum = multiply_add(larger(weight, zero), Table(rays.value + base + q).at(index), sum);
        }
        store(row + c, sum);
    }
}

template <class Table, bool along_rows>
static void add_angle(float *image, long stride, int rows, int cols, const RayFan &fan, const Rays &rays) {
    for (int r = 0; r < rows; ++r, image += stride)
        if (fan.rays_near == 2)
            add_rays<Table, along_rows, 2>(image, r, cols, fan, rays);
        else
            add_rays<Table, along_rows, 0>(image, r, cols, fan, rays);
}

static int most_rays_near(const RayFan *fans, int angles) {
    int most = 0;
    for (int angle = 0; angle < angles; ++angle) most = fans[angle].rays_near > most ? fans[angle].rays_near : most;
    return most;
}

// Floats that joseph_adjoint needs: the image in whole vectors, and a row of the sinogram.
extern "C" long joseph_adjoint_scratch(int rows, int cols, const RayFan *fans, int angles, int width) {
    return (long)rows * whole_vectors(cols) + table_size(width, most_rays_near(fans, angles) + 1);
}

// Gather form: every pixel collects the rays that passed it, angle by angle, a row of pixels at a time.
extern "C" void joseph_adjoint(const float *sinogram, int rows, int cols, const RayFan *fans, int angles, int width,
                               float *pixels, float *scratch) {
    const int stride = whole_vectors(cols), pad = most_rays_near(fans, angles) + 1;
    const long size = table_size(width, pad);
    float *image = scratch, *value = image + (long)rows * stride;
    for (long i = 0; i < (long)rows * stride; ++i) image[i] = 0.0f;
    for (long k = 0; k < size; ++k) value[k] = 0.0f;
    for (int angle = 0; angle < angles; ++angle) {
        const RayFan fan = fans[angle];
        for (int k = 0; k < width; ++k) value[k + pad] = fan.length * sinogram[(long)angle * width + k];
        const Rays rays = {value, pad, width + pad - 1};
        const bool close = fabsf(fan.rays_a_pixel) * (LANES - 1) + (float)fan.rays_near + 2.0f <= 2 * LANES - 1.0f;
        auto *add_it = fan.along_rows ? (close ? add_angle<CloseTable, true> : add_angle<WideTable, true>)
                                      : (close ? add_angle<CloseTable, false> : add_angle<WideTable, false>);
        add_it(image, stride, rows, cols, fan, rays);
    }
    for (int r = 0; r < rows; ++r)
        for (int c = 0; c < cols; ++c) pixels[(long)r * cols + c] = image[(long)r * stride + c];
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
