// Motion between two frames: dense inverse search (Kroeger, Timofte, Dai and Van Gool, ECCV 2016).
// Included by stream_kernels.h.

typedef float patch_row __attribute__((ext_vector_type(8)));
typedef int32_t patch_mask __attribute__((ext_vector_type(8)));
typedef float cell_row __attribute__((ext_vector_type(4)));

#define PATCH_PIXELS (CK_PATCH * CK_PATCH)

enum { ITERATIONS = 8 };
// The length of a step that is too small to be made, in pixels.
#define STEP_MIN 0.03f
// Added to the normal matrix, in levels²: a patch without structure moves little.
#define DAMPING 16.0f
// Motion is believed if it leaves less than this share of the square difference without motion, and
// explains so many variances of noise more: the best of several vectors explains some of any noise.
#define MOTION_GAIN 0.7f
#define MOTION_EVIDENCE 36.0f

INLINE float row_sum(patch_row v) {
    cell_row half = __builtin_shufflevector(v, v, 0, 1, 2, 3)
        + __builtin_shufflevector(v, v, 4, 5, 6, 7);
    return (half[0] + half[2]) + (half[1] + half[3]);
}

INLINE patch_row row_abs(patch_row v) {
    return __builtin_bit_cast(patch_row, __builtin_bit_cast(patch_mask, v) & 0x7fffffff);
}

INLINE float absolute(float v) { return v < 0 ? -v : v; }

INLINE ptrdiff_t clamp_index(ptrdiff_t value, ptrdiff_t low, ptrdiff_t high) {
    return value < low ? low : value > high ? high : value;
}

INLINE float clamp_float(float value, float low, float high) {
    return value < low ? low : value > high ? high : value;
}

// A patch of the present frame with its gradients and the inverse of its normal matrix, all of them
// less their means, so that a change of light is no motion.
typedef struct {
    patch_row value[CK_PATCH], dx[CK_PATCH], dy[CK_PATCH];
    float mean_dx, mean_dy, xx, xy, yy;
} patch;

INLINE void load_patch(patch *p, const float *now, ptrdiff_t stride) {
    patch_row sx = {}, sy = {}, sxx = {}, sxy = {}, syy = {};
#pragma clang loop unroll(full)
    for (int y = 0; y < CK_PATCH; y++) {
        const float *row = now + y * stride;
        patch_row dx = 0.5f * (LOAD(patch_row, row + 1) - LOAD(patch_row, row - 1));
        patch_row dy = 0.5f * (LOAD(patch_row, row + stride) - LOAD(patch_row, row - stride));
        p->value[y] = LOAD(patch_row, row);
        p->dx[y] = dx;
        p->dy[y] = dy;
        sx += dx;
        sy += dy;
        sxx += dx * dx;
        sxy += dx * dy;
        syy += dy * dy;
    }
    float x = row_sum(sx), y = row_sum(sy);
    p->mean_dx = x / PATCH_PIXELS;
    p->mean_dy = y / PATCH_PIXELS;
    float a = row_sum(sxx) - x * p->mean_dx + DAMPING;
    float b = row_sum(sxy) - x * p->mean_dy;
    float c = row_sum(syy) - y * p->mean_dy + DAMPING;
    float determinant = 1 / (a * c - b * b);  // at least DAMPING²
    p->xx = c * determinant;
    p->xy = -b * determinant;
    p->yy = a * determinant;
}

// Where in the frame before a patch is compared, its fractions apart.
typedef struct {
    const float *from;
    float x, y;
} place;

INLINE place patch_place(
    const ck_luma_level *level, ptrdiff_t left, ptrdiff_t top, float u, float v) {
    // Farther out there is nothing but the repeated edge.
    float x = clamp_float((float)left + u, -11, (float)level->width + 2) + CK_MARGIN;
    float y = clamp_float((float)top + v, -11, (float)level->height + 2) + CK_MARGIN;
    int32_t column = (int32_t)x, row = (int32_t)y;
    return (place){
        level->before + (row - CK_MARGIN) * level->stride + column - CK_MARGIN, x - (float)column,
        y - (float)row};
}

