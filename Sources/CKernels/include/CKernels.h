// SIMD kernels.
#ifndef LUCIDA_CKERNELS_H
#define LUCIDA_CKERNELS_H
#endif
