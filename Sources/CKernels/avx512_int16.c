// The GEMM kernels for int16 operands, AVX512_VNNI: 16 lanes, sums in int32.
#include "tables.h"

#if defined(__x86_64__)
#include <immintrin.h>
#include <string.h>

#pragma clang attribute push( \
    __attribute__((target("avx2,fma,f16c,avx512f,avx512dq,avx512bw,avx512vl,avx512vnni"))), \
    apply_to = function)
#define LANES 16
#include "vectors.h"

#define GROUP 2
#define LIMIT CK_INT16_LIMIT
#define HAS_FIRST_SUMS 0
#define MATRIX_TABLE ck_avx512_int16_kernels
typedef int32_t word;
typedef int32_t words __attribute__((ext_vector_type(LANES)));
typedef words sums;

// Not the intrinsic: clang 21 takes it apart into a multiplication and an addition, which is slower
// by a sixth.
INLINE sums multiply_add(sums sum, word a, words b) {
    __asm__("vpdpwssd %2, %1, %0" : "+v"(sum) : "v"(_mm512_set1_epi32(a)), "v"(b));
    return sum;
}

INLINE void store_elements(uint8_t *target, vector value) {
    STORE(target, _mm512_cvtepi32_epi16(_mm512_cvtps_epi32(value)));
}

INLINE vector sums_to_f32(sums value) { return __builtin_convertvector(value, vector); }

#include "matrix.h"
#pragma clang attribute pop
#endif
