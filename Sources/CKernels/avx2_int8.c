// The GEMM kernels for int8 operands, AVX-VNNI: 8 lanes, sums in int32. The instruction wants the
// left-hand side unsigned, so 128 is added to it and taken off again by the first sums.
#include "tables.h"

#if defined(__x86_64__)
#include <immintrin.h>
#include <string.h>

#pragma clang attribute push(__attribute__((target("avx2,fma,f16c,avxvnni"))), apply_to = function)
#define LANES 8
#include "vectors.h"

#define GROUP 4
#define LIMIT CK_INT8_LIMIT
#define HAS_FIRST_SUMS 1
#define MATRIX_TABLE ck_avx2_int8_kernels
typedef int32_t word;
typedef int32_t words __attribute__((ext_vector_type(LANES)));
typedef words sums;

// Not the intrinsic: see avx512_int16.c.
INLINE sums multiply_add(sums sum, word a, words b) {
    __asm__("%{vex%} vpdpbusd %2, %1, %0" : "+x"(sum) : "x"(_mm256_set1_epi32(a)), "x"(b));
    return sum;
}

INLINE void store_elements(uint8_t *target, vector value) {
    __m256i whole = _mm256_cvtps_epi32(value + 128.0f);
    __m128i half =
        _mm_packs_epi32(_mm256_castsi256_si128(whole), _mm256_extracti128_si256(whole, 1));
    memcpy(target, &(uint64_t){(uint64_t)_mm_cvtsi128_si64(_mm_packus_epi16(half, half))}, 8);
}

INLINE vector sums_to_f32(sums value) { return __builtin_convertvector(value, vector); }

#include "matrix.h"
#pragma clang attribute pop
#endif
