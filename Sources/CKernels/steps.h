// From the network's result to the next step, or to the end of a frame. Included by
// stream_kernels.h.

// The functions of whole pixels of a block, in vectors as wide as the registers.

INLINE pixel sigmoid(const float *logits) {
    float values[CK_BLOCK];
    for (int lane = 0; lane < CK_BLOCK; lane += LANES)
        STORE(values + lane, 1.0f / (1.0f + exponential(-LOAD(vector, logits + lane))));
    return LOAD(pixel, values);
}

INLINE pixel hyperbolic_tangent(const float *logits) {
    float values[CK_BLOCK];
    for (int lane = 0; lane < CK_BLOCK; lane += LANES)
        STORE(
            values + lane,
            1.0f - 2.0f / (1.0f + exponential(2.0f * LOAD(vector, logits + lane))));
    return LOAD(pixel, values);
}

INLINE pixel clamp_pixel(pixel value) {
    const pixel zero = {}, one = zero + 1.0f;
    value = value > zero ? value : zero;  // NaN becomes 0
    return value < one ? value : one;
}

// Frame, end of the flow, which lanes of the result are not finite, and how much of the past is in
// the end, 0…1 in the mean.
typedef struct {
    pixel frame[3], end[3];
    pixel_mask bad;
    float kept;
} square_end;

INLINE square_end end_of_square(
    const float *result, ptrdiff_t block_stride, const uint8_t *rgb, ptrdiff_t rgb_stride,
    const uint16_t *aligned, float known) {
    square values = load_square(rgb, rgb_stride);
    square_end s;
    pixel gate = LOAD(pixel, result + 3 * block_stride);
    s.bad = not_finite(gate) | not_finite(LOAD(pixel, result + 4 * block_stride));
    s.kept = 0;
    if (known > 0) {
        gate = known * sigmoid(result + 3 * block_stride);
        s.kept = pixel_sum(gate) * (1 / 16.0f);
    }
    for (int c = 0; c < 3; c++) {
        pixel residual = LOAD(pixel, result + c * block_stride);
        s.bad |= not_finite(residual);
        s.frame[c] = from_u8(values.colour[c]) * (1 / 255.0f);
        pixel end = s.frame[c] + residual;
        if (known > 0) {
            pixel before = from_u16(LOAD(pixel_u16, aligned + c * CK_BLOCK)) * (1 / 65535.0f);
            end += gate * (before - end);
        }
        s.end[c] = end;
    }
    return s;
}

INLINE void keep_state(const float *logits, float *state) {
    pixel value = hyperbolic_tangent(logits);
    value[CK_BLOCK - 1] = 0;
    STORE(state, value);
}

// A step of Euler's method along the velocity, end − start. K of them lead to the mean of the ends.
INLINE pixel further(pixel z, float part, pixel end, const uint16_t *start) {
    return z + part * (end - from_u16(LOAD(pixel_u16, start)) * (1 / 65535.0f));
}

static int advance_squares(
    const float *result, ptrdiff_t result_stride, const uint8_t *rgb, ptrdiff_t rgb_stride,
    const uint16_t *aligned, const float *trust, float temporal, ptrdiff_t count, float share,
    float part, float *state, float *input, ptrdiff_t input_stride, uint16_t *start, float *kept,
    int is_first) {
    pixel_mask bad = {};
    for (ptrdiff_t i = 0; i < count; i++) {
        const float *from = result + i * CK_BLOCK;
        float *to = input + i * CK_BLOCK;
        square_end s = end_of_square(
            from, result_stride, rgb + 12 * i, rgb_stride, aligned + 3 * CK_BLOCK * i,
            temporal * trust[i]);
        bad |= s.bad;
        for (int c = 0; c < 3; c++) {
            pixel z = LOAD(pixel, to + c * input_stride);
            uint16_t *begin = start + (3 * i + c) * CK_BLOCK;
            if (is_first) STORE(begin, to_u16(65535.0f * clamp_pixel(z)));
            STORE(to + c * input_stride, further(z, part, s.end[c], begin));
        }
        kept[i] = (is_first ? 0 : kept[i]) + s.kept;
        float *tau = to + 6 * input_stride + CK_BLOCK - 1;
        *tau += share * (1 - *tau);
        if (state) keep_state(from + 4 * result_stride, state + i * CK_BLOCK);
    }
    return any(bad);
}

static int end_squares(
    float *result, ptrdiff_t result_stride, const uint8_t *rgb, ptrdiff_t rgb_stride,
    const uint16_t *aligned, const float *trust, float temporal, ptrdiff_t count, float *state,
    uint16_t *past, ptrdiff_t past_stride, ptrdiff_t plane_stride, const float *means,
    const float *aligned_basis, float *basis, const ck_stream_way *way) {
    pixel_mask bad = {};
    for (ptrdiff_t i = 0; i < count; i++) {
        float *from = result + i * CK_BLOCK;
        square_end s = end_of_square(
            from, result_stride, rgb + 12 * i, rgb_stride, aligned + 3 * CK_BLOCK * i,
            temporal * trust[i]);
        bad |= s.bad;
        for (int c = 0; c < 3; c++) {
            pixel end = s.end[c];
            if (way) {
                pixel z = LOAD(pixel, way->z + i * CK_BLOCK + c * way->block_stride);
                end = further(z, way->part, end, way->start + (3 * i + c) * CK_BLOCK);
            }
            end = clamp_pixel(end);
            store_square_u16(
                past + c * plane_stride + 4 * i, past_stride, to_u16(65535.0f * end));
            STORE(from + c * result_stride, end - s.frame[c]);
        }
        patch_row mean = LOAD(patch_row, means + CK_MEANS * i);
        patch_row before = LOAD(patch_row, aligned_basis + CK_MEANS * i);
        float kept = way ? way->part * (way->kept[i] + s.kept) : s.kept;
        // What the aligned basis holds where nothing of it is kept may be anything.
        STORE(basis + CK_MEANS * i, kept > 0 ? mean + kept * (before - mean) : mean);
        if (state) keep_state(from + 4 * result_stride, state + i * CK_BLOCK);
    }
    return any(bad);
}
