// The GEMM kernels for int16 operands, AVX-VNNI: 8 lanes, sums in int32.
#include "tables.h"

#if defined(__x86_64__)
#include <immintrin.h>
#include <string.h>

#pragma clang attribute push(__attribute__((target("avx2,fma,f16c,avxvnni"))), apply_to = function)
#define LANES 8
#include "vectors.h"

#define GROUP 2
#define LIMIT CK_INT16_LIMIT
#define HAS_FIRST_SUMS 0
#define MATRIX_TABLE ck_avx2_int16_kernels
typedef int32_t word;
typedef int32_t words __attribute__((ext_vector_type(LANES)));
typedef words sums;

// Not the intrinsic: see avx512_int16.c.
INLINE sums multiply_add(sums sum, word a, words b) {
    __asm__("%{vex%} vpdpwssd %2, %1, %0" : "+x"(sum) : "x"(_mm256_set1_epi32(a)), "x"(b));
    return sum;
}

INLINE void store_elements(uint8_t *target, vector value) {
    __m256i whole = _mm256_cvtps_epi32(value);
    STORE(
        target,
        _mm_packs_epi32(_mm256_castsi256_si128(whole), _mm256_extracti128_si256(whole, 1)));
}

INLINE vector sums_to_f32(sums value) { return __builtin_convertvector(value, vector); }

#include "matrix.h"
#pragma clang attribute pop
#endif
