// The kernels around a network that runs on a stream: motion, trust, alignment, start and end of a
// frame. Included by CKernels.h.
//
// Luma is Rec. 601, 0…255. Flow is backward: what is at p now was at p + flow in the frame before.
// "Planes" and levels of the pyramid repeat their edge pixels over a margin of CK_MARGIN; pointers
// point at the first pixel inside of it. A "square" is 4 × 4 pixels, one pixel of the network's
// tensors; lane 4 · y + x of a block of 16.
#ifndef LUCIDA_CKERNELS_STREAM_H
#define LUCIDA_CKERNELS_STREAM_H

#include "CKernels.h"

/// Repeated pixels on each side of a plane.
#define CK_MARGIN 16
/// Steps of 16-bit luma in a level of 0…255.
#define CK_LUMA_SCALE 64
/// Pixels on a side of a patch, and from patch to patch: patch i begins at pixel 4 · i − 2.
#define CK_PATCH 8
#define CK_PATCH_STEP 4
/// Cells of 2 × 2 pixels in a patch.
#define CK_PATCH_CELLS 16
/// Pixels on a side of a source texture, and the repeated ones after each row and below.
#define CK_SOURCE 512
#define CK_SOURCE_MARGIN 8
/// Elements of a row of it.
#define CK_SOURCE_STRIDE (CK_SOURCE + CK_SOURCE_MARGIN)
/// Largest magnitude of a component of the flow, in pixels of the frame.
#define CK_FLOW_LIMIT 64
/// Numbers about a square's colour: the means of luma, red − luma and blue − luma over it, in
/// levels, and 0; then the same over its surroundings.
#define CK_MEANS 8
/// Squares each way that the surroundings reach, the picture's edges repeated.
#define CK_AROUND 2
/// How far the past is trusted where the picture is another, but not outside of it.
#define CK_TRUST_MIN 0.3f
/// The most, in a past that is copied where it stands, and in one that is moved.
#define CK_TRUST_STOOD 0.98f
#define CK_TRUST_MOVED 0.75f

/// One level of two frames' pyramids of luma.
typedef struct {
    const float *now;
    const float *before;
    ptrdiff_t stride, width, height;
} ck_luma_level;

/// One pass of dense inverse search over the patches of a level.
typedef struct {
    ck_luma_level level;
    /// Patches in a row, and rows of them.
    ptrdiff_t columns, rows;
    /// How many times coarser than the finest level this one is: 1, 2, 4, 8.
    ptrdiff_t scale;
    /// Of the finest level's patches: which to look for; the others stand still. `active_columns`
    /// × `active_rows`.
    const uint8_t *active;
    ptrdiff_t active_columns, active_rows;
    /// Variance of the differences of the finest level's pixels, by noise alone; and what of each
    /// of its patches may be noise (from patch_changes), which counts between one and two times
    /// that.
    float noise;
    const float *grain;
    /// Where to begin, (x, y) pairs in pixels of their own level: the next coarser level's result,
    /// or NULL; the finest level's in the frame before.
    const float *coarse;
    ptrdiff_t coarse_columns, coarse_rows;
    const float *last;
    /// Result: a pair for each patch; and, unless NULL, the mean absolute difference that it leaves
    /// in each of the 4 × 4 cells of a patch that moves or has a neighbour that does.
    float *flow;
    float *cells;
} ck_patch_search;

/// The past of a stream as the next frame finds it. `columns` and `rows` are the frame's, in
/// squares, at least 2.
typedef struct {
    ptrdiff_t columns, rows;
    /// Last output: three planes of 16 bits, 65535 is 1.
    const uint16_t *past;
    ptrdiff_t past_stride, plane_stride;
    /// The network's state, 16 floats a square: 11 numbers, then 0, where light and tau are put in.
    const float *state;
    /// (x, y) pairs: by how far the texture at a square is off the screen's grid, in pixels.
    const float *anchor;
    /// CK_SOURCE_STRIDE² texels: red in the lowest byte, then green and blue.
    const uint32_t *source;
    /// Where in the source the screen's grid begins.
    int32_t offset_x, offset_y;
} ck_stream_past;

/// How far a frame of K > 1 steps has come before its last.
typedef struct {
    /// What it began with, 48 numbers a square, 65535 is 1.
    const uint16_t *start;
    /// How much of the past is in the ends up to now, summed: a number a square.
    const float *kept;
    /// z now: the first three blocks of the last step's input.
    const float *z;
    ptrdiff_t block_stride;
    /// 1 / K.
    float part;
} ck_stream_way;

