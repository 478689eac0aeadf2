// BLAS, loaded at run time.
#ifndef LUCIDA_CBLAS_H
#define LUCIDA_CBLAS_H
#endif
