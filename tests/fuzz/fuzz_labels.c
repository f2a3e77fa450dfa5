/* fuzz_labels.c - label files: read as they are, and once more with checksums that hold, so that
 * what lies behind these is reached. */
#include "graph/hash.h"
#include "graph/labels.h"
#include "tests/fuzz/fuzz.h"

enum { LARGEST = 1 << 16 };

static void read_file(weft_ctx *c, const char *path)
{
    static int32_t ids[LARGEST];
    static float scores[LARGEST];
    weft_label_result whole;
    weft_labels *l;
    fuzz_done(c, weft_labels_verify(c, path, &whole));
    if (!fuzz_done(c, weft_labels_open(c, path, &l)))
        return;
    const weft_label_header *h = weft_labels_header(l);
    int64_t count;
    FUZZ_REQUIRE(weft_mul_ok(h->T, h->k, &count), "a record that no file has");
    for (int64_t w = 0; w < h->windows && w < 64 && count <= LARGEST; w++)
        if (fuzz_done(c, weft_labels_read(l, w, ids, scores)))
            for (int64_t i = 0; i < count; i++)
                FUZZ_REQUIRE(ids[i] >= 0 && ids[i] < h->concepts, "id %d", ids[i]);
    fuzz_done(c, weft_label_match(c, path, h, h, true));
    weft_labels_close(l);
}

static void put_u64(uint8_t *p, uint64_t x)
{
    for (int i = 0; i < 8; i++)
        p[i] = (uint8_t)(x >> 8 * i);
}

/* Checksums of the header and of the records, as far as they are there. */
static void mend(weft_ctx *c, uint8_t *data, size_t n)
{
    weft_label_header h;
    put_u64(data + 120, weft_xxh64_of(data, 120, 0));
    bool ok = !weft_label_unpack(c, "header", data, &h);
    weft_error_clear(c);
    if (!ok)
        return;
    int64_t record = weft_label_record(&h);
    size_t at = WEFT_LABEL_HEADER;
    for (uint64_t w = 0; record > 8 && (uint64_t)record <= n - at; w++, at += (size_t)record)
        put_u64(data + at + record - 8, weft_xxh64_of(data + at, (size_t)record - 8, w));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    weft_ctx *c = fuzz_open((size_t)64 << 20, true);
    fuzz_file("data/train.labels", data, n);
    read_file(c, "data/train.labels");
    if (n >= WEFT_LABEL_HEADER) {
        uint8_t *copy = malloc(n);
        FUZZ_REQUIRE(copy, "no memory");
        memcpy(copy, data, n);
        mend(c, copy, n);
        fuzz_file("data/train.labels", copy, n);
        read_file(c, "data/train.labels");
        free(copy);
    }
    fuzz_close(c);
    return 0;
}
