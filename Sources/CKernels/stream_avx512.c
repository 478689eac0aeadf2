// The stream's kernels for AVX-512 (F, DQ, BW, VL): 16 lanes.
#include "tables.h"

#if defined(__x86_64__)
#include <string.h>

#pragma clang attribute push( \
    __attribute__((target("avx2,fma,f16c,avx512f,avx512dq,avx512bw,avx512vl"))), \
    apply_to = function)
#define LANES 16
#define STREAM_TABLE ck_avx512_stream_kernels
#include "stream_kernels.h"
#pragma clang attribute pop
#endif
