// The engine's kernels: what lies between the GEMMs. One table of function pointers for each
// instruction set; `reference.c` says what each kernel means.
//
// Layout: activations are f32 in blocks of 16 channels (NCHW16c), one pixel of one block being 16
// consecutive floats. Strides count elements, not bytes. Every kernel is reentrant, allocates
// nothing and may run on any thread.
#ifndef LUCIDA_CKERNELS_H
#define LUCIDA_CKERNELS_H

#include <stddef.h>
#include <stdint.h>

/// Channels in a block.
#define CK_BLOCK 16

/// Instruction sets, each containing those before it.
typedef enum {
    CK_SCALAR = 0,
    CK_AVX2 = 1,
    CK_AVX512 = 2,
} ck_isa;

/// What is applied after bias and residual. All of them let NaN through.
typedef enum {
    CK_NONE = 0,
    CK_RELU = 1,
    CK_SILU = 2,
} ck_activation;

/// Winograd F(m × m, 3 × 3): m² results out of (m + 2)² products, one for each pair of
/// interpolation points.
typedef enum {
    CK_F2 = 0,  ///< points 0, ±1, ∞
    CK_F4 = 1,  ///< points 0, ±√½, ±√2, ∞: half the error of 0, ±1, ±2, ∞, at no cost
    CK_F6 = 2,  ///< points 0, ±½, ±1, ±2, ∞
    /// 3 × 3 with stride 2, m = 4, by the phases of the input: odd rows and columns meet a 2 × 2
    /// filter (Winograd F(4 × 4, 2 × 2), points ±√½, ±√2, ∞: 5 × 5 products), odd rows and even
    /// columns a 2 × 1 filter (5 × 4), even rows and odd columns 1 × 2 (4 × 5), even ones 1 × 1
    /// (4 × 4). Together 81 products instead of 144. The window is 9 × 9, tiles lie 8 pixels apart.
    /// Points in this order: 5 p + q of the odd phase; 25 + 4 p + column; 45 + 4 q + row;
    /// 65 + 4 row + column.
    CK_STRIDE2 = 3,
} ck_winograd;
#define CK_WINOGRAD_SIZES 4

/// What a GEMM multiplies. Its sums are f32, or int32 for the integers.
typedef enum {
    CK_F32 = 0,
    CK_BF16 = 1,   ///< round to nearest even
    CK_INT16 = 2,  ///< magnitudes up to CK_INT16_LIMIT
    CK_INT8 = 3,   ///< magnitudes up to CK_INT8_LIMIT; the left-hand side is stored plus 128
} ck_operand;
#define CK_OPERANDS 4
/// Largest magnitudes of integers of the left-hand side. Weights are scaled so that for every column
/// of B the sum of magnitudes, times the limit, is at most 2³¹ − 1: then no sum of a finite row can
/// leave int32, whatever the input.
#define CK_INT16_LIMIT 8191
#define CK_INT8_LIMIT 127

