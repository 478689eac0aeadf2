// The kernels for AVX2, FMA and F16C: 8 lanes.
#include "tables.h"

#if defined(__x86_64__)
#include <immintrin.h>
#include <string.h>

#pragma clang attribute push(__attribute__((target("avx2,fma,f16c"))), apply_to = function)
#define LANES 8
#define TABLE ck_avx2_kernels
#define MATRIX_TABLE ck_avx2_f32_kernels
#include "simd.h"
#pragma clang attribute pop
#endif
