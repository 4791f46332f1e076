// Dense matrices of blocks that share no measurement: A x − y row by row, and sums of rows, A^T r.
//
// Both read a matrix where it lies, once, neighbouring items neighbouring bytes. They wait for memory and for little
// else, so an item reads several neighbours at a time, and asks for several such pieces before it uses the first.
#pragma once

#include "half.h"
#include "layout.h"

#ifdef __CUDACC__
// At most the THREADS of cuda_build.py in a block, with 64 registers each: left to itself, the compiler takes half of
// them, and an item waits after every two or three pieces.
#undef KERNEL
#define KERNEL extern "C" __global__ void __launch_bounds__(256, 4)
#endif

// So many pieces are on their way to an item at once, if the compiler can.
#define AHEAD 8

// Neighbours in a piece, where a row holds a multiple of them; else 1.
#define WIDE 4

// `WIDTH` neighbours in one access to memory, which must begin at a multiple of its size.
template <class Value, int WIDTH>
struct alignas(sizeof(Value) * WIDTH) Piece {
    Value value[WIDTH];
};

PORTABLE float as_float(float value) { return value; }

#ifdef __CUDACC__  // one instruction; `widened` takes ten, too many for every value of a matrix
PORTABLE float as_float(Float16 half) {
    float value;
    asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(half.bits));
    return value;
}
#else
PORTABLE float as_float(Float16 half) { return widened(half); }
#endif

template <class P>
PORTABLE P piece_or_zero(const P *pieces, long long place, bool inside) {
    return inside ? pieces[place] : P{};
}

// The pieces `lane`, lane + lanes, … of a row with `size` elements, times those of x.
template <int WIDTH, class Element>
PORTABLE float row_product(const Element *row, const float *x, int size, int lane, int lanes) {
    const Piece<Element, WIDTH> *all = reinterpret_cast<const Piece<Element, WIDTH> *>(row);
    const Piece<float, WIDTH> *factors = reinterpret_cast<const Piece<float, WIDTH> *>(x);
    const int pieces = size / WIDTH;
    float sum = 0.0f;
    for (int p = lane; p < pieces; p += AHEAD * lanes) {
        Piece<Element, WIDTH> found[AHEAD];
        for (int i = 0; i < AHEAD; ++i) found[i] = piece_or_zero(all, p + i * lanes, p + i * lanes < pieces);
        for (int i = 0; i < AHEAD; ++i) {
            const Piece<float, WIDTH> factor = piece_or_zero(factors, p + i * lanes, p + i * lanes < pieces);
            for (int k = 0; k < WIDTH; ++k) sum += as_float(found[i].value[k]) * factor.value[k];
        }
    }
    return sum;
}

// sums (size) at piece `place`: the rows first … last − 1 of a matrix (of those in subset, or of all), each times its
// factor, less `minus` (size).
template <int WIDTH, class Element>
PORTABLE void sum_rows(const Element *matrix, const int *subset /*or null*/, int first, int last, const float *factors,
                       const float *minus /*or null*/, int size, int place, float *sums) {
    const Piece<Element, WIDTH> *column = reinterpret_cast<const Piece<Element, WIDTH> *>(matrix) + place;
    const int pieces = size / WIDTH;
    Piece<float, WIDTH> sum = {};
    if (minus)
        for (int j = 0; j < WIDTH; ++j) sum.value[j] = -minus[place * WIDTH + j];
    for (int k = first; k < last; k += AHEAD) {
        Piece<Element, WIDTH> found[AHEAD];
        for (int i = 0; i < AHEAD; ++i) {
            const bool inside = k + i < last;
            const long long row = inside && subset ? subset[k + i] : k + i;
            found[i] = piece_or_zero(column, row * pieces, inside);
        }
        for (int i = 0; i < AHEAD; ++i) {
            const float factor = k + i < last ? factors[k + i] : 0.0f;
            for (int j = 0; j < WIDTH; ++j) sum.value[j] += factor * as_float(found[i].value[j]);
        }
    }
    reinterpret_cast<Piece<float, WIDTH> *>(sums)[place] = sum;
}

// Part `part` of `parts`, about as long each, of `count` rows.
struct Share {
    int first, last;
};

PORTABLE Share share_of(int count, int parts, int part) {
    const int length = (count + parts - 1) / parts, first = part * length;
    return {first, first + length < count ? first + length : count};
}

// sums (batch, count, lanes) of A x − y, row by row: a row's lanes together are its residual. x lies in the task's own
// front slot. 0 for a task without a block. matrices (blocks, rows, size), measurements (blocks, rows).
template <class Element>
PORTABLE void rows_forward(const Image *image, const Block *blocks, const float *memory, const Task *tasks,
                           const signed char *slots, const int *subset /*or null*/, int batch, int count, int rows,
                           int lanes, const Element *matrices, const float *measurements, float *sums) {
    const int size = image->block_rows * image->block_cols;
    EACH(item, (long long)batch * count * lanes) {
        long long rest = item;
        const int lane = split_off(rest, lanes), k = split_off(rest, count), t = (int)rest;
        const int own = tasks[t].block;
        float sum = 0.0f;
        if (own >= 0) {
            const long long row = (long long)own * rows + (subset ? subset[(long long)t * count + k] : k);
            const float *x = memory + front_slot(*image, blocks, slots, t, own);
            sum = size % WIDE == 0 ? row_product<WIDE>(matrices + row * size, x, size, lane, lanes)
                                   : row_product<1>(matrices + row * size, x, size, lane, lanes);
            if (lane == 0) sum -= measurements[row];
        }
        sums[item] = sum;
    }
}

// gradients (batch, parts, size): part p of A^T r sums its share of the rows. residuals (batch, count).
template <class Element>
PORTABLE void rows_adjoint(const Image *image, const Task *tasks, const int *subset /*or null*/, int batch, int count,
                           int rows, int parts, const Element *matrices, const float *residuals, float *gradients) {
    const int size = image->block_rows * image->block_cols, pieces = size % WIDE == 0 ? size / WIDE : size;
    EACH(item, (long long)batch * parts * pieces) {
        long long rest = item;
        const int place = split_off(rest, pieces), part = split_off(rest, parts), t = (int)rest;
        const int own = tasks[t].block;
        if (own < 0) continue;
        const Share share = share_of(count, parts, part);
        const Element *matrix = matrices + (long long)own * rows * size;
        const long long begin = (long long)t * count;
        const int *chosen = subset ? subset + begin : nullptr;
        const float *factors = residuals + begin;
        float *to = gradients + ((long long)t * parts + part) * size;
        if (size % WIDE == 0)
            sum_rows<WIDE>(matrix, chosen, share.first, share.last, factors, nullptr, size, place, to);
        else
            sum_rows<1>(matrix, chosen, share.first, share.last, factors, nullptr, size, place, to);
    }
}
