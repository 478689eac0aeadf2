// BLAS, loaded at run time so that its kernel family can be chosen before it looks at the CPU.
#ifndef LUCIDA_CBLAS_H
#define LUCIDA_CBLAS_H

#include <stddef.h>

/// Loads OpenBLAS for the instruction set `isa` ("scalar", "avx2" or "avx512") and limits it to one
/// thread. A core type that the user has set in OPENBLAS_CORETYPE is left alone. The first call
/// decides for the whole process; later ones repeat its answer. Not thread-safe: call it once.
///
/// @return NULL, or a sentence that says what is missing and what to do.
const char *lucida_blas_load(const char *isa);

/// The kernel family in use, for example "SkylakeX"; "none" before loading.
const char *lucida_blas_core(void);

/// C = A · B + beta · C in column-major order, without transposition:
/// A is m × k, B is k × n, C is m × n. Any thread, after loading.
void lucida_sgemm(
    ptrdiff_t m, ptrdiff_t n, ptrdiff_t k, const float *a, ptrdiff_t lda, const float *b,
    ptrdiff_t ldb, float beta, float *c, ptrdiff_t ldc);

#endif
