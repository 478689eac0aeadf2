// A frame times a gain. Included by stream_kernels.h.

static void multiply_bytes(
    const uint8_t *source, ptrdiff_t count, float gain, uint8_t *target) {
    ptrdiff_t i = 0;
    for (; i + CK_BLOCK <= count; i += CK_BLOCK)
        STORE(target + i, to_u8(gain * from_u8(LOAD(pixel_u8, source + i))));
    if (i == count) return;
    pixel_u8 rest = {};
    memcpy(&rest, source + i, (size_t)(count - i));
    STORE(target + i, to_u8(gain * from_u8(rest)));
}