// The difference of rows 0…7 to the patch, one after another.
#define FOR_EACH_DIFFERENCE(patch, place, stride, body) \
    do { \
        patch_row above_ = {}; \
        _Pragma("clang loop unroll(full)") \
        for (int y = -1; y < CK_PATCH; y++) { \
            const float *row_ = (place).from + (y + 1) * (stride); \
            patch_row left_ = LOAD(patch_row, row_); \
            patch_row below_ = left_ + (place).x * (LOAD(patch_row, row_ + 1) - left_); \
            if (y >= 0) { \
                patch_row d = above_ + (place).y * (below_ - above_) - (patch)->value[y]; \
                body \
            } \
            above_ = below_; \
        } \
    } while (0)

typedef struct {
    float cost;    // Σ d² − (Σ d)² / 64
    float du, dv;  // a step of Gauss and Newton
} fit;

INLINE fit fit_patch(const ck_luma_level *level, const patch *p, place at) {
    patch_row sum = {}, square = {}, gx = {}, gy = {};
    FOR_EACH_DIFFERENCE(p, at, level->stride, {
        sum += d;
        square += d * d;
        gx += d * p->dx[y];
        gy += d * p->dy[y];
    });
    float total = row_sum(sum);
    float bx = row_sum(gx) - total * p->mean_dx, by = row_sum(gy) - total * p->mean_dy;
    return (fit){
        row_sum(square) - total * total / PATCH_PIXELS, p->xx * bx + p->xy * by,
        p->xy * bx + p->yy * by};
}

INLINE float patch_cost(const ck_luma_level *level, const patch *p, place at) {
    patch_row sum = {}, square = {};
    FOR_EACH_DIFFERENCE(p, at, level->stride, {
        sum += d;
        square += d * d;
    });
    float total = row_sum(sum);
    return row_sum(square) - total * total / PATCH_PIXELS;
}

INLINE void patch_cells(const ck_luma_level *level, const patch *p, place at, float *cells) {
    patch_row pair = {};
    FOR_EACH_DIFFERENCE(p, at, level->stride, {
        pair += row_abs(d);
        if (y % 2 == 1) {
            STORE(
                cells + y / 2 * 4,
                0.25f
                    * (__builtin_shufflevector(pair, pair, 0, 2, 4, 6)
                       + __builtin_shufflevector(pair, pair, 1, 3, 5, 7)));
            pair = (patch_row){};
        }
    });
}

static void patch_changes(
    const ck_luma_level *level, ptrdiff_t row, ptrdiff_t count, float *changes, float *grain) {
    for (ptrdiff_t i = 0; i < count; i++) {
        ptrdiff_t at = (CK_PATCH_STEP * row - 2) * level->stride + CK_PATCH_STEP * i - 2;
        patch_row sum = {}, square = {}, fine = {}, above = {};
#pragma clang loop unroll(full)
        for (int y = 0; y < CK_PATCH; y++) {
            const float *now = level->now + at + y * level->stride;
            const float *before = level->before + at + y * level->stride;
            patch_row d = LOAD(patch_row, before) - LOAD(patch_row, now);
            patch_row right = d - (LOAD(patch_row, before + 1) - LOAD(patch_row, now + 1));
            sum += d;
            square += d * d;
            fine += right * right;
            if (y > 0) fine += (d - above) * (d - above);
            above = d;
        }
        float total = row_sum(sum);
        changes[i] = (row_sum(square) - total * total / PATCH_PIXELS) / PATCH_PIXELS;
        // Pairs side by side and one above the other; each difference has twice the variance.
        grain[i] = row_sum(fine) / (2 * (PATCH_PIXELS + PATCH_PIXELS - CK_PATCH));
    }
}

