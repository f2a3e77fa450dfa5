/* fuzz_log.c - the reader of log.jsonl and timing.jsonl. */
#include "tests/fuzz/fuzz.h"

static weft_status on_line(void *user, const weft_log_line *l)
{
    double *sum = user;
    FUZZ_REQUIRE(l->number > 0 && l->kind && l->step >= 0 && l->tokens >= 0 && l->n >= 0, "line %d",
                 l->number);
    for (int i = 0; i < l->n; i++) {
        FUZZ_REQUIRE(l->name[i], "a number without a name in line %d", l->number);
        *sum += l->value[i];
    }
    return WEFT_OK;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    double sum = 0;
    weft_ctx *c = fuzz_open((size_t)64 << 20, true);
    fuzz_file("run/log.jsonl", data, n);
    fuzz_done(c, weft_log_read(c, "run/log.jsonl", on_line, &sum));
    fuzz_close(c);
    return 0;
}
