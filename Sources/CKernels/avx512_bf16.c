// The GEMM kernels for bfloat16 operands, AVX512_BF16: 16 lanes, sums in f32. NaN and infinity
// come through; denormal operands count as zero.
#include "tables.h"

#if defined(__x86_64__)
#include <immintrin.h>
#include <string.h>

#pragma clang attribute push( \
    __attribute__((target("avx2,fma,f16c,avx512f,avx512dq,avx512bw,avx512vl,avx512bf16"))), \
    apply_to = function)
#define LANES 16
#include "vectors.h"

#define GROUP 2
#define LIMIT 0
#define HAS_FIRST_SUMS 0
#define MATRIX_TABLE ck_avx512_bf16_kernels
typedef int32_t word;
typedef int32_t words __attribute__((ext_vector_type(LANES)));
typedef vector sums;

INLINE sums multiply_add(sums sum, word a, words b) {
    return _mm512_dpbf16_ps(sum, (__m512bh)_mm512_set1_epi32(a), (__m512bh)b);
}

INLINE void store_elements(uint8_t *target, vector value) {
    STORE(target, _mm512_cvtneps_pbh(value));
}

INLINE vector sums_to_f32(sums value) { return value; }

#include "matrix.h"
#pragma clang attribute pop
#endif
