/* fuzz_tokens.c - token files (.bin) and the batches drawn from them. */
#include "graph/data.h"
#include "tests/fuzz/fuzz.h"

enum { VOCAB = 50257, B = 2 };

/* Targets are the tokens one place later, wherever a row begins. */
static void draw(weft_ctx *c, weft_tokens *t, int64_t T, bool shuffle, bool fixed, int64_t cursor)
{
    static int32_t tokens[B * 64], targets[B * 64];
    weft_sampler s = {
        .tokens = t, .B = B, .T = T, .seed = (uint64_t)T, .shuffle = shuffle, .fixed = fixed};
    if (!fuzz_done(c, weft_sampler_check(&s)))
        return;
    if (!fuzz_done(c, weft_sampler_batch(&s, cursor, tokens, targets)))
        return;
    for (int64_t i = 0; i < B * T; i++) {
        FUZZ_REQUIRE(tokens[i] >= 0 && tokens[i] < VOCAB, "id %d", tokens[i]);
        FUZZ_REQUIRE((i + 1) % T == 0 || targets[i] == tokens[i + 1], "target %d is not the next",
                     (int)i);
    }
    for (int r = 0; r < B; r++) {
        int64_t at = weft_sampler_start(&s, cursor * B + r);
        FUZZ_REQUIRE(at >= 0 && at + T < weft_tokens_count(t), "row from %lld", (long long)at);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static const int64_t lengths[] = {1, 3, 16, 64};
    static const int64_t cursors[] = {0, 1, 1000003, (int64_t)1 << 40};
    weft_tokens *t;
    weft_ctx *c = fuzz_open((size_t)64 << 20, true);
    fuzz_file("data/train.bin", data, n);
    if (fuzz_done(c, weft_tokens_open(c, "data/train.bin", VOCAB, &t))) {
        for (int i = 0; i < 16; i++)
            draw(c, t, lengths[i & 3], i & 1, i & 2, cursors[i >> 2]);
        weft_tokens_hash(t);
        fuzz_done(c, weft_tokens_check(t));
        weft_tokens_close(t);
    }
    fuzz_close(c);
    return 0;
}
