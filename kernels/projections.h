// The projector's kernels for one kind of rays: blocks' shares and gradients, and the whole image's pair.
#pragma once

#include "joseph.h"
#include "layout.h"

// Each task's share of the sinogram, s_i = A_i x_i, into its back slot. rays (blocks, angles, SEGMENTS); pixels (batch,
// block_rows, block_cols); turned (batch, block_cols, block_rows): the same with rows and columns exchanged, so that
// neighbouring rays along columns too read neighbouring pixels.
template <class Rays>
PORTABLE void project_blocks(const Image *image, const Block *blocks, const Rays *rays, float *memory,
                             const Task *tasks, const signed char *slots, int batch, int width, const float *pixels,
                             const float *turned) {
    const int angles = image->angles;
    EACH(item, (long long)batch * angles * width) {
        long long rest = item;
        const int k = split_off(rest, width), angle = split_off(rest, angles), t = (int)rest;
        const int own = tasks[t].block;
        if (own < 0 || k >= blocks[own].width) continue;
        const Block &block = blocks[own];
        const long long window = padded(*image, t, 0, 0);
        const Rays &segment = segment_of(rays + ((long long)own * angles + angle) * Rays::SEGMENTS, k);
        float *share = memory + back_slot(*image, blocks, slots, t, own) + block.share;
        share[(long long)angle * block.width + k] =
            projected(segment, k, block.rows, block.cols, Lines{pixels + window, image->block_cols, 1},
                      Lines{turned + window, image->block_rows, 1});
    }
}

// The data term's gradient before its scale, A_i^T r: every pixel gathers the rays that passed it. residuals (batch,
// count, width) of the angles in subset (batch, count), or of all. gradients (batch, parts, block_rows, block_cols): part
// p sums its share of the angles, and 0 beyond the block's own pixels. More parts are more threads.
template <class Rays>
PORTABLE void backproject_blocks(const Image *image, const Block *blocks, const Rays *rays, const Task *tasks,
                                 const int *subset /*or null*/, int batch, int count, int width, int parts,
                                 const float *residuals, float *gradients) {
    const int rows = image->block_rows, cols = image->block_cols;
    EACH(item, (long long)batch * parts * rows * cols) {
        long long rest = item;
        const int c = split_off(rest, cols), r = split_off(rest, rows), part = split_off(rest, parts), t = (int)rest;
        const int own = tasks[t].block;
        if (own < 0) continue;
        float sum = 0.0f;
        if (r < blocks[own].rows && c < blocks[own].cols) {
            const int own_width = blocks[own].width;
            const Rays *of_block = rays + (long long)own * image->angles * Rays::SEGMENTS;
            const int share = (count + parts - 1) / parts;
            const int first = part * share, last = first + share < count ? first + share : count;
            const long long row = (long long)t * count;
            const float *values = residuals + (row + first) * width;
            for (int n = first; n < last; ++n, values += width) {
                const int angle = subset ? subset[row + n] : n;
                sum += gathered(of_block + (long long)angle * Rays::SEGMENTS, values, own_width, (float)r, (float)c);
            }
        }
        gradients[item] = sum;
    }
}

// The sinogram (angles, detectors) of the image (rows, cols) as one window. rays (angles, SEGMENTS) of the whole detector.
template <class Rays>
PORTABLE void project_whole(const Rays *rays, const float *image, int angles, int detectors, int rows, int cols,
                            float *sinogram) {
    EACH(item, (long long)angles * detectors) {
        long long rest = item;
        const int k = split_off(rest, detectors);
        const Rays &segment = segment_of(rays + rest * Rays::SEGMENTS, k);
        sinogram[item] = projected(segment, k, rows, cols, Lines{image, cols, 1}, Lines{image, 1, cols});
    }
}

// Its transpose: of a ramp-filtered sinogram of a parallel beam, the last stage of filtered back-projection.
template <class Rays>
PORTABLE void backproject_whole(const Rays *rays, const float *sinogram, int angles, int detectors, int rows, int cols,
                                float *image) {
    EACH(item, (long long)rows * cols) {
        long long rest = item;
        const int c = split_off(rest, cols), r = (int)rest;
        float sum = 0.0f;
        for (int angle = 0; angle < angles; ++angle)
            sum += gathered(rays + (long long)angle * Rays::SEGMENTS, sinogram + (long long)angle * detectors, detectors,
                            (float)r, (float)c);
        image[item] = sum;
    }
}