// Whether any of the finest level's patches under this one, and `margin` more, is to be looked for.
INLINE int is_active(
    const ck_patch_search *s, ptrdiff_t row, ptrdiff_t column, ptrdiff_t margin) {
    ptrdiff_t left = clamp_index(column * s->scale - margin, 0, s->active_columns - 1);
    ptrdiff_t right = clamp_index((column + 1) * s->scale + margin, left + 1, s->active_columns);
    ptrdiff_t top = clamp_index(row * s->scale - margin, 0, s->active_rows - 1);
    ptrdiff_t bottom = clamp_index((row + 1) * s->scale + margin, top + 1, s->active_rows);
    for (ptrdiff_t y = top; y < bottom; y++)
        for (ptrdiff_t x = left; x < right; x++)
            if (s->active[y * s->active_columns + x]) return 1;
    return 0;
}

typedef struct {
    float u, v, cost;
} vector_fit;

typedef struct {
    const ck_patch_search *search;
    patch patch;
    ptrdiff_t left, top;
    vector_fit best;
} patch_job;

INLINE void try_vector(patch_job *job, float u, float v) {
    if ((u == 0 && v == 0) || (u == job->best.u && v == job->best.v)) return;
    const ck_luma_level *level = &job->search->level;
    float cost = patch_cost(level, &job->patch, patch_place(level, job->left, job->top, u, v));
    if (cost < job->best.cost) job->best = (vector_fit){u, v, cost};
}

// The best of no motion and of what is known from elsewhere.
INLINE void try_candidates(patch_job *job, ptrdiff_t row, ptrdiff_t column) {
    const ck_patch_search *s = job->search;
    if (s->coarse) {
        ptrdiff_t near_x = column / 2, near_y = row / 2;
        ptrdiff_t far_x = column % 2 ? near_x + 1 : near_x - 1;
        ptrdiff_t far_y = row % 2 ? near_y + 1 : near_y - 1;
        for (int corner = 0; corner < 4; corner++) {
            ptrdiff_t x = clamp_index(corner % 2 ? far_x : near_x, 0, s->coarse_columns - 1);
            ptrdiff_t y = clamp_index(corner / 2 ? far_y : near_y, 0, s->coarse_rows - 1);
            const float *flow = s->coarse + 2 * (y * s->coarse_columns + x);
            try_vector(job, 2 * flow[0], 2 * flow[1]);
        }
    }
    if (s->last) {
        ptrdiff_t x = clamp_index(column * s->scale + s->scale / 2, 0, s->active_columns - 1);
        ptrdiff_t y = clamp_index(row * s->scale + s->scale / 2, 0, s->active_rows - 1);
        const float *flow = s->last + 2 * (y * s->active_columns + x);
        try_vector(job, flow[0] / (float)s->scale, flow[1] / (float)s->scale);
    }
}

// Gauss and Newton from the best candidate; a step that does not improve the fit is halved.
INLINE void descend(patch_job *job) {
    const ck_luma_level *level = &job->search->level;
    const float limit = (float)CK_FLOW_LIMIT / (float)(2 * job->search->scale);
    const vector_fit start = job->best;
    float u = start.u, v = start.v, du = 0, dv = 0;
    for (int i = 0; i < ITERATIONS; i++) {
        fit found = fit_patch(level, &job->patch, patch_place(level, job->left, job->top, u, v));
        if (i == 0 || found.cost < job->best.cost) {
            job->best = (vector_fit){u, v, found.cost};
            du = -found.du;
            dv = -found.dv;
        } else {
            du *= 0.5f;
            dv *= 0.5f;
        }
        if (du * du + dv * dv < STEP_MIN * STEP_MIN) return;
        u = clamp_float(job->best.u + du, -limit, limit);
        v = clamp_float(job->best.v + dv, -limit, limit);
        float far_u = u - start.u, far_v = v - start.v;
        if (far_u * far_u + far_v * far_v > CK_PATCH * CK_PATCH) return;
    }
}

