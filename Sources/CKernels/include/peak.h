// What the machine can do at best, for `lucida bench roofline`: multiply-accumulate loops that touch
// no memory, and plain reads and copies.
#ifndef LUCIDA_CKERNELS_PEAK_H
#define LUCIDA_CKERNELS_PEAK_H

#include "CKernels.h"

/// What is multiplied: f32 by FMA, bf16 by VDPBF16PS, int16 by VPDPWSSD, int8 by VPDPBUSD.
typedef enum {
    CK_PEAK_F32 = 0,
    CK_PEAK_BF16 = 1,
    CK_PEAK_INT16 = 2,
    CK_PEAK_INT8 = 3,
} ck_peak_operand;

/// Bytes of the operands of a loop.
#define CK_PEAK_OPERAND_BYTES 128
/// Bytes of the sums of a loop.
#define CK_PEAK_SUM_BYTES (24 * 64)

/// Multiply-accumulates on enough independent sums to hide the latency of the instruction.
typedef struct {
    /// operands: CK_PEAK_OPERAND_BYTES; sums: CK_PEAK_SUM_BYTES, added to. NULL where the CPU
    /// lacks the instruction.
    void (*run)(const void *operands, ptrdiff_t rounds, void *sums);
    /// Multiply-accumulates of one round.
    int64_t macs;
} ck_peak_loop;

/// Memory traffic in whole registers; `bytes` is a multiple of CK_PEAK_RUN_BYTES.
typedef struct {
    /// Returns a mixture of all that was read, so that nothing can be left out.
    uint64_t (*read)(const void *source, ptrdiff_t bytes);
    /// Ordinary stores, which read a line before they write it.
    void (*copy)(const void *source, ptrdiff_t bytes, void *target);
} ck_peak_memory;

/// What `read` and `copy` do in one turn.
#define CK_PEAK_RUN_BYTES 1024

/// The loop of an instruction set; `run` is NULL if this machine or that set has none.
ck_peak_loop ck_peak_loop_for(ck_isa isa, ck_peak_operand operand);

/// The memory traffic of an instruction set that this machine supports.
ck_peak_memory ck_peak_memory_for(ck_isa isa);

#endif
