// Winograd F(m × m, 3 × 3) in one dimension, for m = 2, 4, 6. Included after `vector` is defined;
// `m` is a constant wherever these are inlined. reference.c has the same as plain matrices.
//
// With the finite points 0, ±p, … and M(x) = x · Π (x² − p²), the row of Bᵀ for the point q holds
// the coefficients of M(x) / (x − q), the row for ∞ those of M. The rows of ±p share their even
// and odd halves. Aᵀ holds the powers of the points.

INLINE void transform_input(const int m, const vector *d, vector *out) {
    if (m == 2) {
        out[0] = d[2] - d[0];
        out[1] = d[2] + d[1];
        out[2] = d[2] - d[1];
        out[3] = d[3] - d[1];
    } else if (m == 4) {
        vector even_a = d[4] - 2.0f * d[2], odd_a = CK_SQRT_HALF * d[3] - CK_SQRT_2 * d[1];
        vector even_b = d[4] - 0.5f * d[2], odd_b = CK_SQRT_2 * d[3] - CK_SQRT_HALF * d[1];
        out[0] = d[0] + d[4] - 2.5f * d[2];
        out[1] = even_a + odd_a;
        out[2] = even_a - odd_a;
        out[3] = even_b + odd_b;
        out[4] = even_b - odd_b;
        out[5] = d[1] + d[5] - 2.5f * d[3];
    } else {
        vector even_a = d[6] - 5.0f * d[4] + 4.0f * d[2];
        vector odd_a = 0.5f * d[5] - 2.5f * d[3] + 2.0f * d[1];
        vector even_b = d[6] - 4.25f * d[4] + d[2], odd_b = d[5] - 4.25f * d[3] + d[1];
        vector even_c = d[6] - 1.25f * d[4] + 0.25f * d[2];
        vector odd_c = 2.0f * d[5] - 2.5f * d[3] + 0.5f * d[1];
        out[0] = d[6] - d[0] + 5.25f * (d[2] - d[4]);
        out[1] = even_a + odd_a;
        out[2] = even_a - odd_a;
        out[3] = even_b + odd_b;
        out[4] = even_b - odd_b;
        out[5] = even_c + odd_c;
        out[6] = even_c - odd_c;
        out[7] = d[7] - d[1] + 5.25f * (d[3] - d[5]);
    }
}

INLINE void transform_output(const int m, const vector *p, vector *out) {
    vector sum_a = p[1] + p[2], difference_a = p[1] - p[2];
    if (m == 2) {
        out[0] = p[0] + sum_a;
        out[1] = difference_a + p[3];
        return;
    }
    vector sum_b = p[3] + p[4], difference_b = p[3] - p[4];
    if (m == 4) {
        out[0] = p[0] + sum_a + sum_b;
        out[1] = CK_SQRT_HALF * difference_a + CK_SQRT_2 * difference_b;
        out[2] = 0.5f * sum_a + 2.0f * sum_b;
        out[3] = 0.5f * CK_SQRT_HALF * difference_a + 2.0f * CK_SQRT_2 * difference_b + p[5];
    } else {
        vector sum_c = p[5] + p[6], difference_c = p[5] - p[6];
        out[0] = p[0] + sum_a + sum_b + sum_c;
        out[1] = difference_b + 0.5f * difference_a + 2.0f * difference_c;
        out[2] = sum_b + 0.25f * sum_a + 4.0f * sum_c;
        out[3] = difference_b + 0.125f * difference_a + 8.0f * difference_c;
        out[4] = sum_b + 0.0625f * sum_a + 16.0f * sum_c;
        out[5] = p[7] + difference_b + 0.03125f * difference_a + 32.0f * difference_c;
    }
}

// The odd phase of stride 2: F(4, 2) with the points ±√½, ±√2, ∞.

INLINE void transform_odd(const vector *d, vector *out) {
    vector even_a = d[3] - 2.0f * d[1], odd_a = CK_SQRT_HALF * d[2] - CK_SQRT_2 * d[0];
    vector even_b = d[3] - 0.5f * d[1], odd_b = CK_SQRT_2 * d[2] - CK_SQRT_HALF * d[0];
    out[0] = even_a + odd_a;
    out[1] = even_a - odd_a;
    out[2] = even_b + odd_b;
    out[3] = even_b - odd_b;
    out[4] = d[4] + d[0] - 2.5f * d[2];
}

INLINE void transform_odd_output(const vector *p, vector *out) {
    vector sum_a = p[0] + p[1], difference_a = p[0] - p[1];
    vector sum_b = p[2] + p[3], difference_b = p[2] - p[3];
    out[0] = sum_a + sum_b;
    out[1] = CK_SQRT_HALF * difference_a + CK_SQRT_2 * difference_b;
    out[2] = 0.5f * sum_a + 2.0f * sum_b;
    out[3] = 0.5f * CK_SQRT_HALF * difference_a + 2.0f * CK_SQRT_2 * difference_b + p[4];
}
