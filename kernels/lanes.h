// Vectors of the host's widest registers, and lookups in memory: a permutation where the places are close, else a gather.
//
// AVX-512 has 16 lanes and permutes two registers in one instruction; AVX2 has 8 and takes two permutations and a blend;
// elsewhere plain loops over 8, which compilers vectorize but for the lookups. -DPLAIN_LANES: these everywhere, for tests.
#pragma once

#include <cmath>

#if defined(__AVX512F__) && !defined(PLAIN_LANES)
#include <immintrin.h>

constexpr int LANES = 16;
typedef __m512 Floats;
typedef __m512i Ints;

static inline Floats all(float value) { return _mm512_set1_ps(value); }
static inline Ints all(int value) { return _mm512_set1_epi32(value); }
static inline Floats ramp() { return _mm512_setr_ps(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15); }
static inline Floats load(const float *from) { return _mm512_loadu_ps(from); }
static inline void store(float *to, Floats values) { _mm512_storeu_ps(to, values); }
static inline Floats add(Floats a, Floats b) { return _mm512_add_ps(a, b); }
static inline Floats subtract(Floats a, Floats b) { return _mm512_sub_ps(a, b); }
static inline Floats multiply_add(Floats a, Floats b, Floats c) { return _mm512_fmadd_ps(a, b, c); }
static inline Floats divide(Floats a, Floats b) { return _mm512_div_ps(a, b); }
static inline Floats absolute(Floats a) { return _mm512_abs_ps(a); }
static inline Floats smaller(Floats a, Floats b) { return _mm512_min_ps(a, b); }
static inline Floats larger(Floats a, Floats b) { return _mm512_max_ps(a, b); }
static inline Floats round_down(Floats a) { return _mm512_floor_ps(a); }
static inline Ints to_ints(Floats whole) { return _mm512_cvttps_epi32(whole); }
static inline Ints add(Ints a, Ints b) { return _mm512_add_epi32(a, b); }

// table[index], 0 <= index < 2·LANES: the table's halves are `low` and `high`.
static inline Floats look_up(Floats low, Floats high, Ints index) { return _mm512_permutex2var_ps(low, index, high); }
static inline Floats gather(const float *table, Ints index) { return _mm512_i32gather_ps(index, table, 4); }

#elif defined(__AVX2__) && defined(__FMA__) && !defined(PLAIN_LANES)
#include <immintrin.h>

constexpr int LANES = 8;
typedef __m256 Floats;
typedef __m256i Ints;

static inline Floats all(float value) { return _mm256_set1_ps(value); }
static inline Ints all(int value) { return _mm256_set1_epi32(value); }
static inline Floats ramp() { return _mm256_setr_ps(0, 1, 2, 3, 4, 5, 6, 7); }
static inline Floats load(const float *from) { return _mm256_loadu_ps(from); }
static inline void store(float *to, Floats values) { _mm256_storeu_ps(to, values); }
static inline Floats add(Floats a, Floats b) { return _mm256_add_ps(a, b); }
static inline Floats subtract(Floats a, Floats b) { return _mm256_sub_ps(a, b); }
static inline Floats multiply_add(Floats a, Floats b, Floats c) { return _mm256_fmadd_ps(a, b, c); }
static inline Floats divide(Floats a, Floats b) { return _mm256_div_ps(a, b); }
static inline Floats absolute(Floats a) { return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), a); }
static inline Floats smaller(Floats a, Floats b) { return _mm256_min_ps(a, b); }
static inline Floats larger(Floats a, Floats b) { return _mm256_max_ps(a, b); }
static inline Floats round_down(Floats a) { return _mm256_floor_ps(a); }
static inline Ints to_ints(Floats whole) { return _mm256_cvttps_epi32(whole); }
static inline Ints add(Ints a, Ints b) { return _mm256_add_epi32(a, b); }

static inline Floats look_up(Floats low, Floats high, Ints index) {
    const __m256i in_high = _mm256_slli_epi32(index, 28);  // bit 3 becomes the sign, which is what a blend looks at
    return _mm256_blendv_ps(_mm256_permutevar8x32_ps(low, index), _mm256_permutevar8x32_ps(high, index),
                            _mm256_castsi256_ps(in_high));
}
static inline Floats gather(const float *table, Ints index) { return _mm256_i32gather_ps(table, index, 4); }

#else
#include <cstring>

constexpr int LANES = 8;
typedef float Floats __attribute__((vector_size(4 * LANES)));
typedef int Ints __attribute__((vector_size(4 * LANES)));

#define EACH_LANE for (int i = 0; i < LANES; ++i)

static inline Floats all(float value) { return Floats{} + value; }
static inline Ints all(int value) { return Ints{} + value; }
static inline Floats ramp() { return Floats{0, 1, 2, 3, 4, 5, 6, 7}; }
static inline Floats load(const float *from) {
    Floats found;
    memcpy(&found, from, sizeof found);
    return found;
}
static inline void store(float *to, Floats values) { memcpy(to, &values, sizeof values); }
static inline Floats add(Floats a, Floats b) { return a + b; }
static inline Floats subtract(Floats a, Floats b) { return a - b; }
static inline Floats multiply_add(Floats a, Floats b, Floats c) {
    Floats found = {};
    EACH_LANE found[i] = fmaf(a[i], b[i], c[i]);
    return found;
}
static inline Floats divide(Floats a, Floats b) { return a / b; }
static inline Floats absolute(Floats a) { return a < 0.0f ? -a : a; }
static inline Floats smaller(Floats a, Floats b) { return a < b ? a : b; }
static inline Floats larger(Floats a, Floats b) { return a > b ? a : b; }
static inline Floats round_down(Floats a) {
    EACH_LANE a[i] = floorf(a[i]);
    return a;
}
static inline Ints to_ints(Floats whole) { return __builtin_convertvector(whole, Ints); }
static inline Ints add(Ints a, Ints b) { return a + b; }
static inline Floats gather(const float *table, Ints index) {
    Floats found = {};
    EACH_LANE found[i] = table[index[i]];
    return found;
}
static inline Floats look_up(Floats low, Floats high, Ints index) {
    float table[2 * LANES];
    store(table, low), store(table + LANES, high);
    return gather(table, index);
}

#endif

// Memory from `from` on, looked up at whole numbers in [0, 2·LANES).
struct CloseTable {
    Floats low, high;
    explicit CloseTable(const float *from) : low(load(from)), high(load(from + LANES)) {}
    Floats at(Ints index) const { return look_up(low, high, index); }
};

// The same at any whole numbers.
struct WideTable {
    const float *from;
    explicit WideTable(const float *from) : from(from) {}
    Floats at(Ints index) const { return gather(from, index); }
};