/// The kernels that depend on the type of a GEMM's operands. "Element" is that type.
///
/// Integers are scaled row by row, when the input is known: the largest magnitude of a row of the
/// left-hand side becomes the limit. So no input saturates, and a row that holds NaN or infinity
/// gets a factor that makes all its results NaN or infinite. Floats have no such factors; what is
/// said to be for integers is unused (NULL) by them.
typedef struct {
    /// Winograd input transform Bᵀ d B of `tiles` tiles side by side, all channel blocks.
    /// source: top left of the first (m + 2)² tile (tiles are m pixels apart), rows `row_stride`
    /// and blocks `block_stride` apart. target: point p of tile t at element target + p ·
    /// point_stride + t · tile_stride, 16 · blocks elements. For integers: row_factors gets 16
    /// numbers a tile, what its sums are to be multiplied by (points that differ in a sign alone
    /// share one); staging is room for (m + 2)² · 16 · blocks floats.
    void (*winograd_input[CK_WINOGRAD_SIZES])(
        const float *source, ptrdiff_t row_stride, ptrdiff_t block_stride, ptrdiff_t blocks,
        ptrdiff_t tiles, void *target, ptrdiff_t point_stride, ptrdiff_t tile_stride,
        float *row_factors, float *staging);

    /// Winograd output transform Aᵀ m A of a row of tiles, one channel block, then
    /// target = activation(result + bias + residual). `rows` (1…m) and `columns` (in pixels, all
    /// tiles together) are what is written. source: sums, f32 or int32, strides in sums.
    /// bias: 16 floats; residual: geometry of target, or NULL. For integers: sums are multiplied by
    /// row_factors (those of the first tile come first) and, that of point p and channel c, by
    /// column_factors[p · column_factor_stride + c].
    void (*winograd_output[CK_WINOGRAD_SIZES])(
        const void *source, ptrdiff_t point_stride, ptrdiff_t tile_stride, ptrdiff_t rows,
        ptrdiff_t columns, float *target, ptrdiff_t row_stride, const float *bias,
        const float *residual, ck_activation activation, const float *row_factors,
        const float *column_factors, ptrdiff_t column_factor_stride);

    /// GEMM: C = A · B.
    /// A: `rows` rows, `a_stride` elements apart; a row is `steps` runs of 16 elements, run s at
    /// element offsets[s] of the row (so that a convolution needs no im2col).
    /// B: `blocks` panels of 16 columns one after another; in a panel the 16 columns of each group
    /// of g = 4 / sizeof(element) rows lie together, column by column: element
    /// (row / g · 16 + column) · g + row % g. For CK_INT8, before that, 16 int32: minus 128 times the
    /// sum of each column. ck_panel_bytes is the size of a panel.
    /// C: sums (f32 or int32), rows `c_stride` apart, 16 · blocks columns.
    /// next: what will be B in the next call, of the same size (it is prefetched), or NULL.
    void (*multiply)(
        const void *a, ptrdiff_t a_stride, const int32_t *offsets, ptrdiff_t steps, const void *b,
        ptrdiff_t blocks, ptrdiff_t rows, void *c, ptrdiff_t c_stride, const void *next);
} ck_matrix_kernels;

/// Bytes of a panel of B, 16 columns and `depth` rows (a multiple of 16).
static inline ptrdiff_t ck_panel_bytes(ck_operand operand, ptrdiff_t depth) {
    switch (operand) {
    case CK_F32: return depth * CK_BLOCK * 4;
    case CK_INT8: return (depth + 4) * CK_BLOCK;
    default: return depth * CK_BLOCK * 2;
    }
}

