// The tables that dispatch.c chooses from.
#ifndef LUCIDA_CKERNELS_TABLES_H
#define LUCIDA_CKERNELS_TABLES_H

#include "CKernels.h"

extern const ck_kernels ck_reference_kernels;
#if defined(__x86_64__)
extern const ck_kernels ck_avx2_kernels;
extern const ck_kernels ck_avx512_kernels;
#endif

// Winograd F(4, 3) with the points 0, ±√½, ±√2, ∞: half the error of 0, ±1, ±2, at no cost.
// m(x) = x (x² − ½)(x² − 2) = x⁵ − 2.5 x³ + x gives the rows of Bᵀ; Aᵀ holds the points' powers.
#define CK_SQRT_HALF 0.70710678118654752440f
#define CK_SQRT_2 1.41421356237309504880f

#endif