/// The kernels of one instruction set.
typedef struct {
    /// `count` squares of RGB24 side by side: pixel-unshuffled to three blocks in [0, 1] (as
    /// ck_kernels.unshuffle_rgb), four rows of luma, two rows of luma averaged over 2 × 2, and the
    /// first half of CK_MEANS numbers a square.
    void (*frame_squares)(
        const uint8_t *rgb, ptrdiff_t rgb_stride, ptrdiff_t count, float *blocks,
        ptrdiff_t block_stride, uint16_t *luma, ptrdiff_t luma_stride, float *half,
        ptrdiff_t half_stride, float *means);

    /// target = round(gain · source), 255 at most; 15 more bytes of target may be written, and of
    /// source none read.
    void (*multiply_bytes)(const uint8_t *source, ptrdiff_t count, float gain, uint8_t *target);

    /// Averages over 2 × 2: two rows to `count` pixels.
    void (*halve)(const float *source, ptrdiff_t stride, ptrdiff_t count, float *target);

    /// Of a row of patches: the mean square difference at zero motion, less that of the means; and
    /// how much of it is as fine as noise: half the mean square of what differences of neighbouring
    /// pixels differ by. The two are equal if the pixels' differences are independent.
    void (*patch_changes)(
        const ck_luma_level *level, ptrdiff_t row, ptrdiff_t count, float *changes,
        float *grain);

    /// Looks for a row of patches.
    void (*search_patches)(const ck_patch_search *search, ptrdiff_t row);

    /// The finest level's patches to one vector for each of a row of squares, in pixels of the
    /// frame: the mean of the four patches that cover it, weighted by how well they fit.
    void (*spread_flow)(
        const float *patch_flow, const float *cells, ptrdiff_t patch_columns,
        ptrdiff_t patch_rows, ptrdiff_t row, ptrdiff_t count, float *flow);

    /// Mean absolute difference of luma over each of a row of squares, in levels, after the flow;
    /// luma: the pictures' first pixels. Where the flow is no better than none, it becomes 0; it
    /// has to be much better if the difference without is within the noise, given in levels.
    /// drift: the flow where it is at all better, for what should rather move with its
    /// surroundings.
    void (*square_errors)(
        const uint16_t *now, const uint16_t *before, ptrdiff_t stride, ptrdiff_t columns,
        ptrdiff_t rows, ptrdiff_t row, float noise, float *flow, float *drift, float *errors);

    /// The second half of a row's CK_MEANS from the first halves around it. means: all squares'.
    void (*surrounding_means)(float *means, ptrdiff_t columns, ptrdiff_t rows, ptrdiff_t row);

    /// What the frame and the basis of the past differ by in a row of squares: twice the difference
    /// of luma, once those of colour; the squares' own is added to `errors`, that of their
    /// surroundings becomes `around`. means: the row's; basis: all squares', of the frame before;
    /// aligned: the row's, where the flow says that it is now, times what exposure has changed
    /// since, `factor`.
    void (*basis_errors)(
        const float *means, const float *basis, ptrdiff_t columns, ptrdiff_t rows, ptrdiff_t row,
        const float *flow, float factor, float *aligned, float *errors, float *around);

    /// How far the past of a row of squares can be trusted: has_past (0 or 1) · (CK_TRUST_MIN +
    /// (most − CK_TRUST_MIN) · a), where a = clamp(1.5 − 0.5 · max(error_scale · error, around_scale ·
    /// around)) and most is CK_TRUST_STOOD where the flow is 0, else CK_TRUST_MOVED; 0 if the square's
    /// middle was outside of the frame. And where its texture is now:
    /// taken along by the drift, back on the grid where a is 0. phase: a way of 1 − phase squares
    /// counts as one; it should take all values of 0 ..< 1 in turn.
    void (*trust_squares)(
        const ck_stream_past *past, ptrdiff_t row, const float *flow, const float *drift,
        const float *errors, float error_scale, const float *around, float around_scale,
        float has_past, float phase, float *trust, float *anchor);

    /// Mends torn texture, a row of squares: an anchor to which fewer than three of its neighbours
    /// are near (a pixel) becomes the median of the nine, or 0 if that is as lonely. field: all
    /// squares' anchors.
    void (*mend_anchors)(
        const float *field, ptrdiff_t columns, ptrdiff_t rows, ptrdiff_t row, float *anchor);

    /// A row of the network's input of seven blocks: z = (1 − tau) source + tau past in blocks
    /// 0…2, in block 6 the state, times temporal · trust, plus the 16 numbers of `light`, and tau =
    /// trust_max · temporal · trust in its last channel. Past and state come along the flow. Blocks
    /// 3…5 stay. anchor: the row's first pair in the whole field. aligned: the past, 48 numbers a
    /// square; not written where tau is 0.
    void (*start_squares)(
        const ck_stream_past *past, ptrdiff_t row, const float *flow, const float *trust,
        float temporal, float trust_max, const float *light, const float *anchor,
        uint16_t *aligned, float *input, ptrdiff_t block_stride);

    /// A step of `share` of the way left, one of 1 / `part`, for a row of squares. result: five
    /// blocks, residual, gate and state before their activations. end = frame + residual, then
    /// end += temporal · trust · sigmoid(gate) · (aligned − end); in `input`,
    /// z += part · (end − start), tau += share · (1 − tau). state = tanh of the fifth block, its last
    /// channel 0, unless NULL. start: what z was before the first step, which writes it; 48 numbers
    /// a square, 65535 is 1. kept: each square's mean of temporal · trust · sigmoid(gate), summed
    /// from the first step on. Returns 0 if every number of the result was finite.
    int (*advance_squares)(
        const float *result, ptrdiff_t result_stride, const uint8_t *rgb, ptrdiff_t rgb_stride,
        const uint16_t *aligned, const float *trust, float temporal, ptrdiff_t count,
        float share, float part, float *state, float *input, ptrdiff_t input_stride,
        uint16_t *start, float *kept, int is_first);

    /// The last step, share 1: past = clamp(end), and instead of the residual `result` holds
    /// clamp(end) − frame. Else as advance_squares. Of several steps it is z + part · (end − start)
    /// that takes the place of the end; way: NULL of one. And the row's basis, what frames the past
    /// is made of: basis = means + k (aligned_basis − means), k being the square's mean of temporal ·
    /// trust · sigmoid(gate), over all steps.
    int (*end_squares)(
        float *result, ptrdiff_t result_stride, const uint8_t *rgb, ptrdiff_t rgb_stride,
        const uint16_t *aligned, const float *trust, float temporal, ptrdiff_t count,
        float *state, uint16_t *past, ptrdiff_t past_stride, ptrdiff_t plane_stride,
        const float *means, const float *aligned_basis, float *basis, const ck_stream_way *way);
} ck_stream_kernels;

/// The kernels of `isa`; NULL if this machine cannot run them.
const ck_stream_kernels *ck_stream_kernels_for(ck_isa isa);

#endif