/// The kernels of one instruction set.
typedef struct {
    /// GEMM result to blocks: target pixel i = activation(source[i · source_stride …] + bias +
    /// residual), 16 floats each. residual may be NULL.
    void (*scatter)(
        const float *source, ptrdiff_t source_stride, ptrdiff_t count, float *target,
        const float *bias, const float *residual, ck_activation activation);

    /// target = activation(a + b) over `count` floats, a multiple of 16; b may be NULL.
    void (*add_activate)(
        const float *a, const float *b, ptrdiff_t count, float *target, ck_activation activation);

    /// As `scatter`, and nearest ×2: source pixel i goes to the target's pixels 2i and 2i + 1 of
    /// two rows, each with its own residual. activation(source + bias + residual).
    void (*scatter_2x2)(
        const float *source, ptrdiff_t source_stride, ptrdiff_t count, float *target,
        ptrdiff_t row_stride, const float *bias, const float *residual,
        ck_activation activation);

    /// Pixel-unshuffle by 4 of RGB24: `count` squares of 4 × 4 pixels side by side to values in
    /// [0, 1]; colour c of square i goes to target + c · block_stride + 16 · i, lane 4 · y + x.
    void (*unshuffle_rgb)(
        const uint8_t *source, ptrdiff_t stride, ptrdiff_t count, float *target,
        ptrdiff_t block_stride);

    /// Pixel-shuffle by 4 of a residual, added to RGB24: output = clamp(frame + 255 · strength ·
    /// residual), rounded. `rows` (1…4) and `columns` (in pixels) are what is read and written.
    /// Returns 0 if every residual was finite.
    int (*shuffle_add_rgb)(
        const float *residual, ptrdiff_t block_stride, ptrdiff_t rows, ptrdiff_t columns,
        const uint8_t *frame, ptrdiff_t frame_stride, float strength, uint8_t *output,
        ptrdiff_t output_stride);

    /// Pixel-shuffle by 4 of a residual to 4 rows of interleaved f32 RGB. Returns 0 if every
    /// value was finite.
    int (*shuffle_rgb)(
        const float *residual, ptrdiff_t block_stride, ptrdiff_t count, float *target,
        ptrdiff_t row_stride);

    /// target = weight · source (+ target unless `first`), `count` elements.
    void (*accumulate_u8)(
        const uint8_t *source, float weight, int first, ptrdiff_t count, float *target);

    /// As `accumulate_u8`, from f32.
    void (*accumulate_f32)(
        const float *source, float weight, int first, ptrdiff_t count, float *target);

    /// Horizontal resampling of an interleaved f32 RGB row: pixel i = Σ weights[i · taps + t] ·
    /// source pixel (starts[i] + t). The source needs one spare readable float after its end.
    void (*resample_rgb)(
        const float *source, const int32_t *starts, const float *weights, ptrdiff_t taps,
        ptrdiff_t count, float *target);

    /// target = round(clamp(source, 0, 255)).
    void (*quantize_u8)(const float *source, ptrdiff_t count, uint8_t *target);

    /// target = round(clamp(frame + gain · (upper + t · (lower − upper)))), `count` elements.
    void (*blend_rows)(
        const uint8_t *frame, const float *upper, const float *lower, float t, float gain,
        ptrdiff_t count, uint8_t *target);

    /// How much `count` cells of 8 × 8 pixels side by side differ between two RGB24 pictures:
    /// changes[i] = weights · (mean square difference of the values, of the luma averaged over 2 × 2
    /// pixels, of the luma averaged over 4 × 4 pixels, of the colours averaged over 4 × 4 pixels), in
    /// levels²; luma is (R + 2 G + B) / 4. Sums are exact integers.
    void (*cell_changes)(
        const uint8_t *a, ptrdiff_t a_stride, const uint8_t *b, ptrdiff_t b_stride,
        ptrdiff_t count, const float *weights, float *changes);

    /// Cells of 2 × 2 pixels, `columns` side by side and all channel blocks of each: takes over into
    /// `target` those of `from` that differ. changes[i] = scale · Σ (from − target)², unless that is
    /// at most `threshold`: then the cell of `target` stays and changes[i] = 0. NaN is a difference.
    void (*take_cells)(
        const float *from, ptrdiff_t from_row_stride, ptrdiff_t from_block_stride, float *target,
        ptrdiff_t row_stride, ptrdiff_t block_stride, ptrdiff_t blocks, ptrdiff_t columns,
        float scale, float threshold, float *changes);

    /// What changes of cells mean to a row of `count` tiles, each of `span` × `span` cells and their
    /// neighbours: tiles[t] += scale · Σ over rows y and columns x from −1 to span of w(y) · w(x) ·
    /// changes[y · stride + t · span + x], where w is `before` at −1, `after` at `span`, else 1.
    void (*gather_changes)(
        const float *changes, ptrdiff_t stride, ptrdiff_t span, float before, float after,
        float scale, ptrdiff_t count, float *tiles);

    /// IEEE 754 half precision to f32.
    void (*f16_to_f32)(const uint16_t *source, ptrdiff_t count, float *target);

    /// bfloat16 to f32.
    void (*bf16_to_f32)(const uint16_t *source, ptrdiff_t count, float *target);
} ck_kernels;

/// The widest instruction set this CPU and kernel can run.
ck_isa ck_best_isa(void);

/// Whether this machine can run `isa`.
int ck_supports(ck_isa isa);

/// The kernels of `isa`; NULL if this machine cannot run them.
const ck_kernels *ck_kernels_for(ck_isa isa);

/// The kernels of `isa` for operands of one type; NULL if this machine cannot run them, or has no
/// instruction that makes them pay.
const ck_matrix_kernels *ck_matrix_kernels_for(ck_isa isa, ck_operand operand);

/// One turn of a spin loop: lets the sibling hyperthread run.
static inline void ck_pause(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
}

#include "peak.h"
#include "stream.h"

#endif
