// The f32 GEMM, written once for both register widths: sums of a tile of rows × vectors stay in
// registers, the weights come from the first-level cache, the left-hand side by broadcast.

// Blocks of 16 columns in a register tile, and its rows: 24 (AVX-512) or 12 (AVX2) registers of
// sums, with room for the weights and a broadcast.
#if LANES == 16
#define TILE_BLOCKS 4
#define TILE_ROWS(blocks) ((blocks) == 4 ? 6 : (blocks) == 3 ? 8 : 12)
#else
#define TILE_BLOCKS 1
#define TILE_ROWS(blocks) 6
#endif
#define BLOCK_VECTORS (CK_BLOCK / LANES)

// Compilers like to load the broadcasts of several rows ahead, run out of registers, and keep sums
// in memory: two thirds of the speed. No load moves across this; it costs no instruction.
#define KEEP_ORDER() __asm__ volatile("" ::: "memory")

INLINE void multiply_tile(
    const int rows, const int blocks, const float *a, ptrdiff_t a_stride, const int32_t *offsets,
    ptrdiff_t steps, const float *b, float *c, ptrdiff_t c_stride, const float *next) {
    const int vectors = blocks * BLOCK_VECTORS;
    const ptrdiff_t panel = steps * CK_BLOCK * CK_BLOCK;
    vector sums[12][TILE_BLOCKS * BLOCK_VECTORS];
#pragma clang loop unroll(full)
    for (int r = 0; r < rows; r++)
        for (int v = 0; v < vectors; v++) sums[r][v] = (vector){};
    for (ptrdiff_t step = 0; step < steps; step++) {
        const float *from = a + offsets[step];
#pragma clang loop unroll_count(4)
        for (int k = 0; k < CK_BLOCK; k++) {
            vector weights[TILE_BLOCKS * BLOCK_VECTORS];
#pragma clang loop unroll(full)
            for (int v = 0; v < vectors; v++)
                weights[v] =
                    LOAD(vector, b + v / BLOCK_VECTORS * panel + v % BLOCK_VECTORS * LANES);
#pragma clang loop unroll(full)
            for (int block = 0; block < blocks; block++)
                __builtin_prefetch(next + block * CK_BLOCK, 0, 2);
#pragma clang loop unroll(full)
            for (int r = 0; r < rows; r++) {
                vector value = from[r * a_stride + k];  // in every lane
                for (int v = 0; v < vectors; v++) sums[r][v] += value * weights[v];
                KEEP_ORDER();
            }
            b += CK_BLOCK;
            next += blocks * CK_BLOCK;
        }
    }
#pragma clang loop unroll(full)
    for (int r = 0; r < rows; r++)
        for (int v = 0; v < vectors; v++) STORE(c + r * c_stride + v * LANES, sums[r][v]);
}

// All rows for one group of panels: whole register tiles, then what is left in halves.
INLINE void multiply_panels(
    const int blocks, const float *a, ptrdiff_t a_stride, const int32_t *offsets, ptrdiff_t steps,
    const float *b, ptrdiff_t rows, float *c, ptrdiff_t c_stride, const float *next) {
    while (rows > 0) {
        ptrdiff_t done;
        if (rows >= TILE_ROWS(blocks)) {
            done = TILE_ROWS(blocks);
            multiply_tile(
                TILE_ROWS(blocks), blocks, a, a_stride, offsets, steps, b, c, c_stride, next);
        } else if (rows >= 4) {
            done = 4;
            multiply_tile(4, blocks, a, a_stride, offsets, steps, b, c, c_stride, next);
        } else if (rows >= 2) {
            done = 2;
            multiply_tile(2, blocks, a, a_stride, offsets, steps, b, c, c_stride, next);
        } else {
            done = 1;
            multiply_tile(1, blocks, a, a_stride, offsets, steps, b, c, c_stride, next);
        }
        rows -= done;
        a += done * a_stride;
        c += done * c_stride;
        next = b;  // fetched by the first tile; the others ask for what is there
    }
}

static void multiply(
    const void *a, ptrdiff_t a_stride, const int32_t *offsets, ptrdiff_t steps, const void *b,
    ptrdiff_t blocks, ptrdiff_t rows, void *c, ptrdiff_t c_stride, const void *next) {
    const ptrdiff_t panel = steps * CK_BLOCK * CK_BLOCK;
    const float *weights = b, *following = next ? next : b;
    float *target = c;
    while (blocks > 0) {
        // As even as possible: 6 blocks are 3 + 3, not 4 + 2.
        ptrdiff_t groups = (blocks + TILE_BLOCKS - 1) / TILE_BLOCKS;
        ptrdiff_t count = (blocks + groups - 1) / groups;
#define PANELS(number) \
    multiply_panels( \
        number, a, a_stride, offsets, steps, weights, rows, target, c_stride, following)
        switch (count) {
#if TILE_BLOCKS == 4
        case 4: PANELS(4); break;
        case 3: PANELS(3); break;
        case 2: PANELS(2); break;
#endif
        default: PANELS(1);
        }
#undef PANELS
        blocks -= count;
        weights += count * panel;
        following += count * panel;
        target += count * CK_BLOCK;
    }
}