// The best vector, or none where that is hardly better. noise: variance of the differences.
INLINE vector_fit search_patch(patch_job *job, ptrdiff_t row, ptrdiff_t column, float noise) {
    const ck_luma_level *level = &job->search->level;
    float still =
        patch_cost(level, &job->patch, patch_place(level, job->left, job->top, 0, 0));
    job->best = (vector_fit){0, 0, still};
    try_candidates(job, row, column);
    descend(job);
    // Between pixels the frame before is smoothed: that takes away noise, half of which is its own.
    place at = patch_place(level, job->left, job->top, job->best.u, job->best.v);
    float x = 1 - 2 * at.x * (1 - at.x), y = 1 - 2 * at.y * (1 - at.y);
    float moved = job->best.cost + 0.5f * PATCH_PIXELS * noise * (1 - x * y);
    if (moved < MOTION_GAIN * still && still - moved > MOTION_EVIDENCE * noise) return job->best;
    return (vector_fit){0, 0, still};
}

static void search_patches(const ck_patch_search *s, ptrdiff_t row) {
    const ck_luma_level *level = &s->level;
    patch_job job = {.search = s, .top = CK_PATCH_STEP * row - 2};
    for (ptrdiff_t i = 0; i < s->columns; i++) {
        ptrdiff_t index = row * s->columns + i;
        vector_fit found = {0, 0, 0};
        int moves = is_active(s, row, i, s->scale / 2);
        // The cells of a patch that stands matter where one beside it moves.
        if (moves || (s->cells && is_active(s, row, i, 1))) {
            job.left = CK_PATCH_STEP * i - 2;
            load_patch(&job.patch, level->now + job.top * level->stride + job.left, level->stride);
            if (moves) {
                float noise = s->noise / (float)s->scale;
                if (s->cells) noise = clamp_float(s->grain[index], noise, 2 * noise);
                found = search_patch(&job, row, i, noise);
            }
            if (s->cells)
                patch_cells(
                    level, &job.patch, patch_place(level, job.left, job.top, found.u, found.v),
                    s->cells + CK_PATCH_CELLS * index);
        }
        s->flow[2 * index] = found.u;
        s->flow[2 * index + 1] = found.v;
    }
}

// One of the four patches that cover a square, and how well its vector fits there.
INLINE void add_patch(
    const float *patch_flow, const float *cells, ptrdiff_t index, ptrdiff_t cell, float *sums) {
    float error = cells[CK_PATCH_CELLS * index + cell];
    float weight = 1 / (0.25f + error * error);
    sums[0] += weight;
    sums[1] += weight * patch_flow[2 * index];
    sums[2] += weight * patch_flow[2 * index + 1];
}

static void spread_flow(
    const float *patch_flow, const float *cells, ptrdiff_t patch_columns, ptrdiff_t patch_rows,
    ptrdiff_t row, ptrdiff_t count, float *flow) {
    ptrdiff_t near_row = row / 2, far_row = row % 2 ? near_row + 1 : near_row - 1;
    for (ptrdiff_t i = 0; i < count; i++) {
        ptrdiff_t near_column = i / 2, far_column = i % 2 ? near_column + 1 : near_column - 1;
        float sums[3] = {0}, moved = 0;
        for (int corner = 0; corner < 4; corner++) {
            ptrdiff_t x = corner % 2 ? far_column : near_column;
            ptrdiff_t y = corner / 2 ? far_row : near_row;
            if (x < 0 || x >= patch_columns || y < 0 || y >= patch_rows) continue;
            ptrdiff_t index = y * patch_columns + x;
            moved += absolute(patch_flow[2 * index]) + absolute(patch_flow[2 * index + 1]);
            // The cell of that patch that lies here: both are 2 pixels of the finest level wide.
            add_patch(patch_flow, cells, index, 4 * (row - 2 * y + 1) + i - 2 * x + 1, sums);
        }
        // The finest level has half the frame's resolution. Cells are not up to date where nothing
        // moves.
        flow[2 * i] = moved > 0 ? 2 * sums[1] / sums[0] : 0;
        flow[2 * i + 1] = moved > 0 ? 2 * sums[2] / sums[0] : 0;
    }
}
