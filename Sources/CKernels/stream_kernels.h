// The kernels around a streaming network, written once with clang's vector extensions. Whoever
// includes this has set LANES and STREAM_TABLE, the table's name. Meanings are in stream.h.

#include "vectors.h"
#include "pixels.h"
#include "exposure.h"
#include "motion.h"
#include "warps.h"
#include "start.h"
#include "steps.h"

const ck_stream_kernels STREAM_TABLE = {
    .frame_squares = frame_squares,
    .multiply_bytes = multiply_bytes,
    .halve = halve,
    .patch_changes = patch_changes,
    .search_patches = search_patches,
    .spread_flow = spread_flow,
    .square_errors = square_errors,
    .surrounding_means = surrounding_means,
    .basis_errors = basis_errors,
    .trust_squares = trust_squares,
    .mend_anchors = mend_anchors,
    .start_squares = start_squares,
    .advance_squares = advance_squares,
    .end_squares = end_squares,
};
