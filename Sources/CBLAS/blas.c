// Loads OpenBLAS by dlopen after the core type is chosen, and calls its sgemm.
#define _GNU_SOURCE
#include "CBLAS.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef void (*sgemm_function)(
    int order, int transpose_a, int transpose_b, int m, int n, int k, float alpha, const float *a,
    int lda, const float *b, int ldb, float beta, float *c, int ldc);

// Written once by lucida_blas_load, before any worker thread exists.
static sgemm_function sgemm;
static const char *core_name = "none";
static int is_decided;
static char error_text[512];

// The generic name first: the administrator's choice among the variants (update-alternatives).
static const char *const library_names[] = {
    "libopenblas.so.0",
    "libopenblas.so",
    "libopenblasp.so.0",
    "/usr/lib/x86_64-linux-gnu/openblas-pthread/libopenblas.so.0",
    "/usr/lib/x86_64-linux-gnu/openblas-serial/libopenblas.so.0",
    "/usr/lib/x86_64-linux-gnu/openblas-openmp/libopenblas.so.0",
};

// OpenBLAS 0.3.21 does not know CPUs younger than itself and falls back to slower kernels, or to
// its oldest ones under `qemu -cpu max`; so the family is chosen here by what the CPU can do.
static const char *core_type(const char *isa) {
    if (strcmp(isa, "avx512") == 0) return "SkylakeX";
    if (strcmp(isa, "avx2") == 0) return "Haswell";
#if defined(__x86_64__)
    return "Prescott";
#else
    return NULL;
#endif
}

// Leaves a message in `error_text` where it returns NULL: why the first name failed, the one that
// people know, and not what dlerror has to say of the last.
static void *open_library(void) {
    for (size_t i = 0; i < sizeof library_names / sizeof *library_names; i++) {
        void *library = dlopen(library_names[i], RTLD_NOW | RTLD_LOCAL);
        if (library) return library;
        const char *reason = dlerror();
        if (i > 0) continue;
        snprintf(
            error_text, sizeof error_text,
            "cannot load OpenBLAS (%s): install the package libopenblas0",
            reason ? reason : library_names[0]);
    }
    return NULL;
}

static const char *load(const char *isa) {
    const char *core = core_type(isa);
    if (core && !getenv("OPENBLAS_CORETYPE")) setenv("OPENBLAS_CORETYPE", core, 1);
    // The engine has threads of its own; a second pool beneath them would fight with it.
    setenv("OPENBLAS_NUM_THREADS", "1", 1);

    void *library = open_library();
    if (!library) return error_text;
    sgemm_function loaded = (sgemm_function)dlsym(library, "cblas_sgemm");
    void (*set_threads)(int) = (void (*)(int))dlsym(library, "openblas_set_num_threads");
    if (!loaded || !set_threads) {
        snprintf(
            error_text, sizeof error_text,
            "the library libopenblas.so.0 lacks cblas_sgemm or openblas_set_num_threads: "
            "install the package libopenblas0");
        return error_text;
    }
    set_threads(1);
    char *(*get_core)(void) = (char *(*)(void))dlsym(library, "openblas_get_corename");
    core_name = get_core ? get_core() : "unknown";
    sgemm = loaded;
    return NULL;
}

const char *lucida_blas_load(const char *isa) {
    if (!is_decided) {
        is_decided = 1;
        load(isa);
    }
    return sgemm ? NULL : error_text;
}

const char *lucida_blas_core(void) { return core_name; }

void lucida_sgemm(
    ptrdiff_t m, ptrdiff_t n, ptrdiff_t k, const float *a, ptrdiff_t lda, const float *b,
    ptrdiff_t ldb, float beta, float *c, ptrdiff_t ldc) {
    enum { column_major = 102, no_transpose = 111 };
    sgemm(
        column_major, no_transpose, no_transpose, (int)m, (int)n, (int)k, 1.0f, a, (int)lda, b,
        (int)ldb, beta, c, (int)ldc);
}
