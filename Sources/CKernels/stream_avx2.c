// The stream's kernels for AVX2, FMA and F16C: 8 lanes.
#include "tables.h"

#if defined(__x86_64__)
#include <string.h>

#pragma clang attribute push(__attribute__((target("avx2,fma,f16c"))), apply_to = function)
#define LANES 8
#define STREAM_TABLE ck_avx2_stream_kernels
#include "stream_kernels.h"
#pragma clang attribute pop
#endif
