// The data term's residual W (sum_j s_j - y) on each task's footprint, from exactly the shares the task reads.
//
// Summed over blocks in ascending order, like RadonCT.residual_block, so the two agree bit for bit.
#include "layout.h"

// Within a row of blocks, footprints at one angle begin further up the detector from column to column, or further down;
// but rounding and clipping at the detector's ends may move a start back by a ray, and widths differ by a ray. The last
// column may be narrower and is none of this row. So a search allows for this many rays, and every block it finds is
// checked.
#define SLACK 4

struct Ray {
    int angle, detector;
};

struct Shares {
    const Image *image;
    const Block *blocks;
    const float *memory;
    const int *starts;
    const signed char *slots;
    int task;
};

PORTABLE int start_of(const Shares &all, int block, int angle) {
    return all.starts[(long long)block * all.image->angles + angle];
}

// What block j adds to a ray: nothing unless its footprint holds it.
PORTABLE float added(float sum, const Shares &all, int j, Ray ray) {
    const Block &block = all.blocks[j];
    const int k = ray.detector - start_of(all, j, ray.angle);
    if (k < 0 || k >= block.width) return sum;
    const float *share = all.memory + front_slot(*all.image, all.blocks, all.slots, all.task, j) + block.share;
    return sum + share[(long long)ray.angle * block.width + k];
}

// `sum` and the shares of the `columns` blocks from `first` on, side by side in one row: only those near the ray.
PORTABLE float added_row(float sum, const Shares &all, int first, int columns, Ray ray) {
    if (columns == 0) return sum;
    const int width = all.blocks[first].width;
    const bool rising = start_of(all, first, ray.angle) <= start_of(all, first + columns - 1, ray.angle);
    int low = 0, high = columns;
    while (low < high) {  // the first column that isn't surely before the ray
        const int middle = (low + high) / 2, start = start_of(all, first + middle, ray.angle);
        if (rising ? start + width + SLACK <= ray.detector : start > ray.detector + SLACK)
            low = middle + 1;
        else
            high = middle;
    }
    for (; low < columns; ++low) {
        const int start = start_of(all, first + low, ray.angle);
        if (rising ? start > ray.detector + SLACK : start + width + SLACK <= ray.detector) break;  // surely behind it
        sum = added(sum, all, first + low, ray);
    }
    return sum;
}

// starts (blocks, angles): a footprint's first detector; sinogram, weights (angles, detectors); subset (batch, count).
// residuals (batch, count, width): 0 beyond the block's own width.
KERNEL residual(const Image *image, const Block *blocks, const float *memory, const int *starts, const float *sinogram,
                const float *weights /*or null*/, const Task *tasks, const signed char *slots,
                const int *subset /*or null*/, int batch, int count, int width, float *residuals) {
    EACH(item, (long long)batch * count * width) {
        long long rest = item;
        const int k = split_off(rest, width), n = split_off(rest, count), t = (int)rest;
        const int own = tasks[t].block;
        if (own < 0) continue;
        float value = 0.0f;
        if (k < blocks[own].width) {
            const Shares all = {image, blocks, memory, starts, slots, t};
            const int angle = subset ? subset[(long long)t * count + n] : n;
            const Ray ray = {angle, start_of(all, own, angle) + k};
            const long long measured = (long long)angle * image->detectors + ray.detector;
            value = -sinogram[measured];
            for (int first = 0; first < image->blocks; first += image->across) {
                const int last = first + image->across - 1;
                value = added_row(value, all, first, last - first, ray);
                value = added(value, all, last, ray);
            }
            if (weights) value *= weights[measured];
        }
        residuals[item] = value;
    }
}
